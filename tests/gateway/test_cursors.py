"""A cursor is good exactly when everything its viewer has seen is still part of what the server has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from gateway.cursors import Cursor, History
from gateway.errors import BadCursor

epochs = st.text("0123456789abcdef", min_size=1, max_size=16)
sequences = st.integers(0, 10**16 - 1)


@given(epochs, sequences, st.booleans())
def test_what_is_printed_can_be_parsed(epoch: str, sequence: int, partial: bool) -> None:
    """Every cursor that we hand out comes back as it was."""
    cursor = Cursor(epoch, sequence, partial)

    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "1", "a-", "-1", "g-1", "A-1", "a-1 ", " a-1", "a-1\n", "a--1", "a-+1", "a-1-1", "a-\u0661"),
        *("a" * 17 + "-1", "a-" + "1" * 17, "a_1", "a-1.0", "None-1", "a-1_0", "a-1pp", "a-p", "a-1P"),
    ],
)
def test_nothing_else_is_a_cursor(text: str) -> None:
    """Text that we did not print is refused, not guessed at; the message does not repeat all of it."""
    with pytest.raises(BadCursor, match="is not a cursor"):
        Cursor.parse(text)
    with pytest.raises(BadCursor) as refused:
        Cursor.parse("x" * 10_000)
    assert len(str(refused.value)) < 200


@given(st.text())
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    """No text makes it fail in another way."""
    try:
        cursor = Cursor.parse(text)
    except BadCursor:
        return
    assert str(cursor).split("-")[0] == text.split("-")[0]


def test_the_cursor_of_a_history_is_its_newest_place() -> None:
    """Who was told everything stands there, and that place is kept."""
    history = History("b", 20, (("a", 10),))

    assert history.cursor == Cursor("b", 20)
    assert history.keeps(history.cursor)


def test_a_place_in_the_middle_of_a_reading_is_kept_in_its_own_epoch_alone() -> None:
    """What stood beyond it, and would have been read next, may stand before it after an epoch change."""
    history = History("b", 20, (("a", 10),))

    assert history.keeps(Cursor("b", 5, partial=True))
    assert history.keeps(Cursor("a", 5))
    assert not history.keeps(Cursor("a", 5, partial=True))


def test_a_cursor_beyond_the_newest_change_is_not_kept() -> None:
    """Nobody can have seen what has not happened: it is made up, or of another server with the same past."""
    history = History("b", 20, (("a", 10),))

    assert not history.keeps(Cursor("b", 21))
    assert not history.keeps(Cursor("a", 11))
    assert not history.keeps(Cursor("c", 1))


class Timelines(RuleBasedStateMachine):
    """
    A server that changes, restarts with all its data, is replaced by an older copy, or loses everything.

    The model gives every change that ever happened a name of its own, and remembers for each viewer's cursor which of
    them it has seen. `History.keeps` must say whether all of those are still part of what the server has.
    """

    servers = Bundle("servers")
    cursors = Bundle("cursors")

    def __init__(self) -> None:
        super().__init__()
        self.names = iter(range(10**6))
        self.epochs = iter(f"{number:x}" for number in range(10**6))
        self.changes: tuple[int, ...] = ()
        self.history = History(next(self.epochs), 0)

    @initialize(count=st.integers(0, 3))
    def begin(self, count: int) -> None:
        self.happen(count)

    @rule(count=st.integers(1, 4))
    def happen(self, count: int) -> None:
        """Changes, each under the next number."""
        self.changes += tuple(next(self.names) for _ in range(count))
        self.history = History(self.history.epoch, len(self.changes), self.history.past)

    @rule(target=cursors, back=st.integers(0, 4))
    def look(self, back: int) -> tuple[Cursor, tuple[int, ...]]:
        """A viewer who has seen everything but the newest few."""
        seen = self.changes[: max(0, len(self.changes) - back)]
        return Cursor(self.history.epoch, len(seen)), seen

    @rule(target=servers)
    def copy(self) -> tuple[History, tuple[int, ...]]:
        """A replica, or a backup, as far as it has come."""
        return self.history, self.changes

    @rule()
    def restart(self) -> None:
        """The same data, another server: what lib/history.lua makes of it."""
        self._go_on_from(self.history, self.changes)

    @rule(server=servers)
    def fail_over(self, server: tuple[History, tuple[int, ...]]) -> None:
        """An older copy takes over; what it never got is lost."""
        self._go_on_from(*server)

    @rule()
    def lose_everything(self) -> None:
        """Numbers begin anew, and no epoch before is known."""
        self.changes, self.history = (), History(next(self.epochs), 0)

    def _go_on_from(self, history: History, changes: tuple[int, ...]) -> None:
        self.changes = changes
        past = ((history.epoch, history.sequence), *history.past)
        self.history = History(next(self.epochs), history.sequence, past)

    @rule(cursor=cursors)
    def come_back(self, cursor: tuple[Cursor, tuple[int, ...]]) -> None:
        """Kept means that nothing the viewer saw is lost; and when its epoch is still known, the other way round."""
        place, seen = cursor
        still_there = seen == self.changes[: len(seen)]
        known = place.epoch in {self.history.epoch, *(epoch for epoch, _ in self.history.past)}

        assert self.history.keeps(place) == (still_there and known)


TestTimelines = Timelines.TestCase
