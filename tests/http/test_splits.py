"""TCP has no messages: whatever is asked is answered the same, wherever the bytes are cut (RFC 9112, section 2.2)."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.triggerdev.shape import poll
from tests.hardening.peers import PING, frame, request, upgrade
from tests.http.cases import BODY, OK, TOKEN, chunked, chunks, post, read_answer, sized, spelled
from tests.websocket.cases import echo, listen, next_frame

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: Whole exchanges; the last request of each is the last of its connection, one way or another.
EXCHANGES: Final = {
    "a request": request("/livez", "Connection: close"),
    "several": OK + request("/nowhere?a=b") + request("/livez", method="HEAD") + request("/livez", "Connection: close"),
    "a length": sized("Connection: close"),
    "chunks": chunked(
        chunks(BODY[:3], BODY[3:40], BODY[40:], trailer=b"X-Any: thing\r\n"), "Connection: close", "X-Any: other"
    ),
    "bodies between others": OK + sized() + chunked(chunks(BODY)) + request("/livez", "Connection: close"),
    "an upgrade that is ignored": post(
        "Connection: Upgrade, close", "Upgrade: h2c", f"Content-Length: {len(BODY)}"
    ),
    "no host": OK + b"GET /livez HTTP/1.1\r\n\r\n",
    "a length and chunks": post("Content-Length: 3", "Transfer-Encoding: chunked", body=chunks(BODY)),
    "a bad size": chunked(b"5\r\nhello\r\nzz\r\n\r\n"),
    "a bad header": OK + request("/livez", "X Y: z"),
    "an old client": request("/livez", version="1.0"),
}  # fmt: skip
#: What differs from one answer to the next of the same request.
_VARIES: Final = re.compile(
    rb'(?:date|etag|content-length): [^\r]*|run_\w+|"(?:at|[a-z]+At)":"[^"]*"|"(?:sequence|number)":\d+'
)

CUTS: Final = st.lists(st.integers(0, 1200), max_size=12)


def segments(data: bytes, cuts: list[int]) -> list[bytes]:
    """*data*, cut at these places."""
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


async def answered(entrance: Entrance, *pieces: bytes) -> bytes:
    """All that is answered, but for what differs each time."""
    caller = await entrance.call()
    await caller.say(*pieces)
    told = await caller.take_all()
    await caller.close()
    return _VARIES.sub(b"", told)


@pytest.mark.parametrize("name", EXCHANGES)
async def test_an_exchange_is_the_same_wherever_it_is_cut(entrance: Entrance, name: str) -> None:
    """In two segments that meet at some forty places."""
    asks = spelled(EXCHANGES[name], entrance)
    whole = await answered(entrance, asks)
    assert whole.startswith(b"HTTP/1.1 ")

    for place in range(1, len(asks), max(3, len(asks) // 40)):
        assert await answered(entrance, asks[:place], asks[place:]) == whole, place


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(EXCHANGES)), cuts=CUTS)
async def test_an_exchange_is_the_same_in_any_segments(entrance: Entrance, name: str, cuts: list[int]) -> None:
    """Many of them, of any size."""
    asks = spelled(EXCHANGES[name], entrance)

    assert await answered(entrance, *segments(asks, cuts)) == await answered(entrance, asks)


@settings(max_examples=30)
@given(cuts=CUTS)
async def test_a_stream_is_the_same_in_any_segments(entrance: Entrance, cuts: list[int]) -> None:
    """Its beginning, that is: it does not end."""
    asks = spelled(request("/v1/events?run=run_of_splits", TOKEN), entrance)
    caller = await entrance.call()
    await caller.say(*segments(asks, cuts))

    assert (await caller.head())[0] == 200
    await caller.take_until(b"event: snapshot\n")
    await caller.close()


@settings(max_examples=30)
@given(cuts=CUTS)
async def test_a_socket_is_the_same_in_any_segments(entrance: Entrance, cuts: list[int]) -> None:
    """The handshake, and what comes behind it without waiting for the answer."""
    asks = upgrade(entrance.bearer) + frame(PING, b"one") + echo("a") + frame(PING, b"last") + echo("last")
    caller = await entrance.call()
    await caller.say(*segments(asks, cuts))

    assert (await caller.head())[0] == 101
    assert json.loads((await next_frame(caller))[1])["type"] == "welcome"
    heard = await listen(caller, last_word="last")
    assert (heard.answers, heard.pongs) == (["run:a"], [b"one"])
    await caller.close()


@pytest_asyncio.fixture(loop_scope="package")
async def live(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A poll as the official clients make it again and again, which is held for a moment, as there is no news."""
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.02)
    caller = await entrance.call()
    body = json.dumps({"taskIdentifier": "t", "tags": ["splits"], "payload": 1}).encode()
    await caller.say(spelled(sized(body=body), entrance))
    await read_answer(caller)
    place = "offset=-1"
    for _ in range(3):  # from the second time on our own server takes it at the desk
        live = "" if place == "offset=-1" else "cursor=&live=true&"
        asks = spelled(request(f"/realtime/v1/runs?{live}{place}&log=full&tags=splits", TOKEN), entrance)
        await caller.say(asks)
        answer = await read_answer(caller)
        assert answer.status == 200
        place = f"handle={answer.headers.get('electric-handle')}&offset={answer.headers['electric-offset']}"
        await asyncio.sleep(0)
    return asks


@settings(max_examples=30)
@given(cuts=CUTS, count=st.integers(1, 3))
async def test_a_held_poll_is_the_same_in_any_segments(
    entrance: Entrance, live: bytes, cuts: list[int], count: int
) -> None:
    """At the desk or behind it, one or several behind each other, and with something else at the end."""
    caller = await entrance.call()
    asks = live * count + request("/livez", "Connection: close")
    await caller.say(*segments(asks, cuts))

    answers = [await read_answer(caller) for _ in range(count + 1)]

    assert [answer.status for answer in answers] == [200] * (count + 1)
    assert {answer.body for answer in answers[:-1]} == {answers[0].body}
    assert answers[0].headers["electric-handle"] in live.decode()
    assert await caller.take_all() == b""
    await caller.close()
