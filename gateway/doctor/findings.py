"""What an examination finds: what is so, why that matters, and the line to change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(IntEnum):
    """How much it matters, the least first."""

    OK = 0
    NOTE = 1  # worth knowing; nothing is wrong
    WARNING = 2  # works, and will not in some case that comes
    ERROR = 3  # viewers or publishers suffer from it now

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    #: A stable name, for programs: `redis.eviction`, `gateway.buffering`.
    check: str
    severity: Severity
    #: What is so.
    says: str
    #: Why it matters; empty when nothing is wrong.
    why: str = ""
    #: What to change, one line each, to be pasted where its comment or its form says.
    change: tuple[str, ...] = ()

    def public(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "severity": self.severity.word,
            "says": self.says,
            "why": self.why,
            "change": list(self.change),
        }


def ok(check: str, says: str) -> Finding:
    """It was looked at, and is good."""
    return Finding(check, Severity.OK, says)


def note(check: str, says: str, why: str = "", *change: str) -> Finding:
    """Worth knowing; nothing is wrong."""
    return Finding(check, Severity.NOTE, says, why, change)


def warning(check: str, says: str, why: str, *change: str) -> Finding:
    """It works, and will not in some case that comes."""
    return Finding(check, Severity.WARNING, says, why, change)


def error(check: str, says: str, why: str, *change: str) -> Finding:
    """Viewers or publishers suffer from it now."""
    return Finding(check, Severity.ERROR, says, why, change)


def worst(findings: Iterable[Finding]) -> Severity:
    """The most that any of them matters."""
    return max((finding.severity for finding in findings), default=Severity.OK)
