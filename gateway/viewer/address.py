"""Where a gateway is, and with what to go there: checked, so that what can't be right is told at once."""

from __future__ import annotations

import ipaddress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from gateway.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping


_WEBSOCKET_SCHEMES: Final = MappingProxyType({"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"})
_HTTP_SCHEMES: Final = MappingProxyType({"http": "http", "https": "https", "ws": "http", "wss": "https"})


def websocket_url(url: str) -> str:
    """
    Where the viewers' socket of the gateway at *url* is.

    Raises:
        Misconfigured: When it is not the address of a gateway. Never repeats a password.
    """
    return _in_scheme(url, _WEBSOCKET_SCHEMES) + "/v1/ws"


def http_url(url: str) -> str:
    """
    The gateway at *url* for plain requests: http or https, without a slash at the end.

    Raises:
        Misconfigured: When it is not the address of a gateway. Never repeats a password.
    """
    return _in_scheme(url, _HTTP_SCHEMES)


def _in_scheme(url: str, schemes: Mapping[str, str]) -> str:
    try:
        parts = urlsplit(url)
        scheme = schemes.get(parts.scheme)
        usable = parts.hostname and parts.port != 0 and "@" not in parts.netloc and not (parts.query or parts.fragment)
    except ValueError:  # a port that is no number, brackets that don't close
        scheme, usable = None, False
    if scheme is None or not usable:
        raise Misconfigured(
            "the address of a gateway is like http://127.0.0.1:8787 or https://example.com/runs, without a user, "
            "password, query or fragment"
        )
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_token(token: str) -> str:
    """
    Return *token* if it can be one.

    Raises:
        Misconfigured: When it can't; the text does not repeat it.
    """
    # It becomes part of a header. What is most often wrong is the line break at the end of a file.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Misconfigured("a token is printable ASCII, without spaces or line breaks")
    return token
