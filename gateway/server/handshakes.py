"""
A WebSocket's opening handshake (RFC 6455, section 4.2), as far as there is nothing to object to it.

Every browser and library sends the same: those are answered here, in a few microseconds. Whatever else a handshake may
look like is judged, and refused with its reason, by the websockets library.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"
#: Sixteen bytes in base64.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
#: Words with commas between them (RFC 9110, section 5.6.1).
_WORDS: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
#: Of these a good handshake has one.
_SINGLE: Final = frozenset([b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"origin"])
#: A handshake has no body, and nothing longer than the library reads.
_BODY: Final = frozenset([b"content-length", b"transfer-encoding"])
_MOST_HEADERS, _MOST_BYTES = 100, 8_000

UPGRADE_REQUIRED: Final = (
    b"HTTP/1.1 426 Upgrade Required\r\n%bsec-websocket-version: 13\r\nupgrade: websocket\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


def key_of(target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """
    The key of a handshake that may be accepted, or None when somebody else has to look at it.

    Args:
        headers: Of a GET request that wants to become a WebSocket; names in small letters.
    """
    if len(target) > _MOST_BYTES or len(headers) > _MOST_HEADERS:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _SINGLE:
            if name in found:
                return None
            found[name] = value
        elif name in _BODY or (name == b"sec-websocket-protocol" and not _WORDS.fullmatch(value)):
            return None
        if len(value) > _MOST_BYTES:
            return None
    connection = [word.strip() for word in found.get(b"connection", b"").lower().split(b",")]
    if b"upgrade" not in connection or found.get(b"upgrade", b"").lower() != b"websocket":
        return None
    key = found.get(b"sec-websocket-key", b"")
    return key if _KEY.fullmatch(key) and found.get(b"sec-websocket-version") == _VERSION else None


def is_of_another_version(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a handshake is of another version of the protocol than ours, or of none: it is told ours, 4.4."""
    return [value.strip() for name, value in headers if name == b"sec-websocket-version"] != [_VERSION]


def accepted(key: bytes, lines: bytes) -> bytes:
    """The answer that accepts a handshake (section 4.2.2), with these header *lines* beside its own."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, lines)
    )
