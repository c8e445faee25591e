"""
Values ↔ bytes: the only file that imports orjson.

Columns and metadata are JSON text from the moment they are written; most of them pass through the gateway without
being looked at. What is decoded here once is the frame around them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from gateway.cursors import spell_cursor
from gateway.errors import BadChange, BadMessage
from gateway.feeds import RunId
from gateway.runs import COLUMNS, METADATA, PUBLIC_STATUS, Kind, Status, flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


#: A pair of halves, a half alone (the group), or any other escape, so that `\\ud800` is not taken for one.
_ESCAPES: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


def encode_json(value: Any, *, what: str) -> bytes:
    """
    What a user handed us, as compact JSON. Dates and UUIDs become text, keys become strings, NaN becomes null.

    Raises:
        BadChange: When *value* has no JSON form; the text names *what* it was.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadChange(f"{what} can't be written as JSON: {error}") from error


def raw_json(text: bytes) -> Any:
    """JSON text as a value for `encode_message`, which takes it as it is."""
    return orjson.Fragment(text)


def encode_message(message: Mapping[str, Any]) -> bytes:
    """One of our own messages as JSON; values may be `orjson.Fragment`s of text that is JSON already."""
    return orjson.dumps(message)


def decode_json(text: bytes | str) -> Any:
    """
    JSON that we stored ourselves.

    Raises:
        ValueError: When it isn't JSON.
    """
    return orjson.loads(text)


def decode_foreign(text: bytes | str) -> Any:
    """
    JSON that JavaScript may have written. What it calls a string may hold half of a surrogate pair, which has no UTF-8:
    then it is decoded with a replacement character there.

    Raises:
        ValueError: When it isn't JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        known = text if isinstance(text, str) else text.decode()
        whole = _ESCAPES.sub(lambda match: r"\ufffd" if match[1] else match[0], known)
        if whole == known:
            raise
        return orjson.loads(whole)


def decode_message(text: bytes | str, *, foreign: bool = False) -> dict[str, Any]:
    """
    What a viewer sent, or is told: a JSON object; *foreign* when there may be a part of it that JavaScript has written.

    Raises:
        BadMessage: When it is anything else.
    """
    try:
        message = decode_foreign(text) if foreign else orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadMessage(f"a message is a JSON object; this is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadMessage(f"a message is a JSON object, not {type(message).__name__}")
    return message


@dataclass(frozen=True, slots=True)
class Transition:
    """A status that a run had: which, since when (ms since 1970), in which attempt, by the change of which number."""

    sequence: int
    status: str
    at: int
    attempt: int

    def public(self) -> dict[str, Any]:
        return {
            "status": PUBLIC_STATUS.get(self.status, Status.QUEUED),
            "at": rfc3339(self.at),
            "attempt": self.attempt,
            "sequence": self.sequence,
        }


# Not frozen, as values are elsewhere: setting a dozen fields costs a frozen class three times as much, and one of
# these is made for every change that is heard. Nobody changes one.
@dataclass(slots=True)
class Event:
    """A change as it was published: what a viewer who is caught up needs to hear."""

    sequence: int
    epoch: str
    run: RunId
    #: When the run was created (ms since 1970) and its tags, for feeds that sift.
    created: int
    tags: tuple[str, ...]
    #: Changed columns, decoded; `None` for one that was emptied.
    columns: Mapping[str, Any]
    #: Whether `columns` and `metadata` are the whole run, because it entered some feed.
    whole: bool
    metadata: Mapping[str, Any]
    deleted: tuple[str, ...]
    #: Columns too large to be published: their size in bytes.
    left_out: Mapping[str, int]
    transition: Transition | None
    #: Tags that the run did not carry before.
    added: frozenset[str]
    #: What a view told of it, by what that view hides: other feeds are told the same (feed/view.py).
    told: dict[frozenset[str], bytes | None] = field(default_factory=dict, init=False, compare=False, repr=False)
    #: Bytes of what was published, and about what it takes: large columns are left out of it, metadata is not.
    size: int = field(default=0, compare=False, repr=False)

    @property
    def cursor(self) -> str:
        """Of who has been told it."""
        return spell_cursor(self.epoch, self.sequence)

    @property
    def moment(self) -> int | None:
        """When it was stored (ms since 1970, by Redis's clock), if it says so."""
        moment = self.columns.get("updatedAt")
        return moment if type(moment) is int else None


@dataclass(slots=True)  # as Event
class Chunk:
    """One piece of a stream: its number in the environment, its index in the stream, its JSON as it was written."""

    sequence: int
    index: int
    text: bytes
    #: When it was put there (ms since 1970, by Redis's clock); 0 when that was not kept.
    at: int = 0


@dataclass(slots=True)  # as Event
class AppendEvent:
    """Chunks that were put at the end of a stream. Its `sequence` is the number of the last one."""

    sequence: int
    epoch: str
    run: RunId
    stream: str
    #: Empty when they are too large to be published: readers fetch them.
    chunks: tuple[Chunk, ...]
    left_out: bool
    #: When they were put there (ms since 1970, by Redis's clock).
    appended: int
    transition: ClassVar[None] = None

    @property
    def cursor(self) -> str:
        """Of who has been told it."""
        return spell_cursor(self.epoch, self.sequence)

    @property
    def moment(self) -> int:
        """As of an `Event`."""
        return self.appended

    @property
    def size(self) -> int:
        """Bytes of its chunks."""
        return sum(len(chunk.text) for chunk in self.chunks)


#: Between events that were published together; no JSON has it in it, in whatever way it was written.
BETWEEN_EVENTS: Final = b"\x1e"


def decode_event(raw: bytes) -> Event | AppendEvent:
    """
    Read an event that `apply_changes.lua` or `append_chunks.lua` published; one message may have several.

    Raises:
        ValueError: When it was written by something else.
    """
    try:
        fields = orjson.loads(raw)
        if "k" in fields:
            return _append_event(fields)
        get = fields.get
        transition, deleted, added = get("t"), get("d"), get("n")
        event = Event(
            fields["s"],
            fields["e"],
            fields["r"],
            fields["b"],
            tuple(fields["g"]),
            fields["c"],
            get("w", False),
            get("m", _NOTHING),
            tuple(deleted) if deleted else (),
            get("l", _NOTHING),
            Transition(*transition) if transition else None,
            frozenset(added) if added else _NO_TAGS,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an event: {raw[:80]!r}") from error
    # Whoever can reach Redis can publish; what we compare and look into must be what it seems to be.
    if not (type(event.sequence) is type(event.created) is int and type(event.epoch) is type(event.run) is str):
        raise ValueError(f"not an event: {raw[:80]!r}")
    if not (type(event.columns) is type(event.metadata) is type(event.left_out) is dict):
        raise ValueError(f"not an event: {raw[:80]!r}")
    event.size = len(raw)
    return event


#: What an event does not say. Shared, so never to be changed.
_NOTHING: Final[dict[str, Any]] = {}
_NO_TAGS: Final[frozenset[str]] = frozenset()


def _append_event(fields: dict[str, Any]) -> AppendEvent:
    last, count, index, appended = int(fields["s"]), int(fields["n"]), int(fields["o"]), int(fields["u"])
    texts = fields.get("a", ())
    if len(texts) not in (0, count):
        raise TypeError("chunks are missing")
    first = last - count + 1
    chunks = tuple([Chunk(first + i, index + i, text.encode(), appended) for i, text in enumerate(texts)])
    run, stream = RunId(str(fields["r"])), str(fields["k"])
    return AppendEvent(last, str(fields["e"]), run, stream, chunks, not texts, appended)


@dataclass(frozen=True, slots=True)
class Row:
    """A run as it is stored: JSON text by column (absent when null), and its metadata by top-level key."""

    run: RunId
    sequence: int
    columns: Mapping[str, bytes]
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    #: How often the metadata was changed; operations computed from it name this number.
    metadata_version: int = 0

    @property
    def status(self) -> Status:
        return public_status(orjson.loads(self.columns["status"]))

    @property
    def attempt(self) -> int:
        number: int = orjson.loads(self.columns["attempt"])
        return number


def public_status(raw: str) -> Status:
    """The public name of a raw status; QUEUED for one we don't know (section 3.3)."""
    return PUBLIC_STATUS.get(raw, Status.QUEUED)


def rfc3339(milliseconds: int) -> str:
    """A moment as people and JavaScript read it, in UTC: 2026-01-31T10:00:00.123Z."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_rfc3339_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=256)  # what happens now happens in the same second as what happened before it
def _rfc3339_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def public_changes(columns: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """The fields of the public object that changed, from decoded columns."""
    shown: dict[str, Any] = {}
    for name, value in columns.items():
        found = _PUBLIC.get(name)
        if found is None or name in hidden:
            continue
        public, show = found
        if show is None or value is None:
            shown[public] = value
        else:
            show(shown, public, value)
    return shown


def public_run(row: Row, hidden: frozenset[str]) -> bytes:
    """The whole public object of a run (Trigger.dev realtime protocol, section 3.2), as JSON."""
    shown: dict[str, Any] = {"id": row.run}
    for name, text in row.columns.items():
        found = _PUBLIC.get(name)
        if found is None or name in hidden:
            continue
        public, show = found
        if show is None:
            shown[public] = orjson.Fragment(text)
        else:
            show(shown, public, orjson.loads(text))
    if METADATA not in hidden:
        shown["metadata"] = public_metadata(row.metadata.items())
    return orjson.dumps(shown)


def public_metadata(items: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """A metadata document from its stored parts, for `encode_message`."""
    return {key.decode(): orjson.Fragment(text) for key, text in items}


def _show_status(shown: dict[str, Any], public: str, raw: str) -> None:
    status = public_status(raw)
    shown[public] = status
    shown.update(flags(status))


def _show_time(shown: dict[str, Any], public: str, milliseconds: int) -> None:
    shown[public] = rfc3339(milliseconds)


def _show_transitions(shown: dict[str, Any], public: str, transitions: list[list[Any]]) -> None:
    shown[public] = [Transition(*entry).public() for entry in transitions]


def _show_error(shown: dict[str, Any], public: str, error: dict[str, Any]) -> None:
    """Section 3.5: four kinds of stored errors, one public form."""
    match error.get("type"):
        case "BUILT_IN_ERROR":
            shown[public] = {name: value for name, value in error.items() if name != "type"}
        case "INTERNAL_ERROR":
            shown[public] = {"message": f"internal error ({error.get('code')})"}
        case _:
            shown[public] = {"message": error.get("raw", "")}


_show: Final[dict[Kind, Callable[[dict[str, Any], str, Any], None]]] = {
    Kind.STATUS: _show_status,
    Kind.TIME: _show_time,
    Kind.TRANSITIONS: _show_transitions,
    Kind.ERROR: _show_error,
}
#: Of each column that is shown: its public name, and what makes of a value what is shown, if it is not that itself.
_PUBLIC: Final = {
    name: (column.public, _show.get(column.kind))
    for name, column in COLUMNS.items()
    if column.kind is not Kind.INTERNAL
}
