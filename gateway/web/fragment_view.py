"""How a feed is shown as HTML: each run whole, whatever part of it changed. Does no I/O."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.codec import AppendEvent, encode_message
from gateway.cursors import Cursor
from gateway.feed.remembering import RememberingView
from gateway.feed.view import MAX_LIMIT, Message, View
from gateway.web.cards import Cards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.codec import Event
    from gateway.feeds import FeedId
    from gateway.store.pages import Page
    from gateway.web.cards import Card

#: Between the facts of a message, which are JSON, and its HTML: neither has one in it.
BETWEEN: Final = b"\t"

_numbers: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class FragmentView(RememberingView):
    """
    A feed as HTML (feed/view.py: Shown). Those who asked for the same share it, and what it knows of the runs.

    Its messages are `snapshot` and `update`, each with a head that says what it is about, and `end` as the protocol has
    it; a framing makes events of them (web/fragment_framings.py).
    """

    feed: FeedId
    hidden: frozenset[str] = frozenset()
    since: int = 0
    limit: int = MAX_LIMIT
    #: The same as a viewer of JSON sees it.
    _plain: View = field(init=False, compare=False, repr=False)
    _cards: Cards = field(init=False, compare=False, repr=False)
    #: Under which an event keeps what is told of it here.
    _key: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plain", View(self.feed, self.hidden, self.since, self.limit))
        object.__setattr__(self, "_cards", Cards(self.hidden))
        object.__setattr__(self, "_key", frozenset([f"html {next(_numbers)}"]))

    @property
    def columns(self) -> tuple[str, ...]:
        return self._cards.columns

    @property
    def shows_metadata(self) -> bool:
        return self._cards.shows_metadata

    def hiding(self, hidden: frozenset[str]) -> FragmentView:
        """The same feed without other columns."""
        return FragmentView(self.feed, hidden, self.since, self.limit)

    # What it remembers.

    def begin(self) -> None:
        self._cards.begin()

    def note(self, event: Event | AppendEvent) -> None:
        if not isinstance(event, AppendEvent) and self._plain.admits(event):
            card = self._cards.hear(event)
            # It is told at the end of the turn, and by then another change of the run may have come.
            if card is not None and self._cards.shows(event):
                event.told[self._key] = self._spell(card)

    def forget(self) -> None:
        self._cards.forget()

    # What it tells.

    def admits(self, event: Event | AppendEvent) -> bool:
        return self._plain.admits(event)

    def lacks(self, event: Event) -> bool:
        """Whether only the row can tell what the run is like by this change."""
        return self._cards.shows(event) and self._key not in event.told

    def is_partial(self, event: Event) -> bool:
        """Whether the run may have been left out of a cut-off snapshot: then it is read, also when nothing is shown."""
        return not event.whole

    def messages(self, event: Event, cursor: str) -> list[Message]:
        """What is told of a change, in order."""
        told = event.told.get(self._key)
        if told is None:
            return []
        goes_on = 0 if event.transition is not None and self.feed.kind == "run" else None
        end = self._plain.end_of(event, cursor)
        update = Message("update", told, cursor, goes_on)
        return [update] if end is None else [update, end]

    def entries(self, page: Page) -> list[Card]:
        """What of a page is told, each with its number."""
        return [self._cards.read(row, page.epoch) for row in page.rows]

    def show(self, card: Card) -> bytes:
        """A run as it was read."""
        return self._spell(card)

    def page(self, page: Page, shown: Sequence[bytes], *, replaces: bool, truncated: bool) -> list[Message]:
        """What is told of a page to who lacks *shown* of it."""
        cursor = str(Cursor(page.epoch, page.end, partial=not page.complete))
        if not replaces:
            return [Message("update", told, cursor) for told in shown]
        # A change moves a run to the end of its feed; people look at the top.
        items = b"".join([told.partition(BETWEEN)[2] for told in reversed(shown)])
        head = {"feed": str(self.feed), "complete": page.complete, "truncated": truncated}
        return [Message("snapshot", encode_message(head) + BETWEEN + items, cursor)]

    def end_at(self, page: Page) -> Message | None:
        """That the run has ended, by what was read."""
        return self._plain.end_at(page)

    def _spell(self, card: Card) -> bytes:
        return encode_message({"feed": str(self.feed), "run": card.run}) + BETWEEN + card.html
