"""
How requests are read and refusals are spelled, where that is a matter of habit: ours here; other clients have others
(gateway/triggerdev/dialect.py). What is asked, checked and answered is the same way in for all (api/endpoint.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api.calls import Answer
from gateway.api.idempotency import HEADER
from gateway.transports import refusals

if TYPE_CHECKING:
    from gateway.errors import GatewayError


class Dialect:
    """Ours: problems (RFC 9457), and whatever we don't know in a request is a mistake (docs/http.md)."""

    #: The header that names a write, so that it is done once.
    key_header: str = HEADER
    #: Whether a body's `Content-Type` must be that of JSON.
    needs_media_type: bool = True

    def ignores(self, parameter: str) -> bool:
        """Whether a parameter of the query that no operation knows is passed over, instead of refused."""
        return False

    def refused(self, error: GatewayError) -> Answer:
        """The answer that an error is."""
        status, body = refusals.problem(error)
        headers = [(name.decode(), value.decode()) for name, value in refusals.problem_headers(error)]
        return Answer(status, body, tuple(headers[1:]), headers[0][1])

    def method_not_allowed(self, method: str, allowed: str) -> Answer:
        """What is answered to a method that a path does not have; *allowed* are those that it has, as in `Allow`."""
        status, body = refusals.method_not_allowed(method, allowed)
        return Answer(status, body, (("allow", allowed),), refusals.PROBLEM_TYPE)

    def internal_error(self) -> Answer:
        """What is answered when we made a mistake: what it was is for the log, it may hold what nobody should read."""
        status, body = refusals.internal_error()
        return Answer(status, body, (("cache-control", "no-store"),), refusals.PROBLEM_TYPE)


OURS: Final = Dialect()
