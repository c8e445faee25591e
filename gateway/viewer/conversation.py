"""
What a viewer says on one connection, and what it makes of what it hears. Does no I/O and never waits.

It subscribes to everything with the cursors of the mirror once it was welcomed, feeds the mirror, asks afresh for a
feed that is out of step, and remembers whatever the next connection must know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_message, encode_message
from gateway.errors import BadMessage
from gateway.viewer.mirror import Change, OutOfStep

if TYPE_CHECKING:
    from gateway.feeds import FeedId
    from gateway.viewer.mirror import Mirror

#: What an older gateway does not say; ours beats more often.
_HEARTBEAT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A feed that a viewer wants, and how (docs/protocol.md, "What a viewer says")."""

    feed: FeedId
    skip_columns: tuple[str, ...] = ()
    since: str | float | None = None
    limit: int | None = None

    def message(self, cursor: str | None) -> dict[str, Any]:
        """The message that asks for it, from *cursor* on."""
        asked: dict[str, Any] = {"type": "subscribe", **_named(self.feed)}
        options = {"cursor": cursor, "skipColumns": self.skip_columns or None, "since": self.since, "limit": self.limit}
        return asked | {name: value for name, value in options.items() if value is not None}


def _named(feed: FeedId) -> dict[str, Any]:
    match feed.kind:
        case "all":
            return {"all": True}
        case "tag":
            return {"tags": feed.names}
        case kind:
            return {kind: feed.names[0]}


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The gateway let us in. `expires_at` (RFC 3339) is when the token ends, if it does."""

    environment: str
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """One feed is not to be had with this token, or at all. The others go on."""

    feed: str
    code: str
    message: str


Heard = Change | Welcomed | Refused


class Conversation:
    """One connection's worth of talk. `wanted` and *mirror* outlive it; feeds that are refused leave both."""

    def __init__(self, mirror: Mirror, wanted: dict[str, Subscription]) -> None:
        self._mirror = mirror
        self._wanted = wanted
        self._outbox: list[str] = []
        #: A feed's name, while what comes of it belongs to a subscription that was given up.
        self._leaving: set[str] = set()
        self.welcomed = False
        #: Whether something came that only a gateway in working order sends.
        self.got_data = False
        self.heartbeat_seconds = _HEARTBEAT_SECONDS
        #: Set when the gateway sent us away: for how long.
        self.come_back_seconds: float | None = None
        #: Why to end this connection and try another one, if so.
        self.broken: str | None = None
        #: The last error that concerned the whole connection.
        self.code, self.reason = "", ""

    @property
    def over(self) -> bool:
        """Whether nothing is to be gained from this connection any more."""
        return self.broken is not None or self.come_back_seconds is not None or not self._wanted

    def take_messages(self) -> list[str]:
        """What is to be sent now."""
        messages, self._outbox = self._outbox, []
        return messages

    def receive(self, text: str | bytes) -> list[Heard]:
        """
        Take in one message.

        Raises:
            BadMessage: When the other end speaks another protocol.
        """
        if isinstance(text, bytes):
            raise BadMessage("the server sent a binary frame; only text is spoken here")
        message = decode_message(text)
        match message.get("type"):
            case "welcome":
                return self._welcome(message)
            case "error":
                return self._error(message)
            case "reconnect":
                self._go_away(message)
            case "unsubscribed":
                self._leaving.discard(message.get("feed", ""))
            case _:
                return self._tell_mirror(message)
        return []

    def _welcome(self, message: dict[str, Any]) -> list[Heard]:
        self.heartbeat_seconds = _positive(message, "heartbeatSeconds", _HEARTBEAT_SECONDS)
        if self.welcomed:
            return []  # to a renewed token
        self.welcomed = True
        for name, subscription in self._wanted.items():
            self._say(subscription.message(self._mirror.cursor(name)))
        return [Welcomed(str(message.get("environment", "")), message.get("expiresAt"))]

    def _tell_mirror(self, message: dict[str, Any]) -> list[Heard]:
        feed = message.get("feed")
        if feed in self._leaving:
            return []
        self.got_data = self.got_data or message.get("type") in ("snapshot", "update")
        try:
            return [*self._mirror.apply(message)]
        except OutOfStep as error:
            self._leaving.add(error.feed)
            self._say({"type": "unsubscribe", "feed": error.feed})
            self._say(self._wanted[error.feed].message(None))
            return []

    def _error(self, message: dict[str, Any]) -> list[Heard]:
        feed, code = message.get("feed"), str(message.get("code", ""))
        reason = str(message.get("message", "")) or code
        if feed not in self._wanted:
            self.code, self.reason = code, reason
            return []
        if message.get("retry") is True:
            self.broken = reason  # on another connection, after a pause, it may be had
            return []
        del self._wanted[feed]
        self._mirror.leave(feed)
        return [Refused(feed, code, reason)]

    def _go_away(self, message: dict[str, Any]) -> None:
        self.come_back_seconds = _positive(message, "afterMilliseconds", 0.0) / 1000
        self.reason = str(message.get("reason", "")) or "the gateway is going away"

    def _say(self, message: dict[str, Any]) -> None:
        self._outbox.append(encode_message(message).decode())


def _positive(message: dict[str, Any], name: str, otherwise: float) -> float:
    value = message.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else otherwise
