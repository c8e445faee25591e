"""Which runs a list is to show, and a page of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.feeds import ALL_RUNS, FeedId

if TYPE_CHECKING:
    from gateway.codec import Row

#: Feeds whose runs are merged in a list. Of more it is cheaper to look at all runs.
_MERGED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which runs to list: those that meet all of this."""

    #: Tags that a run has all of.
    tags: tuple[str, ...] = ()
    #: Tags that it has any of; any run when empty.
    any_tags: tuple[str, ...] = ()
    #: Any of these tasks; all when empty.
    tasks: tuple[str, ...] = ()
    batch: str | None = None
    #: Raw statuses, any of them; all when empty.
    statuses: tuple[str, ...] = ()
    #: Created at or after this moment, and at or before that (ms since 1970); 0 for any.
    since: int = 0
    until: int = 0
    is_test: bool | None = None

    @property
    def narrowest(self) -> list[FeedId]:
        """The feeds whose runs are looked at, all of them together; what else is asked is sifted."""
        if self.batch is not None:
            return [FeedId.batch(self.batch)]
        if self.tags:
            return [FeedId.tags(self.tags[0])]
        if 0 < len(self.any_tags) <= _MERGED:
            return [FeedId.tags(tag) for tag in self.any_tags]
        if 0 < len(self.tasks) <= _MERGED:
            return [FeedId.task(task) for task in self.tasks]
        return [ALL_RUNS]


@dataclass(frozen=True, slots=True)
class ListPage:
    """Some runs, the newest first, and where the next page begins; "" when there is none."""

    rows: list[Row]
    next: str
    #: Of each row the number that it was created under: a place to go on from.
    numbers: list[str]
