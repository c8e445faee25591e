"""What a process has counted at one moment: taken, put together with those of others, and written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.metrics.families import FAMILIES, Kind, Merge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.metrics.histogram import Histogram

#: A number; or, of a histogram, its bounds, its counts and its total.
Value: TypeAlias = "float | tuple[tuple[float, ...], tuple[int, ...], float]"
Labels: TypeAlias = tuple[str, ...]

_TOGETHER: dict[Merge, Callable[[float, float], float]] = {
    Merge.SUM: lambda one, other: one + other,
    Merge.LARGEST: max,
    Merge.SMALLEST: min,
}


class Snapshot:
    """The value of each family by its labels' values. A family that is not in `FAMILIES` is a mistake, and raises."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, Value]] = {}

    def set(self, name: str, value: float, *labels: str) -> None:
        """A counter or gauge."""
        self._of(name, labels)[labels] = value

    def set_all(self, name: str, values: Mapping[Any, float], *, known: Iterable[str] = ()) -> None:
        """
        A counter or gauge by labels.

        Args:
            known: Label values that are shown even while nothing was counted, so that the first is seen to come.
        """
        for label in known:
            self.set(name, 0, label)
        for key, value in values.items():
            self.set(name, value, *(key if isinstance(key, tuple) else (key,)))

    def observe(self, name: str, histogram: Histogram, *labels: str) -> None:
        self._of(name, labels)[labels] = (histogram.bounds, tuple(histogram.counts), histogram.total)

    def _of(self, name: str, labels: Labels) -> dict[Labels, Value]:
        family = FAMILIES[name]
        if len(labels) != len(family.labels):
            raise ValueError(f"{name} has the labels {family.labels}, not {labels}")
        return self.values.setdefault(name, {})

    def add(self, other: Snapshot, *, ended: bool = False) -> None:
        """Put what another process counted to it; of one that has *ended*, only what can't go down."""
        for name, values in other.values.items():
            family = FAMILIES.get(name)
            if family is None or (ended and family.kind is Kind.GAUGE):
                continue
            mine = self.values.setdefault(name, {})
            for labels, value in values.items():
                mine[labels] = _together(family.merge, mine[labels], value) if labels in mine else value

    def encode(self) -> bytes:
        values = {name: list(by_labels.items()) for name, by_labels in self.values.items()}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: bytes) -> Snapshot:
        """
        What `encode` made.

        Raises:
            ValueError: When it is something else.
        """
        snapshot = cls()
        for name, entries in json.loads(text).items():
            snapshot.values[name] = {tuple(labels): _value(value) for labels, value in entries}
        return snapshot


def _value(value: Any) -> Value:
    if isinstance(value, list):
        bounds, counts, total = value
        return tuple(bounds), tuple(counts), total
    number: float = value
    return number


def _together(merge: Merge, one: Value, other: Value) -> Value:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return one[0], _added(one[1], other[1]), one[2] + other[2]
    if isinstance(one, tuple) or isinstance(other, tuple):
        raise TypeError("a histogram and a number can't be put together")
    return _TOGETHER[merge](one, other)


def _added(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
