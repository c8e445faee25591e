"""Where a gateway is, and with what to go there: checked, so that what can't be right is told at once."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit, urlunsplit

from gateway.errors import Misconfigured


def websocket_url(url: str) -> str:
    """
    Where the viewers' socket of the gateway at *url* is.

    Raises:
        Misconfigured: When it is not the address of a gateway. Never repeats a password.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise Misconfigured(
            "the address of a gateway is like http://127.0.0.1:8787 or https://example.com/runs, without a user, "
            "password, query or fragment"
        )
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/v1/ws", "", ""))


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
