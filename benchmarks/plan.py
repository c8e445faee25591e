"""How much is measured, and going through it."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from benchmarks import report
from benchmarks.processes import BenchmarkFailed
from benchmarks.publishing import Publishing
from benchmarks.targets import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.measure import Bench
    from benchmarks.polling import PollBench
    from benchmarks.processes import Remote
    from benchmarks.report import Section
    from benchmarks.targets import Target

SCENARIOS: Final = ("deliveries", "polls", "ticks", "memory", "restart", "publishing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    viewers: int = 1000
    rates: tuple[int, ...] = (10, 100, 1000)
    #: The same for viewers who poll. Each answer costs a request, so eight changes are eight thousand answers.
    poll_rates: tuple[int, ...] = (8, 100)
    seconds: float = 5.0
    payload_bytes: int = 100_000
    ticks: int = 30
    idle_viewers: int = 5000
    memory_transports: tuple[Transport, ...] = tuple(Transport)
    publishing_seconds: float = 2.0
    #: The whole run ends after this, whatever hangs.
    bound_seconds: int = 600


#: Enough to see that everything works, and no more: its numbers mean little.
SHORT: Final = Plan(
    viewers=50,
    rates=(100,),
    poll_rates=(20,),
    seconds=0.5,
    ticks=5,
    idle_viewers=200,
    memory_transports=(Transport.WEBSOCKET,),
    publishing_seconds=0.2,
    bound_seconds=100,  # a quarter of it is usual; machines that run tests have more to do
)


class Result(Protocol):
    """What a scenario gave. A dataclass."""

    def problems(self) -> list[str]:
        """What makes it nonsense, in words."""


R = TypeVar("R", bound=Result)


class Run:
    """Goes through scenarios, each on both gateways in turn; keeps what they gave, and goes on when one fails."""

    def __init__(
        self,
        plan: Plan,
        bench: Bench,
        poll_bench: PollBench,
        publisher: Remote[Publishing],
        redis_url: str,
        targets: tuple[Target, Target],
    ) -> None:
        self.sections: list[Section] = []
        self.results: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._plan, self._bench, self._poll_bench, self._targets = plan, bench, poll_bench, targets
        self._publisher, self._redis_url = publisher, redis_url

    def go(self, scenarios: Iterable[str]) -> None:
        for name in scenarios:
            getattr(self, f"_measure_{name}")()

    def _measure_deliveries(self) -> None:
        plan = self._plan
        for transport in Transport:
            for rate in plan.rates:
                title = f"{plan.viewers:,} viewers of one run, {rate:,} changes per second, {transport}"
                measure = partial(
                    self._bench.deliveries, transport=transport, viewers=plan.viewers, rate=rate, seconds=plan.seconds
                )
                self.sections.append(report.deliveries_section(title, *self._on_both(title, measure)))

    def _measure_polls(self) -> None:
        plan = self._plan
        for rate in plan.poll_rates:
            title = f"{plan.viewers:,} viewers of one tag, {rate:,} changes per second, the official client's long poll"
            measure = partial(self._poll_bench.polls, viewers=plan.viewers, rate=rate, seconds=plan.seconds)
            self.sections.append(report.deliveries_section(title, *self._on_both(title, measure)))

    def _measure_ticks(self) -> None:
        plan = self._plan
        title = f"Metadata of a run with a payload of {plan.payload_bytes:,} bytes, the official client's long poll"
        ours = self._targets[1]
        measure = partial(self._poll_bench.ticks, ours, payload_bytes=plan.payload_bytes, ticks=plan.ticks)
        result = self._try(title, ours.name, measure)
        if result is not None:
            self.sections.append(report.ticks_section(title, result))

    def _measure_memory(self) -> None:
        for transport in self._plan.memory_transports:
            title = f"{self._plan.idle_viewers:,} idle viewers, {transport}"
            measure = partial(self._bench.memory, transport=transport, viewers=self._plan.idle_viewers)
            self.sections.append(report.memory_section(title, *self._on_both(title, measure)))

    def _measure_restart(self) -> None:
        for transport in Transport:
            title = f"{self._plan.idle_viewers:,} viewers come back after a restart, {transport}"
            measure = partial(self._bench.restart, transport=transport, viewers=self._plan.idle_viewers)
            self.sections.append(report.restart_section(title, *self._on_both(title, measure)))

    def _measure_publishing(self) -> None:
        title = "Changes into Redis from one publisher process"
        result = self._try(
            title,
            "publisher",
            lambda: self._publisher.call(Publishing.measure, self._redis_url, self._plan.publishing_seconds),
        )
        if result is not None:
            self.sections.append(report.publishing_section(title, result))

    def _on_both(self, title: str, measure: Callable[[Target], R]) -> tuple[R | None, R | None]:
        theirs, ours = self._targets
        return (
            self._try(title, theirs.name, partial(measure, theirs)),
            self._try(title, ours.name, partial(measure, ours)),
        )

    def _try(self, title: str, name: str, measure: Callable[[], R]) -> R | None:
        print(f"{title}: {name} …", file=sys.stderr, flush=True)
        try:
            result = measure()
        except BenchmarkFailed as error:
            self.problems.append(f"{title}: {name}: {error}")
            return None
        found = [*result.problems(), *self._bench.complaints]
        self._bench.complaints.clear()
        self.problems += [f"{title}: {name}: {problem}" for problem in found]
        self.results.append({"scenario": title, "of": name, **_as_json(result)})
        return result


def _as_json(result: Result) -> dict[str, Any]:
    return dataclasses.asdict(result)  # type: ignore[call-overload, no-any-return]
