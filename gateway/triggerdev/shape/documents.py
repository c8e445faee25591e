"""
Metadata documents, as shapes know them: changes name the keys that they touched, and the protocol sends the whole
document each time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_json, encode_json
from gateway.triggerdev.shape.columns import document_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BYTES: Final = 32 * 1024 * 1024

#: A shape, while it misses no change, and one of its runs.
Key = tuple[int, str]


class Document:
    """One run's metadata as of some number."""

    __slots__ = ("_parts", "_text", "sequence")

    def __init__(self, sequence: int, *, text: str | None = None, parts: Mapping[bytes, bytes] | None = None) -> None:
        self.sequence = sequence
        self._text = text
        #: By top-level key; None until somebody changes one.
        self._parts: dict[bytes, bytes] | None = None if parts is None else dict(parts)

    @property
    def text(self) -> str | None:
        """The whole document; None when there is none."""
        if self._text is None and self._parts:
            self._text = document_text(self._parts)
        return self._text

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        if self._parts is not None:
            return sum(len(key) + len(text) for key, text in self._parts.items()) + len(self._text or "")
        return len(self._text or "")

    def apply(self, sequence: int, changed: Mapping[str, Any], deleted: Iterable[str]) -> None:
        """The change of number *sequence* set and deleted these keys. What it knows already changes nothing."""
        if sequence <= self.sequence:
            return
        self.sequence = sequence
        if self._parts is None:
            self._parts = _taken_apart(self._text)
        for key, value in changed.items():
            self._parts[key.encode()] = encode_json(value, what="metadata")
        for key in deleted:
            self._parts.pop(key.encode(), None)
        self._text = None


class Documents:
    """Those of all shapes of a process, up to so many bytes. Those not needed for long are forgotten first."""

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Key, tuple[Document, int]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Key) -> Document | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: Key, document: Document) -> None:
        """Remember *document*, or that it has grown."""
        self.forget(key)
        size = document.size + 200
        self._kept[key] = (document, size)
        self._bytes += size
        while self._bytes > self._most and len(self._kept) > 1:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone

    def forget(self, key: Key) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._bytes -= size


def _taken_apart(text: str | None) -> dict[bytes, bytes]:
    if text is None:
        return {}
    return {key.encode(): encode_json(value, what="metadata") for key, value in decode_json(text).items()}
