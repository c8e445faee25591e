"""Streams and the log, as a job writes them."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits, Outcome
from gateway.codec import decode_json
from gateway.errors import BadChange, BadFeed, TooLarge
from gateway.feeds import EnvironmentId
from gateway.publisher import AsyncPublisher, Publisher, RunLogHandler, run_process
from gateway.publisher.outbox import MAX_CHUNK_BYTES
from gateway.store.redis_keys import stream_key
from tests.gateway.publisher.waiting import BlackHole, until
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from pathlib import Path


def chunks(stored: Changing, run: str, key: str) -> list[Any]:
    """What is in a stream, in order; each index is checked."""
    client: Any = stored.client
    # Beside the chunk under its index stands when it came.
    entries = [next(iter(fields.items())) for _, fields in client.xrange(stream_key(stored.environment, run, key))]
    assert [int(index) for index, _ in entries] == list(range(len(entries)))
    return [decode_json(text) for _, text in entries]


def lines(stored: Changing, run: str) -> list[tuple[str, str]]:
    return [(line["level"], line["message"]) for line in chunks(stored, run, "log")]


def test_what_is_written_is_there_when_the_run_ends(publisher: Publisher, stored: Changing) -> None:
    """Chunks go before the status that is said after them, whatever waits still."""
    run = publisher.create("t")
    stream = run.stream("llm")
    values = [{"token": number} for number in range(500)]

    assert stream.write(values[0]) is Outcome.APPLIED
    assert stream.write(values[1]) is Outcome.DEFERRED
    stream.write_all(values[2:])
    run.complete()

    assert chunks(stored, run.id, "llm") == values
    assert stored.row(run.id)["realtimeStreams"] == ["llm"]


def test_what_waits_is_sent_by_itself(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.stream("a").write(1)
    run.stream("a").write(2)
    run.stream("b").write(3)

    until(lambda: len(chunks(stored, run.id, "a")) == 2 and chunks(stored, run.id, "b"))

    assert chunks(stored, run.id, "a") == [1, 2]
    assert chunks(stored, run.id, "b") == [3]


def test_threads_keep_their_order(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")

    def write(name: str) -> None:
        stream = run.stream("all")
        for number in range(200):
            stream.write([name, number])

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publisher.flush()

    written = chunks(stored, run.id, "all")
    for name in "abcd":
        assert [number for who, number in written if who == name] == list(range(200))


def test_a_child_writes_under_its_own_name(publisher: Publisher, stored: Changing) -> None:
    """After a fork both go on, and neither's chunks are taken for the other's."""
    run = publisher.create("t")
    run.stream("s").write("parent 0")
    child = os.fork()
    if child == 0:
        run.stream("s").write("child")
        publisher.flush()
        os._exit(0)
    run.stream("s").write("parent 1")
    os.waitpid(child, 0)
    publisher.flush()

    assert sorted(chunks(stored, run.id, "s")) == ["child", "parent 0", "parent 1"]


def test_what_can_t_be_a_chunk_is_told_at_once(publisher: Publisher) -> None:
    run = publisher.create("t")
    with pytest.raises(BadChange, match="a chunk can't be written as JSON"):
        run.stream("s").write(object())
    with pytest.raises(BadFeed, match="stream id"):
        run.stream("a,b")
    with pytest.raises(BadChange, match="level is one of"):
        run.log("hello", level="loud")
    with pytest.raises(BadChange, match="message is text"):
        run.log(7)  # type: ignore[arg-type]


def test_a_chunk_over_its_limit(redis_server: RedisServer, environment: EnvironmentId) -> None:
    with Publisher(redis_server.url, environment=environment, limits=Limits(chunk_bytes=10)) as publisher:
        run = publisher.create("t")
        with pytest.raises(TooLarge, match="a chunk is 12 bytes, the limit is 10"):
            run.stream("s").write("x" * 10)


def test_chunks_of_a_run_that_nobody_created(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """They are dropped, counted, and said; the job goes on."""
    publisher.run("run_none").stream("s").write(1)
    publisher.flush()

    assert publisher.statistics.dropped == {"missing": 1}
    assert "no such run" in caplog.text


def test_what_redis_did_not_answer_is_written_once(tmp_path: Path) -> None:
    """Chunks are kept while Redis is away, in order, and none comes twice."""
    with running_server(tmp_path, binaries()["valkey"]) as server, Publisher(server.url) as publisher:
        run = publisher.create("t")
        stream = run.stream("s")
        stream.write(0)
        server.stop()
        for number in range(1, 50):
            assert stream.write(number) is Outcome.DEFERRED
        run.complete()
        assert publisher.statistics.unsent == 50
        server.start()
        assert publisher.flush(20)
        with server.client() as client:
            stored = Changing(client, EnvironmentId("default"))
            assert chunks(stored, run.id, "s") == list(range(50))
            assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"


def test_a_run_that_was_created_while_redis_was_away(tmp_path: Path) -> None:
    with running_server(tmp_path, binaries()["valkey"]) as server, Publisher(server.url) as publisher:
        publisher.create("t", id="warm")
        server.stop()
        run = publisher.create("t")
        run.stream("s").write("early")
        server.start()
        assert publisher.flush(20)
        with server.client() as client:
            assert chunks(Changing(client, EnvironmentId("default")), run.id, "s") == ["early"]


def test_what_is_kept_has_a_bound() -> None:
    """A job that writes on while Redis is away loses the newest chunks, counted, and no time."""
    with BlackHole() as hole:
        publisher = Publisher(hole.url)
        stream = publisher.run("r").stream("s")
        text = "x" * 100_000
        for _ in range(200):
            stream.write(text)
        statistics = publisher.statistics
        publisher.close(0)

    assert statistics.dropped["chunks"] >= 200 - MAX_CHUNK_BYTES // len(text)
    assert 100 < statistics.unsent <= MAX_CHUNK_BYTES // len(text)


async def test_the_asynchronous_twin(redis_server: RedisServer, environment: EnvironmentId, stored: Changing) -> None:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("t")
        stream = run.stream("llm")
        for number in range(300):
            await stream.write(number)
        await run.log("done", level="warning", rows=3)
        await run.complete()

    assert chunks(stored, run.id, "llm") == list(range(300))
    (line,) = chunks(stored, run.id, "log")
    assert (line["level"], line["message"], line["rows"]) == ("warning", "done", 3)


async def test_writers_of_one_loop_keep_their_order(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    async with AsyncPublisher(redis_server.url, environment=environment) as publisher:
        run = await publisher.create("t")

        async def write(name: str) -> None:
            for number in range(100):
                await run.stream("s").write([name, number])
                await asyncio.sleep(0)

        await asyncio.gather(*map(write, "abc"))

    written = chunks(stored, run.id, "s")
    assert [number for who, number in written if who == "b"] == list(range(100))


def test_the_log(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.log("began")
    run.log("half a pair: \ud800", level="error", step={"n": 1})
    run.complete()

    first, second = chunks(stored, run.id, "log")
    assert (first["level"], first["message"]) == ("info", "began")
    assert first["time"].endswith("Z")
    assert (second["level"], second["step"]) == ("error", {"n": 1})


def test_records_of_logging_become_lines(publisher: Publisher, stored: Changing) -> None:
    """Those of the run that the code belongs to, with their time and traceback; what belongs to none is ignored."""
    logger = logging.getLogger("shop.export")
    logger.setLevel(logging.DEBUG)
    handler = RunLogHandler()
    logger.addHandler(handler)
    try:
        logger.warning("nobody's")
        with publisher.running("t", id="r"):
            logger.info("%d rows", 3)
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                logger.exception("bad")
            logging.getLogger("runcast.publisher").warning("ours is not written")
    finally:
        logger.removeHandler(handler)

    (told, raised) = chunks(stored, "r", "log")
    assert (told["level"], told["message"], told["logger"]) == ("info", "3 rows", "shop.export")
    assert raised["level"] == "error"
    assert "ZeroDivisionError: division by zero" in raised["message"]


def test_the_lines_of_a_process(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    script = "import sys; print('out', 'ü', sep='\\n'); print('err', file=sys.stderr); print('x' * 70000)"

    done = run_process(run, [sys.executable, "-c", script])
    run.complete()

    assert done.returncode == 0
    written = chunks(stored, run.id, "log")
    assert [line["message"] for line in written if line["source"] == "stdout"][:2] == ["out", "ü"]
    (long,) = [line["message"] for line in written if line["message"].startswith("x")]
    assert long.endswith("(cut)")
    assert ("error", "err") in lines(stored, run.id)


def test_a_process_that_fails_or_hangs(publisher: Publisher) -> None:
    run = publisher.create("t")
    with pytest.raises(subprocess.CalledProcessError):
        run_process(run, [sys.executable, "-c", "raise SystemExit(3)"], check=True)
    with pytest.raises(subprocess.TimeoutExpired):
        run_process(run, [sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.5)
    with pytest.raises(FileNotFoundError):
        run_process(run, ["/no/such/command"])
