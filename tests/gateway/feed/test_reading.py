"""A reading is kept for a moment: who comes next is told what was read and what was heard since, and nothing untrue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.cursors import Cursor, History
from gateway.feed import reading
from gateway.feed.follower import Follower
from gateway.feed.reading import Reading
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, FeedId
from gateway.store.pages import Place
from tests.gateway.feed.memory import ENVIRONMENT, FINAL_RAW, MemoryGateway, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feed.reading import Shelf
    from tests.doubles import Watcher

ALL = View(ALL_RUNS)
RUN = View(FeedId.run("run_1"))
CUT_OFF = View(ALL_RUNS, limit=2)


@pytest.fixture
async def gateway() -> AsyncIterator[MemoryGateway]:
    gateway = MemoryGateway(MemoryStore(page_rows=2))
    for number in range(5):
        gateway.change(f"run_{number}")
    yield gateway
    await gateway.close()


def shelf(gateway: MemoryGateway) -> Shelf:
    return gateway.hub._catching_up._shelf


def kept(gateway: MemoryGateway) -> Reading:
    (found,) = shelf(gateway)._kept.values()
    return found


async def crowd(gateway: MemoryGateway, view: View = ALL) -> list[Watcher]:
    """Two who have read together, so that others may come; what that cost is forgotten."""
    watchers = [gateway.watch(view), gateway.watch(view)]
    await gateway.calm()
    gateway.store.reads.clear()
    return watchers


async def late(gateway: MemoryGateway, view: View = ALL) -> Watcher:
    """Who comes now, and has caught up."""
    watcher = gateway.watch(view)
    await gateway.calm()
    assert watcher.model.complete
    return watcher


def assert_same(one: Watcher, other: Watcher) -> None:
    assert one.look().runs == other.look().runs
    assert one.model.cursor == other.model.cursor


@pytest.mark.parametrize("view", [ALL, RUN, CUT_OFF], ids=["all", "run", "cut off"])
async def test_who_comes_next_costs_no_reading(gateway: MemoryGateway, view: View) -> None:
    """It has what the others have, and from the same bytes."""
    first, _ = await crowd(gateway, view)

    newcomer = await late(gateway, view)

    assert gateway.store.reads == []
    assert [id(data) for data in newcomer.sink.writes] == [id(data) for data in first.sink.writes]
    assert_same(newcomer, first)


@pytest.mark.parametrize("view", [ALL, RUN, CUT_OFF], ids=["all", "run", "cut off"])
async def test_what_happened_since_is_told_behind_it(gateway: MemoryGateway, view: View) -> None:
    """Progress, statuses and new runs that were heard since the reading, once each; then what comes next."""
    first, _ = await crowd(gateway, view)
    run = "run_4" if view is CUT_OFF else "run_1"  # one that all have
    gateway.change(run, number=7, metadata={"a": 1})
    gateway.change("run_5")
    gateway.change(run, status=FINAL_RAW)

    newcomer = await late(gateway, view)
    assert_same(newcomer, first)
    gateway.change(run, number=8)

    assert_same(newcomer, first)
    assert newcomer.model.runs[run]["number"] == 8
    assert gateway.store.reads == []


async def test_who_returns_is_told_what_it_lacks_of_it(gateway: MemoryGateway) -> None:
    """A cursor from before the reading's end gets the rest of it, whatever its place."""
    await crowd(gateway)
    for place in range(101, 106):
        watcher = gateway.watch(ALL)
        (follower,) = watcher.followers
        follower.replaces, follower.epoch, follower.at = False, gateway.store.epoch, place
        watcher.model.cursor = Cursor(gateway.store.epoch, place)
        await gateway.calm()

        assert sorted(watcher.model.runs) == [f"run_{number}" for number in range(place - 100, 5)]

    assert gateway.store.reads == []


@pytest.mark.parametrize("place", [106, 1000])
async def test_who_has_seen_more_has_it_read_again(gateway: MemoryGateway, place: int) -> None:
    """It was at another gateway, which heard of a change earlier: an older state must not be told as a newer one."""
    await crowd(gateway)
    gateway.store.change("run_6")  # and is not heard here yet
    watcher = gateway.watch(ALL)
    (follower,) = watcher.followers
    follower.replaces, follower.epoch, follower.at = False, gateway.store.epoch, place
    watcher.model.cursor = Cursor(gateway.store.epoch, place)

    await gateway.calm()

    assert gateway.store.reads
    assert watcher.model.replacements == (1 if place == 1000 else 0)


async def test_after_a_break_it_holds_no_more(gateway: MemoryGateway) -> None:
    """Something may have been missed; so it is read again, also by who came after the channel was joined anew."""
    first, _ = await crowd(gateway)
    gateway.lose()
    gateway.store.change("run_1", number=9)
    gateway.store.published.clear()
    gateway.join()
    await gateway.calm()
    gateway.store.reads.clear()

    newcomer = await late(gateway)

    assert newcomer.model.runs["run_1"]["number"] == 9
    assert_same(newcomer, first)


async def test_a_break_while_nobody_waits_is_seen_by_who_comes(gateway: MemoryGateway) -> None:
    """The reading that is kept knows of itself which break it was before."""
    await crowd(gateway)
    found = kept(gateway)
    (group,) = shelf(gateway)._kept

    group.channel.breaks += 1

    assert not found.holds(group)
    await late(gateway)
    assert gateway.store.reads


async def test_a_change_that_is_not_told_ends_it(gateway: MemoryGateway) -> None:
    """Large values are not published, and changes over a limit are skipped: only the rows know them."""
    first, _ = await crowd(gateway)
    gateway.change("run_1", payload="large", left_out=["payload"])
    await gateway.calm()
    gateway.store.reads.clear()

    newcomer = await late(gateway)

    assert_same(newcomer, first)
    assert newcomer.model.runs["run_1"]["payload"] == "large"


async def test_another_epoch_ends_it(gateway: MemoryGateway) -> None:
    """What was read before Redis lost data is shown to nobody who comes after that was heard."""
    first, _ = await crowd(gateway)
    gateway.store.restart(losing=0)
    gateway.change("run_1", number=3)
    await gateway.calm()

    newcomer = await late(gateway)

    assert_same(newcomer, first)
    assert newcomer.model.cursor is not None
    assert newcomer.model.cursor.epoch == gateway.store.epoch


async def test_data_that_was_lost_while_nobody_wrote_ends_it(gateway: MemoryGateway) -> None:
    """Only the canary tells of that; whoever has the old data is not told it again as the new one."""
    first, _ = await crowd(gateway)
    gateway.store.restart(losing=5)
    gateway.store.runs.clear()
    environment = gateway.hub._environments[ENVIRONMENT]

    gateway.hub._settle(environment, Cursor(gateway.store.epoch, gateway.store.sequence))
    await gateway.calm()
    newcomer = await late(gateway)

    assert first.look().runs == newcomer.model.runs == {}
    assert_same(newcomer, first)


async def test_more_than_a_part_of_it_is_not_told_change_by_change(gateway: MemoryGateway) -> None:
    """A feed on which much happens is read again: telling all of it would cost more."""
    await crowd(gateway)
    for number in range(reading._HEARD_FEW + 1):
        gateway.change("run_1", number=number)

    newcomer = await late(gateway)

    assert gateway.store.reads
    assert newcomer.model.runs["run_1"]["number"] == reading._HEARD_FEW
    assert newcomer.model.told["run_1"] == 1


async def test_it_is_kept_for_a_moment_only(gateway: MemoryGateway) -> None:
    """Runs that expire are not told of: so it does not live long, and nothing is heard for it any more."""
    await crowd(gateway)
    (group,) = shelf(gateway)._kept
    kept(gateway)._until = 0.0

    shelf(gateway)._look()

    assert shelf(gateway)._kept == {}
    assert shelf(gateway)._size == 0
    assert group.heard is None


async def test_nothing_is_kept_for_one_viewer(gateway: MemoryGateway) -> None:
    """Most feeds are followed by one, and nobody comes: ten thousand of them keep nothing."""
    gateway.watch(ALL)
    await gateway.calm()

    assert shelf(gateway)._kept == {}


async def test_what_is_too_large_is_not_kept(gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes reads it again, and gets it all the same."""
    monkeypatch.setattr(reading, "MOST_BYTES", 100)
    first, _ = await crowd(gateway)
    assert shelf(gateway)._kept == {}

    newcomer = await late(gateway)

    assert gateway.store.reads
    assert_same(newcomer, first)


async def test_all_together_they_have_a_bound(gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest gives way; whoever follows that feed has not lost anything."""
    await crowd(gateway, RUN)
    monkeypatch.setattr(reading, "ALL_BYTES", kept(gateway).size + 10)
    (old,) = shelf(gateway)._kept

    await crowd(gateway, ALL)

    assert old not in shelf(gateway)._kept
    assert old.heard is None
    assert shelf(gateway)._size == sum(found.size for found in shelf(gateway)._kept.values())


async def test_the_last_who_leaves_takes_it_along(gateway: MemoryGateway) -> None:
    """A feed that nobody follows is not heard, so nothing of it can be kept."""
    for watcher in await crowd(gateway):
        watcher.disconnect()

    assert shelf(gateway)._kept == {}
    assert shelf(gateway)._size == 0


async def test_who_falls_behind_while_it_is_told_goes_on_from_there(gateway: MemoryGateway) -> None:
    """Without another reading: the pages that it lacks are kept."""
    first, _ = await crowd(gateway)
    slow = gateway.watch(ALL, limit=10)
    slow.sink.stall()
    await gateway.calm()
    assert slow.sink.most_unsent < sum(map(len, first.sink.writes)) / 2

    for _ in range(10):  # a page at a time
        slow.sink.drain()
        slow.sink.stall()
        await gateway.calm()
    slow.sink.drain()
    await gateway.calm()

    assert gateway.store.reads == []
    assert_same(slow, first)
    assert slow.model.replacements == 1


@pytest.mark.parametrize(
    ("cursor", "after", "start", "suits"),
    [
        (None, 0, 0, True),
        (None, 50, 0, False),
        (None, 50, 60, True),
        (Cursor("e1", 50), 50, 0, True),
        (Cursor("e1", 49), 50, 0, False),
        (Cursor("e1", 105), 50, 0, True),
        (Cursor("e1", 106), 50, 0, False),
        (Cursor("e0", 60), 50, 0, False),
    ],
    ids=str,
)
async def test_who_may_be_told_from_a_reading(
    gateway: MemoryGateway, cursor: Cursor | None, after: int, start: int, suits: bool
) -> None:
    """Newcomers when it begins where they do; others of its epoch, between its beginning and what was there then."""
    (group,) = {watcher.followers[0].group for watcher in await crowd(gateway)}
    follower = Follower(gateway.watchers[0].followers[0].connection, group, cursor)

    found = Reading(Place(History("e1", 105), start, truncated=False), after, 0)

    assert found.suits(follower) is suits


async def test_who_drains_after_all_of_it_has_nothing_to_be_told_again(gateway: MemoryGateway) -> None:
    """Something was written between the look at the feed's place and its last page: that is no cursor of the future."""

    async def write(name: str) -> None:
        if name == "before page":
            gateway.store.at = None
            gateway.change("run_5")

    gateway.store.at = write
    first, _ = await crowd(gateway)
    slow = gateway.watch(ALL, limit=10)
    slow.sink.stall()
    for _ in range(10):
        await gateway.calm()
        slow.sink.drain()
        slow.sink.stall()
    slow.sink.drain()
    await gateway.calm()

    assert gateway.store.reads == []
    assert_same(slow, first)
    assert slow.model.replacements == 1
