"""An event stream, read as it comes: which event came when."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type, and its data, which here is JSON."""

    kind: str
    data: dict[str, Any]


@dataclass(slots=True)
class EventReader:
    """Bytes in, events out (WHATWG HTML, section 9.2, as far as our gateway writes it)."""

    _rest: bytes = field(default=b"")

    def feed(self, data: bytes) -> list[Event]:
        """The events that are whole now. Comments and retry times are none."""
        *blocks, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        return [event for block in blocks if (event := _event(block)) is not None]


def _event(block: bytes) -> Event | None:
    lines = [line.partition(b": ") for line in block.split(b"\n")]
    fields = {name: value for name, separator, value in lines if separator}
    if b"data" not in fields:
        return None
    try:
        data = json.loads(fields[b"data"])
    except ValueError:
        return None
    return Event(fields.get(b"event", b"message").decode("latin-1"), data if isinstance(data, dict) else {})
