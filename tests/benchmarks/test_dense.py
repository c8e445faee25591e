"""The search for the highest rate finds it, and ends."""

from __future__ import annotations

import pytest

from benchmarks.works.dense import Search


@pytest.mark.parametrize(("capacity", "least", "most"), [(350, 290, 350), (100, 100, 110), (30, 26, 30), (0, 0, 0)])
def test_the_highest_rate_is_found(capacity: int, least: int, most: int) -> None:
    """From 100 on, up or down, whatever a server can do, to about a tenth."""
    search = Search(100, 12_800)
    tried = 0
    while (rate := search.rate) is not None:
        search.note(sustained=rate <= capacity)
        tried += 1

    assert least <= search.sustained <= most
    assert tried < 10


def test_what_is_known_is_not_tried_again() -> None:
    """The search begins between a rate that was sustained and one that was not."""
    search = Search(100, 12_800, sustained=100, too_much=1000)
    while (rate := search.rate) is not None:
        assert 100 < rate < 1000
        search.note(sustained=rate <= 500)

    assert 400 < search.sustained <= 500


def test_the_search_stops_where_it_was_told_to() -> None:
    """A server that can do anything is not asked for more."""
    search = Search(100, 500)
    while search.rate is not None:
        search.note(sustained=True)

    assert search.sustained == 500
