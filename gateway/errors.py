"""
What can go wrong, as values: every error knows its facts and whether coming back helps.

    GatewayError
     ├─ BadInput            somebody sent us something that can't be right
     │   ├─ BadMessage      a message, field or parameter of a wrong form
     │   ├─ BadFeed         an id or tag that can't exist
     │   ├─ BadCursor       text that is not a cursor
     │   ├─ BadChange       a change that can't be applied: its values, names or sizes
     │   └─ TooLarge        payload, output, metadata or message over its limit
     ├─ AlreadySubscribed, NotSubscribed, TooManyFeeds
     ├─ NotAuthenticated, TokenInvalid, TokenExpired, NotAllowed, OriginNotAllowed
     ├─ Unavailable         the data can't be read now
     └─ Misconfigured       a setting that we refuse to run with

`transports/refusals.py` says what each means as an HTTP status or a WebSocket close code.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """Base of all errors of this project. `code` is stable, the text is for people."""

    code: ClassVar[str] = "internal_error"
    #: Whether the same request may succeed later, unchanged.
    retry: ClassVar[bool] = False


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


class NotAllowed(GatewayError):
    """No scope of the token allows what was asked."""

    code = "not_allowed"

    def __init__(self, feed: str, needed: str) -> None:
        super().__init__(f"the token does not allow {feed}; any of these scopes would: {needed}")
        self.feed, self.needed = feed, needed


class OriginNotAllowed(GatewayError):
    """A browser's page from an origin that is not in the allow-list."""

    code = "origin_not_allowed"

    def __init__(self, origin: str) -> None:
        super().__init__(f"origin {origin[:200]!r} is not in RUNCAST_ALLOWED_ORIGINS")
        self.origin = origin


class Unavailable(GatewayError):
    """The data can't be read now; the viewer should come back."""

    code = "unavailable"
    retry = True

    def __init__(self, detail: str = "the data can't be read now; come back in a moment") -> None:
        super().__init__(detail)


class Misconfigured(GatewayError):
    """A setting that we refuse to run with; the text says what to do."""

    code = "misconfigured"
