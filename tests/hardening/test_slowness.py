"""Peers that take their time, say nothing, or take nothing: each is let go in time, and costs little till then."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Final, cast

import pytest
import pytest_asyncio

from gateway.server import handover, patience
from tests.hardening.gateways import running_gateway
from tests.hardening.peers import (
    CLOSE,
    PATIENCE_SECONDS,
    PING,
    TEXT,
    HttpPeer,
    eventually,
    frame,
    request,
    say,
    upgrade,
)
from tests.soon import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.server.handover import WebSocketSocket
    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import WebSocketPeer
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNSENT_LIMIT: Final = 64 * 1024
#: What a peer that does not read lets the kernel take, at the least.
SMALL_BUFFER: Final = 4096

EVENTS = "/v1/events?run=run_1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(_servers: dict[str, RedisServer]) -> AsyncIterator[Gateway]:
    """A gateway with little patience."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "REQUEST_SECONDS", 1.0)
        patch.setattr(handover, "_CLOSE_SECONDS", 0.3)
        async with running_gateway(
            _servers["valkey"],
            "impatient",
            handshake_seconds=1.0,
            stuck_seconds=1.0,
            unsent_limit_bytes=UNSENT_LIMIT,
            heartbeat_seconds=6.0,
        ) as gateway:
            yield gateway


async def _gone(gateway: Gateway) -> None:
    await eventually(lambda: not gateway.server.server_state.connections, what="it is let go")


async def test_silence_after_connecting_is_ended(gateway: Gateway) -> None:
    """Who connects and says nothing is let go."""
    peer = await gateway.http()

    assert await peer.take_all() == b""


HALVES = {
    "a letter": b"G",
    "half a request line": b"GET /v1/ev",
    "a request line": b"GET /livez HTTP/1.1\r\n",
    "half a header": b"GET /livez HTTP/1.1\r\nHost: local",
    "headers without end": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n",
    "empty lines": b"\r\n\r\n",
    "half a handshake": upgrade()[:-2],
}


@pytest.mark.parametrize("first", ["", "/livez"])
async def test_a_request_that_is_never_finished_is_ended(gateway: Gateway, first: str) -> None:
    """A request has a time limit, however far it came; so has the next of its connection."""
    peers = [await _peer_that_asked(gateway, first) for _ in HALVES]

    for peer, half in zip(peers, HALVES.values(), strict=True):
        peer.send(half)

    assert [await peer.take_all() for peer in peers] == [b""] * len(peers)


@pytest.mark.parametrize("first", ["", "/livez"])
async def test_a_request_that_drips_is_ended(gateway: Gateway, first: str) -> None:
    """Bytes that keep coming do not make the time longer, be they of a request line, of headers, or before both."""
    dripping = (b"\r\n" * 50_000, b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\nX-Slow: " + b"y" * 100_000)
    peers = [await _peer_that_asked(gateway, first) for _ in dripping]
    ended = asyncio.gather(*(peer.take_all() for peer in peers))

    for bytes_of_each in zip(*dripping, strict=False):
        if ended.done():
            break
        for peer, byte in zip(peers, bytes_of_each, strict=True):
            peer.send(bytes((byte,)))
        await asyncio.sleep(0.001)

    assert await ended == [b""] * len(peers)


async def _peer_that_asked(gateway: Gateway, target: str) -> HttpPeer:
    """A peer whose first request, if there was one, was answered."""
    peer = await gateway.http()
    if target:
        peer.send(request(target))
        assert (await peer.answer()).status == 200
    return peer


async def test_a_body_that_nobody_waits_for_does_not_hold_the_connection(gateway: Gateway) -> None:
    """A body that drips in after its request was answered ends with the time for the next request."""
    peer = await gateway.http()
    peer.send(request(EVENTS, "Content-Length: 100000", method="POST"))
    assert (await peer.answer()).status == 405
    ended = asyncio.create_task(peer.take_all())

    for _ in range(100_000):
        if ended.done():
            break
        peer.send(b"x")
        await asyncio.sleep(0.001)

    assert await ended == b""


async def test_silence_after_the_handshake_is_ended_with_4401(gateway: Gateway) -> None:
    """A WebSocket without a token in time learns what was missing."""
    peer = await gateway.websocket()
    await peer.open()

    code, closed = await peer.refusal()

    assert (code, closed.code) == ("not_authenticated", 4401)


async def test_pings_and_fragments_are_no_token(gateway: Gateway) -> None:
    """Only a token stops the clock, not other signs of life."""
    peer = await gateway.websocket()
    await peer.open()

    peer.send(frame(PING) + frame(TEXT, b'{"type": "authen', fin=False))

    assert (await peer.end()).code == 4401


async def test_time_for_the_token_is_not_time_for_the_viewer(gateway: Gateway) -> None:
    """Whoever said who it is may be silent as long as it likes."""
    silent, late = await gateway.viewer(), await gateway.websocket()
    await late.open()

    assert (await late.end()).code == 4401  # came later, and its time is over

    silent.send(say({"type": "subscribe", "run": "run_1"}))
    await silent.message("snapshot")


async def test_a_stream_outlives_the_time_for_its_request(gateway: Gateway) -> None:
    """Half a request behind an endless response does not end that."""
    stream, other = await gateway.http(), await gateway.http()

    stream.send(request(EVENTS, gateway.bearer()) + b"GET /never-fini")
    await stream.take_until(b"event: snapshot")
    other.send(b"GET /never-fini")
    assert await other.take_all() == b""  # came later, and its time is over

    gateway.publish("run_1", attempt=next(gateway._attempts))
    await stream.take_until(b"event: update")


async def test_a_flood_whose_answers_nobody_takes_is_held_back(gateway: Gateway) -> None:
    """Who does not read is not listened to: neither answers nor questions pile up here, and it is let go in time."""
    questions = say({"type": "unsubscribe", "feed": "run:" + "x" * 200})
    floods = {"messages": questions * 500, "pings": frame(PING, bytes(125)) * 1000}
    for name, flood in floods.items():
        peer = await gateway.viewer(receive_buffer=SMALL_BUFFER)
        await eventually(lambda: len(gateway.server.server_state.connections) == 1, what="it is the only one")
        peer.pause_reading()
        flooding, worst = asyncio.create_task(_flood(peer, flood)), 0

        while not flooding.done():
            for socket in gateway.server.server_state.connections:
                worst = max(worst, cast("WebSocketSocket", socket).unsent)
            await asyncio.sleep(0.002)

        # One read of the socket is worked on to its end: 256 KiB of pings become as many pongs.
        assert worst < UNSENT_LIMIT + 512 * 1024, name
        await flooding
        await _gone(gateway)


async def _flood(peer: WebSocketPeer, data: bytes) -> None:
    """Say the same until the server has had enough."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionError):
            while True:
                peer.send(data)
                await peer.sent()


async def test_a_viewer_that_takes_nothing_is_let_go(gateway: Gateway) -> None:
    """A reader that stopped reading is not kept for ever, on either transport."""
    for number in range(30):
        gateway.publish(f"big_{number}", columns={"payload": "x" * 100_000}, tags=["big"])
    stream = await gateway.http(receive_buffer=SMALL_BUFFER)
    viewer = await gateway.viewer(receive_buffer=SMALL_BUFFER)

    stream.send(request("/v1/events?tags=big", gateway.bearer()))
    viewer.send(say({"type": "subscribe", "tags": ["big"]}))
    stream.pause_reading()
    viewer.pause_reading()

    await eventually(lambda: gateway.hub.statistics.fell_behind >= 2, what="both fell behind")
    await _gone(gateway)


async def test_a_token_that_expires_ends_viewers_that_take_nothing(redis_server: RedisServer) -> None:
    """What is unsent keeps no socket open beyond its token, however its viewer left before; others live on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover, "_CLOSE_SECONDS", 2.5)
        async with running_gateway(redis_server, "expiring", unsent_limit_bytes=UNSENT_LIMIT) as gateway:
            for number in range(5):
                gateway.publish(f"big_{number}", columns={"payload": "x" * 1_000_000}, tags=["big"])
            witness = await gateway.viewer()
            ends = soon(2)
            token = gateway.bearer(expires=ends)
            viewers = [await gateway.websocket(receive_buffer=SMALL_BUFFER) for _ in range(3)]
            streams = [await gateway.http(receive_buffer=SMALL_BUFFER) for _ in range(2)]
            for viewer in viewers:
                await viewer.open(token)
                viewer.send(say({"type": "subscribe", "tags": ["big"]}))
            for stream in streams:
                stream.send(request("/v1/events?tags=big", token))
            await eventually(lambda: gateway.hub.statistics.fell_behind == 5, what="nobody takes anything")

            viewers[0].half_close()
            streams[0].half_close()
            viewers[1].send(frame(CLOSE, b"\x03\xe8"))
            expired = asyncio.get_running_loop().time() + max(0.0, ends - time.time())

            await eventually(lambda: len(gateway.server.server_state.connections) == 1, what="all are let go")
            assert asyncio.get_running_loop().time() < expired + 2.5 + PATIENCE_SECONDS / 4
            await gateway.check_serves(witness)


async def test_a_viewer_that_resets_while_it_is_written_to_is_forgotten(gateway: Gateway) -> None:
    """Sockets that break in the middle of a snapshot, or of the handshake, leave nothing."""
    for number in range(10):
        gateway.publish(f"wide_{number}", columns={"payload": "x" * 100_000}, tags=["wide"])
    for _ in range(5):
        peers: list[HttpPeer] = [await gateway.http(), await gateway.viewer(), await gateway.http()]
        peers[0].send(request("/v1/events?tags=wide", gateway.bearer()))
        peers[1].send(say({"type": "subscribe", "tags": ["wide"]}))
        peers[2].send(upgrade(gateway.bearer()))
        for peer in peers:
            await peer.sent()
            peer.reset()

    await _gone(gateway)


async def test_stopping_ends_in_time_whatever_peers_do(redis_server: RedisServer) -> None:
    """A server that stops waits neither for who takes nothing nor for who does not say goodbye."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover, "_CLOSE_SECONDS", 0.3)
        async with running_gateway(redis_server, "stopping", unsent_limit_bytes=UNSENT_LIMIT) as gateway:
            for number in range(5):
                gateway.publish(f"big_{number}", columns={"payload": "x" * 1_000_000}, tags=["big"])
            polite, stuck = await gateway.viewer(), await gateway.viewer(receive_buffer=SMALL_BUFFER)
            silent, unfinished = await gateway.http(), await gateway.http()
            unfinished.send(b"GET /")
            stuck.send(say({"type": "subscribe", "tags": ["big"]}))
            await eventually(lambda: gateway.hub.statistics.fell_behind > 0, what="one takes nothing")

            gateway.server.should_exit = True

            assert (await polite.message("reconnect"))["afterMilliseconds"] < 3000
            assert (await polite.end()).code == 1012
            assert await silent.take_all() == b""
            await eventually(lambda: not gateway.server.server_state.connections, what="all are gone")
            assert not gateway.logbook.alarms


async def test_what_is_said_of_a_viewer_in_the_log_is_one_line(gateway: Gateway) -> None:
    """Ten thousand viewers are ten thousand lines, not a hundred thousand; and they say why each left."""
    gateway.logbook.lines.clear()
    peer = await gateway.websocket()
    await peer.open()
    await peer.end()
    await _gone(gateway)

    lines = [line for line in gateway.logbook.lines if line.startswith("runcast.viewers")]

    assert len(lines) == 1, json.dumps(lines, indent=1)
    assert "not_authenticated" in lines[0]
