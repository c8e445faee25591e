"""What a run may say of its progress, and how far that is: the same wherever it is shown (docs/elements.md)."""

from __future__ import annotations

from typing import Any, Final

#: Metadata key `progress` → percent; None when nobody knows. No two that are the same stand beside each other, so that
#: whoever is shown one after the other sees each.
FORMS: Final[list[tuple[Any, float | None]]] = [
    (50, 50),
    ({"current": 3, "total": 4}, 75),
    # What can't be divided without a remainder in the computer's own numbers.
    ({"current": 29, "total": 100, "text": "writing"}, 29),
    ({"current": 5, "total": 0}, None),
    ({"percent": 99.875}, 99.875),
    ({"percent": "12", "text": 7}, None),
    ({"percent": 250}, 100),
    ({"percent": True}, None),
    ({"percent": -3}, 0),
    ({"current": 1.5, "text": "pages"}, None),
    ({"percent": 40, "current": 1, "total": 2}, 40),
    (["much"], None),
    ({"percent": None, "current": 0, "total": 7}, 0),
    ("45", None),
    (12.5, 12.5),
    (True, None),
    ({"current": 7, "total": 7}, 100),
    ({"percent": {"of": 3}}, None),
    ({"current": 9, "total": 3}, 100),
    (None, None),
]
