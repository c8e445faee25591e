"""
What can go wrong, as values: every error knows its facts and whether coming back helps.

    GatewayError
     ├─ BadInput            somebody sent us something that can't be right
     │   ├─ BadMessage      a message, field or parameter of a wrong form
     │   ├─ BadFeed         an id or tag that can't exist
     │   ├─ BadCursor       text that is not a cursor
     │   ├─ BadChange       a change that can't be applied: its values, names or sizes
     │   ├─ TooLarge        payload, output, metadata or message over its limit
     │   └─ TooManyTags, TooManyStreams, OutOfTurn, RunEnded
     ├─ AlreadySubscribed, NotSubscribed, TooManyFeeds
     ├─ OverLimit           somebody takes more than their share
     │   └─ TooManyConnections, TooManyRequests, TooManyChanges
     ├─ NotAuthenticated, TokenInvalid, TokenExpired, TokenRevoked, TokenUsed
     ├─ NotAllowed, OriginNotAllowed
     │   └─ SecretKeyNeeded what only a backend may do
     ├─ NoSuchConnection, TooManyRevocations
     ├─ NotFound            there is no such run, batch or path
     │   └─ NotFoundYet     it may be about to be made
     ├─ UnsupportedMedia    a body in a form that we don't read
     ├─ TooSlow             a request whose body did not come in time
     ├─ KeyReused, InProgress   an idempotency key that names another request, or one that is being answered
     ├─ Unavailable         the data can't be read now
     ├─ Cancelled           raised in a job that was asked to stop
     ├─ NoMoreInput         raised in a job that waits for input of a run that has ended
     └─ Misconfigured       a setting that we refuse to run with

`transports/refusals.py` says what each means as an HTTP status or a WebSocket close code.
"""

from __future__ import annotations

import math
from typing import ClassVar


class GatewayError(Exception):
    """Base of all errors of this project. `code` is stable, the text is for people."""

    code: ClassVar[str] = "internal_error"
    #: Whether the same request may succeed later, unchanged.
    retry: ClassVar[bool] = False
    #: When to come back, in seconds, if that is known.
    retry_after_seconds: float | None = None
    #: What of a request was wrong: a JSON pointer into its body (`/tags/2`), or the name of a parameter or header.
    field: str | None = None


class BadInput(GatewayError):
    """Somebody sent us something that can't be right; the text says what would be."""

    code = "bad_message"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadMessage(BadInput):
    """A message, field or parameter of a wrong form."""


class BadFeed(BadInput):
    """An id or tag that can't exist."""

    code = "bad_feed"


class BadCursor(BadInput):
    """Text that is not a cursor."""

    code = "bad_cursor"

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is not a cursor; send one back exactly as you got it")


class BadChange(BadInput):
    """A change to a run that can't be applied: its values, names or sizes."""

    code = "bad_change"


class TooLarge(BadChange):
    """A payload, output or metadata document over its limit."""

    code = "too_large"

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        super().__init__(f"{what} is {size} bytes, the limit is {limit}")
        self.what, self.size, self.limit = what, size, limit


class TooManyTags(BadChange):
    """More tags than a run carries."""

    code = "too_many_tags"

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"a run carries at most {limit} tags; these would be more, and none of them was added")
        self.limit = limit


class TooManyStreams(BadChange):
    """More streams than a run has."""

    code = "too_many_streams"

    def __init__(self, *, limit: int = 100) -> None:
        super().__init__(f"a run has at most {limit} streams")
        self.limit = limit


class RunEnded(BadChange):
    """What can be said of a run only while it goes on."""

    code = "run_ended"


class OutOfTurn(BadChange):
    """A writer's chunks that don't follow those which it appended before."""

    code = "out_of_turn"

    def __init__(self, *, following: int, first: int) -> None:
        super().__init__(f"this writer's next chunk has the number {following}, not {first}; go on from there")
        self.following, self.first = following, first


class AlreadySubscribed(GatewayError):
    """One socket follows a feed once; unsubscribe first to follow it in another way."""

    code = "already_subscribed"

    def __init__(self, feed: str) -> None:
        super().__init__(f"this connection follows {feed} already; unsubscribe first to change its options")
        self.feed = feed


class NotSubscribed(GatewayError):
    """A viewer left a feed that it does not follow."""

    code = "not_subscribed"

    def __init__(self, feed: str) -> None:
        super().__init__(f"this connection does not follow {feed[:300]!r}")
        self.feed = feed


class TooManyFeeds(GatewayError):
    """A viewer asked for more feeds on one connection than we allow."""

    code = "too_many_feeds"

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"one connection may follow {limit} feeds")
        self.limit = limit


class OverLimit(GatewayError):
    """Somebody takes more than their share; the text says whose, which, and how much that is."""

    retry = True

    def __init__(self, detail: str, *, retry_after_seconds: float) -> None:
        super().__init__(f"{detail}; come back in {math.ceil(retry_after_seconds)} s")
        self.retry_after_seconds = retry_after_seconds


class TooManyConnections(OverLimit):
    """As many connections are open as one environment, or one token, may have."""

    code = "too_many_connections"

    def __init__(self, *, whose: str, limit: int, retry_after_seconds: float) -> None:
        super().__init__(f"{whose} may have {limit} connections open", retry_after_seconds=retry_after_seconds)
        self.whose, self.limit = whose, limit


class TooManyRequests(OverLimit):
    """Requests come faster than they may."""

    code = "too_many_requests"

    def __init__(self, *, whose: str, limit: float, retry_after_seconds: float) -> None:
        super().__init__(f"{whose} may ask {limit:g} times a second", retry_after_seconds=retry_after_seconds)
        self.whose, self.limit = whose, limit


class TooManyChanges(OverLimit):
    """Changes come faster than they may."""

    code = "too_many_changes"

    def __init__(self, *, limit: float, retry_after_seconds: float) -> None:
        super().__init__(
            f"this environment may write {limit:g} changes a second", retry_after_seconds=retry_after_seconds
        )
        self.limit = limit


class NotAuthenticated(GatewayError):
    """A request without a token, or a socket that sent none in time."""

    code = "not_authenticated"

    def __init__(self, detail: str = "a token is needed: Authorization: Bearer …") -> None:
        super().__init__(detail)


class TokenInvalid(GatewayError):
    """A token that is malformed, forged, or of another issuer or environment."""

    code = "token_invalid"


class TokenExpired(GatewayError):
    """A token whose time is over: come back with a new one."""

    code = "token_expired"

    def __init__(self, detail: str = "the token expired; come back with a new one") -> None:
        super().__init__(detail)


class TokenRevoked(GatewayError):
    """A token that was taken back: somebody meant this to end, so whoever asks for a new one should be asked why."""

    code = "token_revoked"

    def __init__(self, detail: str = "the token was revoked; come back with a new one, if you are given one") -> None:
        super().__init__(detail)


class TokenUsed(GatewayError):
    """A one-time token that came a second time."""

    code = "token_used"

    def __init__(self) -> None:
        super().__init__("the token was for one use, and was used before; come back with a new one")


class NotAllowed(GatewayError):
    """No scope of the token allows what was asked."""

    code = "not_allowed"

    def __init__(self, feed: str, needed: str) -> None:
        super().__init__(f"the token does not allow {feed}; any of these scopes would: {needed}")
        self.feed, self.needed = feed, needed


class NoSuchConnection(GatewayError):
    """A connection that ended, or never was."""

    code = "no_such_connection"

    def __init__(self) -> None:
        super().__init__("there is no such connection; its id is in the welcome message, and ends with the connection")


class TooManyRevocations(GatewayError):
    """An environment has as many revocations as are kept."""

    code = "too_many_revocations"

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"{limit} revocations are kept already; revoke by token, which is kept only until the token ends, or "
            "everything by issuedBefore"
        )
        self.limit = limit


class SecretKeyNeeded(NotAllowed):
    """A public token, whatever its scopes, for what only a backend may do."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "")

    def __str__(self) -> str:
        return f"only a secret key may do this ({self.feed}); no public token allows it"


class OriginNotAllowed(GatewayError):
    """A browser's page from an origin that is not in the allow-list."""

    code = "origin_not_allowed"

    def __init__(self, origin: str) -> None:
        super().__init__(f"origin {origin[:200]!r} is not in RUNCAST_ALLOWED_ORIGINS{self._hint(origin)}")
        self.origin = origin

    @staticmethod
    def _hint(origin: str) -> str:
        """Of a page that has none browsers say `null` (RFC 6454, section 7.1), which no list has."""
        return ": serve the page from one, a file or a sandboxed frame has none" if origin == "null" else ""


class NotFound(GatewayError):
    """There is no such run, batch or path."""

    code = "not_found"


class NotFoundYet(NotFound):
    """There is no such run or batch yet: whoever made its id may be about to say so."""

    retry = True


class UnsupportedMedia(GatewayError):
    """A body in a form that we don't read; the text says which we do."""

    code = "unsupported_media_type"


class TooSlow(GatewayError):
    """A request whose body did not come in time."""

    code = "too_slow"
    retry = True

    def __init__(self, *, seconds: float) -> None:
        super().__init__(f"the request's body did not come within {seconds:g} seconds")
        self.seconds = seconds


class KeyReused(GatewayError):
    """An idempotency key that was used for another request."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another request; use a new key for a new request")
        self.field = "Idempotency-Key"


class InProgress(GatewayError):
    """The same request, by its idempotency key, is being answered."""

    code = "in_progress"
    retry = True
    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is being answered; ask again for its answer")
        self.field = "Idempotency-Key"


class Unavailable(GatewayError):
    """The data can't be read now; the viewer should come back."""

    code = "unavailable"
    retry = True
    retry_after_seconds = 1.0

    def __init__(self, detail: str = "the data can't be read now; come back in a moment") -> None:
        super().__init__(detail)


class Cancelled(GatewayError):
    """Raised in a job that was asked to stop, by `run.raise_if_cancelled()`."""

    def __init__(self, run: str, reason: str | None = None) -> None:
        super().__init__(reason or f"run {run} was asked to stop")
        self.run, self.reason = run, reason

    def __reduce__(self) -> tuple[type[Cancelled], tuple[str, str | None]]:
        return type(self), (self.run, self.reason)  # a worker's main process hears of it from its child


class NoMoreInput(GatewayError):
    """Raised in a job that waits for what is sent to a run which has ended: nothing can come any more."""

    def __init__(self, run: str, key: str) -> None:
        super().__init__(f"run {run} has ended, so that nothing more comes for its input {key!r}")
        self.run, self.key = run, key

    def __reduce__(self) -> tuple[type[NoMoreInput], tuple[str, str]]:
        return type(self), (self.run, self.key)


class Misconfigured(GatewayError):
    """A setting that we refuse to run with; the text says what to do."""

    code = "misconfigured"
