"""
What httptools lets through, and HTTP does not: the head of each request is looked at once, before anybody answers it.

And one thing that it does not let through: `Upgrade: h2c`, which HTTP clients ask for in passing (curl, Java's), and
which whoever does not know it has to read as if it were not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

if TYPE_CHECKING:
    from collections.abc import Sequence

#: RFC 3986, section 3.2: a name, or an address in brackets, perhaps with a port; or nothing at all.
_HOST: Final = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[\w.:~!$&'()*+,;=%-]+\])(?::[0-9]*)?", re.ASCII)


BAD_REQUEST: Final = b"400 Bad Request"
_NOT_IMPLEMENTED: Final = b"501 Not Implemented"
_UNKNOWN_VERSION: Final = b"505 HTTP Version Not Supported"


def refused(status: bytes, lines: bytes = b"") -> bytes:
    """The answer to what is no request, with these header *lines*: no body, and the last of its connection."""
    return b"HTTP/1.1 %b\r\n%bcontent-length: 0\r\nconnection: close\r\n\r\n" % (status, lines)


def refusal(version: str, method: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """
    The status of a request that must not be taken (RFC 9112), or None.

    Args:
        headers: Names in small letters.
    """
    if version not in ("1.1", "1.0"):
        return BAD_REQUEST if version == "0.9" else _UNKNOWN_VERSION  # 0.9 is a request line without a version
    if method == b"CONNECT":
        return BAD_REQUEST  # we are no tunnel, and httptools takes all that follows for its content
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if _HOST.fullmatch(value.strip()) is None:
                return BAD_REQUEST
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return _NOT_IMPLEMENTED  # section 6.1: read as chunks alone it would be another body
    # Section 3.2. With two of them a proxy may have gone by the other one.
    return None if hosts == 1 or (hosts == 0 and version == "1.0") else BAD_REQUEST


def origin_form(target: bytes) -> bytes:
    """*target* as paths are spelled; a proxy's client names the whole address (RFC 9112, section 3.2.2)."""
    if target.startswith(b"/") or b"://" not in target:
        return target
    found = httptools.parse_url(target)
    path = found.path or b"/"
    return path if found.query is None else b"%b?%b" % (path, found.query)


def without_upgrade(method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The head of a request as it would be, had nobody asked for another protocol (RFC 9110, section 7.8)."""
    kept = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version.encode(), b"".join(kept))
