"""What a run kept: the results of each case, target by target."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.goals import Goal
from benchmarks.peers.targets import PEERS
from benchmarks.work import Better, Number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RUNCAST: Final = "runcast"
CEILING: Final = "ceiling"
#: What targets are called in tables.
TITLES: Final = {RUNCAST: "Runcast", **{peer.name: peer.title for peer in PEERS}}
#: Not peers: nobody could use them.
CEILINGS: Final = (CEILING, "ceiling-each")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case gave for one target."""

    work: str
    title: str
    target: str
    transport: str | None
    rate: float | None
    numbers: tuple[Number, ...]
    goals: tuple[Goal, ...]
    notes: tuple[str, ...]
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        return cls(
            work=kept["work"],
            title=kept["title"],
            target=kept["target"],
            transport=kept.get("transport"),
            rate=kept.get("rate"),
            numbers=tuple(Number(each["what"], each["value"], Better(each["better"])) for each in kept["numbers"]),
            goals=tuple(
                Goal(each["what"], each["wanted"], each["reached"], Better(each["better"])) for each in kept["goals"]
            ),
            notes=tuple(first_line(note) for note in (*kept["notes"], *kept["problems"])),
            fields=kept,
        )

    def number(self, field: str) -> float | None:
        """A field, if this outcome has it and it is known."""
        value = self.fields.get(field)
        return None if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Case:
    """The outcomes of one case: ours, then the others in the order in which they were measured."""

    work: str
    title: str
    outcomes: tuple[Outcome, ...]

    def of(self, target: str) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if outcome.target == target), None)

    def number(self, target: str, field: str) -> float | None:
        """A field of one target's outcome, if there is one and it is known."""
        outcome = self.of(target)
        return None if outcome is None else outcome.number(field)

    @property
    def transport(self) -> str | None:
        return self.outcomes[0].transport

    @property
    def rate(self) -> float | None:
        return self.outcomes[0].rate


@dataclass(frozen=True, slots=True)
class Run:
    """All that was measured, and where."""

    facts: Mapping[str, Any]
    cases: tuple[Case, ...]
    problems: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        kept = json.loads(file.read_text(encoding="utf-8"))
        by_title: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in map(Outcome.of, kept["results"]):
            by_title.setdefault((outcome.work, outcome.title), []).append(outcome)
        cases = tuple(
            Case(work, title, tuple(sorted(outcomes, key=lambda outcome: outcome.target != RUNCAST)))
            for (work, title), outcomes in by_title.items()
        )
        return cls(kept, cases, tuple(map(first_line, kept["problems"])))

    def of_work(self, work: str) -> Sequence[Case]:
        return [case for case in self.cases if case.work == work]

    def left_out(self, case: Case) -> Sequence[str]:
        """Who took part at lower rates and does not here, since one of those was too much."""
        alike = [each for each in self.of_work(case.work) if each.transport == case.transport and each.rate is not None]
        present = {outcome.target: None for each in alike for outcome in each.outcomes}
        return [target for target in present if case.rate is not None and case.of(target) is None]

    @property
    def works(self) -> Sequence[str]:
        """The names of all works, in order."""
        return list(dict.fromkeys(case.work for case in self.cases))

    @property
    def targets(self) -> Sequence[str]:
        """All that were measured, ours first."""
        return sorted(self.facts["targets"], key=lambda target: target != RUNCAST)

    def title(self, target: str) -> str:
        """What a target is called in tables."""
        return TITLES.get(target, target)


def first_line(words: str) -> str:
    """What failed; a traceback may follow, which is in the JSON."""
    return words.partition("\n")[0]
