"""
Schedules of what happens, one step after the other: who comes and goes, what is late, what breaks.

RUNCAST_EXAMPLES sets how many schedules are tried.
"""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gateway.feed import rounds

if TYPE_CHECKING:
    from collections.abc import Iterator


EXAMPLES = int(os.environ.get("RUNCAST_EXAMPLES", "80"))

#: The name of what happens (`World.do_…`) and to what.
Step = tuple[Any, ...]


numbers = st.integers(0, 3)
viewing = st.tuples(st.sampled_from(["connect", "connect", "disconnect", "refollow", "stall", "drain"]), numbers)
passing = st.one_of(
    st.tuples(st.just("turns"), st.integers(1, 6)),
    st.tuples(st.just("rest")),
    st.tuples(st.just("hold"), st.sampled_from(["before", "after"])),
    st.tuples(st.sampled_from(["release", "late", "hear", "flood", "ebb"])),
)
breaking = st.one_of(
    st.tuples(st.just("kill"), st.sampled_from(["pubsub", "normal"])),
    st.tuples(st.sampled_from(["restart", "backup", "restore", "lose"])),
)


def some(*steps: st.SearchStrategy[Step], least: int = 1, most: int = 5) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of(*steps), min_size=least, max_size=most)


def scene(*parts: str | st.SearchStrategy[list[Step]]) -> st.SearchStrategy[list[Step]]:
    """Steps in a row; a word is the step of that name, with the same viewer wherever it needs one."""
    return numbers.flatmap(
        lambda number: st.tuples(
            *(st.just([_step(part, number)]) if isinstance(part, str) else part for part in parts)
        ).map(lambda lists: list(itertools.chain(*lists)))
    )


def _step(name: str, number: int) -> Step:
    first, *words = name.split()
    return (first, *words) if words or first not in ("connect", "disconnect", "stall", "drain") else (first, number)


@contextmanager
def told(*, one_by_one: bool) -> Iterator[None]:
    """Whether every group is as good as a large one: its viewers are told one after the other."""
    if not one_by_one:
        yield
        return
    with mock.patch.object(rounds, "SMALL", 0), mock.patch.object(rounds, "SLICE", 1):
        yield


def profile(share: float) -> settings:
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
