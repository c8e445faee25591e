"""
What an error is for the official clients (Trigger.dev realtime protocol, sections 0.2, 0.3 and 1.2): a status that
makes them do the right thing, and `{"error": …}`.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from gateway.codec import encode_message
from gateway.errors import SecretKeyNeeded, TokenUsed
from gateway.transports.refusals import http_status

if TYPE_CHECKING:
    from gateway.errors import GatewayError

Headers = list[tuple[bytes, bytes]]

_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-store")


def refusal(error: GatewayError) -> tuple[int, Headers, bytes]:
    """
    Status, headers and body.

    `x-should-retry` is what their JSON client heeds before everything else, `x-ratelimit-reset` (ms since 1970) what it
    waits for after a 429; `retry-after` (seconds) is for the newer feed clients.
    """
    status = status_of(error)
    headers = [_JSON, _NO_STORE, (b"x-should-retry", b"true" if error.retry else b"false")]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_seconds)))
        if status == 429:
            reset = math.ceil((time.time() + error.retry_after_seconds) * 1000)
            headers.append((b"x-ratelimit-reset", b"%d" % reset))
            limit = getattr(error, "limit", None)
            if limit is not None:
                headers += [(b"x-ratelimit-limit", b"%d" % limit), (b"x-ratelimit-remaining", b"0")]
    body: dict[str, object] = {"error": str(error), "code": error.code}
    if error.field is not None:
        body["param"] = error.field
    return status, headers, encode_message(body)


def status_of(error: GatewayError) -> int:
    """
    As everywhere else, but for what these clients know another status: a public token where only a secret key will do
    is no credential (section 2.7), and a one-time token that comes again is a mistake of form (section 2.8).
    """
    if isinstance(error, SecretKeyNeeded):
        return 401
    return 422 if isinstance(error, TokenUsed) else http_status(error)[0]


def method_not_allowed(method: str, allowed: str) -> tuple[int, Headers, bytes]:
    """As `refusal`, of a method that a path does not have; *allowed* are those that it has, as in `Allow`."""
    headers = [_JSON, _NO_STORE, (b"x-should-retry", b"false"), (b"allow", allowed.encode())]
    return 405, headers, encode_message({"error": f"only {allowed} may be done here, not {method[:20]}"})


def internal_error() -> tuple[int, Headers, bytes]:
    """As `refusal`, for a mistake of ours: what it was is in the log. They try it again."""
    return 500, [_JSON, _NO_STORE], encode_message({"error": "something went wrong here; it was logged"})
