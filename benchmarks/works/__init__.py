"""The works: one file for each, named for what is done to a server. Each says which cases it consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.works import (
    dense,
    idle,
    jobs,
    mixed,
    overload,
    polls,
    publishing,
    quiet,
    restart,
    sparse,
    storm,
    streams,
    ticks,
    workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchmarks.work import Case, Plan

#: In this order, by the names that `--only` knows.
WORKS: Final[Mapping[str, Callable[[Plan], Iterable[Case]]]] = {
    "dense": dense.cases,
    "sparse": sparse.cases,
    "mixed": mixed.cases,
    "quiet": quiet.cases,
    "overload": overload.cases,
    "polls": polls.cases,
    "idle": idle.cases,
    "storm": storm.cases,
    "streams": streams.cases,
    "publishing": publishing.cases,
    "jobs": jobs.cases,
    "workers": workers.cases,
    "ticks": ticks.cases,
    "restart": restart.cases,
}
