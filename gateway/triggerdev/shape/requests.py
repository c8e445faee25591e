"""What a client asks a shape for, from its query (shape protocol, section 2). Does no I/O."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from gateway.durations import parse_duration
from gateway.errors import BadInput, BadMessage
from gateway.feeds import ALL_RUNS, FeedId
from gateway.triggerdev.shape.columns import hidden_of
from gateway.triggerdev.shape.handles import SINCE_STEP_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Our offsets are `<number>_0`, after a part of an answer `<number>_1`; the clients echo them. `inf` is the reference's
#: end of a snapshot.
_OFFSET: Final = re.compile(r"([0-9]{1,18})_([0-9]{1,18}|inf)", re.ASCII)
_PARTIAL: Final = "1"
FROM_START: Final = -1
FROM_NOW: Final = -2
#: A window reaches back so far at most, and as far when nobody says otherwise (realtime protocol, section 4.3).
WINDOW_SECONDS: Final = 24 * 3600.0
_LONGEST_WINDOW_TEXT: Final = 100
#: Those who come soon after each other share the beginning of their window: each other one is a shape of its own.
#: By the shortest window (seconds): one begins up to so many minutes earlier than it was asked for, a 48th at most.
_STEPS: Final = ((24 * 3600, 30), (12 * 3600, 15), (4 * 3600, 5), (0, 1))


@dataclass(frozen=True, slots=True)
class ShapeRequest:
    """One request, apart from who asks and for which feed."""

    #: FROM_START, FROM_NOW, or the number of the last change that the client has seen.
    offset: int
    live: bool
    #: Whether changes are to come as Server-Sent Events.
    events: bool
    handle: str
    cursor: str
    #: Whether the rows that there are already are not wanted.
    changes_only: bool
    #: Whether that is where a part of an answer ended.
    partial: bool = False

    @property
    def begins(self) -> bool:
        """Whether the client has nothing yet."""
        return self.offset < 0


def read_query(raw: bytes) -> dict[str, str]:
    """
    The parameters of a query, the first of each name.

    Raises:
        BadMessage: When it is no query.
    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadMessage(f"the query can't be read: {error}") from error
    return dict(reversed(pairs))


def parse_request(query: Mapping[str, str]) -> ShapeRequest:
    """
    The protocol's own parameters; others are for nobody or for the feed.

    Raises:
        BadMessage: Saying which parameter, and what would be right.
    """
    for name in query:
        if name.startswith("subset__"):
            raise BadMessage("subsets of a shape are not served here; leave out subset__…, and take the whole feed")
    offset, partial = _offset_of(query.get("offset"))
    live, handle = query.get("live") == "true", query.get("handle", "")
    events = live and "true" in (query.get("live_sse"), query.get("experimental_live_sse"))
    cursor, changes_only = query.get("cursor", ""), query.get("log") == "changes_only"
    request = ShapeRequest(offset, live, events, handle, cursor, changes_only, partial)
    if live and request.begins:
        raise BadMessage('"live" needs an "offset" that an answer gave; begin with offset=-1 and without it')
    if not request.begins and not handle:
        raise BadMessage('"handle" is missing: send the electric-handle that came with this offset')
    return request


def _offset_of(text: str | None) -> tuple[int, bool]:
    if text == "-1":
        return FROM_START, False
    if text == "now":
        return FROM_NOW, False
    match = _OFFSET.fullmatch(text or "")
    if match is None:
        raise BadMessage(f'"offset" is -1, now, or the electric-offset of an answer, not {(text or "nothing")[:40]!r}')
    return int(match[1]), match[2] == _PARTIAL


def hidden_by(query: Mapping[str, str], token_hides: frozenset[str] | None) -> frozenset[str]:
    """What a token hides replaces what the client asked for (realtime protocol, section 3.7)."""
    if token_hides is not None:
        return hidden_of(token_hides)
    return hidden_of(name.strip() for name in query.get("skipColumns", "").split(","))


def tags_of(query: Mapping[str, str]) -> FeedId:
    """
    The feed of `tags`: runs that carry all of them; all runs without it.

    Raises:
        BadFeed: When one can't be a tag.
    """
    tags = query.get("tags")
    return ALL_RUNS if tags is None else FeedId.tags(*tags.split(","))


def window_of(query: Mapping[str, str]) -> int:
    """The moment (ms since 1970) at which the window of a tag feed begins that is opened now."""
    text = query.get("createdAt", "")
    try:
        seconds = parse_duration(text) if len(text) <= _LONGEST_WINDOW_TEXT else WINDOW_SECONDS
    except BadInput:
        seconds = WINDOW_SECONDS
    seconds = min(seconds, WINDOW_SECONDS)
    step = next(minutes for shortest, minutes in _STEPS if seconds >= shortest) * SINCE_STEP_MS
    moment = int((time.time() - seconds) * 1000)
    return moment - moment % step
