"""What comes before, behind and into a stream: it stays whole, has one owner, and hears nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import events, eventually, request, say, upgrade

if TYPE_CHECKING:
    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import HttpPeer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_old_client_gets_a_stream_without_chunks(gateway: Gateway) -> None:
    """HTTP/1.0, which proxies still speak, knows no chunks: the stream is the bytes up to the end of the connection."""
    gateway.publish("run_1")
    peer = await gateway.http()

    peer.send(request("/v1/events?run=run_1", gateway.bearer(), version="1.0"))
    status, headers = await peer.head()
    body = await peer.take_until(b"event: snapshot")
    gateway.publish("run_1", "COMPLETED")
    body += await peer.take_all()

    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert not {"transfer-encoding", "content-length"} & set(headers)
    assert body.startswith(b"retry: ")
    assert [kind for kind, _ in events(body)] == ["welcome", "snapshot", "update", "end"]


async def test_an_old_client_gets_plain_answers(gateway: Gateway) -> None:
    """Refusals and 204 are as they are for everybody; then the connection closes."""
    gateway.publish("run_2", "COMPLETED")
    peer = await gateway.http()
    peer.send(request("/v1/events?run=run_2", gateway.bearer()))
    await peer.head()
    end = dict(events(await _body(peer)))["end"]

    peer = await gateway.http()
    peer.send(request(f"/v1/events?run=run_2&cursor={end['cursor']}", gateway.bearer(), version="1.0"))
    assert (await peer.head())[0] == 204
    assert await peer.take_all() == b""

    peer = await gateway.http()
    peer.send(request("/v1/events", version="1.0"))
    assert (await peer.answer()).problem["code"] == "not_authenticated"
    assert await peer.take_all() == b""


async def _body(peer: HttpPeer) -> bytes:
    body = b""
    while chunk := await peer.chunk():
        body += chunk
    return body


BEHIND = {
    "a request": request("/livez"),
    "many requests": request("/livez") * 1000,
    "another stream": request("/v1/events?run=run_4"),
    "half a request": b"GET /liv",
    "junk": b"\x00\xff" * 1000,
    "frames": say({"type": "subscribe", "run": "run_1"}),
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", ["a request", "many requests", "another stream", "half a request"])
async def test_what_is_asked_behind_a_stream_is_not_answered_and_does_not_disturb_it(
    gateway: Gateway, name: str
) -> None:
    """A stream never ends, so what comes behind it in the same segment waits for ever; the stream stays whole."""
    gateway.publish("run_3")
    peer = await gateway.http()

    peer.send(request("/v1/events?run=run_3", gateway.bearer()) + BEHIND[name])
    status, _ = await peer.head()
    told = await peer.chunks_until(b"event: snapshot")
    gateway.publish("run_3", attempt=next(gateway._attempts))
    told += await peer.chunks_until(b"event: update")

    assert status == 200
    assert [kind for kind, _ in events(told)] == ["welcome", "snapshot", "update"]
    peer.half_close()  # is still noticed
    await eventually(lambda: not gateway.server.server_state.connections, what="it is let go")


@pytest.mark.parametrize("name", BEHIND)
async def test_what_is_said_into_a_stream_is_not_heard(gateway: Gateway, name: str) -> None:
    """The viewer of a stream may send what it likes, for as long as it likes."""
    gateway.publish("run_3")
    peer = await gateway.http()
    peer.send(request("/v1/events?run=run_3", gateway.bearer()))
    await peer.head()
    await peer.chunks_until(b"event: snapshot")

    peer.send(BEHIND[name] * 100)
    await peer.sent()
    gateway.publish("run_3", attempt=next(gateway._attempts))

    await peer.chunks_until(b"event: update")


async def test_a_handshake_behind_a_stream_opens_nothing(gateway: Gateway) -> None:
    """One connection has one owner: neither a stream nor a socket is left over when two were asked for."""
    peer = await gateway.http()

    peer.send(request("/v1/events?run=run_3", gateway.bearer()) + upgrade(gateway.bearer()))
    told = await peer.take_all()

    assert b" 101 " not in told
    await eventually(lambda: not gateway.server.server_state.connections, what="it is let go")


async def test_a_stream_and_a_handshake_behind_other_requests_are_served(gateway: Gateway) -> None:
    """Pipelining works as long as answers end."""
    peer = await gateway.http()
    peer.send(request("/livez") * 3 + request("/v1/events?run=run_3", gateway.bearer()))
    for _ in range(3):
        assert (await peer.answer()).status == 200
    assert (await peer.head())[0] == 200
    await peer.chunks_until(b"event: snapshot")

    peer = viewer = await gateway.websocket()
    peer.send(request("/livez"))
    assert (await peer.answer()).status == 200
    await viewer.open(gateway.bearer())
    await viewer.message("welcome")


async def test_a_request_with_a_body_that_can_t_be_read_is_ended(gateway: Gateway) -> None:
    """A stream whose request goes wrong behind its headers is closed, and leaves nothing."""
    peer = await gateway.http()

    peer.send(request("/v1/events?run=run_3", gateway.bearer(), "Transfer-Encoding: chunked") + b"zz\r\n")

    await peer.take_all()
    await eventually(lambda: not gateway.server.server_state.connections, what="it is let go")
