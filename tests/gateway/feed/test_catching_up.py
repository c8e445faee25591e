"""One reading of the state for everybody who asks at the same time, whatever happens at whichever step of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Unavailable
from gateway.feed import catching_up
from gateway.feed.follower import Phase
from gateway.feed.group import MAX_HEARD
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, FeedId
from tests.doubles import ViewerModel
from tests.gateway.feed.memory import ENVIRONMENT, FINAL_RAW, MemoryGateway, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.doubles import Watcher

RUN = View(FeedId.run("run_1"))
ALL = View(ALL_RUNS)
#: Every moment of the handshake at which somebody else gets a turn.
STEPS = ("before follow", "before joined", "before place", "after place", "before page", "after page", "live")
VIEWS = {"run": RUN, "all": ALL, "tag": View(FeedId.tags("a")), "limit": View(ALL_RUNS, limit=1)}


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.change(tags=["a"])
    store.published.clear()
    return store


@pytest.fixture
async def gateway(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryGateway]:
    monkeypatch.setattr(catching_up, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(catching_up, "_LONGEST_PAUSE_SECONDS", 0.002)
    gateway = MemoryGateway(store)
    yield gateway
    store.at, store.away = None, False
    await gateway.close()


def once_at(store: MemoryStore, act: Callable[[str], None]) -> None:
    """Have *act* called the first time that each step of reading is reached."""
    seen: set[str] = set()

    async def at(name: str) -> None:
        await asyncio.sleep(0)
        if name not in seen:
            seen.add(name)
            act(name)

    store.at = at


async def handshake(gateway: MemoryGateway, view: View, act: Callable[[str], None]) -> Watcher:
    """Follow *view*, with *act* called at every step, and return when all is quiet."""
    act("before follow")
    once_at(gateway.store, act)
    watcher = gateway.watch(view, joined=False)
    act("before joined")
    gateway.join()
    await gateway.calm()
    await watcher.until_complete()
    act("live")
    gateway.deliver()
    await gateway.calm()
    return watcher


def statuses(watcher: Watcher) -> list[str]:
    return [entry["status"] for entry in watcher.look().runs["run_1"]["transitions"]]


# Nothing falls between subscribing and reading.


@pytest.mark.parametrize("late", [False, True], ids=["heard at once", "heard late"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_final_status_is_seen_at_whatever_step_it_is_published(
    gateway: MemoryGateway, view: View, step: str, late: bool
) -> None:
    """Whether the reading has it, or the subscription, or both: it is told once, and for a run feed so is the end."""

    def act(name: str) -> None:
        if name == step:
            gateway.store.change(status=FINAL_RAW)
        if not late:
            gateway.deliver()

    watcher = await handshake(gateway, view, act)

    assert statuses(watcher) == ["QUEUED", "COMPLETED"]
    watcher.model.check_end()
    assert watcher.model.kinds.count("end") == (view is RUN)
    assert bool(watcher.ends) == (view is RUN)


@pytest.mark.parametrize("late", [False, True], ids=["heard at once", "heard late"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("steps", list(itertools.combinations_with_replacement(STEPS, 2)), ids="-".join)
async def test_two_changes_are_seen_in_order_at_whatever_steps(
    gateway: MemoryGateway, view: View, steps: tuple[str, str], late: bool
) -> None:
    """An attempt that fails and the next one that begins, with any of the steps between them."""
    done = []

    def act(name: str) -> None:
        for number, (step, status) in enumerate(zip(steps, ["CRASHED", "EXECUTING"], strict=True)):
            if name == step and number not in done:
                done.append(number)
                gateway.store.change(status=status, attempt=number + 1)
        if not late:
            gateway.deliver()

    watcher = await handshake(gateway, view, act)

    assert statuses(watcher) == ["QUEUED", "CRASHED", "EXECUTING"]
    assert watcher.model.runs["run_1"]["attempt"] == 2


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("step", STEPS[2:])
async def test_a_break_at_whatever_step_loses_nothing(gateway: MemoryGateway, view: View, step: str) -> None:
    """What is published while the subscription is away is read when it is back."""

    def act(name: str) -> None:
        if name == step:
            gateway.lose()
            gateway.store.change(status=FINAL_RAW)
            gateway.deliver()  # to nobody
            asyncio.get_running_loop().call_soon(gateway.join)

    watcher = await handshake(gateway, view, act)
    await watcher.until_status("COMPLETED")

    assert statuses(watcher) == ["QUEUED", "COMPLETED"]
    watcher.model.check_end()


@pytest.mark.parametrize("losing", [0, 1], ids=["keeping everything", "losing the last change"])
@pytest.mark.parametrize("step", STEPS[2:])
async def test_a_restart_at_whatever_step_is_noticed(gateway: MemoryGateway, step: str, losing: int) -> None:
    """Nobody is told rows of two histories as if they were one; what comes after it is seen."""
    gateway.store.change("run_2")
    gateway.deliver()

    def act(name: str) -> None:
        if name == step:
            gateway.store.restart(losing=losing)
            gateway.store.change(status=FINAL_RAW)

    watcher = await handshake(gateway, ALL, act)
    await watcher.until_status("COMPLETED")

    assert watcher.model.cursor is not None
    assert watcher.model.cursor.epoch == "e2"


async def test_a_channel_that_breaks_before_anybody_woke_is_not_read(gateway: MemoryGateway) -> None:
    """Joined and lost in one loop turn: the reading begins only when it is joined for good."""
    watcher = gateway.watch(RUN, joined=False)
    await asyncio.sleep(0)

    gateway.join()
    gateway.lose()
    for _ in range(5):
        await asyncio.sleep(0)
    assert gateway.store.reads == []

    gateway.join()
    await watcher.until_complete()


# The end of a run.


@pytest.mark.parametrize("past", [0, 10])
async def test_a_viewer_who_has_seen_the_last_change_is_told_the_end(gateway: MemoryGateway, past: int) -> None:
    """Its cursor is at or past the run's last change, and does not go back."""
    watcher = gateway.watch(RUN)
    await watcher.until_complete()
    gateway.change(status=FINAL_RAW)
    for number in range(past):
        gateway.change(f"other_{number}")
    gateway.hub._settle(gateway.hub._environments[ENVIRONMENT], watcher.look().cursor)  # type: ignore[arg-type]

    watcher.disconnect()
    watcher.connect()
    gateway.join()
    await gateway.calm()

    assert watcher.model.kinds[-2:] == ["snapshot", "end"]
    assert watcher.ends


async def test_the_end_comes_before_what_reopened_the_run(gateway: MemoryGateway) -> None:
    """Read as final, then heard to go on: the viewer must not be left with an end, nor its response be closed."""

    def act(name: str) -> None:
        if name == "before follow":
            gateway.change(status="CRASHED")
        if name == "after page":
            gateway.change(status="EXECUTING", attempt=2)

    watcher = await handshake(gateway, RUN, act)

    assert watcher.model.kinds == ["snapshot", "end", "update"]
    assert not watcher.ends

    gateway.change(status=FINAL_RAW, attempt=2)
    assert watcher.look().kinds[3:] == ["update", "end"]


async def test_an_end_that_was_told_is_not_told_again(gateway: MemoryGateway) -> None:
    """Catching up with metadata of a run that is over tells the metadata only."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status=FINAL_RAW)

    gateway.change(left_out=["output"])
    await gateway.calm()

    assert watcher.look().kinds == ["snapshot", "update", "end", "snapshot"]


async def test_a_run_that_was_reopened_meanwhile_is_not_over(gateway: MemoryGateway) -> None:
    """Whoever was told its end, and then reads that it goes on, has not ended."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status=FINAL_RAW)
    assert watcher.followers[0].ended == 1

    gateway.change(status="EXECUTING", attempt=2, left_out=["output"])
    await gateway.calm()

    assert watcher.followers[0].ended == 0


async def test_who_begins_anew_is_told_the_end_anew(gateway: MemoryGateway) -> None:
    """The end that it was told may be lost; the one that the server has is another."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status="CRASHED")
    gateway.lose()
    gateway.store.restart(losing=1)
    gateway.store.runs["run_1"].columns["status"] = FINAL_RAW

    gateway.join()
    await gateway.calm()

    assert watcher.model.replacements == 2
    watcher.model.check_end()


async def test_an_end_in_a_later_attempt_is_told_to_who_was_away(gateway: MemoryGateway) -> None:
    """The run was reopened and ended again while its viewer took nothing."""
    watcher = await handshake(gateway, RUN, lambda name: None)
    gateway.change(status="CRASHED")
    watcher.sink.limit = 1
    watcher.sink.stall()
    gateway.change(metadata={"a": 1})
    gateway.change(status="EXECUTING", attempt=2)
    gateway.change(status=FINAL_RAW, attempt=2)

    watcher.sink.drain()
    await gateway.calm()

    assert statuses(watcher) == ["QUEUED", "CRASHED", "EXECUTING", "COMPLETED"]
    assert watcher.model.kinds.count("end") == 2
    watcher.model.check_end()


# Cursors.


async def test_a_cursor_brings_what_changed_and_nothing_else(gateway: MemoryGateway) -> None:
    """A viewer that comes back is told each run that changed since, once, as it is now."""
    for run in ("run_2", "run_3"):
        gateway.change(run)
    watcher = await handshake(gateway, ALL, lambda name: None)
    told = dict(watcher.model.told)
    watcher.disconnect()
    for _ in range(3):
        gateway.change("run_2", number=1)

    watcher.connect()
    gateway.join()
    await gateway.calm()

    assert watcher.model.replacements == 1
    assert watcher.model.told == told | {"run_2": told["run_2"] + 1}


@pytest.mark.parametrize(("losing", "replaced"), [(0, 0), (1, 1)])
async def test_only_who_saw_what_was_lost_begins_anew(gateway: MemoryGateway, losing: int, replaced: int) -> None:
    """A restart that kept everything costs viewers nothing."""
    gateway.change("run_2")
    watcher = await handshake(gateway, ALL, lambda name: None)
    gateway.lose()
    gateway.store.restart(losing=losing)

    gateway.join()
    await gateway.calm()

    assert watcher.look().replacements == 1 + replaced
    assert watcher.model.runs.keys() == {"run_1", "run_2"}


async def test_a_viewer_who_fell_out_of_its_limit_begins_anew(gateway: MemoryGateway) -> None:
    """More runs changed since its cursor than it wants to see."""
    watcher = await handshake(gateway, View(ALL_RUNS, limit=2), lambda name: None)
    watcher.disconnect()
    for number in range(3):
        gateway.change(f"new_{number}")

    watcher.connect()
    gateway.join()
    await gateway.calm()

    assert watcher.model.replacements == 2
    assert watcher.model.runs.keys() == {"new_1", "new_2"}
    assert watcher.model.truncated


async def test_a_viewer_who_comes_back_to_a_cut_off_feed_gets_runs_that_it_may_lack_whole(
    gateway: MemoryGateway,
) -> None:
    """Its cursor does not say where it began; a change to a run that was silent since is read, not told in part."""
    view = View(ALL_RUNS, limit=1)
    gateway.change("run_2")
    watcher = await handshake(gateway, view, lambda name: None)
    watcher.disconnect()
    watcher.connect()
    gateway.join()
    await gateway.calm()

    gateway.change("run_1", number=1)
    await gateway.calm()
    gateway.change("run_1", number=2)

    assert watcher.look().runs["run_1"]["number"] == 2
    assert watcher.model.kinds == ["snapshot", "snapshot", "snapshot", "update"]


# Redis is away.


@pytest.mark.parametrize("step", ["before place", "after place", "before page", "after page"])
async def test_when_the_state_can_not_be_read_they_wait(gateway: MemoryGateway, step: str) -> None:
    """And are told when it can be read again, without anybody's help."""
    failed = asyncio.Event()

    async def at(name: str) -> None:
        gateway.store.away = gateway.store.away or (name == step and not failed.is_set())
        if gateway.store.away:
            failed.set()
            raise Unavailable

    gateway.store.at = at
    watcher = gateway.watch(RUN)
    await failed.wait()
    for _ in range(5):
        await asyncio.sleep(0.002)
    assert watcher.followers[0].phase is Phase.CATCHING_UP

    gateway.change(status=FINAL_RAW)
    gateway.store.away = False
    await watcher.until_status("COMPLETED")
    watcher.model.check_end()


async def test_a_mistake_in_one_group_is_loud_and_ends_nothing(
    gateway: MemoryGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Others go on, and it tries again."""
    failing = True

    async def at(name: str) -> None:
        if failing:
            raise ZeroDivisionError

    gateway.store.at = at
    watcher = gateway.watch(RUN)
    await asyncio.sleep(0.005)
    failing = False
    await watcher.until_complete()

    assert "catching up with run:run_1 failed" in caplog.text


# Pages.


async def test_changes_between_pages_are_not_lost(gateway: MemoryGateway) -> None:
    """A run that changes after its page was read comes again; one that changes before its page comes once, as it is."""
    gateway.store._page_rows = 2
    for number in range(7):
        gateway.change(f"run_{number}", number=0)
    count = itertools.count()

    async def at(name: str) -> None:
        if name in ("before page", "after page"):
            turn = next(count)
            if turn < 8:
                gateway.change(f"run_{turn % 7}", number=turn)

    gateway.store.at = at
    watcher = gateway.watch(ALL)
    await gateway.calm()
    gateway.store.at = None

    stored = {name: run.columns.get("number") for name, run in gateway.store.runs.items()}
    assert {run: fields.get("number") for run, fields in watcher.look().runs.items()} == stored
    assert watcher.model.replacements == 1


async def test_a_run_that_goes_back_behind_a_page_is_not_lost(gateway: MemoryGateway) -> None:
    """It was to come with a later page, as it had just changed; then Redis lost that change, and it stands before."""
    store = gateway.store
    store._page_rows = 2
    for number in range(5):
        gateway.change(f"run_{number}")
    first = store.runs["run_0"].sequence

    async def at(name: str) -> None:
        if name == "before page" and store.reads.count("page") == 1:
            gateway.change("run_0")
        if name == "before page" and store.reads.count("page") == 2:
            store.runs["run_0"].sequence = first
            store.restart(losing=1)

    store.at = at
    watcher = gateway.watch(ALL)
    await gateway.calm()
    store.at = None

    assert watcher.look().runs.keys() == store.runs.keys()
    assert watcher.model.replacements == 2


async def test_a_viewer_who_leaves_between_pages_comes_back_for_the_rest(gateway: MemoryGateway) -> None:
    """The cursor of a page is a place like any other."""
    gateway.store._page_rows = 2
    for number in range(6):
        gateway.change(f"run_{number}")
    gate = asyncio.Event()

    async def at(name: str) -> None:
        if name == "before page" and gateway.store.reads.count("page") == 3:
            await gate.wait()

    gateway.store.at = at
    watcher = gateway.watch(ALL)
    await watcher.until(lambda model: len(model.runs) == 4)
    watcher.disconnect()
    gateway.store.at = None

    watcher.connect()
    gateway.join()
    await watcher.until_complete()

    assert set(watcher.model.told.values()) == {1}
    assert len(watcher.model.told) == 6


async def test_a_viewer_who_left_between_pages_is_told_of_a_run_that_went_back_behind_them(
    gateway: MemoryGateway,
) -> None:
    """As while it stays: its cursor says that there was more to come, which holds in that epoch alone."""
    store = gateway.store
    store._page_rows = 2
    for number in range(5):
        gateway.change(f"run_{number}")
    first = store.runs["run_0"].sequence
    gate = asyncio.Event()

    async def at(name: str) -> None:
        if name == "before page" and store.reads.count("page") == 1:
            gateway.change("run_0")
        if name == "before page" and store.reads.count("page") == 2:
            await gate.wait()

    store.at = at
    watcher = gateway.watch(ALL)
    await watcher.until(lambda model: len(model.runs) == 2)
    watcher.disconnect()
    store.at = None
    store.runs["run_0"].sequence = first
    store.restart(losing=1)

    watcher.connect()
    gateway.join()
    await watcher.until_complete()

    assert watcher.look().runs.keys() == store.runs.keys()
    assert watcher.model.replacements == 2


async def test_a_slow_viewer_holds_nobody_back(gateway: MemoryGateway) -> None:
    """It takes what fits, the others go on, and it gets the rest when it has drained."""
    gateway.store._page_rows = 1
    for number in range(6):
        gateway.change(f"run_{number}", payload="x" * 500)
    slow = gateway.watch(ALL, limit=600)
    slow.sink.stall()
    fast = gateway.watch(ALL)

    await fast.until_complete()
    assert len(fast.model.runs) == 6
    assert slow.followers[0].phase is Phase.BEHIND
    assert slow.sink.most_unsent < 3000

    while not slow.model.complete:
        slow.sink.stall() if not slow.sink.unsent else slow.sink.drain()
        await asyncio.sleep(0)
        slow.look()
    assert len(slow.model.runs) == 6
    assert slow.model.replacements == 1


async def test_who_falls_behind_while_others_are_written_to_loses_no_page(gateway: MemoryGateway) -> None:
    """Full when its turn came and drained by the end of the page: it was not given that, and must not go on from it."""
    gateway.store._page_rows = 2
    for number in range(5):
        gateway.change(f"run_{number}")
    turn = catching_up._WRITES_PER_TURN
    watchers = [gateway.watch(ALL) for _ in range(3 * turn)]
    connection = watchers[turn + 10].connection
    assert connection is not None

    await watchers[0].until(lambda model: model.runs)  # the first page is being written
    connection.filled()
    await watchers[turn + 20].until(lambda model: model.runs)
    connection.drained()
    assert not watchers[-1].look().runs
    await gateway.calm()

    assert len(watchers[turn + 10].model.runs) == 5


async def test_who_leaves_while_others_are_written_to_is_told_nothing_more(gateway: MemoryGateway) -> None:
    """A feed that was left is silent from then on."""
    watchers = [gateway.watch(ALL) for _ in range(2 * catching_up._WRITES_PER_TURN)]
    last = watchers[-1]
    await watchers[0].until(lambda model: model.runs)

    last.unfollow(ALL)
    await gateway.calm()

    assert last.sink.writes == []


# Together.


async def test_ten_thousand_who_come_back_together_cost_a_handful_of_reads(gateway: MemoryGateway) -> None:
    """One place and one page, however many ask; and one text, which all of them get."""
    gateway.change("run_7")
    watchers = [gateway.watch(ALL) for _ in range(10_000)]

    await gateway.calm()

    assert gateway.store.reads == ["place", "page"]
    assert len({id(watcher.sink.writes[0]) for watcher in watchers}) == 1
    assert all(len(watcher.model.runs) == 2 for watcher in watchers)
    gateway.store.reads.clear()
    gateway.lose()
    gateway.change("run_7", number=7)
    gateway.join()
    await gateway.calm()
    assert gateway.store.reads == ["place", "page"]
    assert all(watcher.model.runs["run_7"]["number"] == 7 for watcher in watchers)


async def test_who_comes_while_others_read_is_told_what_they_read(gateway: MemoryGateway) -> None:
    """However many come meanwhile, they cost nothing: the reading is kept for a moment."""
    first = gateway.watch(ALL)
    later: list[Watcher] = []

    def act(name: str) -> None:
        if name == "after page":
            later.extend(gateway.watch(ALL) for _ in range(100))

    once_at(gateway.store, act)
    await gateway.calm()

    assert gateway.store.reads == ["place", "page"]
    assert first.model.complete
    assert all(watcher.model.complete for watcher in later)


async def test_cursors_far_apart_are_served_by_one_reading(gateway: MemoryGateway) -> None:
    """Each is told what it lacks, from the same pages."""
    watchers = [gateway.watch(ALL) for _ in range(5)]
    await gateway.calm()
    for number, watcher in enumerate(watchers):
        watcher.disconnect()
        gateway.change(f"new_{number}")
    gateway.store.reads.clear()

    for watcher in watchers:
        watcher.connect()
    gateway.join()
    await gateway.calm()

    assert gateway.store.reads == ["place", "page"]
    assert all(len(watcher.model.runs) == 6 for watcher in watchers)
    assert all(set(watcher.model.told.values()) == {1} for watcher in watchers)


# A busy feed.


async def test_more_than_is_kept_meanwhile_is_read(gateway: MemoryGateway) -> None:
    """A reading during which too much happens is followed by another, short one."""

    def act(name: str) -> None:
        if name == "after page" and gateway.store.reads.count("page") == 1:
            for number in range(MAX_HEARD + 1):
                gateway.store.change(f"run_{number % 10}", number=number)
            gateway.deliver()

    watcher = await handshake(gateway, ALL, act)

    assert gateway.store.reads.count("page") == 2
    assert watcher.model.runs[f"run_{MAX_HEARD % 10}"]["number"] == MAX_HEARD


async def test_a_feed_too_busy_to_join_serves_newcomers_all_the_same(gateway: MemoryGateway) -> None:
    """Large columns at every reading: nobody is ever live, everybody is told what was read, whenever they came."""

    async def at(name: str) -> None:
        await asyncio.sleep(0)
        if name == "after page":
            gateway.change(left_out=["output"])

    gateway.store.at = at
    first = gateway.watch(ALL)
    await first.until(lambda model: model.runs)

    newcomer = gateway.watch(ALL)
    await newcomer.until(lambda model: model.runs)

    gateway.store.at = None
    await gateway.calm()
    assert newcomer.look().complete


async def test_runs_beyond_a_limit_cost_one_reading_each(gateway: MemoryGateway) -> None:
    """A viewer of the newest two out of many is told their changes as they happen, once it has each of them."""
    for number in range(10):
        gateway.change(f"run_{number}")
    watcher = await handshake(gateway, View(ALL_RUNS, limit=2), lambda name: None)
    for number in range(10):
        gateway.change(f"run_{number}", number=1)
        await gateway.calm()
    gateway.store.reads.clear()

    for number in range(10):
        gateway.change(f"run_{number}", number=2)
        await gateway.calm()

    assert gateway.store.reads == []
    assert {run["number"] for run in watcher.look().runs.values()} == {2}


# Coming and going.


async def test_a_group_that_is_made_again_has_nothing_of_the_last(gateway: MemoryGateway) -> None:
    """The last viewer leaves while its reading is held up; the next of the same view gets a reading of its own."""
    gate = asyncio.Event()

    async def at(name: str) -> None:
        if name == "after page":
            await gate.wait()

    gateway.store.at = at
    first = gateway.watch(RUN)
    while "page" not in gateway.store.reads:
        await asyncio.sleep(0)
    first.disconnect()
    gateway.joined.clear()

    gateway.store.at = None
    second = gateway.watch(RUN)
    gateway.change(status=FINAL_RAW)
    gate.set()
    await gateway.calm()

    assert first.sink.writes == []
    assert statuses(second) == ["QUEUED", "COMPLETED"]


async def test_who_follows_on_a_full_connection_is_not_fed(gateway: MemoryGateway) -> None:
    """Its sink will not say again that it is full; memory stays bounded all the same, and what it asked for comes."""
    watcher = gateway.watch(ALL, limit=10)
    await watcher.until_complete()
    watcher.sink.stall()
    gateway.change()
    await gateway.calm()
    unsent = watcher.sink.unsent

    watcher.models[str(RUN.feed)] = ViewerModel(RUN.feed, alone=False)
    watcher.follow(RUN)
    gateway.join()
    await gateway.calm()
    for number in range(50):
        gateway.change(number=number)
    assert watcher.sink.unsent == unsent

    watcher.sink.drain()
    await gateway.calm()
    assert [model.runs["run_1"]["number"] for model in watcher.models.values()] == [49, 49]
