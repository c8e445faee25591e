"""How many changes one publisher process brings into Redis, beside a bare `redis.publish` that keeps nothing."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis

from benchmarks.targets import ENVIRONMENT
from gateway.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable

#: About as long as a change of progress is when it is published.
MESSAGE: Final = b"x" * 220
CHANNEL: Final = "bench"
PIPELINED: Final = 100


@dataclass(frozen=True, slots=True)
class Published:
    """What one process did, one thing after the other. Rates are per second."""

    #: `redis.publish`, one round trip each, and many of them in one round trip.
    bare: float
    pipelined: float
    #: `create`, `start` and `complete`: each a change that is stored, indexed and published when the call returns.
    statuses: float
    #: Calls of `progress` for one run, and how many of them were sent: the rest is coalesced on purpose.
    progress_calls: float
    progress_sent: float
    #: What Redis itself needs for one of each, as it counts: microseconds.
    redis_per_publish_us: float
    redis_per_change_us: float
    dropped: int

    def problems(self) -> list[str]:
        found = []
        if not all((self.bare, self.pipelined, self.statuses, self.progress_sent)):
            found.append("nothing was published")
        if self.dropped:
            found.append(f"the publisher dropped {self.dropped} changes")
        return found


class Publishing:
    """The publisher process. Lives in a process of its own (`processes.Remote`)."""

    async def measure(self, redis_url: str, seconds: float) -> Published:
        """Do each thing for *seconds*."""
        with redis.Redis.from_url(redis_url) as client, Publisher(redis_url, environment=ENVIRONMENT) as publisher:
            client.config_resetstat()
            bare = _rate(lambda: client.publish(CHANNEL, MESSAGE), seconds)
            pipelined = _rate(lambda: _publish_many(client), seconds) * PIPELINED
            per_publish = _microseconds(client, "publish")
            client.config_resetstat()
            statuses = _rate(lambda: _report_run(publisher), seconds) * 3
            per_change = _microseconds(client, "evalsha")
            calls, sent = _progress(publisher, seconds)
            return Published(
                bare=bare,
                pipelined=pipelined,
                statuses=statuses,
                progress_calls=calls,
                progress_sent=sent,
                redis_per_publish_us=per_publish,
                redis_per_change_us=per_change,
                dropped=sum(publisher.statistics.dropped.values()),
            )


def _rate(action: Callable[[], object], seconds: float) -> float:
    """How often *action* can be done in a second, one after the other."""
    action()  # the first one connects
    began = time.perf_counter()
    for count in itertools.count(1):
        action()
        if (elapsed := time.perf_counter() - began) >= seconds:
            return count / elapsed
    raise AssertionError("the count has no end")


def _publish_many(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(PIPELINED):
            pipeline.publish(CHANNEL, MESSAGE)
        pipeline.execute()


def _report_run(publisher: Publisher) -> None:
    run = publisher.create("benchmark")
    run.start()
    run.complete()


def _progress(publisher: Publisher, seconds: float) -> tuple[float, float]:
    run = publisher.create("benchmark")
    run.start()
    before = publisher.statistics.sent
    done = itertools.count()
    calls = _rate(lambda: run.progress(next(done), 1_000_000_000), seconds)
    publisher.flush()
    return calls, (publisher.statistics.sent - before) / seconds


def _microseconds(client: redis.Redis, command: str) -> float:
    statistics: dict[str, Any] = client.info("commandstats")
    return float(statistics[f"cmdstat_{command}"]["usec_per_call"])
