"""Metadata operations as a job says them: the table of section 5.2, and what they cost when they do nothing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gateway.changes import Limits, Operation, Operator, Outcome, change
from gateway.codec import encode_json
from gateway.publisher import Publisher
from gateway.store.redis_keys import Retention
from gateway.store.run_writer import RunWriter
from tests.gateway.test_metadata import TABLE

if TYPE_CHECKING:
    import pytest

    from gateway.feeds import EnvironmentId
    from gateway.publisher import Run
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


def say(run: Run, operator: Operator, key: str, value: Any) -> Outcome:
    """The call that a job makes for an operation."""
    match operator:
        case Operator.UPDATE:
            return run.update(value)
        case Operator.DELETE:
            return run.delete(key)
        case Operator.INCREMENT:
            return run.increment(key, value)
    said: Outcome = getattr(run, operator)(key, value)
    return said


def text(document: dict[str, Any]) -> bytes:
    return encode_json(dict(sorted(document.items())), what="a document")


def test_every_row_of_the_table(publisher: Publisher, stored: Changing, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever asks for nothing is told so."""
    monkeypatch.setattr("gateway.publisher.outbox.MANY_RUNS", len(TABLE) + 1)  # so that each is told its outcome
    for number, (name, before, operation, after) in enumerate(TABLE):
        run = publisher.create("t", id=f"r{number}", metadata=before)
        outcome = say(run, *operation)
        assert text(stored.metadata(run.id)) == text(after), name
        assert outcome is (Outcome.UNCHANGED if text(before) == text(after) else Outcome.APPLIED), name
        assert run.current() == stored.metadata(run.id)


def test_operations_that_do_nothing_are_told_to_nobody(publisher: Publisher, stored: Changing) -> None:
    """Nothing is written that anybody is shown, and no message goes out."""
    before: dict[str, Any] = {"a": {"b": None}, "list": [1], "n": 1}
    run = publisher.create("t", metadata=before)
    row = stored.row(run.id)
    sequence = stored.stored(run.id)["_sequence"]
    with stored.listen() as listening:
        run.set("$.none.b", 1)
        run.append("$.a.b", 1)
        run.append("$.none.b", 1)
        run.remove("list", 2)
        run.remove("none", 2)
        run.remove("n", 1)
        run.increment("$.none.b", 1)
        run.increment("n", 0)
        run.delete("none")
        run.delete("$.a.b")
        run.set("__proto__", 1)
        run.set("$.a.constructor", 1)
        run.set("$.", 1)
        run.set("n", 1)
        publisher.flush()
        assert listening.heard() == []
    assert (stored.row(run.id), stored.stored(run.id)["_sequence"]) == (row, sequence)
    assert stored.metadata(run.id) == before


async def test_a_job_and_the_gateway_count_together(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """Whoever writes at the same moment, over whichever way, with a key or with a path: nothing is lost."""
    with Publisher(redis_server.url, environment=environment) as publisher:
        run = publisher.create("t", id="r", metadata={"n": 0, "deep": {"n": 0}, "log": []})
        writer = RunWriter(redis_server.url, Retention(), Limits())

        def job() -> None:
            for step in range(50):
                run.increment("n")
                run.increment("$.deep.n", 2)
                run.append("log", step)
                publisher.flush()

        async def client() -> None:
            for step in range(50):
                operations = [
                    Operation(Operator.INCREMENT, "n", 1),
                    Operation(Operator.INCREMENT, "$.deep.n", 2),
                    Operation(Operator.APPEND, "log", step),
                ]
                await writer.apply(environment, change("r", operations=operations))

        with ThreadPoolExecutor(1) as pool:
            await asyncio.gather(asyncio.get_running_loop().run_in_executor(pool, job), client(), client())
        await writer.close()
        found = stored.metadata("r")
        assert (found["n"], found["deep"]["n"]) == (150, 300)
        assert sorted(found["log"]) == sorted(list(range(50)) * 3)


def test_what_is_said_of_relatives_is_collected_and_in_order(publisher: Publisher, stored: Changing) -> None:
    """Few messages, the last of which tells the last state; a relative that is not there hurts nobody."""
    publisher.create("t", id="root")
    publisher.create("t", id="parent", parent="root")
    child = publisher.create("t", id="child", parent="parent", root="root")
    with stored.listen() as listening:
        for step in range(200):
            child.parent.set("step", step)
            child.parent.append("log", step)
            child.root.increment("steps")
        publisher.flush()
        told = [event for feed, event in listening.heard() if feed in ("run:parent", "run:root")]
    assert len(told) < 40
    assert stored.metadata("parent") == {"step": 199, "log": list(range(200))}
    assert stored.metadata("root") == {"steps": 200}
    orphan = publisher.create("t", id="orphan", parent="gone")
    orphan.parent.set("a", 1)
    assert orphan.complete() is Outcome.APPLIED
    assert publisher.statistics.dropped == {"missing": 1}


def test_metadata_that_comes_after_the_end_is_still_taken(publisher: Publisher, stored: Changing) -> None:
    """A job's last words may be late; HTTP clients of the protocol are refused instead."""
    run = publisher.create("t", metadata={"n": 1})
    run.complete()
    assert run.increment("n") is Outcome.APPLIED
    assert stored.metadata(run.id) == {"n": 2}
    assert stored.row(run.id)["status"] == "COMPLETED_SUCCESSFULLY"
