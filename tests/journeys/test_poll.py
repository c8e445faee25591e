"""Long polls: held until there is something, told everything, and ended with their token."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway.transports import poll as poll_module
from gateway.transports.viewing import Viewer
from tests.journeys.gateway_process import SECRET, token
from tests.journeys.in_process import Inside, serving, until
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.model import LATE_SECONDS, PATIENCE_SECONDS
from tests.journeys.polling import PollViewer
from tests.journeys.viewers import EventsViewer, WebSocketViewer, assert_lives
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest.fixture
def jobs(server: RedisServer) -> Iterator[Jobs]:
    with Jobs(server.url) as jobs:
        yield jobs
        with server.client() as client:
            client.flushall()


@pytest.fixture
async def gateway(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Inside]:
    """Nothing of a poll is left when it is over. With an argument that is true, on any other server than ours."""
    async with serving(server.url, plain=getattr(request, "param", False)) as gateway:
        yield gateway
        await until(lambda: gateway.leftovers()["viewers"] == gateway.leftovers()["channels"] == 0, "the end of all")
        assert not gateway.services.renewals._open


async def ask(gateway: Inside, query: str, credential: str | None = None) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=40, trust_env=False) as client:
        header = {"Authorization": f"Bearer {credential or token()}"}
        return await client.get(f"{gateway.url}/v1/poll?{query}", headers=header)


@contextlib.asynccontextmanager
async def held(gateway: Inside, query: str, credential: str | None = None) -> AsyncIterator[asyncio.Task[Any]]:
    """A poll that is up to date and waits."""
    task = asyncio.create_task(ask(gateway, query, credential))
    try:
        await until(lambda: _is_held(gateway), "a poll that waits")
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_held(gateway: Inside) -> bool:
    groups = [group for channel in gateway.hub._channels.values() for group in channel.groups.values()]
    return bool(groups) and all(any(group.live.values()) for group in groups)


async def cursor_of(gateway: Inside, query: str) -> str:
    cursor: str = (await ask(gateway, f"{query}&wait=0")).json()["cursor"]
    return cursor


on_any_server = pytest.mark.parametrize("gateway", [False, True], indirect=True, ids=["ours", "plain"])


@on_any_server
async def test_a_poll_waits_until_something_happens(gateway: Inside, jobs: Jobs) -> None:
    """It is answered at once without a cursor; with the newest one it is held, and then told what happened."""
    jobs.create("run_1")
    first = (await ask(gateway, "run=run_1")).json()
    (snapshot,) = first["messages"]
    assert (snapshot["type"], snapshot["replaces"], snapshot["complete"]) == ("snapshot", True, True)
    assert first["state"] == "live"
    nothing = await ask(gateway, f"run=run_1&wait=0&cursor={first['cursor']}")
    assert nothing.json() == {"state": "live", "cursor": first["cursor"], "messages": []}
    assert nothing.headers["cache-control"] == "no-store"
    async with held(gateway, f"run=run_1&cursor={first['cursor']}") as poll:
        jobs.say("run_1", "EXECUTING")
        told = (await poll).json()
    (message,) = told["messages"]
    assert message["run"]["status"] == "EXECUTING"
    assert told["cursor"] == message["cursor"]


@pytest.mark.parametrize("feed", [{"run": "run_1"}, {"all": "true"}], ids=lambda feed: next(iter(feed)))
@on_any_server
async def test_a_viewer_by_polls_is_told_every_status(gateway: Inside, jobs: Jobs, feed: dict[str, str]) -> None:
    """In order, with what happened between two polls; and it has seen the end when there is one."""
    jobs.create("run_1")
    async with PollViewer(gateway.url, token(), feed) as viewer:
        await viewer.model.until_live()
        for status in LIFE[1:]:
            for tick in range(20):
                jobs.say("run_1", set={"tick": tick})
            jobs.say("run_1", status)
            await asyncio.sleep(0)
        await viewer.model.until_status("run_1", "COMPLETED")
        assert_lives(viewer, ["run_1"], LIFE)
        assert viewer.model.replacements == viewer.connections == 1
        if "run" in feed:
            viewer.gives_up_on = frozenset({204})
            await viewer.until_gone(204)


async def test_several_feeds_share_one_cursor(gateway: Inside, jobs: Jobs) -> None:
    """What happens to either is told, and nothing is passed over; it may come once more, and then there is nothing."""
    for run in ("run_1", "run_2"):
        jobs.create(run)
    query = "run=run_1&run=run_2"
    cursor = await cursor_of(gateway, query)
    for number, run in enumerate(("run_2", "run_1", "run_2")):
        asked = asyncio.create_task(ask(gateway, f"{query}&cursor={cursor}"))
        jobs.say(run, set={"now": number})
        told = (await asked).json()
        assert f"run:{run}" in {message["feed"] for message in told["messages"]}
        once_more = (await ask(gateway, f"{query}&wait=0&cursor={told['cursor']}")).json()
        assert {message["feed"] for message in once_more["messages"]} <= {"run:run_1", "run:run_2"}
        cursor = once_more["cursor"]
        nothing = (await ask(gateway, f"{query}&wait=0&cursor={cursor}")).json()
        assert nothing["messages"] == []


async def test_the_cursor_is_that_of_every_transport(gateway: Inside, jobs: Jobs) -> None:
    """From a poll to a stream, a socket, and back."""
    jobs.create("run_1")
    cursor = await cursor_of(gateway, "all=true")
    jobs.say("run_1", "EXECUTING")
    for kind in (EventsViewer, WebSocketViewer, PollViewer):
        async with kind(gateway.url, token(), {"all": True if kind is WebSocketViewer else "true"}, cursor) as viewer:
            await viewer.model.until_status("run_1", "EXECUTING")
            assert viewer.model.replacements == 0
            assert_lives(viewer, ["run_1"], ["QUEUED", "EXECUTING"])


async def test_a_poll_goes_on_beyond_its_token_when_it_is_given_another(gateway: Inside, jobs: Jobs) -> None:
    """From the side, by the id in its headers, which come at once; without that it ends with its token."""
    jobs.create("run_1")
    for renewed in (True, False):
        ends = int(time.time()) + 2
        short = token("read:runs:run_1", expires=float(ends))
        async with PollViewer(gateway.url, short, {"run": "run_1"}) as viewer:
            await viewer.model.until_live()
            await viewer.model.until(lambda viewer=viewer: viewer.held, "a held poll")  # type: ignore[misc]
            if renewed:
                header = {"Authorization": f"Bearer {token('read:runs:run_1')}"}
                async with httpx2.AsyncClient(base_url=gateway.url, headers=header, trust_env=False) as client:
                    assert (await client.post(f"/v1/connections/{viewer.held}/token")).status_code == 200
                while time.time() < ends + 1:
                    await asyncio.sleep(0.05)
                assert (viewer.polls, viewer.endings) == (1, [])
                jobs.say("run_1", "EXECUTING")
                await viewer.model.until_status("run_1", "EXECUTING")
            else:
                await viewer.until_gone(200)
                assert ends <= time.time() < ends + 1 + LATE_SECONDS
                await viewer.until_gone(401)
                assert viewer.model.said[-1]["code"] == "token_expired"


@on_any_server
async def test_a_revoked_token_ends_its_poll(gateway: Inside, jobs: Jobs) -> None:
    """At once, with the reason; and so does a token that allows nothing of it any more."""
    jobs.create("run_1")
    cursor = await cursor_of(gateway, "run=run_1")
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        async with held(gateway, f"run=run_1&cursor={cursor}", token(jti="gone")) as poll:
            header = {"Authorization": f"Bearer {SECRET}"}
            await client.post("/v1/tokens/revoke", json={"jti": "gone"}, headers=header)
            assert [message["code"] for message in (await poll).json()["messages"]] == ["token_revoked"]
        async with PollViewer(gateway.url, token(), {"run": "run_1"}, cursor) as viewer:
            await viewer.model.until(lambda: viewer.held, "a held poll")
            header = {"Authorization": f"Bearer {token('read:runs:another')}"}
            await client.post(f"/v1/connections/{viewer.held}/token", headers=header)
            await viewer.until_gone(200)
            assert viewer.model.said[-1]["code"] == "not_allowed"


async def test_a_server_that_stops_lets_its_polls_go(gateway: Inside, jobs: Jobs) -> None:
    """With when to come back, and where."""
    jobs.create("run_1")
    cursor = await cursor_of(gateway, "run=run_1")
    async with held(gateway, f"run=run_1&cursor={cursor}") as poll:
        lifecycle = gateway.services.lifecycle
        lifecycle.drain()
        for answer in lifecycle.waiting:
            lifecycle.send_away(answer)
        told = (await poll).json()
    assert [message["type"] for message in told["messages"]] == ["reconnect"]
    assert told["cursor"] == cursor


def numbers(told: dict[str, Any]) -> list[int]:
    """What the run's metadata `n` is said to be: as it changed, or by the whole run for who comes after that."""
    found = []
    for message in told["messages"]:
        match message["type"]:
            case "update":
                found.append(message["metadata"]["changed"]["n"])
            case "snapshot":
                found += [run["metadata"]["n"] for run in message["runs"]]
    return found


async def test_what_happens_while_a_poll_is_sent_away_is_not_lost(gateway: Inside, jobs: Jobs) -> None:
    """It is in that answer, or after the answer's cursor."""
    jobs.create("run_1")
    cursor = await cursor_of(gateway, "run=run_1")
    for number in range(1, 6):
        async with held(gateway, f"run=run_1&cursor={cursor}") as poll:
            jobs.say("run_1", set={"n": number})  # on its way to the gateway
            for viewer in gateway.services.expirations._everybody():
                assert isinstance(viewer, Viewer)
                viewer.close(1001, "time to go")
            told = (await poll).json()
        if not numbers(told):
            told = (await ask(gateway, f"run=run_1&cursor={told['cursor']}")).json()
        assert numbers(told) == [number]
        cursor = told["cursor"]


async def test_an_answer_has_a_limit(gateway: Inside, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for more is told what would make it less, and keeps its cursor."""
    monkeypatch.setattr(poll_module, "MOST_BYTES", 10_000)
    jobs.create("run")
    cursor = await cursor_of(gateway, "all=true")
    for number in range(3):
        jobs.create(f"run_{number}", columns={"payload": "x" * 5000})
    told = (await ask(gateway, f"all=true&cursor={cursor}")).json()
    assert [message["code"] for message in told["messages"]] == ["too_large"]
    assert told["cursor"] == cursor
    assert len((await ask(gateway, "all=true&limit=1")).json()["messages"]) == 1
    assert (await ask(gateway, "all=true&skipColumns=payload")).json()["messages"][0]["complete"]


async def test_a_poll_without_redis_says_that_it_knows_nothing(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cursor is the one that it came with, so that it loses nothing by it."""
    monkeypatch.setattr(poll_module, "CATCH_UP_SECONDS", 0.2)
    async with serving(own_redis.url) as gateway:
        with Jobs(own_redis.url) as own:
            own.create("run_1")
        cursor = await cursor_of(gateway, "run=run_1")
        own_redis.stop()
        told = (await ask(gateway, f"run=run_1&cursor={cursor}&wait=0")).json()
        assert told == {"state": "stale", "cursor": cursor, "messages": []}


async def test_a_poll_that_is_held_is_told_when_the_truth_is_not_known_any_more(own_redis: RedisServer) -> None:
    """At once, not when its time is up: who waits believes that nothing happened. The next one tells when it is."""
    with Jobs(own_redis.url) as own:
        own.create("run_1")
    async with serving(own_redis.url) as gateway:
        cursor = await cursor_of(gateway, "run=run_1")
        async with held(gateway, f"run=run_1&cursor={cursor}&wait=30") as poll:
            own_redis.stop()
            told = (await asyncio.wait_for(poll, PATIENCE_SECONDS)).json()
        assert told == {"state": "stale", "cursor": cursor, "messages": []}
        own_redis.start()
        while told["state"] == "stale":
            told = (await ask(gateway, f"run=run_1&cursor={cursor}&wait=0")).json()
        assert (told["state"], told["messages"]) == ("live", [])


async def test_a_poll_that_is_brought_up_to_date_is_told_so_as_well(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when its time is up: between two polls the page saw the truth, and believes that it still does."""
    monkeypatch.setattr(poll_module, "CATCH_UP_SECONDS", 10 * PATIENCE_SECONDS)
    with Jobs(own_redis.url) as own:
        own.create("run_1")
    async with serving(own_redis.url) as gateway:
        cursor = await cursor_of(gateway, "run=run_1")
        with own_redis.halted():
            poll = asyncio.create_task(ask(gateway, f"run=run_1&cursor={cursor}&wait=30"))
            await until(lambda: gateway.leftovers()["groups"] == 1, "a poll that reads")
            assert not _is_held(gateway)
            own_redis.stop(kill=True)
        told = (await asyncio.wait_for(poll, PATIENCE_SECONDS)).json()
        assert told == {"state": "stale", "cursor": cursor, "messages": []}


async def test_polls_that_come_while_nothing_is_known_wait_for_a_moment(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long they would wait: answered at once, they would come again at once, and later, they would not know."""
    monkeypatch.setattr(poll_module, "CATCH_UP_SECONDS", 0.5)
    async with serving(own_redis.url) as gateway:
        with Jobs(own_redis.url) as own:
            own.create("run_1")
        cursor = await cursor_of(gateway, "run=run_1")
        own_redis.stop()
        await until(lambda: not gateway.hub.hears, "a gateway that knows it")
        began = time.monotonic()
        told = (await asyncio.wait_for(ask(gateway, f"run=run_1&cursor={cursor}&wait=30"), PATIENCE_SECONDS)).json()
        assert told == {"state": "stale", "cursor": cursor, "messages": []}
        assert time.monotonic() - began > 0.4


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("run=run_1&wait=31s", 400, "bad_message"),
        ("run=run_1&wait=-1", 400, "bad_message"),
        ("run=run_1&wait=", 400, "bad_message"),
        ("run=run_1&wait=1&wait=1", 400, "bad_message"),
        ("wait=1", 400, "bad_message"),
        ("run=run_1&foo=1", 400, "bad_message"),
        ("run=run_1&cursor=x", 400, "bad_cursor"),
        ("tags=", 400, "bad_feed"),
        ("run=run_2", 403, "not_allowed"),
    ],
)
async def test_what_can_be_refused_is_refused_at_once(gateway: Inside, query: str, status: int, code: str) -> None:
    """As a problem, before anything waits."""
    answer = await ask(gateway, query, token("read:runs:run_1"))
    assert (answer.status_code, answer.json().get("code")) == (status, code)
