"""
The columns of a run on the shape feeds, and how each value is spelled: text as a database prints it, or null.

Types and nullability are those that the official clients check each row against (Trigger.dev realtime protocol, section
3.1; shape protocol, sections 7.2 and 8.3). A row that fails there ends the subscription, so what a publisher wrote is
brought into form here, whatever it was.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_json, encode_json, encode_message
from gateway.runs import COLUMNS, METADATA
from gateway.triggerdev.shape.failures import failure_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.codec import Event, Row

#: A row's values by column: text, or None for null.
Values = dict[str, str | None]

_TEXT: Final = MappingProxyType({"type": "text"})
_TIME: Final = MappingProxyType({"type": "timestamp"})
_INTEGER: Final = MappingProxyType({"type": "int4"})
_NUMBER: Final = MappingProxyType({"type": "float8"})
_FLAG: Final = MappingProxyType({"type": "bool"})
_JSON: Final = MappingProxyType({"type": "jsonb"})
_TEXTS: Final = MappingProxyType({"type": "text", "dims": 1})

#: Column → its type in the schema.
TYPES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "id": _TEXT,
        "friendlyId": _TEXT,
        "taskIdentifier": _TEXT,
        "status": _TEXT,
        "createdAt": _TIME,
        "updatedAt": _TIME,
        "startedAt": _TIME,
        "delayUntil": _TIME,
        "queuedAt": _TIME,
        "expiredAt": _TIME,
        "completedAt": _TIME,
        "number": _INTEGER,
        "isTest": _FLAG,
        "usageDurationMs": _INTEGER,
        "costInCents": _NUMBER,
        "baseCostInCents": _NUMBER,
        "ttl": _TEXT,
        "payload": _TEXT,
        "payloadType": _TEXT,
        "metadata": _TEXT,
        "metadataType": _TEXT,
        "output": _TEXT,
        "outputType": _TEXT,
        "runTags": _TEXTS,
        "error": _JSON,
        "realtimeStreams": _TEXTS,
    }
)
#: What nobody can leave out: without these the official clients don't take a row.
ALWAYS_SHOWN: Final = frozenset({"id", "friendlyId", "taskIdentifier", "status", "createdAt", "updatedAt"})
#: Types of what a run takes and gives, when nobody said another.
_PACKETS: Final = MappingProxyType({"payload": "payloadType", "output": "outputType"})
_JSON_TYPE: Final = "application/json"
_METADATA_TYPE: Final = "metadataType"

#: Columns of the shape that are columns of the stored row, too.
STORED: Final = tuple(name for name in TYPES if name in COLUMNS)


def hidden_of(names: Iterable[str]) -> frozenset[str]:
    """The columns to leave out; names that are none, and what is always shown, are passed over."""
    return frozenset(names) & TYPES.keys() - ALWAYS_SHOWN


def schema_of(hidden: frozenset[str]) -> bytes:
    """The schema header: exactly the columns that rows have, and their types."""
    return encode_message({name: dict(kind) for name, kind in TYPES.items() if name not in hidden})


def row_values(row: Row, hidden: frozenset[str]) -> Values:
    """All that is shown of a stored row."""
    values: Values = {"id": row.run, "friendlyId": row.run}
    for name in STORED:
        if name not in hidden:
            text = row.columns.get(name)
            if name in _PACKETS:
                values[name] = None if text is None else text.decode()  # whatever it is, as it was written
            else:
                values[name] = _SPELL[name](None if text is None else decode_json(text))
    _show_packets(values, {name: decode_json(text) for name, text in _packets_of(row.columns)})
    if METADATA not in hidden:
        values[METADATA] = document_text(row.metadata)
    if _METADATA_TYPE not in hidden:
        values[_METADATA_TYPE] = _JSON_TYPE
    return values


def event_values(event: Event, hidden: frozenset[str]) -> Values:
    """What is shown of a change: everything when the event is whole, else what changed. Without metadata."""
    names = STORED if event.whole else [name for name in event.columns if name in TYPES]
    values: Values = {"id": event.run}
    if event.whole:
        values["friendlyId"] = event.run
    for name in names:
        if name not in hidden:
            values[name] = _SPELL[name](event.columns.get(name))
    _show_packets(values, event.columns)
    if event.whole and _METADATA_TYPE not in hidden:
        values[_METADATA_TYPE] = _JSON_TYPE
    return values


def document_text(document: Mapping[bytes, bytes]) -> str | None:
    """A metadata document as the text of one JSON object, from its parts: top-level key → JSON. None without any."""
    if not document:
        return None
    parts = [b"%s:%s" % (encode_message_text(key), text) for key, text in document.items()]
    return (b"{" + b",".join(parts) + b"}").decode()


def encode_message_text(key: bytes) -> bytes:
    """A key as JSON text."""
    return encode_json(key.decode(), what="a metadata key")


def _packets_of(columns: Mapping[str, bytes]) -> Iterable[tuple[str, bytes]]:
    """What of payload and output is of another type than JSON, with these types: it must be looked into."""
    for name, kind in _PACKETS.items():
        text, said = columns.get(name), columns.get(kind)
        if text is not None and said is not None and b"json" not in said:
            yield name, text
            yield kind, said


def _show_packets(values: Values, columns: Mapping[str, Any]) -> None:
    """Text is text where the type says so: only JSON is sent with its quotes (section 3.6)."""
    for name, kind in _PACKETS.items():
        value, said = columns.get(name), columns.get(kind)
        if name in values and isinstance(value, str) and isinstance(said, str) and "json" not in said:
            values[name] = value


def _spell_packet(value: Any) -> str | None:
    return None if value is None else encode_json(value, what="a value").decode()


def _spell_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _spell_type(value: Any) -> str | None:
    return value if isinstance(value, str) else _JSON_TYPE


def _spell_time(value: Any) -> str | None:
    """ISO 8601 in UTC, but without saying so: the clients add the `Z` themselves."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    seconds, rest = divmod(value, 1000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}"
    except (ValueError, OverflowError, OSError):
        return None  # beyond what a date can be


def _spell_integer(value: Any) -> str:
    return str(int(value)) if _is_number(value) else "0"


def _spell_number(value: Any) -> str:
    return str(value) if _is_number(value) else "0"


def _spell_flag(value: Any) -> str:
    return "t" if value is True else "f"


def _spell_texts(value: Any) -> str:
    """An array literal with everything quoted, which is right whatever is in it (shape protocol, section 7.3)."""
    entries = value if isinstance(value, list) else []
    escaped = (str(entry).replace("\\", "\\\\").replace('"', '\\"') for entry in entries)
    return "{" + ",".join(f'"{entry}"' for entry in escaped) + "}"


def _spell_tags(value: Any) -> str | None:
    return _spell_texts(value) if value else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_SPELL: Final[Mapping[str, Callable[[Any], str | None]]] = MappingProxyType(
    {
        **{name: _spell_text for name, kind in TYPES.items() if kind is _TEXT},
        **{name: _spell_time for name, kind in TYPES.items() if kind is _TIME},
        **{name: _spell_integer for name, kind in TYPES.items() if kind is _INTEGER},
        **{name: _spell_number for name, kind in TYPES.items() if kind is _NUMBER},
        **dict.fromkeys(_PACKETS, _spell_packet),
        **dict.fromkeys(_PACKETS.values(), _spell_type),
        "isTest": _spell_flag,
        "runTags": _spell_tags,
        "realtimeStreams": _spell_texts,
        "error": failure_text,
    }
)
