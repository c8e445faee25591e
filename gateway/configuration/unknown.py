"""Names that nobody knows, and which one may have been meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN: Final = 60


def did_you_mean(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """`; did you mean port?`, or nothing when no name is near. The *prefix* that all of them have says nothing."""
    names = sorted(one.removeprefix(prefix) for one in known if one.startswith(prefix))
    near = get_close_matches(name.removeprefix(prefix)[:_SHOWN], names, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
