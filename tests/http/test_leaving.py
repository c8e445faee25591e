"""
Clients that go, or say no more: after half a request, after a whole one, in the middle of an answer. Slow ones are in
tests/hardening/test_slowness.py, and the time of a request in tests/gateway/server/test_protocols.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.server import protocols
from gateway.triggerdev.shape import poll
from tests.hardening.peers import eventually, request, upgrade
from tests.http.cases import ALIVE, BODY, OK, TOKEN, chunked, chunks, read_answer, sized, spelled

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

RUNS = request("/v1/runs?limit=1", TOKEN)
EVENTS = request("/v1/events?run=run_of_leaving", TOKEN)
HELD = request("/v1/poll?run=run_of_leaving&wait=30", TOKEN)

WHOLE = {
    "a request": (OK, (200,)),
    "one that asks Redis": (RUNS, (200,)),
    "one with a body": (sized(), (201,)),
    "one with chunks": (chunked(chunks(BODY[:5], BODY[5:])), (201,)),
    "one that is refused": (request("/v1/runs"), (401,)),
    "several": (OK + RUNS + sized() + request("/nowhere") + OK, (200, 200, 201, 404, 200)),
    "the last one": (request("/livez", "Connection: close"), (200,)),
    "HTTP/1.0": (request("/livez", version="1.0"), (200,)),
}
HALF = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "half a request line": b"GET /livez HT",
    "half the headers": OK[:-2],
    "half a body": sized()[:-5],
    "half a chunk": chunked(chunks(BODY))[:-20],
    "chunks without an end": chunked(chunks(BODY))[:-5],
    "half a handshake": upgrade()[:-2],
}


@pytest.mark.parametrize("asks", WHOLE)
async def test_whoever_only_has_no_more_to_say_is_answered(entrance: Entrance, asks: str) -> None:
    """A script that shuts down its side behind its request hears the answer, whole, and then the end."""
    said, statuses = WHOLE[asks]
    caller = await entrance.call()
    await caller.say(spelled(said, entrance))
    caller.half_close()

    answers = [await read_answer(caller) for _ in statuses]

    assert tuple(answer.status for answer in answers) == statuses
    assert await caller.take_all() == b""


@pytest.mark.parametrize("asks", HALF)
@pytest.mark.parametrize("before", [b"", OK], ids=["first", "second"])
async def test_half_a_request_has_no_answer(entrance: Entrance, asks: str, before: bytes) -> None:
    """The end, at once, for whoever half-closes; and nothing is left of whoever is gone."""
    for leave in ("half_close", "reset", "close"):
        caller = await entrance.call()
        if before:
            await caller.say(before)
            assert (await caller.answer()).body == ALIVE
        await caller.say(spelled(HALF[asks], entrance))
        match leave:
            case "half_close":
                caller.half_close()
                assert await caller.take_all() == b""
            case "reset":
                caller.reset()
            case _:
                await caller.close()
    connections = entrance.inside.server.server_state.connections
    await eventually(lambda: not connections, what="all are forgotten")


@pytest.mark.parametrize("leave", ["half_close", "reset", "close"])
@pytest.mark.parametrize("asks", [EVENTS, HELD, upgrade()], ids=["events", "poll", "socket"])
async def test_whoever_leaves_what_goes_on_is_let_go_at_once(entrance: Entrance, asks: bytes, leave: str) -> None:
    """A stream, a poll that is held, a socket: nobody speaks these protocols with one side closed."""
    caller = await entrance.call()
    await caller.say(spelled(asks, entrance))
    await caller.head()
    if leave == "close":
        await caller.close()
    else:
        getattr(caller, leave)()

    state = entrance.inside.server.server_state
    await eventually(lambda: not state.connections and not state.tasks, what="it is let go")
    await eventually(lambda: entrance.followed() == 0, what="nothing is told any more")


async def test_a_held_poll_of_the_official_clients_is_given_up_with_its_client(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds it, with or without a task: it takes one of the places of its token."""
    monkeypatch.setattr(poll, "HOLD_SECONDS", 30.0)
    monkeypatch.setattr(protocols, "_HALF_CLOSED_SECONDS", 0.05)
    services = entrance.inside.services
    caller = await entrance.call()
    await caller.say(
        spelled(sized(body=json.dumps({"taskIdentifier": "t", "tags": ["leaving"], "payload": 1}).encode()), entrance)
    )
    await read_answer(caller)
    await caller.say(spelled(request("/realtime/v1/runs?log=full&offset=-1&tags=leaving", TOKEN), entrance))
    first = await read_answer(caller)
    place = f"handle={first.headers['electric-handle']}&offset={first.headers['electric-offset']}"
    asks = spelled(request(f"/realtime/v1/runs?cursor=&{place}&live=true&log=full&tags=leaving", TOKEN), entrance)
    for leave in ("reset", "half_close", "close"):
        client = await entrance.call()
        await client.say(asks)
        await eventually(lambda: services.counters.viewers["shape"] == 1, what="it is held")
        if leave == "close":
            await client.close()
        else:
            getattr(client, leave)()
        await eventually(lambda: services.counters.viewers["shape"] == 0, what="its place is free")


async def test_whoever_resets_in_the_middle_of_an_answer_is_forgotten(entrance: Entrance) -> None:
    """With more requests behind it, too, that nobody will read the answers of."""
    for asks in (OK * 50, sized() * 20, EVENTS + OK, RUNS * 20):
        caller = await entrance.call()
        await caller.say(spelled(asks, entrance))
        await caller.take(1)
        caller.reset()
    state = entrance.inside.server.server_state
    await eventually(lambda: not state.connections and not state.tasks, what="all are forgotten")


async def test_silence_between_two_requests_ends_the_connection(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word (RFC 9112, section 9.5): to a request that is on its way an answer would be a lie."""
    monkeypatch.setattr(entrance.inside.server.config, "timeout_keep_alive", 0.02)
    caller = await entrance.call()
    await caller.say(OK * 2)
    for _ in range(2):
        assert (await caller.answer()).body == ALIVE

    assert await caller.take_all() == b""


@pytest.mark.parametrize(
    "asks", [request("/livez", "X Y: z"), sized("Content-Length: 1"), request("/" + "x" * 70_000)], ids=len
)
async def test_a_refusal_is_heard_by_whoever_goes_on_sending(entrance: Entrance, asks: bytes) -> None:
    """It may not have looked yet; and not all that it sends is read."""
    caller = await entrance.call()
    await caller.say(spelled(asks, entrance), *(b"x" * 10_000,) * 50)

    assert (await read_answer(caller)).status in (400, 414)
    assert await caller.take_all() == b""
