"""What the works (benchmarks/works) have in common: the cases that a work consists of, and what comes out of one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench import Bench
    from benchmarks.goals import Goal
    from benchmarks.targets import Target, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. Each work has its own sizes, one for the full form and one for the short one."""

    #: See that everything works, and no more: its numbers mean little.
    short: bool = False
    #: Instead of each work's own rates and transports, when given.
    rates: tuple[int, ...] = ()
    transports: tuple[Transport, ...] = ()
    #: The long form of `mixed`: so many minutes instead of some seconds. 0 for no long form.
    minutes: float = 0.0


class Better(StrEnum):
    """Which way a number is good."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Number:
    """One line of a table, of one target; None where there is no number."""

    what: str
    value: float | None
    better: Better = Better.NEITHER


class Result(Protocol):
    """What a case gave for one target. A dataclass of plain values: it is kept as JSON, field by field."""

    def problems(self) -> Sequence[str]:
        """What makes it nonsense, in words."""

    def doubts(self) -> Sequence[str]:
        """What else than the server may have made the numbers, in words."""

    def goals(self) -> Sequence[Goal]:
        """What was to be reached, and what was. Asked for Runcast alone."""

    def numbers(self) -> Sequence[Number]:
        """What is shown. The same lines, in the same order, for each target of a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something that is done to one target after the other, and compared."""

    #: A name of `works.WORKS`; a target can do it if it names it, too, and speaks the transport.
    work: str
    title: str
    measure: Callable[[Bench, Target], Result]
    transport: Transport | None = None
    rate: float | None = None

    def fits(self, target: Target) -> bool:
        return self.work in target.works and (self.transport is None or self.transport in target.transports)
