"""What a viewer asks for, from a WebSocket message or a query: checked, and turned into views."""

from __future__ import annotations

import difflib
import reprlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_message, encode_message
from gateway.cursors import Cursor
from gateway.durations import parse_duration
from gateway.errors import BadFeed, BadInput, BadMessage
from gateway.feed.stream_view import StreamView
from gateway.feed.view import MAX_LIMIT, View
from gateway.feeds import ALL_RUNS, FeedId
from gateway.runs import hidden_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.feed.view import Message, Shown

#: Windows of viewers who come in the same minute begin together, so that they share a view.
_SINCE_STEP_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Wish:
    """One feed that somebody wants to follow, and how."""

    feed: FeedId
    cursor: Cursor | None = None
    hidden: frozenset[str] = frozenset()
    since: int = 0
    limit: int = MAX_LIMIT
    #: Of a stream: only what comes from now on.
    from_now: bool = False
    #: What is told first, if anything (transports/streams.py).
    begin: Message | None = None

    def view(self, token_hides: frozenset[str] | None) -> Shown:
        """What a token hides replaces what the viewer asked for (Trigger.dev realtime protocol, section 3.7)."""
        if self.feed.kind == "stream":
            return StreamView(self.feed)
        return View(self.feed, self.hidden if token_hides is None else token_hides, self.since, self.limit)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A viewer's token: its first, or a new one. Its text never reaches a log."""

    token: str

    def __repr__(self) -> str:
        return "Authenticate(token=…)"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A viewer wants to follow one more feed."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """It follows this one no more, by the name that the server gave it."""

    feed: str


Command = Authenticate | Subscribe | Unsubscribe


_FEED_MAKERS: Final[dict[str, Callable[[Any], FeedId]]] = {
    "run": lambda value: FeedId.run(_text("run", value)),
    "batch": lambda value: FeedId.batch(_text("batch", value)),
    "task": lambda value: FeedId.task(_text("task", value)),
    "tags": lambda value: FeedId.tags(*_texts("tags", value)),
    "all": lambda value: _all(value),
    "stream": lambda value: _stream(value),
}
_OPTIONS: Final = frozenset({"cursor", "skipColumns", "since", "limit"})
#: Options of runs, which mean nothing for a stream, and those of a stream.
_RUN_OPTIONS: Final = frozenset({"skipColumns", "since", "limit"})
_STREAM_OPTIONS: Final = frozenset({"from"})
_FIELDS: Final = {
    "authenticate": frozenset({"type", "token"}),
    "subscribe": frozenset({"type", *_FEED_MAKERS, *_OPTIONS, *_STREAM_OPTIONS}),
    "unsubscribe": frozenset({"type", "feed"}),
}


def spell_authenticate(token: str) -> str:
    """The message by which a viewer says *token*."""
    return encode_message({"type": "authenticate", "token": token}).decode()


def parse_message(text: str) -> Command:
    """
    What a viewer said on its WebSocket.

    Raises:
        BadMessage: When it is not of the protocol; the text says which field, and what would be right.
        BadFeed, BadCursor: When a name or cursor can't be one.
    """
    message = decode_message(text)
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise BadMessage(f'"type" is one of {", ".join(_FIELDS)}, not {_short(kind)}')
    _refuse_unknown(message, _FIELDS[kind])
    if kind == "authenticate":
        return Authenticate(_token(message.get("token")))
    if kind == "unsubscribe":
        return Unsubscribe(_text("feed", message.get("feed")))
    return Subscribe(_wish(message))


def _wish(message: dict[str, Any]) -> Wish:
    named = [name for name in _FEED_MAKERS if name in message]
    if len(named) != 1:
        raise BadMessage(f"exactly one of {', '.join(_FEED_MAKERS)} is needed, not {', '.join(named) or 'none'}")
    feed = _FEED_MAKERS[named[0]](message[named[0]])
    _refuse_options(feed, message)
    cursor = message.get("cursor")
    return Wish(
        feed,
        cursor=None if cursor is None else Cursor.parse(_text("cursor", cursor)),
        hidden=hidden_columns(_texts("skipColumns", message.get("skipColumns", []))),
        since=since_moment(message.get("since")),
        limit=_limit(message.get("limit", MAX_LIMIT)),
        from_now=from_now(message.get("from")),
    )


def _refuse_options(feed: FeedId, given: Iterable[str]) -> None:
    useless, what = (_RUN_OPTIONS, "a stream") if feed.kind == "stream" else (_STREAM_OPTIONS, "runs")
    for name in given:
        if name in useless:
            raise BadMessage(f'"{name}" means nothing for {what}; leave it out')


def from_now(value: object) -> bool:
    """
    Whether who reads a stream without a cursor wants only what comes from now on.

    Raises:
        BadMessage: When it says something else than `start` or `now`.
    """
    if value not in (None, "start", "now"):
        raise BadMessage(f'"from" is "start" or "now", not {_short(value)}')
    return value == "now"


def _stream(value: object) -> FeedId:
    if not isinstance(value, dict) or value.keys() != {"run", "key"}:
        raise BadMessage('"stream" is {"run": ID, "key": KEY}')
    return FeedId.stream(_text("run", value["run"]), _text("key", value["key"]))


def _refuse_unknown(message: Iterable[str], known: frozenset[str]) -> None:
    for name in message:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
            raise BadMessage(f"unknown field {name[:40]!r}{hint}")


_PARAMETERS: Final = frozenset({"run", "batch", "task", "tags", "tag", "all", *_OPTIONS, "token"})
_MAX_QUERY_FEEDS: Final = 100


def parse_query(pairs: list[tuple[str, str]], last_event_id: str | None) -> list[Wish]:
    """
    What an SSE request asks for: one wish per feed it names, each once.

    Raises:
        BadMessage, BadFeed, BadCursor: Saying which parameter, and what would be right.
    """
    _refuse_unknown((name for name, _ in pairs), _PARAMETERS)
    single = _single(pairs)
    cursor = last_event_id or single.get("cursor")
    pattern = Wish(
        ALL_RUNS,
        cursor=Cursor.parse(cursor) if cursor else None,
        hidden=hidden_columns([name for name in single.get("skipColumns", "").split(",") if name]),
        since=since_moment(single.get("since")),
        limit=_limit(_number(single["limit"])) if "limit" in single else MAX_LIMIT,
    )
    feeds = dict.fromkeys(_feed_of(name, value) for name, value in pairs if name not in _OPTIONS | {"token"})
    if not feeds:
        raise BadMessage("name a feed: run=ID, tags=A,B, batch=ID, task=ID or all=true")
    if len(feeds) > _MAX_QUERY_FEEDS:
        raise BadMessage(f"one request may name {_MAX_QUERY_FEEDS} feeds, not {len(feeds)}; use several")
    return [replace(pattern, feed=feed) for feed in feeds]


def _single(pairs: list[tuple[str, str]]) -> dict[str, str]:
    single: dict[str, str] = {}
    for name, value in pairs:
        if name in _OPTIONS:
            if name in single:
                raise BadMessage(f"{name} may be given once")
            single[name] = value
    return single


def _feed_of(name: str, value: str) -> FeedId:
    match name:
        case "run":
            return FeedId.run(value)
        case "batch":
            return FeedId.batch(value)
        case "task":
            return FeedId.task(value)
        case "all":
            return _all(value.lower() in ("true", "1", "yes", ""))
        case _:
            return FeedId.tags(*value.split(","))


def since_moment(value: object) -> int:
    """
    The beginning of an age window that ends now (ms since 1970), on a whole minute; 0 when there is none.

    Raises:
        BadMessage: When it is neither a span nor seconds.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadMessage(f'"since" is an age such as "1h" or "2d12h", or seconds, not {_short(value)}')
    try:
        seconds = parse_duration(str(value))
    except BadInput as error:
        raise BadMessage(f'"since": {error}') from error
    moment = int((time.time() - seconds) * 1000)
    return max(1, moment - moment % _SINCE_STEP_MS)


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LIMIT:
        raise BadMessage(f'"limit" is a number from 1 to {MAX_LIMIT}, not {_short(value)}')
    return value


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise BadMessage(f'"{name}" is text, not {_short(value)}')
    return value


def _token(value: object) -> str:
    """As `_text`, but what it is instead is not shown: it may be a secret in the wrong wrapping."""
    if not isinstance(value, str) or not value:
        raise BadMessage('"token" is text')
    return value


def _texts(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise BadMessage(f'"{name}" is a list of texts, not {_short(value)}')
    return value


def _all(value: object) -> FeedId:
    if value is not True:
        raise BadFeed(f'"all" is true, or left out, not {_short(value)}')
    return ALL_RUNS


def _short(value: object) -> str:
    # A plain `repr` of what is nested deeply enough to be valid JSON still is an error in Python.
    return "nothing" if value is None else reprlib.repr(value)[:40]
