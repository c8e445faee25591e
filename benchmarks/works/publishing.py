"""How many changes one Redis takes from many publishers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis import Redis

from benchmarks.goals import Goal
from benchmarks.processes import Remote, running_redis
from benchmarks.redis_load import Kind, RedisLoad
from benchmarks.targets import ENVIRONMENT
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.targets import Target
    from benchmarks.work import Plan

#: Processes that send, and runs of each.
LOADS: Final = 2
FULL, SHORT = 5_000, 200
#: What a run's publishers say in its life, in this order: mostly progress.
LIFE: Final = (Kind.CREATE, Kind.START, *[Kind.SET] * 4, Kind.INCREMENT, Kind.COMPLETE)
GOAL_PER_SECOND: Final = 40_000
#: What the script gives Redis to do, as its statistics name it.
GIVEN: Final = (
    *("hget", "hmget", "hgetall", "hset", "hdel", "hincrby", "hexists", "hkeys"),
    *("zadd", "zrem", "publish", "pexpire", "pttl", "time", "smembers", "zrangebyscore", "exists", "del"),
)
#: Redis was the limit when it was so busy.
BUSY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Taken:
    """What Redis took of one kind."""

    kind: str
    changes: int
    seconds: float
    #: Processor time of Redis, with all that is around the script: reading, parsing, answering.
    redis_seconds: float

    @property
    def per_second(self) -> float:
        return self.changes / self.seconds

    @property
    def microseconds(self) -> float:
        return self.redis_seconds / self.changes * 1e6


@dataclass(frozen=True, slots=True)
class Stored:
    """What Redis took, as fast as it could, of changes of runs with three tags, a batch and a task."""

    runs: int
    #: Whether a command had several changes.
    together: bool
    per_second: float
    #: Redis's own processor time for a change, and the share of its core that it used.
    redis_us: float
    redis_cpu: float
    taken: tuple[Taken, ...]
    #: The ceiling: PUBLISH of as much to one channel, which keeps nothing.
    published: Taken
    #: Of the time that Redis spent in the script, the share of each command that the script gave. The rest is Lua
    #: itself, and the way into such a command and back.
    shares: dict[str, float]

    def problems(self) -> list[str]:
        return []  # what Redis does not apply makes the measurement fail

    def doubts(self) -> list[str]:
        return [] if self.redis_cpu > BUSY else [f"Redis was only {self.redis_cpu:.0%} busy; it may take more"]

    def numbers(self) -> list[Number]:
        ceiling = self.published
        return [
            Number("changes per second, of a run's whole life", self.per_second, Better.HIGHER),
            Number("Redis's own time for a change, µs", self.redis_us, Better.LOWER),
            *(Number(f"{taken.kind}: per second", taken.per_second, Better.HIGHER) for taken in self.taken),
            *(Number(f"{taken.kind}: Redis's own time, µs", taken.microseconds, Better.LOWER) for taken in self.taken),
            *(Number(f"of the script's time in {name}, %", share * 100) for name, share in self.shares.items()),
            Number("a PUBLISH that keeps nothing (the ceiling): per second", ceiling.per_second),
            Number("a PUBLISH that keeps nothing (the ceiling): Redis's own time, µs", ceiling.microseconds),
        ]

    def goals(self) -> list[Goal]:
        if not self.together or self.runs < LOADS * FULL:
            return []
        return [Goal("publishing: changes per second into one Redis", GOAL_PER_SECOND, self.per_second, Better.HIGHER)]


def cases(plan: Plan) -> Iterator[Case]:
    runs = SHORT if plan.short else FULL
    for together in (True,) if plan.short else (True, False):
        how = "many in a command, as publishers send what waits" if together else "each a command of its own"
        yield Case(
            work="publishing",
            title=f"All changes of {LOADS * runs:,} runs, as fast as Redis takes them, {how}",
            measure=partial(_measure, runs=runs, together=together),
        )


def _measure(bench: Bench, target: Target, *, runs: int, together: bool) -> Stored:
    with contextlib.ExitStack() as stack:
        # No server runs, so Redis may have its core; and a Redis of its own is not left full of runs.
        server, _ = stack.enter_context(running_redis(bench.cores.server))
        redis = stack.enter_context(Redis(port=server.port))
        loads = [stack.enter_context(Remote(partial(RedisLoad, number), bench.cores.others)) for number in range(LOADS)]
        for load in loads:
            load.call(RedisLoad.connect, server.port, ENVIRONMENT)
        taken = [_take(redis, loads, kind, runs, value, together=together) for value, kind in enumerate(LIFE)]
        shares = _shares(redis)
        published = _take(redis, loads, Kind.PUBLISH, runs, 0, together=False)
    changes, seconds = sum(part.changes for part in taken), sum(part.seconds for part in taken)
    redis_seconds = sum(part.redis_seconds for part in taken)
    return Stored(
        runs=LOADS * runs,
        together=together,
        per_second=changes / seconds,
        redis_us=redis_seconds / changes * 1e6,
        redis_cpu=redis_seconds / seconds,
        taken=tuple(_together(taken, kind) for kind in dict.fromkeys(LIFE)),
        published=published,
        shares=shares,
    )


def _take(
    redis: Redis, loads: Sequence[Remote[RedisLoad]], kind: Kind, runs: int, value: int, *, together: bool
) -> Taken:
    """A change of that kind of every run."""
    for load in loads:
        load.call(RedisLoad.prepare, kind, runs, value, together=together)
    before = _cpu_seconds(redis)
    answers = [load.start(RedisLoad.send) for load in loads]
    sent = [answer.result() for answer in answers]
    used = _cpu_seconds(redis) - before
    seconds = (max(part.ended_at for part in sent) - min(part.began_at for part in sent)) / 1e9
    return Taken(kind, sum(part.changes for part in sent), seconds, used)


def _cpu_seconds(redis: Redis) -> float:
    """As Redis counts it itself: finer than what the system tells of a process."""
    used: dict[str, Any] = redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def _shares(redis: Redis) -> dict[str, float]:
    """Where the script spends its time, by Redis's own clock: the commands that take the most, then the others."""
    stats: dict[str, Any] = redis.info("commandstats")
    spent = {name.removeprefix("cmdstat_"): each["usec"] for name, each in stats.items()}
    whole = spent.get("evalsha", 0)
    given = sorted(((spent[name], name) for name in GIVEN if name in spent), reverse=True)
    return {name.upper(): used / whole for used, name in given} if whole else {}


def _together(taken: Sequence[Taken], kind: Kind) -> Taken:
    parts = [part for part in taken if part.kind == kind]
    return Taken(
        kind,
        sum(part.changes for part in parts),
        sum(part.seconds for part in parts),
        sum(part.redis_seconds for part in parts),
    )
