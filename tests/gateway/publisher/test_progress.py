"""Metadata and progress: what is shown, what is kept for a moment, and what two writers say at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from gateway.publisher import Publisher, mailing
from gateway.publisher.outbox import INTERVAL_SECONDS, Outbox
from tests.gateway.publisher.test_publisher import statuses
from tests.gateway.publisher.waiting import until

if TYPE_CHECKING:
    import pytest

    from gateway.feeds import EnvironmentId
    from tests.gateway.store.changing import Changing
    from tests.redis_server import RedisServer


def test_progress_is_shown_with_its_percentage(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    run.progress(1, 3, "thumbnails")
    assert stored.metadata(run.id) == {"progress": {"current": 1, "total": 3, "percent": 33.33, "text": "thumbnails"}}
    run.progress(7)
    publisher.flush()
    assert stored.metadata(run.id)["progress"] == {"current": 7}
    run.progress(5, 0)
    publisher.flush()
    assert stored.metadata(run.id)["progress"]["percent"] == 100


def test_the_last_progress_always_arrives(publisher: Publisher, stored: Changing) -> None:
    """A thousand ticks cost a few changes, and the last one is there without anybody asking."""
    began, run = time.monotonic(), publisher.create("t")
    for tick in range(1000):
        run.progress(tick, 999)
    until(lambda: stored.metadata(run.id)["progress"]["current"] == 999)
    until(lambda: not publisher.statistics.unsent)
    statistics = publisher.statistics
    assert statistics.sent < 5 + (time.monotonic() - began) / INTERVAL_SECONDS
    assert statistics.sent + statistics.coalesced >= 1000


def test_what_waits_goes_with_the_status_as_one_change(
    publisher: Publisher, stored: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "Outbox", partial(Outbox, interval=60))  # its time is not up before the end
    run = publisher.create("t")
    run.progress(1, 2)
    publisher.flush()
    with stored.listen() as listening:
        run.progress(2, 2)
        run.append("log", "done")
        run.complete()
        (event,) = [event for feed, event in listening.heard() if feed == f"run:{run.id}"]
    assert event.columns["status"] == "COMPLETED_SUCCESSFULLY"
    assert event.metadata == {"progress": {"current": 2, "total": 2, "percent": 100}, "log": ["done"]}


def test_every_operation_does_what_it_says(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t", metadata={"gone": 1})
    run.set("set", {"deep": [1]})
    run.delete("gone")
    run.append("list", 1)
    run.append("list", 2)
    run.remove("list", 1)
    run.increment("n", 5)
    run.decrement("n", 2)
    run.set("$.set.deep.0", 9)
    publisher.flush()
    assert stored.metadata(run.id) == {"set": {"deep": [9]}, "list": [2], "n": 3}
    run.update({"only": []})
    publisher.flush()
    assert stored.metadata(run.id) == {"only": []}


def test_values_are_taken_as_they_are_when_said(publisher: Publisher, stored: Changing) -> None:
    run = publisher.create("t")
    items = [1]
    run.set("first", 1)
    run.set("items", items)
    items.append(2)
    publisher.flush()
    assert stored.metadata(run.id)["items"] == [1]


def test_parent_and_root_are_found(publisher: Publisher, stored: Changing) -> None:
    """By the handle, or by asking the row once; a run without is its own."""
    publisher.create("t", id="root")
    publisher.create("t", id="parent", parent="root", root="root")
    child = publisher.create("t", id="child", parent="parent", root="root")
    child.parent.increment("done")
    child.root.increment("done")
    publisher.run("child").parent.increment("done")
    publisher.run("child").root.increment("done")
    publisher.run("root").parent.increment("done")
    publisher.flush()
    assert stored.metadata("parent") == {"done": 2}
    assert stored.metadata("root") == {"done": 3}


def test_two_writers_do_not_lose_each_others(
    redis_server: RedisServer, environment: EnvironmentId, stored: Changing
) -> None:
    """Operations that take a value apart are computed again when somebody was faster."""
    publishers = [Publisher(redis_server.url, environment=environment) for _ in range(4)]
    publishers[0].create("t", id="r", metadata={"counts": {}, "list": list(range(200)), "n": 0})

    def write(index: int) -> None:
        run = publishers[index].run("r")
        for step in range(25):
            run.set(f"$.counts.{index}", step)
            run.remove("list", index * 25 + step)
            run.increment("n")
            publishers[index].flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for publisher in publishers:
        assert publisher.statistics.dropped == {}
        publisher.close()
    assert stored.metadata("r") == {
        "counts": {str(index): 24 for index in range(4)},
        "list": list(range(100, 200)),
        "n": 100,
    }


def test_threads_share_a_publisher(publisher: Publisher, stored: Changing) -> None:
    """Nothing is lost, and each run's statuses are in order."""

    def live(index: int) -> None:
        with publisher.running("t", id=f"run_{index}") as run:
            for tick in range(50):
                run.progress(tick)
                run.increment("ticks")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(live, range(64)))
    for index in range(64):
        assert statuses(stored, f"run_{index}") == ["PENDING", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
        assert stored.metadata(f"run_{index}") == {"progress": {"current": 49}, "ticks": 50}
    assert publisher.statistics.dropped == {}


def test_progress_costs_the_job_little(publisher: Publisher) -> None:
    """Amortised far below what anybody would notice; the bound is generous for slow machines."""
    run = publisher.create("t")
    run.progress(0)
    began = time.thread_time()
    for tick in range(20_000):
        run.progress(tick, 20_000)
    assert (time.thread_time() - began) / 20_000 < 100e-6
