"""Streams and logs of a job that is interrupted, cancelled, or not answered: once, in order, and losses counted."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.changes import Limits, Operation, Operator, change
from gateway.publisher import AsyncPublisher, Publisher, RunLogHandler, run_process
from gateway.publisher.mailing import turn_of
from gateway.publisher.outbox import MAX_CHUNK_BYTES, Outbox
from gateway.store.redis_keys import stream_key, stream_state_key
from tests.gateway.publisher.test_streams import chunks
from tests.gateway.publisher.waiting import BlackHole, LosingProxy, until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from gateway.publisher.chunks import Batch
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_done_and_not_answered_is_not_done_twice(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing, seed: int
) -> None:
    """Whatever answer is lost: of an append, of the row that names the stream, of the status behind them."""
    dice = random.Random(seed)
    with (
        LosingProxy(redis_server.port, lambda: dice.random() < 0.2) as proxy,
        Publisher(proxy.url, environment=environment) as publisher,
    ):
        run = publisher.create("t")
        for number in range(400):
            run.stream("a").write(number)
            if number % 40 == 0:
                run.stream("b").write_all([number, "x" * 300_000])
                run.increment("n", 1)
        run.complete()
        assert publisher.flush(30)
        assert proxy.lost
        assert publisher.statistics.unsent == 0
        assert not publisher.statistics.dropped

    assert chunks(stored, run.id, "a") == list(range(400))
    assert [value for value in chunks(stored, run.id, "b") if isinstance(value, int)] == list(range(0, 400, 40))
    assert stored.metadata(run.id)["n"] == 10
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"


def test_what_a_signal_handler_logs_is_written(publisher: Publisher, stored: Changing) -> None:
    """It interrupts its thread in the middle of writing, and waits until that is done."""
    run = publisher.create("t")
    logger, ticks = logging.getLogger("shop.signals"), 0
    logger.setLevel(logging.INFO)
    handler = RunLogHandler(run)
    logger.addHandler(handler)

    def tick(*_: object) -> None:
        nonlocal ticks
        ticks += 1
        logger.info("tick %d", ticks)

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        written = 0
        while ticks < 100:
            written += 1
            run.stream("rows").write_all([written] * 50)
            logger.info("row %d", written)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        logger.removeHandler(handler)
    run.complete()
    publisher.flush()

    told = [line["message"] for line in chunks(stored, run.id, "log")]
    assert sorted(text for text in told if text.startswith("tick")) == sorted(f"tick {n + 1}" for n in range(ticks))
    assert [text for text in told if text.startswith("row")] == [f"row {n + 1}" for n in range(written)]
    assert chunks(stored, run.id, "rows") == [n + 1 for n in range(written) for _ in range(50)]
    assert not publisher.statistics.dropped


def test_what_is_dropped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with BlackHole() as hole:
        publisher = Publisher(hole.url)
        stream = publisher.run("r").stream("s")
        for _ in range(30):
            stream.write("x" * 900_000)
        dropped = publisher.statistics.dropped
        publisher.close(0)

    assert dropped["chunks"] > 0
    assert caplog.text.count("(chunks)") == 1


def test_more_than_is_kept_can_be_said_at_once(publisher: Publisher, stored: Changing) -> None:
    """The bound is for what waits; while Redis answers nothing has to."""
    run = publisher.create("t")
    text = "x" * 900_000

    run.stream("s").write_all([text] * (MAX_CHUNK_BYTES // len(text) + 3))
    publisher.flush()

    assert len(chunks(stored, run.id, "s")) == MAX_CHUNK_BYTES // len(text) + 3
    assert not publisher.statistics.dropped


def test_a_stream_that_can_t_be_written_does_not_take_the_status_with_it(
    publisher: Publisher, stored: Changing
) -> None:
    """Somebody put something else under its key, say."""
    run = publisher.create("t")
    stored.client.set(stream_key(stored.environment, run.id, "bad"), "text", ex=60)
    run.stream("good").write(0)
    run.stream("bad").write(1)
    run.stream("good").write(2)
    run.complete()

    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"
    assert chunks(stored, run.id, "good") == [0, 2]
    assert publisher.statistics.dropped == {"refused": 1}


def test_after_a_loss_a_writer_goes_on_under_one_other_name(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.stream("s").write("lost")
    stored.client.delete(stream_key(stored.environment, run.id, "s"), stream_state_key(stored.environment, run.id, "s"))
    for number in range(10):
        run.stream("s").write(number)
        publisher.flush()

    assert chunks(stored, run.id, "s") == list(range(10))
    writers: Any = stored.client.hget(stream_state_key(stored.environment, run.id, "s"), "writers")
    assert writers.count(";") <= 2


async def test_a_write_that_is_cancelled_before_its_turn_is_sent(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """By itself: nobody has to flush, or to write once more."""
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("t")
        turn = publisher._opened()._turns[turn_of(run.id)]
        async with turn:
            writing = asyncio.create_task(run.stream("s").write("here"))
            while not turn._waiters:
                await asyncio.sleep(0)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        async with asyncio.timeout(10):
            while not chunks(stored, run.id, "s"):
                await asyncio.sleep(0.005)

    assert chunks(stored, run.id, "s") == ["here"]


async def test_writes_that_are_cancelled_anywhere(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """What was being sent is sent again, and stored once; the order stays."""
    dice = random.Random(7)
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("t")
        for number in range(200):
            writing = asyncio.create_task(run.stream("s").write_all([number, number]))
            await asyncio.sleep(dice.uniform(0, 0.0006))
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        await publisher.flush()
        written = chunks(stored, run.id, "s")

    assert written == sorted(written)
    assert [written.count(number) for number in set(written)] == [2] * len(set(written))
    assert len(written) > 200


def test_a_process_whose_child_keeps_its_output_open(publisher: Publisher, stored: Changing, tmp_path: Path) -> None:
    """The call returns with the process; what the child writes later is a line still."""
    run = publisher.create("t")
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    done = run_process(run, ["sh", "-c", f"echo early; (read x < {gate}; echo late) & echo last"])

    assert done.returncode == 0
    assert any(thread.name == "runcast stdout" for thread in threading.enumerate())
    gate.write_text("go\n")
    until(lambda: len(chunks(stored, run.id, "log")) == 3)
    assert [line["message"] for line in chunks(stored, run.id, "log")] == ["early", "last", "late"]
    until(lambda: not any(thread.name == "runcast stdout" for thread in threading.enumerate()))


def test_lines_that_are_larger_than_a_chunk_may_be(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """They are cut; the process is not ended by a pipe that nobody reads."""
    script = r"import sys; sys.stdout.buffer.write(b'\0' * 5000 + b'\n' + b'\xff\n' * 3 + b'end')"
    with Publisher(redis_server.url, environment=environment, limits=Limits(chunk_bytes=400)) as publisher:
        run = publisher.create("t")
        assert run_process(run, [sys.executable, "-c", script]).returncode == 0
        run.complete()

    first, *rest = [line["message"] for line in chunks(stored, run.id, "log")]
    assert first.startswith("\0" * 50)
    assert first.endswith("(cut)")
    assert rest == ["\ufffd"] * 3 + ["end"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from("ab"), st.sampled_from("xy"), st.integers(1, 4)),
        st.tuples(st.just("status"), st.sampled_from("ab")),
        st.tuples(st.just("count"), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["answered", "lost", "unheard", "gave up"]), st.sampled_from("ab")),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(said=steps)
def test_whatever_is_kept_and_sent_again(said: list[tuple[Any, ...]]) -> None:
    """Each stream is whole and in order at the end, whatever was sent with what, and nothing is counted as kept."""
    outbox, known = Outbox(), defaultdict[str, int](int)
    stored: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
    written: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
    now = 0.0

    def arrive(run: str, batches: list[Batch]) -> None:
        for batch in batches:
            assert batch.first <= known[batch.writer], "a chunk was left out"
            stored[run, batch.stream] += batch.chunks[known[batch.writer] - batch.first :]
            known[batch.writer] = max(known[batch.writer], batch.first + len(batch.chunks))

    def send(run: str, how: str) -> bool:
        unsent = outbox.take(run, now, insist=True)
        if unsent is None:
            return False
        if how in ("answered", "lost"):
            arrive(run, unsent.batches)
        if how == "answered":
            outbox.sent()
        elif how == "gave up":
            outbox.put_back(unsent, now)
        else:
            outbox.failed(unsent, now)
        return True

    for number, (what, run, *words) in enumerate(said):
        now += 0.01
        match what:
            case "append":
                stream, count = words
                texts = [b"%d.%d" % (number, part) for part in range(count)]
                outbox.append(run, stream, list(texts), now)
                written[run, stream] += texts
            case "status":
                outbox.put(change(run, status="EXECUTING"), now)
            case "count":
                outbox.operate(run, Operation(Operator.INCREMENT, "n", 1), None, now)
            case _:
                send(run, what)
        held = [batch for entries in outbox._runs.values() for unsent in entries for batch in unsent.batches]
        assert outbox._chunk_bytes == sum(batch.bytes for batch in held)
    for run in "ab":
        while send(run, "answered"):
            pass

    assert stored == written
    assert outbox._chunk_bytes == outbox.statistics.unsent == 0
