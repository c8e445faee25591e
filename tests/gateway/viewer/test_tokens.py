"""The token that a viewer shows, and its renewal before it ends."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Misconfigured
from gateway.viewer import following
from gateway.viewer.endings import Pauses
from gateway.viewer.following import State, StateChanged, follow
from gateway.viewer.tokens import Tokens
from tests.gateway.viewer.test_following import EMPTY, RUN, WELCOME, ScriptedGateway, is_state, scripted, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.server import ServerConnection


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pauses, "next", lambda self: 0.01)


async def test_a_plain_maker_runs_in_a_thread_of_its_own_and_an_asynchronous_one_does_not() -> None:
    """The first may wait for a backend; neither holds up the loop."""
    threads: list[threading.Thread] = []

    def plain() -> str:
        threads.append(threading.current_thread())
        return " plain\n"

    async def asynchronous() -> str:
        threads.append(threading.current_thread())
        return "asynchronous"

    assert await Tokens(None, plain).current() == "plain"
    assert await Tokens(None, asynchronous).current() == "asynchronous"
    assert await Tokens(None, lambda: asynchronous()).current() == "asynchronous"
    assert threads[0] is not threading.main_thread()
    assert threads[1:] == [threading.main_thread()] * 2


async def test_however_many_need_another_token_it_is_made_once() -> None:
    made = 0

    async def make() -> str:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return f"token-{made}"

    tokens = Tokens(None, make)
    first = await tokens.current()
    others = await asyncio.gather(*(tokens.other_than(first) for _ in range(5)))

    assert (first, set(others)) == ("token-1", {"token-2"})


@pytest.mark.parametrize(
    ("made", "word"), [(b"bytes", "bytes instead of text"), ("to ken", "printable"), ("", "print")]
)
async def test_what_is_made_must_be_a_token(made: Any, word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        await Tokens(None, lambda: made).current()


def renewing(*answers: dict[str, Any]) -> Callable[[ServerConnection], Awaitable[None]]:
    """Welcomes with a token that soon ends, hears the subscription, and then the renewals, answered one by one."""

    async def behave(socket: ServerConnection) -> None:
        await socket.send(json.dumps(WELCOME | {"expiresInSeconds": 0.3}))
        assert json.loads(await socket.recv())["type"] == "subscribe"
        await socket.send(json.dumps({**EMPTY, "cursor": "a-1"}))
        for answer in answers:
            said = json.loads(await socket.recv())
            await socket.send(json.dumps(answer | {"environment": said["token"]}))
        await socket.wait_closed()

    return behave


async def test_before_a_token_ends_another_one_is_shown_on_the_same_connection() -> None:
    made = 0

    async def make() -> str:
        nonlocal made
        made += 1
        return f"fresh-{made}"

    soon, later = {**WELCOME, "expiresInSeconds": 0.6}, {**WELCOME, "expiresInSeconds": 3600}
    gateway = ScriptedGateway(renewing(soon, later))
    async with gateway.serving(), aclosing(follow(gateway.url, "first", [RUN], fresh_token=make)) as events:
        seen = await until(events, lambda event: getattr(event, "environment", "") == "fresh-2")

    assert gateway.tokens == ["Bearer first"]
    assert not any(map(is_state(State.RECONNECTING), seen))


async def test_a_maker_that_fails_for_a_moment_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter(["", "first", "second"])

    async def make() -> str:
        answer = next(answers)
        if not answer:
            raise OSError("away")
        return answer

    gateway = ScriptedGateway(renewing({**WELCOME, "expiresInSeconds": 3600}))
    async with gateway.serving(), aclosing(follow(gateway.url, "first", [RUN], fresh_token=make)) as events:
        await until(events, lambda event: getattr(event, "environment", "") == "second")

    assert [record.getMessage() for record in caplog.records] == ["no fresh token: OSError('away')"]


async def test_a_maker_that_fails_again_and_again_fails_the_viewer() -> None:
    """But not at once: whoever it asks may be away."""
    asked = 0

    async def make() -> str:
        nonlocal asked
        asked += 1
        raise OSError("away")

    gateway = scripted(lambda it: [it.says({**EMPTY, "cursor": "a-1"}, close=4410)])
    seen: list[Any] = []

    async def read() -> None:
        async with aclosing(follow(gateway.url, "first", [RUN], fresh_token=make)) as events:
            async for event in events:
                seen.append(event)

    async with gateway.serving():
        with pytest.raises(OSError, match="away"):
            await read()

    assert asked == following.TOKEN_FAILURES
    reasons = [event.reason for event in seen if isinstance(event, StateChanged) and event.code == "no_token"]
    assert reasons == ["no token: away"] * (asked - 1)
