"""Reading the state of an environment: pages, feeds, and places to start from."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.changes import Operation, Operator
from gateway.cursors import Cursor
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId
from gateway.store.redis_keys import Retention, history_key, index_key, metadata_key, run_key
from gateway.store.redis_store import PAGE_BYTES, PAGE_ROWS, RedisStore
from tests.gateway.store.changing import Changing
from tests.gateway.store.reader import Reading

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

_numbers = itertools.count(1)


# Pages


async def test_an_environment_of_which_nobody_wrote_can_be_read(reading: Reading) -> None:
    """It is empty, and has a history from then on: a viewer who saw nothing has seen everything."""
    place = await reading.store.place(reading.environment, ALL_RUNS, limit=10, since=0)
    page = await reading.page()

    assert (place.start, place.truncated) == (0, False)
    assert page.rows == []
    assert page.complete
    assert Cursor(page.epoch, page.end) == place.history.cursor


async def test_a_page_has_the_oldest_change_first(reading: Reading, changing: Changing) -> None:
    """Each run once, at the place of its last change; a complete page ends at the environment's newest change."""
    for run in ("run_1", "run_2", "run_3"):
        changing.create(run)
    changing.apply("run_1", status="EXECUTING")
    other = changing.create("run_4", "another task")

    page = await reading.page(FeedId.task("resize"))

    assert [row.run for row in page.rows] == ["run_2", "run_3", "run_1"]
    assert [row.sequence for row in page.rows] == sorted(row.sequence for row in page.rows)
    assert page.complete
    assert page.end == other.sequence


async def test_a_page_has_what_changed_after_a_number(reading: Reading, changing: Changing) -> None:
    """And not what changed at it."""
    changing.create("run_1")
    seen = changing.create("run_2")
    changing.create("run_3")

    assert await reading.runs(after=seen.sequence) == ["run_3"]
    assert await reading.runs(after=seen.sequence - 1) == ["run_2", "run_3"]
    assert await reading.runs(after=seen.sequence + 1) == []


async def test_rows_have_the_columns_that_were_asked_for(reading: Reading, changing: Changing) -> None:
    """As they were written; what is null is absent; metadata only when it is wanted."""
    changing.create(operations=[Operation(Operator.SET, "ä", [1, {}])], columns={"output": {"n": 1}})

    (row,) = (await reading.page()).rows
    assert row.columns == {"status": b'"PENDING"', "output": b'{"n":1}'}
    assert row.metadata == {"ä".encode(): b"[1,{}]"}
    assert row.metadata_version == 1
    (row,) = (await reading.page(columns=("attempt",), metadata=False)).rows
    assert (row.columns, row.metadata) == ({"attempt": b"1"}, {})


async def test_a_page_holds_so_many_rows(reading: Reading, changing: Changing) -> None:
    """Each page says where it ends; all of them together have every run once."""
    for number in range(2 * PAGE_ROWS + 50):
        changing.create(f"run_{number}")

    pages = await reading.pages()

    assert [len(page.rows) for page in pages] == [PAGE_ROWS, PAGE_ROWS, 50]
    assert [page.complete for page in pages] == [False, False, True]
    assert [page.end for page in pages[:2]] == [page.rows[-1].sequence for page in pages[:2]]
    assert [row.run for page in pages for row in page.rows] == [f"run_{number}" for number in range(2 * PAGE_ROWS + 50)]


async def test_exactly_one_page_is_complete(reading: Reading, changing: Changing) -> None:
    """Nobody is sent for another that would be empty."""
    for number in range(PAGE_ROWS):
        changing.create(f"run_{number}")

    assert [len(page.rows) for page in await reading.pages()] == [PAGE_ROWS]


async def test_a_page_holds_so_many_bytes(reading: Reading, changing: Changing) -> None:
    """Counting columns and metadata; but never so few that there is no row in it."""
    large = "x" * (PAGE_BYTES // 3)
    for number in range(3):
        changing.create(f"run_{number}", columns={"output": large})
    changing.create("run_3", columns={"output": "x" * (3 * PAGE_BYTES)})
    changing.create("run_4", operations=[Operation(Operator.SET, "text", "x" * 200_000)])

    pages = await reading.pages()

    assert [[row.run for row in page.rows] for page in pages] == [["run_0", "run_1", "run_2"], ["run_3"], ["run_4"]]
    assert len(await reading.pages(columns=("status",), metadata=False)) == 1


async def test_a_run_that_changes_between_two_pages_is_not_missed(reading: Reading, changing: Changing) -> None:
    """It leaves its place for one at the end."""
    for number in range(PAGE_ROWS + 10):
        changing.create(f"run_{number}")
    first = await reading.page()

    changing.apply(f"run_{PAGE_ROWS + 5}", columns={"number": 1})
    changing.apply("run_0", columns={"number": 1})
    rest = await reading.runs(after=first.end)

    assert rest[-2:] == [f"run_{PAGE_ROWS + 5}", "run_0"]
    assert {row.run for row in first.rows} | set(rest) == {f"run_{number}" for number in range(PAGE_ROWS + 10)}


async def test_a_page_of_another_epoch_is_not_read(reading: Reading, changing: Changing) -> None:
    """It says which epoch it is, and has nothing."""
    changing.create()

    page = await reading.page(epoch="abc")

    assert page.epoch == await reading.epoch()
    assert (page.rows, page.complete) == ([], False)


# Feeds


async def test_a_run_feed_is_one_row(reading: Reading, changing: Changing) -> None:
    """Or none: when there is no such run, or it did not change."""
    feed = FeedId.run("run_1")
    assert await reading.runs(feed) == []
    applied = changing.create()
    newest = changing.create("run_2")

    page = await reading.page(feed)
    assert [row.run for row in page.rows] == ["run_1"]
    assert page.complete
    assert page.end == newest.sequence
    assert await reading.runs(feed, after=applied.sequence) == []


async def test_feeds_have_the_runs_that_belong_to_them(reading: Reading, changing: Changing) -> None:
    """By task, batch, tag, or several tags, whenever they were added."""
    changing.create("run_1", tags=["a", "b"], initial={"batchId": "x"})
    changing.create("run_2", "mail", tags=["b"])
    changing.create("run_3", tags=["ab"], initial={"batchId": "x"})
    changing.apply("run_2", tags=["a"])

    assert await reading.runs(FeedId.task("resize")) == ["run_1", "run_3"]
    assert await reading.runs(FeedId.batch("x")) == ["run_1", "run_3"]
    assert await reading.runs(FeedId.tags("a")) == ["run_1", "run_2"]
    assert await reading.runs(FeedId.tags("a", "b")) == ["run_1", "run_2"]
    assert await reading.runs(FeedId.tags("a", "b", "c")) == []


async def test_a_sparse_feed_is_read_in_steps(reading: Reading, changing: Changing) -> None:
    """A page may have no row at all and not be the last: a filter that few pass does not hold the server up."""
    changing.create("run_first", tags=["a", "b"])
    with changing.client.pipeline(transaction=False) as pipeline:
        index = index_key(reading.environment, FeedId.tags("a"))
        start = changing.create("run_other", tags=["a"]).sequence
        for number in range(1, 2500):
            pipeline.zadd(index, {f"old_{number}": start + number})
            pipeline.hset(
                run_key(reading.environment, f"old_{number}"),
                mapping={"_created": 0, "_tags": "a", "_sequence": start + number},
            )
            pipeline.expire(run_key(reading.environment, f"old_{number}"), 60)
        pipeline.hincrby(history_key(reading.environment), "sequence", 3000)
        pipeline.execute()
    changing.create("run_last", tags=["a", "b"])

    pages = await reading.pages(FeedId.tags("a", "b"))

    assert [[row.run for row in page.rows] for page in pages] == [["run_first"], [], ["run_last"]]


async def test_rows_that_expired_are_removed_from_their_feed(reading: Reading, changing: Changing) -> None:
    """Nobody is told of them, and the index forgets them."""
    for run in ("run_1", "run_2", "run_3"):
        changing.create(run)
    changing.client.delete(run_key(reading.environment, "run_2"), metadata_key(reading.environment, "run_2"))

    assert await reading.runs() == ["run_1", "run_3"]
    assert changing.client.zrange(index_key(reading.environment, ALL_RUNS), 0, -1) == ["run_1", "run_3"]


# Places


async def test_a_limit_is_a_place_to_start_from(reading: Reading, changing: Changing) -> None:
    """Above it stand as many runs as were asked for, those that changed last."""
    for number in range(5):
        changing.create(f"run_{number}")
    changing.apply("run_0", columns={"number": 1})

    for limit, runs in ((1, ["run_0"]), (3, ["run_3", "run_4", "run_0"])):
        place = await reading.store.place(reading.environment, ALL_RUNS, limit=limit, since=0)
        assert place.truncated
        assert await reading.runs(after=place.start) == runs
    for limit in (5, 6):
        place = await reading.store.place(reading.environment, ALL_RUNS, limit=limit, since=0)
        assert (place.start, place.truncated) == (0, False)


async def test_the_place_of_a_run_is_its_beginning(reading: Reading, changing: Changing) -> None:
    """One row is never cut off."""
    changing.create()

    place = await reading.store.place(reading.environment, FeedId.run("run_1"), limit=1, since=10**15)

    assert (place.start, place.truncated) == (0, False)


made = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([[], ["a"], ["b"], ["a", "b"]]), st.sampled_from([0, 3_600_000])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60)
@given(
    made=made,
    feed=st.sampled_from([ALL_RUNS, FeedId.tags("a"), FeedId.tags("a", "b")]),
    limit=st.integers(1, 8),
    young=st.booleans(),
    dead=st.sets(st.integers(0, 12), max_size=3),
)
def test_place_and_pages_are_the_newest_that_match(
    each_redis_server: RedisServer,
    made: list[tuple[int, list[str], int]],
    feed: FeedId,
    limit: int,
    young: bool,
    dead: set[int],
) -> None:
    """Whatever filters and limit: all runs that match, or the newest of them when there are more."""
    environment = EnvironmentId(f"env_reading_{next(_numbers)}")

    async def read(since: int) -> tuple[bool, list[str]]:
        store = RedisStore(each_redis_server.url, Retention())
        try:
            place = await store.place(environment, feed, limit=limit, since=since)
            return place.truncated, await Reading(store, environment).runs(feed, place.start, since=since)
        finally:
            await store.close()

    with each_redis_server.client() as client:
        changing = Changing(client, environment)
        for number, tags, age in made:
            changing.create(f"run_{number}", tags=tags, age=age, columns={"number": next(_numbers)})
        for number in dead:
            client.delete(run_key(environment, f"run_{number}"))
        rows = {run: changing.stored(run) for run in (f"run_{number}" for number in range(13))}
        seconds, _ = client.time()
        since = (int(seconds) - 1800) * 1000 if young else 0
        matching = sorted(
            (int(row["_sequence"]), run)
            for run, row in rows.items()
            if row and int(row["_created"]) >= since and set(feed.names) <= set(row.get("_tags", "").split(","))
        )

        truncated, runs = asyncio.run(read(since))

        newest = [run for _, run in matching[-limit:]]
        if not dead or since or len(feed.names) > 1:
            assert (truncated, runs) == (len(matching) > limit, newest)
        else:  # where nothing is sifted, ids of rows that expired count until somebody has looked at them
            assert runs == newest[len(newest) - len(runs) :]
            assert len(runs) >= len(newest) - len(dead)
