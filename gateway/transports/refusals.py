"""One table: what an error is as an HTTP status and as a WebSocket close code (docs/protocol.md, "Errors")."""

from __future__ import annotations

from typing import Any, Final

from gateway.codec import encode_message
from gateway.errors import (
    BadInput,
    GatewayError,
    NotAllowed,
    NotAuthenticated,
    OriginNotAllowed,
    TokenExpired,
    TokenInvalid,
    Unavailable,
)

_STATUS: Final[tuple[tuple[type[GatewayError], int, str], ...]] = (
    (NotAuthenticated, 401, "Not authenticated"),
    (TokenInvalid, 401, "Token not valid"),
    (TokenExpired, 401, "Token expired"),
    (NotAllowed, 403, "Not allowed"),
    (OriginNotAllowed, 403, "Origin not allowed"),
    (Unavailable, 503, "Unavailable"),
    (BadInput, 400, "Bad request"),
    (GatewayError, 400, "Bad request"),
)

NORMAL: Final = 1000
GOING_AWAY: Final = 1012
UNSUPPORTED_DATA: Final = 1003
INTERNAL_ERROR: Final = 1011
TOO_MANY_BAD_MESSAGES: Final = 4400
NOT_AUTHENTICATED: Final = 4401
ORIGIN_NOT_ALLOWED: Final = 4403
TOKEN_EXPIRED: Final = 4410
STUCK: Final = 4413

_CLOSE: Final[tuple[tuple[type[GatewayError], int], ...]] = (
    (TokenExpired, TOKEN_EXPIRED),
    (NotAuthenticated, NOT_AUTHENTICATED),
    (TokenInvalid, NOT_AUTHENTICATED),
    (OriginNotAllowed, ORIGIN_NOT_ALLOWED),
)


def http_status(error: GatewayError) -> tuple[int, str]:
    """Status and title of an error."""
    return next((status, title) for kind, status, title in _STATUS if isinstance(error, kind))


def close_code(error: GatewayError) -> int | None:
    """The close code of an error that ends a WebSocket; None for one that concerns a message or a feed."""
    return next((code for kind, code in _CLOSE if isinstance(error, kind)), None)


def problem(error: GatewayError) -> tuple[int, bytes]:
    """Status and `application/problem+json` body (RFC 9457)."""
    status, title = http_status(error)
    body = {"status": status, "title": title, "detail": str(error), "code": error.code, "retry": error.retry}
    return status, encode_message(body)


def not_found(path: str) -> tuple[int, bytes]:
    """As `problem`, for a path where there is nothing."""
    body = {"status": 404, "title": "Not found", "detail": f"there is nothing at {path[:200]}", "code": "not_found"}
    return 404, encode_message({**body, "retry": False})


def method_not_allowed(method: str) -> tuple[int, bytes]:
    """As `problem`, for a path where there is something else to do."""
    detail = f"only GET is answered here, not {method[:20]}"
    body = {"status": 405, "title": "Method not allowed", "detail": detail, "code": "method_not_allowed"}
    return 405, encode_message({**body, "retry": False})


def error_message(error: GatewayError, *, feed: str | None = None) -> bytes:
    """The `error` message of our protocol."""
    message: dict[str, Any] = {"type": "error", "code": error.code, "message": str(error), "retry": error.retry}
    if feed is not None:
        message["feed"] = feed
    return encode_message(message)
