"""Streams as they are read where they can be written, from start to end; and metadata as a job reads its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Outcome
from gateway.cursors import Cursor, History
from gateway.errors import BadCursor, BadFeed
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.places import Place
from gateway.runs import Status
from gateway.store.stream_reading import Reading, StoredChunk
from tests.redis_server import RedisServer, binaries, free_port, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.gateway.store.changing import Changing


# How much was read (no Redis)


def reading(
    epoch: str, *chunks: tuple[int, int], end: int, complete: bool = True, status: Status = Status.EXECUTING
) -> Reading:
    stored = [StoredChunk(sequence, index, b"%d" % index) for sequence, index in chunks]
    return Reading(epoch, end, complete, stored, status, max((index for _, index in chunks), default=-1) + 1)


def taken(place: Place) -> list[int]:
    found = []
    while (chunk := place.take()) is not None:
        found.append(chunk.index)
    return found


def test_what_was_read_twice_is_taken_once() -> None:
    """Two threads read the same page; the one that asked earlier may hear later."""
    place = Place("r", "s")
    place.learn(reading("a", (1, 0), (2, 1), (5, 2), end=5))
    place.learn(reading("a", (1, 0), (2, 1), end=2, complete=False))
    place.learn(reading("a", (5, 2), (6, 3), end=9))
    assert taken(place) == [0, 1, 2, 3]
    assert (place.after, place.cursor) == (9, "a-6")


def test_a_reader_begins_where_it_is_told_to() -> None:
    place = Place("r", "s", start=2)
    place.learn(reading("a", (1, 0), (2, 1), (5, 2), end=5))
    assert taken(place) == [2]
    assert (Place("r", "s", after="a-5").epoch, Place("r", "s", after="a-5").after) == ("a", 5)
    with pytest.raises(BadCursor):
        Place("r", "s", after="5")


def test_a_reader_of_an_ended_run_has_ended_when_it_has_read_all() -> None:
    place, ended = Place("r", "s"), []
    for learned in (
        reading("a", (1, 0), end=1, complete=False, status=Status.FAILED),
        reading("a", end=1, status=Status.FAILED),
        reading("a", end=3),  # another attempt
    ):
        place.learn(learned)
        ended.append(place.ended)
    assert ended == [False, True, False]


def test_after_a_restart_that_kept_everything_it_just_goes_on() -> None:
    place = Place("r", "s")
    place.learn(reading("a", (1, 0), (2, 1), end=4))
    place.go_on_in(History("b", 4, (("a", 4),)), 2)
    place.learn(reading("b", (5, 2), end=5))
    assert taken(place) == [0, 1, 2]
    assert place.cursor == "b-5"


def test_after_a_restart_that_lost_the_last_second_nothing_new_is_skipped() -> None:
    """Numbers and indexes of what was lost are given again, to other values."""
    place = Place("r", "s")
    place.learn(reading("a", (1, 0), (2, 1), end=2))
    assert taken(place) == [0, 1]
    place.go_on_in(History("b", 4, (("a", 1),)), 3)
    place.learn(reading("b", (2, 1), (4, 2), end=4))
    assert taken(place) == [1, 2]


def test_when_nobody_knows_the_epoch_the_index_tells() -> None:
    """The stream may have survived, or be another one."""
    survived, lost = Place("r", "s"), Place("r", "s")
    for place in (survived, lost):
        place.learn(reading("a", (1, 0), (2, 1), end=2))
        assert taken(place) == [0, 1]
    survived.go_on_in(History("c", 9, ()), 3)
    survived.learn(reading("c", (1, 0), (2, 1), (8, 2), end=9))
    assert taken(survived) == [2]
    lost.go_on_in(History("c", 9, ()), 1)
    lost.learn(reading("c", (8, 0), end=9))
    assert taken(lost) == [0]
    assert Cursor.parse(lost.cursor or "") == Cursor("c", 8)


# Streams


def test_a_stream_is_read_live_and_to_its_end(publisher: Publisher) -> None:
    """From the start, however late the reader comes; what is more than a page, too."""
    run = publisher.create("t", id="r")
    values: list[Any] = [{"token": number} for number in range(250)]

    def write() -> None:
        for value in values:
            run.stream("tokens").write(value)
        run.complete()

    writer = threading.Thread(target=write)
    writer.start()
    assert list(publisher.run("r").stream("tokens").read(timeout=20)) == values
    writer.join()
    assert list(publisher.run("r").stream("tokens").read()) == values


def test_a_reader_may_begin_later_and_go_on_after_another(publisher: Publisher) -> None:
    run = publisher.create("t", id="r")
    run.stream("s").write_all(range(10))
    run.complete()
    assert list(run.stream("s").read(start=7)) == [7, 8, 9]
    first = run.stream("s").read()
    assert [next(first), next(first)] == [0, 1]
    assert list(run.stream("s").read(after=first.cursor)) == list(range(2, 10))


def test_silence_ends_with_an_error_and_nothing_is_lost(publisher: Publisher) -> None:
    run = publisher.create("t", id="r")
    run.stream("s").write(1)
    chunks = run.stream("s").read(timeout=0.1)
    assert next(chunks) == 1
    with pytest.raises(TimeoutError):
        next(chunks)
    run.stream("s").write(2)
    run.complete()
    assert list(chunks) == [2]


def test_a_stream_of_a_run_that_comes_later(publisher: Publisher) -> None:
    chunks = publisher.run("r").stream("s").read(timeout=20)
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(chunks))
    reader.start()
    run = publisher.create("t", id="r")
    run.stream("s").write("first")
    run.complete()
    reader.join(20)
    assert found == ["first"]


def test_an_iterator_is_piped_and_may_be_used_as_well(publisher: Publisher) -> None:
    run = publisher.create("t", id="r")
    assert run.stream("s").pipe(iter("abc")) == 3
    assert "".join(run.stream("s").tee(iter("def"))) == "def"
    run.complete()
    assert list(run.stream("s").read()) == list("abcdef")


def test_what_a_pipe_raises_comes_through(publisher: Publisher) -> None:
    def values() -> Iterator[int]:
        yield 1
        raise RuntimeError("the model is gone")

    run = publisher.create("t", id="r")
    with pytest.raises(RuntimeError, match="the model is gone"):
        run.stream("s").pipe(values())
    run.complete()
    assert list(run.stream("s").read()) == [1]
    with pytest.raises(BadFeed):
        run.stream("a,b")


async def test_the_asynchronous_twin_reads_and_pipes(redis_server: RedisServer, environment: EnvironmentId) -> None:
    async def tokens() -> AsyncIterator[str]:
        for token in "def":
            yield token

    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("t", id="r")

        async def write() -> None:
            assert await run.stream("s").pipe("abc") == 3
            assert [token async for token in run.stream("s").tee(tokens())] == list("def")
            assert await run.stream("s").pipe(tokens()) == 3
            await run.complete()

        writing = asyncio.create_task(write())
        assert [value async for value in run.stream("s").read(timeout=20)] == list("abcdefdef")
        await writing
        later = run.stream("s").read(start=7)
        assert await anext(later) == "e"
        assert [value async for value in run.stream("s").read(after=later.cursor)] == ["f"]
        silent = publisher.run("none").stream("s").read(timeout=0.05)
        with pytest.raises(TimeoutError):
            await anext(silent)


# Metadata


def test_a_job_reads_its_metadata_with_what_it_just_said(publisher: Publisher, stored: Changing) -> None:
    """Also what waits to be sent, and what others wrote."""
    run = publisher.create("t", id="r", metadata={"a": 1})
    run.increment("n", 1)
    run.increment("n", 2)
    assert run.increment("n", 3) is Outcome.DEFERRED
    publisher.run("r").set("other", [None, {"x": True}])
    assert run.current() == {"a": 1, "n": 6, "other": [None, {"x": True}]}
    assert (run.get("n"), run.get("none"), run.get("none", 5)) == (6, None, 5)
    assert publisher.run("none").current() == {}


def test_reading_metadata_while_redis_is_away_hurts_nobody(tmp_path: Path) -> None:
    with running_server(tmp_path, binaries()["valkey"]) as server, Publisher(server.url) as publisher:
        run = publisher.create("t", id="r", metadata={"a": 1})
        server.stop()
        assert run.current() is None
        assert run.get("a", "away") == "away"
    with Publisher(f"redis://127.0.0.1:{free_port()}/0") as nowhere:
        assert nowhere.run("r").current() is None


async def test_the_asynchronous_twin_reads_its_metadata(redis_server: RedisServer, environment: EnvironmentId) -> None:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("t", id="r")
        for number in range(3):
            await run.append("log", number)
        assert await run.current() == {"log": [0, 1, 2]}
        assert await run.get("log") == [0, 1, 2]
        assert await run.get("none", 1) == 1
