"""
Several requests on a connection (RFC 9112, section 9): in which order they are answered, which one is the last, and
what becomes of those behind a stream, or before a WebSocket. Polls at the desk: tests/hardening/test_desk.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import PING, PONG, frame, request, upgrade
from tests.http.cases import ALIVE, BODY, OK, TOKEN, Case, carry_out, chunked, chunks, read_answer, sized, spelled
from tests.ways import Way
from tests.websocket.cases import echo, next_frame

if TYPE_CHECKING:
    from tests.ways import Caller, Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

CLOSE = request("/livez", "Connection: close")
EVENTS = request("/v1/events?run=run_of_connections", TOKEN)
#: As curl and Java's client ask for HTTP/2 in passing (RFC 7540, section 3.2).
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")

CASES = [
    Case("five at once", "9.3.2", OK * 5, (200,) * 5),
    Case("a hundred at once", "9.3.2", OK * 100, (200,) * 100),
    Case("different ones", "9.3.2", OK + request("/nowhere") + sized() + chunked(chunks(BODY)) + OK,
         (200, 404, 201, 201, 200)),
    Case("a refused one among others", "9.3", OK + request("/v1/runs") + OK, (200, 401, 200)),
    Case("the last one", "9.6", CLOSE, (200,), stays=False),
    Case("the last one of several", "9.6", OK * 3 + CLOSE, (200,) * 4, stays=False),
    Case("one behind the last one", "9.6", CLOSE + OK, (200,), stays=False),
    Case("one behind the last one, with a body", "9.6", sized("Connection: close") + OK, (201,), stays=False),
    Case("the last one in other letters", "9.6", request("/livez", "Connection: CLOSE") + OK, (200,), stays=False),
    Case("the last one in a list", "9.6", request("/livez", "Connection: foo , close") + OK, (200,), stays=False),
    Case("the last one, that says both", "9.6",
         request("/livez", "Connection: keep-alive, close") + OK, (200,), stays=False),
    Case("keep-alive", "9.3", request("/livez", "Connection: keep-alive") + OK, (200, 200)),
    Case("HTTP/1.0", "9.3", request("/livez", version="1.0"), (200,), stays=False),
    Case("HTTP/1.0 without a host", "3.2", b"GET /livez HTTP/1.0\r\n\r\n", (200,), stays=False),
    Case("HTTP/1.0, and one behind it", "9.3", request("/livez", version="1.0") + OK, (200,), stays=False),
]  # fmt: skip

UPGRADES = [
    Case("h2c", "RFC 9110 7.8", request("/livez", *H2C), (200,)),
    Case("h2c, and one behind it", "RFC 9110 7.8", request("/livez", *H2C) + OK, (200, 200)),
    Case("h2c each time", "RFC 9110 7.8", request("/livez", *H2C) * 5, (200,) * 5),
    Case("h2c with a body", "RFC 9110 7.8", sized(*H2C) + OK, (201, 200)),
    Case("h2c with chunks", "RFC 9110 7.8", chunked(chunks(BODY[:7], BODY[7:]), *H2C) + OK, (201, 200)),
    Case("h2c, and the last one", "RFC 9110 7.8",
         request("/livez", *H2C, "Connection: close") + OK, (200,), stays=False),
    Case("something else", "RFC 9110 7.8", request("/livez", "Connection: upgrade", "Upgrade: foo/2, bar"), (200,)),
    Case("TLS", "RFC 2817", request("/livez", "Connection: upgrade", "Upgrade: TLS/1.0"), (200,)),
    Case("a WebSocket, but not now", "RFC 9110 7.8", request("/livez", "Upgrade: websocket") + OK, (200, 200)),
]  # fmt: skip


#: Where h11 does otherwise.
AT_OURS = [
    Case("h2c with too long a target", "3", request("/" + "x" * 70_000, *H2C) + OK, (414,), stays=False),
    Case("h2c without a path", "3", request("livez", *H2C) + OK, ((400, 404),), stays=False),
    Case("h2c behind another, with a bad body", "7.1",
         OK + chunked(b"zz\r\n", *H2C), (200, 400), stays=False),
    Case("junk behind a body that nobody waited for", "9.3",
         request("/v1/runs", "Content-Length: 5", method="POST") + b"hello" + b"\0\r\n\r\n", (401, 400), stays=False),
    Case("an empty line between two", "2.2", OK + b"\r\n" + OK, (200, 200)),
    Case("h2c with a request that is none", "RFC 9110 7.8",
         request("/livez", *H2C, "Host: other"), (400,), stays=False),
    Case("a WebSocket in HTTP/1.0", "RFC 9110 7.8",
         request("/livez", "Connection: upgrade", "Upgrade: websocket", version="1.0"),
         (200,), stays=False),
]  # fmt: skip


@pytest.mark.parametrize("case", AT_OURS, ids=str)
async def test_connections_at_our_server(entrance: Entrance, case: Case) -> None:
    """The same, where others answer otherwise."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("case", [*CASES, *UPGRADES], ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.H11], ids=lambda way: way.value)
async def test_connections(entrance: Entrance, case: Case) -> None:
    """Each request has its answer, in their order, and the last one says so."""
    await carry_out(case, entrance)


async def test_answers_come_in_the_order_of_the_requests(entrance: Entrance) -> None:
    """However different the time that each takes: every answer shows whose it is."""
    names = [f"run_{number}" for number in range(30)]
    asks = b"".join(
        request(f"/v1/runs/{name}", TOKEN) if number % 3 else request(f"/nowhere/{name}")
        for number, name in enumerate(names)
    )
    caller = await entrance.call()
    await caller.say(spelled(asks, entrance))

    for name in names:
        answer = await read_answer(caller)
        assert (answer.status, name in answer.problem["detail"]) == (404, True)


async def test_thousands_of_wishes_for_another_protocol_in_one_segment(entrance: Entrance) -> None:
    """Each is ignored like the first: no depth, and no time, is used up by them."""
    caller = await entrance.call()
    wish = request("/livez", "Connection: upgrade", "Upgrade: x")
    await caller.say(wish * 1000)
    for _ in range(1000):
        assert (await caller.answer()).body == ALIVE


async def event(caller: Caller) -> str:
    """The next event of a stream, other than a heartbeat: those may come at any time."""
    while True:
        told = await caller.chunk()
        kind = told.partition(b"event: ")[2].split(b"\n")[0].decode()
        if kind not in ("", "heartbeat"):
            return kind


async def test_what_is_asked_before_a_stream_is_answered_before_it(entrance: Entrance) -> None:
    """And what is asked behind it never is: the stream goes on."""
    caller = await entrance.call()
    await caller.say(spelled(OK + sized() + request("/nowhere") + EVENTS + OK * 3, entrance))

    assert [(await read_answer(caller)).status for _ in range(3)] == [200, 201, 404]
    status, headers = await caller.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert await event(caller) == "welcome"
    assert await event(caller) == "snapshot"


@pytest.mark.parametrize("before", [OK, OK * 5, sized(), request("/livez", *H2C)], ids=["GET", "GETs", "POST", "h2c"])
async def test_what_is_asked_before_a_handshake_is_answered_before_it(entrance: Entrance, before: bytes) -> None:
    """Then it is a WebSocket, or the end: in between nothing is lost, and nothing is mixed."""
    caller = await entrance.call()
    count = before.count(b" HTTP/1.1")
    asks = spelled(before, entrance) + upgrade(entrance.bearer) + frame(PING, b"early") + echo("a")
    await caller.say(asks)

    assert [(await read_answer(caller)).status for _ in range(count)] in ([200] * count, [201])
    try:
        assert (await caller.head())[0] == 101
    except EOFError:
        return
    assert json.loads((await next_frame(caller))[1])["type"] == "welcome"
    heard = {await next_frame(caller), await next_frame(caller)}
    assert (PONG, b"early") in heard


async def test_a_handshake_behind_an_answer_that_is_read_is_one_like_any_other(entrance: Entrance) -> None:
    """A client may keep a connection, and make a WebSocket of it later."""
    caller = await entrance.call()
    for asks, status in ((OK, 200), (spelled(sized(), entrance), 201), (request("/nowhere"), 404)):
        await caller.say(asks)
        assert (await read_answer(caller)).status == status

    await caller.say(upgrade(entrance.bearer))

    assert (await caller.head())[0] == 101
    assert json.loads((await next_frame(caller))[1])["type"] == "welcome"


POLL = request("/v1/poll?run=run_of_connections&wait=0", TOKEN)


async def test_what_is_asked_behind_a_poll_waits_for_it(entrance: Entrance) -> None:
    """A poll without news is answered when its time is over, and then the others."""
    caller = await entrance.call()
    await caller.say(spelled(POLL + OK + POLL + OK, entrance))

    first, second, third, fourth = [await read_answer(caller) for _ in range(4)]

    assert json.loads(first.body)["messages"][0]["type"] == "snapshot"
    assert json.loads(third.body)["messages"][0]["type"] == "snapshot"
    assert second.body == fourth.body == ALIVE


async def test_many_small_segments_are_many_requests(entrance: Entrance) -> None:
    """A hundred requests in segments of seven bytes."""
    caller = await entrance.call()
    asks = OK * 100
    await caller.say(*(asks[place : place + 7] for place in range(0, len(asks), 7)))
    for _ in range(100):
        assert (await caller.answer()).body == ALIVE
