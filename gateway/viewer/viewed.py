"""A run as a viewer sees it, and the statuses it had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.runs import FINAL, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

_FINAL_NAMES: Final = frozenset(str(status) for status in FINAL)


@dataclass(frozen=True, slots=True, order=True)
class Transition:
    """A status that a run had: by the change of which number, which one, since when (RFC 3339), in which attempt."""

    sequence: int
    status: str
    at: str
    attempt: int

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Transition:
        return cls(int(told["sequence"]), str(told["status"]), str(told["at"]), int(told["attempt"]))

    def public(self) -> dict[str, Any]:
        return {"status": self.status, "at": self.at, "attempt": self.attempt, "sequence": self.sequence}


@dataclass(frozen=True, slots=True)
class ViewedRun:
    """
    A run as a viewer knows it. Never changes: what comes next makes another one.

    `fields` is the public object; a field that is absent is null, or not shown to this viewer. Its values are not
    copied: don't change them.
    """

    id: str
    fields: Mapping[str, Any]
    #: Every status it had, in order, as far as anyone told; also those that passed while the viewer was away.
    transitions: tuple[Transition, ...] = ()

    @property
    def status(self) -> str | None:
        return self.fields.get("status")

    @property
    def is_final(self) -> bool:
        return self.status in _FINAL_NAMES

    @property
    def is_success(self) -> bool:
        return self.status == Status.COMPLETED

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata = self.fields.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    @property
    def task(self) -> str | None:
        return self.fields.get("taskIdentifier")

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self.fields.get("tags", ()))

    @property
    def output(self) -> Any:
        return self.fields.get("output")

    @property
    def error(self) -> Mapping[str, Any] | None:
        """What went wrong: `message`, and perhaps `name` and `stackTrace`."""
        return self.fields.get("error")


def viewed(told: Mapping[str, Any]) -> ViewedRun:
    """
    A run from its whole public object, as an answer brings it.

    Raises:
        KeyError, TypeError, ValueError: When it is none.
    """
    fields = {name: value for name, value in told.items() if value is not None}
    return ViewedRun(told["id"], fields, tuple(Transition.read(entry) for entry in fields.get("transitions", ())))
