"""All viewers come back at once, each with a token of its own, to a feed of many runs: how long until all know all?"""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis

from benchmarks.arrivals import EACH, LAST, Arrivals, Arrived
from benchmarks.goals import Goal
from benchmarks.machine import CoreClock
from benchmarks.processes import Remote
from benchmarks.targets import ENVIRONMENT, Transport
from benchmarks.tokens import with_tokens
from benchmarks.work import Better, Case, Number
from gateway.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

#: Viewers and runs.
FULL: Final = 10_000, 1_000
SHORT: Final = 200, 50
#: Those who are not told everything by then never will be.
PATIENCE_SECONDS: Final = 60.0
#: What the issue asks for. A reading of so many runs is a dozen calls, as they are read in pages.
GOAL_SECONDS: Final = 10.0
GOAL_CALLS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm(Arrived):
    """What became of it."""

    viewers: int
    runs: int
    #: Calls of scripts that Redis saw; two or three a second are the gateway's own watch.
    redis_calls: int
    #: The server's memory before, and the most that it was.
    before_bytes: int
    peak_bytes: int
    server_seconds: float
    server_cpu: float
    generator_core: float | None

    def problems(self) -> list[str]:
        found = []
        if self.refused:
            found.append(f"{self.refused} of {self.viewers} viewers were refused: {self.first_refusal[:200]}")
        if self.told + self.refused < self.viewers:
            found.append(
                f"{self.viewers - self.told - self.refused} of {self.viewers} viewers were not told everything"
            )
        if not self.fewest_runs == self.most_runs == self.runs:
            found.append(f"viewers were told {self.fewest_runs} to {self.most_runs} runs, and there are {self.runs}")
        if not self.same_length:
            found.append("viewers got snapshots of different lengths")
        return found

    def doubts(self) -> list[str]:
        busy = max(self.generator_core or 0.0, self.generator_cpu)
        return [f"the core of the viewers was {busy:.0%} busy; the gateway may do better"] if busy > 0.9 else []

    def numbers(self) -> list[Number]:
        return [
            Number("the last viewer was told everything after, s", self.last_seconds, Better.LOWER),
            Number("half of them after, s", self.median_seconds, Better.LOWER),
            Number("script calls that Redis saw", self.redis_calls, Better.LOWER),
            Number("the server's processor time, s", self.server_seconds, Better.LOWER),
            Number("memory before, MiB", self.before_bytes / 1024**2),
            Number("memory at its peak, MiB", self.peak_bytes / 1024**2, Better.LOWER),
            Number("sent to all of them, MiB", self.received_bytes / 1024**2),
            Number("refused", self.refused),
        ]

    def goals(self) -> list[Goal]:
        if (self.viewers, self.runs) != FULL:
            return []
        return [
            Goal("storm: the last viewer is told after, s", GOAL_SECONDS, self.last_seconds),
            Goal("storm: reads of Redis", GOAL_CALLS, self.redis_calls),
            Goal("storm: viewers refused", 0, self.refused),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    viewers, runs = SHORT if plan.short else FULL
    for transport in plan.transports or (tuple(Transport) if not plan.short else (Transport.SSE,)):
        yield Case(
            work="storm",
            title=f"{viewers:,} viewers come at once to a tag of {runs:,} runs, {transport}",
            measure=partial(_measure, transport=transport, viewers=viewers, runs=runs),
            transport=transport,
        )


def _measure(bench: Bench, target: Target, *, transport: Transport, viewers: int, runs: int) -> Storm:
    tag = f"storm-{secrets.token_hex(4)}"
    openings = with_tokens(target, [target.opening(transport, f"tag:{tag}")] * viewers, f"read:tags:{tag}")
    with (
        bench.serving(target) as server,
        redis.Redis.from_url(bench.redis_url) as client,
        Remote(Arrivals, bench.cores.others) as arrivals,
    ):
        _create(bench.redis_url, tag, runs)
        before, calls, cpu = server.memory_bytes(), _script_calls(client), server.cpu_seconds()
        core = CoreClock(bench.cores.others)
        arrived = arrivals.call(Arrivals.arrive, server.port, transport, openings, PATIENCE_SECONDS)
        busy, used = core.busy(), server.cpu_seconds() - cpu
        calls = _script_calls(client) - calls
        peak = server.peak_memory_bytes()
    return Storm(
        viewers=viewers,
        runs=runs,
        redis_calls=calls,
        before_bytes=before,
        peak_bytes=peak,
        server_seconds=used,
        server_cpu=used / arrived.last_seconds if arrived.last_seconds else 0.0,
        generator_core=busy,
        **dataclasses.asdict(arrived),
    )


def _create(redis_url: str, tag: str, runs: int) -> None:
    """Runs as they are, of one tag; `Arrivals` finds the words."""
    with Publisher(redis_url, environment=ENVIRONMENT) as publisher:
        for number in range(runs):
            words = {"word": EACH.decode(), **({"last": LAST.decode()} if number == runs - 1 else {})}
            run = publisher.create("benchmark", tags=(tag,), payload={"image": "cat.png", "width": 640}, metadata=words)
            if number < runs - 1:
                run.start()  # the last one is the last that changed: nothing may follow


def _script_calls(client: redis.Redis) -> int:
    statistics: dict[str, Any] = client.info("commandstats")
    return sum(
        entry["calls"] for name, entry in statistics.items() if name.startswith(("cmdstat_eval", "cmdstat_fcall"))
    )
