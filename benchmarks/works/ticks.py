"""What a tick of metadata brings to a viewer of a run with a large payload, in the official client's long poll."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from benchmarks.polls import Feed, Pollers
from benchmarks.processes import Remote
from benchmarks.targets import ENVIRONMENT
from benchmarks.ticking import Ticker
from benchmarks.work import Better, Case, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.goals import Goal
    from benchmarks.targets import Polled, Target
    from benchmarks.work import Plan

NAME: Final = "ticks"
PAYLOAD_BYTES: Final = 100_000
FULL, SHORT = 30, 5
#: How often the run ticks; publishers tell no more.
PER_SECOND: Final = 10
SETTLE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """What the viewer was sent. Bytes are those of HTTP, with its headers."""

    payload_bytes: int
    ticks: int
    answers: int
    #: The answer that has the whole row, and what its headers are of that.
    row_bytes: int
    row_head_bytes: int
    #: Of a tick, on average.
    tick_bytes: float
    tick_head_bytes: float
    #: The request that each answer costs.
    request_bytes: float
    longest_body: int
    wrong: int
    complaint: str

    def problems(self) -> list[str]:
        found = [self.complaint] if self.complaint else []
        if self.wrong:
            found.append("the viewer did not get the last tick")
        if self.row_bytes < self.payload_bytes:
            found.append("the payload was not in the row")
        if self.longest_body >= self.payload_bytes:
            found.append("the payload was sent again with a tick")
        return found

    def doubts(self) -> list[str]:
        return []

    def goals(self) -> list[Goal]:
        return []

    def numbers(self) -> list[Number]:
        return [
            Number("bytes of the answer with the whole row", self.row_bytes),
            Number("bytes of a tick", self.tick_bytes, Better.LOWER),
            Number("of these headers", self.tick_head_bytes),
            Number("bytes of the request for it", self.request_bytes),
        ]


def cases(plan: Plan) -> Iterator[Case]:
    yield Case(
        work=NAME,
        title=f"Metadata of a run with a payload of {PAYLOAD_BYTES:,} bytes ticks, the official client's long poll",
        measure=partial(measure, ticks=SHORT if plan.short else FULL),
    )


def measure(bench: Bench, target: Target, *, ticks: int) -> Ticks:
    """One run, one viewer."""
    (run,) = bench.new_runs(1)
    feed, tokens = Feed(f"/realtime/v1/runs/{run}", {}), cast("Polled", target).tokens(f"read:runs:{run}", 1)
    with (
        bench.serving(target) as server,
        Remote(Pollers, bench.cores.others) as pollers,
        Remote(Ticker, bench.cores.others) as ticker,
    ):
        ticker.call(Ticker.connect, bench.redis_url, ENVIRONMENT)
        ticker.call(Ticker.create, [run], f"tag_{run}", PAYLOAD_BYTES)
        pollers.call(Pollers.connect, server.port, feed, tokens)
        row = pollers.call(Pollers.traffic)
        pollers.call(Pollers.begin)
        ticked = ticker.call(Ticker.offer, PER_SECOND, ticks / PER_SECOND)
        told = pollers.call(Pollers.settle, ticked.began_at, ticked.ended_at, ticked.latest, SETTLE_SECONDS)
        pollers.call(Pollers.disconnect)
    traffic = told.traffic
    answers = max(traffic.answers, 1)
    return Ticks(
        payload_bytes=PAYLOAD_BYTES,
        ticks=ticked.changes,
        answers=traffic.answers,
        row_bytes=row.received_bytes,
        row_head_bytes=row.head_bytes,
        tick_bytes=traffic.received_bytes / answers,
        tick_head_bytes=traffic.head_bytes / answers,
        request_bytes=traffic.sent_bytes / answers,
        longest_body=traffic.longest_body,
        wrong=told.wrong,
        complaint=told.complaint,
    )
