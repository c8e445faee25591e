"""`Viewer`, against a real gateway: what its iterators promise."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from gateway import Viewer
from gateway.errors import BadFeed, Misconfigured, NotAllowed, TokenExpired, TokenInvalid, TokenRevoked
from gateway.viewer import inboxes, lines
from gateway.viewer.following import State
from gateway.viewer.refused import Denied, ViewerClosed
from gateway.viewer.requests import Requests
from tests.gateway.serving import ServedGateway
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.feeds import EnvironmentId
    from gateway.viewer.following import StateChanged
    from gateway.viewer.updates import RunUpdates
    from gateway.viewer.viewed import ViewedRun
    from tests.redis_server import RedisServer

PATIENCE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _no_tokens_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNCAST_TOKEN", "RUNCAST_SECRET_KEY", "TRIGGER_SECRET_KEY", "RUNCAST_URL"):
        monkeypatch.delenv(name, raising=False)


async def next_of(updates: RunUpdates, wanted: Callable[[ViewedRun], object] = bool) -> ViewedRun:
    """The next run that is wanted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for run in updates:
            if wanted(run):
                return run
    raise AssertionError("it ended before that")


def is_ended(name: str) -> Callable[[ViewedRun], bool]:
    return lambda run: run.id == name and run.is_final


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


def feeds_of(gateway: ServedGateway) -> set[str]:
    """What somebody follows at the gateway."""
    return {str(group.view.feed) for group in gateway._groups()}


async def test_a_run_is_told_from_what_it_is_now_until_it_ended(gateway: ServedGateway) -> None:
    """The loop ends by itself, and the last thing it saw is the end."""
    job = gateway.publisher.create("resize", id="run_1")
    seen: list[ViewedRun] = []
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async for run in viewer.run("run_1"):
            seen.append(run)
            if run.status == "QUEUED":
                job.start()
            elif run.status == "EXECUTING":
                job.complete({"rows": 3})
        assert viewer.state is State.LIVE

    assert [run.status for run in seen] == ["QUEUED", "EXECUTING", "COMPLETED"]
    last = seen[-1]
    assert (last.is_success, last.output, last.task, last.error) == (True, {"rows": 3}, "resize", None)
    assert [entry.status for entry in last.transitions] == ["QUEUED", "EXECUTING", "COMPLETED"]


async def test_a_run_that_does_not_exist_yet_is_waited_for(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer:
        waiting = asyncio.create_task(viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS))
        await gateway.followed("run:run_1")
        gateway.publisher.create("resize", id="run_1").fail("no room")
        run = await waiting

    assert run.status == "FAILED"
    assert not run.is_success
    assert run.error is not None
    assert run.error["message"] == "no room"


async def test_waiting_for_a_run_that_does_not_end_in_time_says_so(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer:
        with pytest.raises(TimeoutError, match=r"run 'run_1' has not ended within 0\.2 s; it goes on"):
            await viewer.wait_for_completion("run_1", timeout=0.2)


async def test_a_run_can_be_looked_at_once(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"])
    async with Viewer(gateway.url, gateway.secret) as viewer:
        run, none = await viewer.get("run_1", skip_columns=["tags"]), await viewer.get("run_2")

    assert run is not None
    assert (run.id, run.status, run.tags) == ("run_1", "QUEUED", ())
    assert none is None


@pytest.mark.parametrize(
    "follow",
    [
        lambda viewer: viewer.tags("a", "b"),
        lambda viewer: viewer.batch("batch_1"),
        lambda viewer: viewer.task("resize"),
        lambda viewer: viewer.all(),
        lambda viewer: viewer.tags("a", since="1h", limit=10, skip_columns=["payload"]),
    ],
    ids=["tags", "batch", "task", "all", "options"],
)
async def test_other_feeds_tell_the_runs_there_are_and_those_that_come(
    gateway: ServedGateway, follow: Callable[[Viewer], RunUpdates]
) -> None:
    """They don't end when a run does."""

    def create(run: str) -> Any:
        return gateway.publisher.create("resize", id=run, tags=["a", "b"], batch="batch_1")

    create("run_1")
    async with Viewer(gateway.url, gateway.secret) as viewer:
        updates = follow(viewer)
        first = await next_of(updates)
        create("run_2").complete()
        ended = await next_of(updates, lambda run: run.is_final)
        gateway.publisher.run("run_1").complete()
        again = await next_of(updates, lambda run: run.is_final)

        assert [first.id, ended.id, again.id] == ["run_1", "run_2", "run_1"]
        assert {run.id: run.status for run in updates.runs.values()} == {"run_2": "COMPLETED", "run_1": "COMPLETED"}


async def test_any_number_of_iterators_share_one_socket(gateway: ServedGateway) -> None:
    """Also those that read the same."""
    async with Viewer(gateway.url, gateway.secret) as viewer:
        all_of_them = [viewer.run(f"run_{number}") for number in range(20)]
        all_of_them += [viewer.tags("a"), viewer.tags("a"), viewer.all()]
        gateway.publisher.create("resize", id="run_7", tags=["a"])
        for updates in (all_of_them[7], *all_of_them[20:]):
            assert (await next_of(updates)).id == "run_7"

        assert viewer._lines.sockets == 1
        assert sum(map(len, gateway._hub.connections())) == 1


async def test_who_comes_later_to_a_feed_begins_with_what_there_is(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"])
    async with Viewer(gateway.url, gateway.secret) as viewer:
        early = viewer.tags("a")
        await next_of(early)
        late = viewer.tags("a")
        assert (await next_of(late)).id == "run_1"
        await late.until_caught_up()

        assert late.runs == early.runs


async def test_the_same_feed_in_two_ways_needs_two_sockets(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1", tags=["a"], payload=1)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async with viewer.tags("a") as whole, viewer.tags("a", skip_columns=["payload"]) as part:
            assert "payload" in (await next_of(whole)).fields
            assert "payload" not in (await next_of(part)).fields
            assert viewer._lines.sockets == 2
        assert viewer._lines.sockets == 1


async def test_leaving_the_loop_leaves_the_feed_and_keeps_the_socket(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1")
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async for _ in viewer.run("run_1"):
            break
        gc.collect()
        await eventually(lambda: feeds_of(gateway) == set())

        assert (await next_of(viewer.run("run_1"))).id == "run_1"
        assert sum(map(len, gateway._hub.connections())) == 1


async def test_a_task_that_is_cancelled_leaves_its_feed(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("run_2"):
        waiting = asyncio.create_task(viewer.wait_for_completion("run_1"))
        await gateway.followed("run:run_1")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: feeds_of(gateway) == {"run:run_2"})


async def test_a_wait_that_is_cancelled_loses_nothing(gateway: ServedGateway) -> None:
    """As with a queue: `anext` may have a timeout, again and again."""
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("run_1") as updates:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(updates), 0.05)
        gateway.publisher.create("resize", id="run_1")

        assert (await next_of(updates)).status == "QUEUED"


async def test_comings_and_goings_of_one_feed_in_one_moment_are_told_apart(gateway: ServedGateway) -> None:
    """What is on its way for a reader that left is not taken for the next one's."""
    gateway.publisher.create("resize", id="run_1")
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("other"):
        await gateway.followed("run:other")
        for _ in range(30):
            updates = viewer.run("run_1")
            await asyncio.sleep(0)
            await updates.aclose()
        async with viewer.run("run_1") as last:
            assert (await next_of(last)).status == "QUEUED"
            gateway.publisher.run("run_1").complete()
            assert (await next_of(last, lambda run: run.is_final)).status == "COMPLETED"


async def test_a_run_that_ended_before_anybody_came_is_told_once(gateway: ServedGateway) -> None:
    gateway.publisher.create("resize", id="run_1").complete()
    async with Viewer(gateway.url, gateway.secret) as viewer:
        updates = viewer.run("run_1")
        assert [run.status async for run in updates] == ["COMPLETED"]
        assert [run async for run in updates] == []


async def test_a_restarted_gateway_is_awaited_and_every_status_is_in_the_transitions(gateway: ServedGateway) -> None:
    told: list[StateChanged] = []
    async with Viewer(gateway.url, gateway.secret, on_state=told.append) as viewer:
        updates = viewer.run("run_1")
        job = gateway.publisher.create("resize", id="run_1")
        await next_of(updates)
        await gateway.stop()
        job.start()
        job.wait()
        await eventually(lambda: viewer.state is State.RECONNECTING)
        await gateway.start()
        waiting = await next_of(updates)
        await eventually(lambda: viewer.state is State.LIVE)
        job.complete()
        ended = [run async for run in updates][-1]
        assert viewer.as_of is not None

    assert [entry.status for entry in waiting.transitions] == ["QUEUED", "EXECUTING", "WAITING"]
    assert [entry.status for entry in ended.transitions] == ["QUEUED", "EXECUTING", "WAITING", "COMPLETED"]
    states = [event.state for event in told if not event.reason]
    assert states == [State.CONNECTING, State.LIVE, State.LIVE]
    assert [event for event in told if event.state is State.RECONNECTING and event.reason]


# Readers that are slow.


async def test_a_slow_reader_is_shown_the_newest_state_and_every_status(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("run_1") as slow, viewer.run("run_1") as fast:
        await slow.until_caught_up()
        job = gateway.publisher.create("resize", id="run_1")
        for number in range(50):
            job.set("number", number)
        job.start()
        job.complete()
        await next_of(fast, lambda run: run.is_final)
        seen = [run async for run in slow]

    assert len(seen) == 1
    assert seen[0].metadata["number"] == 49
    assert [entry.status for entry in seen[0].transitions] == ["QUEUED", "EXECUTING", "COMPLETED"]


@pytest.mark.parametrize("others", [0, 1])
async def test_more_runs_than_are_kept_for_a_slow_reader_are_fetched_when_it_has_room(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Each run is told, with its last state; and whoever else reads the feed does not wait."""
    monkeypatch.setattr(inboxes, "MAX_RUNS_WAITING", 10)
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.tags("a") as slow:
        await slow.until_caught_up()
        fast = [viewer.tags("a") for _ in range(others)]
        for number in range(100):
            gateway.publisher.create("resize", id=f"run_{number}", tags=["a"]).complete()
            for updates in fast:
                await next_of(updates, is_ended(f"run_{number}"))
        await eventually(lambda: any(followed.line is None for followed in viewer._lines._feeds))
        most, known = 0, dict[str, str | None]()
        while sum(status == "COMPLETED" for status in known.values()) < 100:
            most = max(most, len(slow._inbox._waiting))
            run = await next_of(slow)
            known[run.id] = run.status
        gateway.publisher.create("resize", id="last", tags=["a"])
        assert (await next_of(slow, lambda run: run.id == "last")).status == "QUEUED"

    assert most <= 100
    assert len(known) == 100


async def test_a_slow_reader_that_leaves_while_it_is_waited_for_leaves_nothing(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "MAX_RUNS_WAITING", 2)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async with viewer.tags("a") as slow:
            await slow.until_caught_up()
            for number in range(5):
                gateway.publisher.create("resize", id=f"run_{number}", tags=["a"])
            await eventually(lambda: feeds_of(gateway) == set())
        assert viewer._lines._feeds == []
        async with viewer.tags("a") as again:
            assert await next_of(again)


async def test_more_feeds_than_fit_on_a_socket_go_on_another(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "FEEDS_PER_SOCKET", 2)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        followed = [viewer.run(f"run_{number}") for number in range(5)]
        for number, updates in enumerate(followed):
            gateway.publisher.create("resize", id=f"run_{number}")
            assert (await next_of(updates)).id == f"run_{number}"
        assert viewer._lines.sockets == 3


async def test_a_gateway_that_allows_fewer_feeds_on_a_socket_gets_more_sockets(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    async with (
        ServedGateway(redis_server, environment, feeds_per_connection=2) as gateway,
        Viewer(gateway.url, gateway.secret) as viewer,
    ):
        followed = [viewer.run(f"run_{number}") for number in range(5)]
        for number, updates in enumerate(followed):
            gateway.publisher.create("resize", id=f"run_{number}")
            assert (await next_of(updates)).id == f"run_{number}"
        assert viewer._lines.sockets == 3


# Refusals.


async def test_a_feed_that_the_token_does_not_allow_raises_and_the_others_go_on(gateway: ServedGateway) -> None:
    token = gateway.token({"read": {"runs": "run_1"}})
    gateway.publisher.create("resize", id="run_1")
    async with Viewer(gateway.url, token) as viewer:
        mine, other = viewer.run("run_1"), viewer.tags("a")
        assert (await next_of(mine)).status == "QUEUED"
        with pytest.raises(NotAllowed, match="read:tags:a") as refused:
            await next_of(other)
        with pytest.raises(NotAllowed):
            await viewer.wait_for_completion("run_2", timeout=PATIENCE_SECONDS)
        gateway.publisher.run("run_1").complete()
        assert [run.status async for run in mine] == ["COMPLETED"]

    assert refused.value.feed == "tag:a"


async def test_a_token_that_is_refused_raises_for_all_and_the_next_try_is_a_new_one(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, "no-token") as viewer:
        for _ in range(2):
            waiting = [asyncio.create_task(viewer.wait_for_completion(f"run_{number}")) for number in range(2)]
            for task in waiting:
                with pytest.raises(TokenInvalid, match="neither a public token nor a secret key"):
                    await task
            assert viewer.state is State.DENIED


async def test_a_token_that_expires_raises_when_nothing_makes_another(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.token(["read:runs"], expires="1s")) as viewer:
        with pytest.raises(TokenExpired):
            await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)


async def test_a_token_that_is_revoked_raises_unless_there_is_another_one(gateway: ServedGateway) -> None:
    """What makes tokens is asked: whoever may see no more gets none there."""
    tokens = iter([gateway.token(["read:runs"], subject="user_7"), gateway.token(["read:runs"])])
    requests = Requests(gateway.url, gateway.secret)
    async with (
        Viewer(gateway.url, gateway.token(["read:runs"], subject="user_7")) as stays_away,
        Viewer(gateway.url, lambda: next(tokens)) as comes_back,
    ):
        gone = asyncio.create_task(stays_away.wait_for_completion("run_1"))
        goes_on = asyncio.create_task(comes_back.wait_for_completion("run_1", timeout=PATIENCE_SECONDS))
        await eventually(lambda: sum(map(len, gateway._hub.connections())) == 2)
        await asyncio.to_thread(requests.post, "/v1/tokens/revoke", {"subject": "user_7"})
        with pytest.raises(TokenRevoked):
            await gone
        gateway.publisher.create("resize", id="run_1").complete()
        assert (await goes_on).is_success


async def test_what_makes_tokens_fails_at_first_for_whoever_reads(gateway: ServedGateway) -> None:
    def broken() -> str:
        raise LookupError("nobody is signed in")

    async with Viewer(gateway.url, broken) as viewer:
        with pytest.raises(LookupError, match="nobody is signed in"):
            await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)


async def test_an_address_without_a_gateway_is_an_error_and_one_without_anybody_is_tried_again(
    gateway: ServedGateway,
) -> None:
    async with Viewer(f"{gateway.url}/elsewhere", gateway.secret) as viewer:
        with pytest.raises(Denied, match="is this the address of a gateway") as denied:
            await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)
    assert denied.value.reason == "http_404"

    told: list[StateChanged] = []
    async with Viewer(f"http://127.0.0.1:{free_port()}", "token", on_state=told.append) as viewer:
        viewer_waits = asyncio.create_task(viewer.wait_for_completion("run_1"))
        await eventually(lambda: len(told) >= 3)
        assert not viewer_waits.done()
        assert viewer.state is State.CONNECTING
        viewer_waits.cancel()


@pytest.mark.parametrize(
    ("url", "token", "word"),
    [
        ("ftp://example.com", "token", "address of a gateway"),
        ("http://me:secret@example.com", "token", "address of a gateway"),
        ("http://example.com:port", "token", "address of a gateway"),
        ("http://example.com", "to\nken", "printable"),
        ("http://example.com", None, "RUNCAST_TOKEN"),
    ],
)
def test_what_can_not_be_right_is_told_at_once(url: str, token: str | None, word: str) -> None:
    with pytest.raises(Misconfigured, match=word) as wrong:
        Viewer(url, token)
    assert "secret@" not in str(wrong.value)


def test_without_an_event_loop_it_says_so() -> None:
    """`BlockingViewer` is for there."""
    viewer = Viewer("http://example.com", "token")
    with pytest.raises(RuntimeError, match="no running event loop"):
        viewer.run("run_1")


async def test_a_name_that_can_not_be_one_is_told_at_once(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer:
        for begin in (lambda: viewer.run("run 1"), lambda: viewer.tags(), lambda: viewer.stream("run_1", "a,b")):
            with pytest.raises(BadFeed):
                begin()


async def test_closing_ends_what_is_still_read(gateway: ServedGateway) -> None:
    viewer = Viewer(gateway.url, gateway.secret)
    waiting = asyncio.create_task(viewer.wait_for_completion("run_1"))
    await gateway.followed("run:run_1")
    await viewer.aclose()
    await viewer.aclose()

    with pytest.raises(ViewerClosed):
        await waiting
    with pytest.raises(ViewerClosed):
        viewer.run("run_2")
    await eventually(lambda: feeds_of(gateway) == set())


async def test_what_is_told_the_state_may_fail(gateway: ServedGateway) -> None:
    def fails(event: StateChanged) -> None:
        raise RuntimeError("no")

    gateway.publisher.create("resize", id="run_1").complete()
    async with Viewer(gateway.url, gateway.secret, on_state=fails) as viewer:
        assert (await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)).is_success


async def test_url_and_token_come_from_the_environment(gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNCAST_URL", gateway.url)
    monkeypatch.setenv("RUNCAST_TOKEN", gateway.token(["read:runs"]))
    gateway.publisher.create("resize", id="run_1").complete()
    async with Viewer() as viewer:
        assert (await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)).is_success
