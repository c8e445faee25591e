"""Staying connected: to a gateway that says and does what a test wants, and to a real one."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from gateway.errors import Misconfigured
from gateway.feeds import ALL_RUNS, FeedId
from gateway.viewer.conversation import Refused, Subscription
from gateway.viewer.endings import Pauses
from gateway.viewer.following import SUBPROTOCOL, Event, State, StateChanged, follow
from gateway.viewer.mirror import CaughtUp, Mirror, RunChanged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from websockets.asyncio.server import ServerConnection

    from tests.gateway.serving import ServedGateway

RUN = Subscription(feed=FeedId.run("run_1"))
WELCOME = {"type": "welcome", "environment": "acme", "heartbeatSeconds": 15}
EMPTY = {"type": "snapshot", "feed": "run:run_1", "runs": [], "replaces": True, "complete": True, "truncated": False}


class ScriptedGateway:
    """Treats each connection as the next of its behaviours says, and keeps what viewers said."""

    def __init__(self, *behaviours: Callable[[ServerConnection], Awaitable[None]]) -> None:
        self._behaviours = deque(behaviours)
        self.tokens: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.url = ""

    async def _meet(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.tokens.append(socket.request.headers["Authorization"])
        behave = self._behaviours.popleft()
        try:
            await behave(socket)
        except ConnectionClosed:
            return

    async def _hear(self, socket: ServerConnection) -> None:
        self.heard.append(json.loads(await socket.recv()))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedGateway]:
        async with serve(self._meet, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            yield self

    # Behaviours.

    def says(
        self, *messages: dict[str, Any], close: int | None = None
    ) -> Callable[[ServerConnection], Awaitable[None]]:
        """Welcome, hear the subscription, say this; then close, or stay."""

        async def behave(socket: ServerConnection) -> None:
            await socket.send(json.dumps(WELCOME))
            await self._hear(socket)
            for message in messages:
                await socket.send(json.dumps(message))
            if close is not None:
                await socket.close(close)
            await socket.wait_closed()

        return behave

    @staticmethod
    def refuses(code: int, error: str) -> Callable[[ServerConnection], Awaitable[None]]:
        async def behave(socket: ServerConnection) -> None:
            await socket.send(json.dumps({"type": "error", "code": error, "message": error, "retry": False}))
            await socket.close(code)

        return behave


def scripted(make: Callable[[ScriptedGateway], list[Any]]) -> ScriptedGateway:
    gateway = ScriptedGateway()
    gateway._behaviours.extend(make(gateway))
    return gateway


async def until(events: AsyncGenerator[Event, None], wanted: Callable[[Event], bool]) -> list[Event]:
    """Everything up to the event that is waited for."""
    seen: list[Event] = []
    async with asyncio.timeout(20):
        async for event in events:
            seen.append(event)
            if wanted(event):
                return seen
    raise AssertionError(f"it ended before that: {seen}")


def is_state(state: State) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StateChanged) and event.state is state


async def all_of(events: AsyncGenerator[Event, None]) -> list[Event]:
    async with asyncio.timeout(20):
        return [event async for event in events]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coming back is tested here, not waiting; `test_endings.py` looks at how long the pauses are."""
    monkeypatch.setattr(Pauses, "next", lambda self: 0.01)


async def test_after_a_cut_it_goes_on_from_its_cursor() -> None:
    gateway = scripted(
        lambda it: [it.says({**EMPTY, "cursor": "a-7"}, close=1011), it.says({**EMPTY, "cursor": "a-9"})]
    )
    async with gateway.serving(), aclosing(follow(gateway.url, "token", [RUN])) as events:
        seen = await until(events, is_state(State.RECONNECTING))
        seen += await until(events, is_state(State.LIVE))

    assert [event.state for event in seen if isinstance(event, StateChanged)] == [
        *(State.CONNECTING, State.LIVE, State.RECONNECTING, State.LIVE)
    ]
    assert gateway.heard == [
        {"type": "subscribe", "run": "run_1"},
        {"type": "subscribe", "run": "run_1", "cursor": "a-7"},
    ]
    assert gateway.tokens == ["Bearer token"] * 2


async def test_sent_away_it_comes_back_when_it_was_told_to() -> None:
    away = {"type": "reconnect", "afterMilliseconds": 321, "reason": "the server is stopping"}
    gateway = scripted(lambda it: [it.says(away), it.says({**EMPTY, "cursor": "a-1"})])
    async with gateway.serving(), aclosing(follow(gateway.url, "token", [RUN])) as events:
        gone = (await until(events, is_state(State.RECONNECTING)))[-1]
        await until(events, is_state(State.LIVE))

    assert isinstance(gone, StateChanged)
    assert (gone.retry_seconds, gone.reason) == (0.321, "the server is stopping")


async def test_silence_for_two_heartbeats_means_that_the_connection_is_dead() -> None:
    welcome = {**WELCOME, "heartbeatSeconds": 0.1}

    async def falls_silent(socket: ServerConnection) -> None:
        await socket.send(json.dumps(welcome))
        await socket.wait_closed()

    gateway = scripted(lambda it: [falls_silent, it.says({**EMPTY, "cursor": "a-1"})])
    async with gateway.serving(), aclosing(follow(gateway.url, "token", [RUN])) as events:
        silent = (await until(events, is_state(State.RECONNECTING)))[-1]
        await until(events, is_state(State.LIVE))

    assert isinstance(silent, StateChanged)
    assert silent.reason == "the gateway has gone silent"


@pytest.mark.parametrize("code", [4401, 4410])
async def test_a_fresh_token_is_asked_for_once(code: int) -> None:
    asked = 0

    async def fresh() -> str:
        nonlocal asked
        asked += 1
        return f"fresh-{asked}"

    gateway = scripted(
        lambda it: [
            it.refuses(code, "token_expired"),
            it.says({**EMPTY, "cursor": "a-1"}, close=code),  # it brought data, so it may be replaced in its turn
            it.refuses(code, "token_invalid"),
        ]
    )
    async with gateway.serving():
        seen = await all_of(follow(gateway.url, "first", [RUN], fresh_token=fresh))

    assert gateway.tokens == ["Bearer first", "Bearer fresh-1", "Bearer fresh-2"]
    assert isinstance(seen[-1], StateChanged)
    assert (seen[-1].state, seen[-1].code) == (State.DENIED, "token_invalid")


async def test_without_a_fresh_token_it_ends() -> None:
    gateway = ScriptedGateway(ScriptedGateway.refuses(4401, "token_invalid"))
    async with gateway.serving():
        seen = await all_of(follow(gateway.url, "token", [RUN]))

    assert isinstance(seen[-1], StateChanged)
    assert (seen[-1].state, seen[-1].code) == (State.DENIED, "token_invalid")


async def test_what_would_happen_again_ends_it() -> None:
    gateway = scripted(lambda it: [it.says(close=4400)])
    async with gateway.serving():
        seen = await all_of(follow(gateway.url, "token", [RUN]))

    assert is_state(State.DENIED)(seen[-1])


async def test_with_every_feed_refused_it_ends() -> None:
    no = {"type": "error", "code": "not_allowed", "message": "no", "retry": False, "feed": "run:run_1"}
    gateway = scripted(lambda it: [it.says(no)])
    async with gateway.serving():
        seen = await all_of(follow(gateway.url, "token", [RUN]))

    assert seen[-2] == Refused("run:run_1", "not_allowed", "no")
    assert seen[-1] == StateChanged(state=State.DENIED, reason="no", code="not_allowed")


async def test_a_gateway_that_speaks_nonsense_is_left_and_tried_again() -> None:
    gateway = scripted(lambda it: [it.says({"type": "heartbeat"}), it.says({**EMPTY, "cursor": "a-1"})])
    async with gateway.serving(), aclosing(follow(gateway.url, "token", [RUN])) as events:
        await until(events, is_state(State.RECONNECTING))
        await until(events, is_state(State.LIVE))


async def test_stale_and_live_are_told_when_the_gateway_says_so() -> None:
    stale = {"type": "heartbeat", "state": "stale", "asOf": "2026-01-31T10:00:00.000Z"}
    live = {"type": "heartbeat", "state": "live", "asOf": "2026-01-31T10:00:09.000Z", "cursor": "a-3"}
    gateway = scripted(lambda it: [it.says({**EMPTY, "cursor": "a-1"}, stale, stale, live)])
    mirror = Mirror()
    async with gateway.serving(), aclosing(follow(gateway.url, "token", [RUN], mirror=mirror)) as events:
        seen = await until(events, is_state(State.STALE))
        seen += await until(events, is_state(State.LIVE))

    states = [(event.state, event.as_of) for event in seen if isinstance(event, StateChanged)]
    assert states == [
        (State.CONNECTING, None),
        (State.LIVE, None),
        (State.STALE, stale["asOf"]),
        (State.LIVE, live["asOf"]),
    ]
    assert mirror.cursor("run:run_1") == "a-3"


@pytest.mark.parametrize(("url", "token"), [("example.com", "token"), ("http://example.com", "to\nken")])
async def test_what_can_not_be_right_is_told_at_once(url: str, token: str) -> None:
    with pytest.raises(Misconfigured):
        await all_of(follow(url, token, [RUN]))


# A real gateway.


async def test_through_restarts_of_the_gateway_every_status_is_told_in_order(gateway: ServedGateway) -> None:
    mirror = Mirror()
    following = follow(gateway.url, gateway.secret, [Subscription(feed=ALL_RUNS), RUN], mirror=mirror)
    async with aclosing(following) as events:
        await until(events, is_state(State.LIVE))
        job = gateway.publisher.create("resize", id="run_1")
        job.start()
        await gateway.stop()
        job.wait()
        job.progress(1, 2)
        job.resume()
        await gateway.start()
        seen = await until(events, is_state(State.RECONNECTING)) + await until(events, is_state(State.LIVE))
        job.complete({"ok": True})
        run, everything = mirror.feeds["run:run_1"], mirror.feeds["all"]
        seen += await until(events, lambda event: bool(run.ended) and everything.runs["run_1"].is_final)

    told = [change for change in seen if isinstance(change, RunChanged)]
    for feed in ("all", "run:run_1"):
        statuses = [entry.status for change in told if change.feed == feed for entry in change.new]
        assert statuses == ["QUEUED", "EXECUTING", "WAITING", "EXECUTING", "COMPLETED"]
        assert [entry.status for entry in mirror.feeds[feed].runs["run_1"].transitions] == statuses
    assert mirror.feeds["run:run_1"].runs == mirror.feeds["all"].runs


async def test_it_stays_connected_on_heartbeats_alone(gateway: ServedGateway) -> None:
    """They say how fresh it is, and move the cursor, though nothing happens."""
    mirror = Mirror()
    async with aclosing(follow(gateway.url, gateway.secret, [RUN], mirror=mirror)) as events:
        await until(events, lambda event: isinstance(event, CaughtUp))
        before = mirror.cursor("run:run_1")
        gateway.publisher.create("resize", id="run_2")
        seen: list[Event] = []
        while mirror.cursor("run:run_1") == before:
            seen.append(await anext(events))

    assert not any(map(is_state(State.RECONNECTING), seen))
    assert mirror.live
    assert mirror.as_of is not None


async def test_leaving_the_loop_closes_the_connection(gateway: ServedGateway) -> None:
    async with aclosing(follow(gateway.url, gateway.secret, [RUN])) as events:
        await until(events, is_state(State.LIVE))

    async with asyncio.timeout(20):
        while gateway._groups():
            await asyncio.sleep(0.01)
