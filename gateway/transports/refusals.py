"""One table: what an error is as an HTTP status and as a WebSocket close code (docs/protocol.md, "Errors")."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Final

from gateway.codec import encode_message
from gateway.errors import (
    BadInput,
    GatewayError,
    InProgress,
    KeyReused,
    NoSuchConnection,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    OriginNotAllowed,
    OutOfTurn,
    OverLimit,
    RunEnded,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    TokenUsed,
    TooLarge,
    TooManyConnections,
    TooManyRevocations,
    TooManyStreams,
    TooManyTags,
    TooSlow,
    Unavailable,
    UnsupportedMedia,
)

_STATUS: Final[tuple[tuple[type[GatewayError], int, str], ...]] = (
    (NotAuthenticated, 401, "Not authenticated"),
    (TokenInvalid, 401, "Token not valid"),
    (TokenExpired, 401, "Token expired"),
    (TokenRevoked, 401, "Token revoked"),
    (TokenUsed, 401, "Token used"),
    (NotAllowed, 403, "Not allowed"),
    (OriginNotAllowed, 403, "Origin not allowed"),
    (NotFound, 404, "Not found"),
    (NoSuchConnection, 404, "No such connection"),
    (TooSlow, 408, "Request timeout"),
    (InProgress, 409, "In progress"),
    (TooManyRevocations, 409, "Too many revocations"),
    (TooLarge, 413, "Too large"),
    (UnsupportedMedia, 415, "Unsupported media type"),
    (TooManyTags, 422, "Too many tags"),
    (TooManyStreams, 422, "Too many streams"),
    (RunEnded, 422, "Run ended"),
    (OutOfTurn, 409, "Out of turn"),
    (KeyReused, 422, "Idempotency key reused"),
    (OverLimit, 429, "Over the limit"),
    (Unavailable, 503, "Unavailable"),
    (BadInput, 400, "Bad request"),
    (GatewayError, 400, "Bad request"),
)

PROBLEM_TYPE: Final = "application/problem+json"

NORMAL: Final = 1000
GOING_AWAY: Final = 1012
UNSUPPORTED_DATA: Final = 1003
INTERNAL_ERROR: Final = 1011
TOO_MANY_BAD_MESSAGES: Final = 4400
NOT_AUTHENTICATED: Final = 4401
ORIGIN_NOT_ALLOWED: Final = 4403
TOKEN_EXPIRED: Final = 4410
TOKEN_REVOKED: Final = 4411
STUCK: Final = 4413
TOO_MANY_CONNECTIONS: Final = 4429

_CLOSE: Final[tuple[tuple[type[GatewayError], int], ...]] = (
    (TokenExpired, TOKEN_EXPIRED),
    (TokenRevoked, TOKEN_REVOKED),
    (TokenUsed, NOT_AUTHENTICATED),
    (NotAuthenticated, NOT_AUTHENTICATED),
    (TokenInvalid, NOT_AUTHENTICATED),
    (OriginNotAllowed, ORIGIN_NOT_ALLOWED),
    (TooManyConnections, TOO_MANY_CONNECTIONS),
)


#: What a connection that ended with a close code ended by, for whoever counts or reads it.
ENDINGS: Final = MappingProxyType(
    {code: name.lower() for name, code in list(globals().items()) if name.isupper() and isinstance(code, int)}
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
    body: dict[str, Any] = {"status": status, "title": title, "detail": str(error), "code": error.code}
    body["retry"] = error.retry
    if error.field is not None:
        body["field"] = error.field
    return status, encode_message(body)


def problem_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """The headers that belong to a problem: its type, how to authenticate, when to come back."""
    headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"cache-control", b"no-store")]
    if http_status(error)[0] == 401:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110, section 15.5.2
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_seconds)))
    return headers


def internal_error() -> tuple[int, bytes]:
    """As `problem`, for a mistake of ours: what it was is in the log, and nobody else's business."""
    detail = "something went wrong here; it was logged"
    body = {"status": 500, "title": "Internal error", "detail": detail, "code": "internal_error", "retry": False}
    return 500, encode_message(body)


def not_found(path: str) -> tuple[int, bytes]:
    """As `problem`, for a path where there is nothing."""
    return problem(NotFound(f"there is nothing at {path[:200]}; /docs shows what there is"))


def method_not_allowed(method: str, allowed: str = "GET") -> tuple[int, bytes]:
    """As `problem`, for a path where there is something else to do."""
    detail = f"only {allowed} {'are' if ',' in allowed else 'is'} answered here, not {method[:20]}"
    body = {"status": 405, "title": "Method not allowed", "detail": detail, "code": "method_not_allowed"}
    return 405, encode_message({**body, "retry": False})


def error_message(error: GatewayError, *, feed: str | None = None) -> bytes:
    """The `error` message of our protocol."""
    message: dict[str, Any] = {"type": "error", "code": error.code, "message": str(error), "retry": error.retry}
    if error.retry_after_seconds is not None:
        message["afterMilliseconds"] = math.ceil(error.retry_after_seconds * 1000)
    if feed is not None:
        message["feed"] = feed
    return encode_message(message)
