"""
What a viewer says on one connection, and what it makes of what it hears. Does no I/O and never waits.

It subscribes to everything with the cursors of the mirror once it was welcomed, feeds the mirror, asks afresh for a
feed that is out of step, and remembers whatever the next connection must know. Feeds may come and go meanwhile.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import decode_message, encode_message
from gateway.errors import BadMessage
from gateway.viewer.mirror import Change, OutOfStep
from gateway.viewer.streams import stream_feed

if TYPE_CHECKING:
    from gateway.feeds import FeedId
    from gateway.viewer.mirror import Mirror

#: What an older gateway does not say; ours beats more often.
_HEARTBEAT_SECONDS: Final = 30.0
_DATA: Final = ("snapshot", "update", "begin", "chunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A feed that a viewer wants, and how (docs/protocol.md, "What a viewer says")."""

    feed: FeedId
    skip_columns: tuple[str, ...] = ()
    since: str | float | None = None
    limit: int | None = None

    @property
    def name(self) -> str:
        return str(self.feed)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSubscription:
    """A stream of a run that a viewer wants: all of it, what came after a cursor, or only what comes from now on."""

    run: str
    key: str
    after: str | None = None
    from_now: bool = False

    @property
    def name(self) -> str:
        return stream_feed(self.run, self.key)

    def message(self, cursor: str | None) -> dict[str, Any]:
        """The message that asks for it, from *cursor* on, or as it began."""
        asked: dict[str, Any] = {"type": "subscribe", "stream": {"run": self.run, "key": self.key}}
        place = cursor or self.after
        if place is not None:
            return asked | {"cursor": place}
        return asked | ({"from": "now"} if self.from_now else {})


Wanted = Subscription | StreamSubscription


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The gateway let us in, or took another token. The token lasts for `seconds`, or has no end."""

    environment: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """One feed is not to be had with this token, or at all. The others go on."""

    feed: str
    code: str
    message: str


Heard = Change | Welcomed | Refused


class Conversation:
    """One connection's worth of talk. `wanted` and *mirror* outlive it; feeds that are refused leave both."""

    def __init__(self, mirror: Mirror, wanted: dict[str, Wanted], *, stays: bool = False) -> None:
        self._mirror = mirror
        self._wanted = wanted
        #: Whether the connection is of use while no feed is wanted: another one may be soon.
        self._stays = stays
        self._outbox: list[str] = []
        #: By feed: how many answers to `unsubscribe` are on their way. What comes of it until then belongs to a
        #: subscription that was given up.
        self._leaving: Counter[str] = Counter()
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
        in_vain = not self._wanted and not self._stays
        return self.broken is not None or self.come_back_seconds is not None or in_vain

    def subscribe(self, name: str) -> None:
        """Ask for a feed that is wanted now, and was not when this connection began."""
        if self.welcomed:
            self._say(self._wanted[name].message(self._mirror.cursor(name)))

    def unsubscribe(self, name: str) -> None:
        """Leave a feed that is not wanted any more."""
        if self.welcomed:
            self._leaving[name] += 1
            self._say({"type": "unsubscribe", "feed": name})

    def authenticate(self, token: str) -> None:
        """Show another token, before the one that was shown ends."""
        self._say({"type": "authenticate", "token": token})

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
        message = decode_message(text, foreign=True)
        match message.get("type"):
            case "welcome":
                return self._welcome(message)
            case "error":
                return self._error(message)
            case "reconnect":
                self._go_away(message)
            case "unsubscribed":
                self._left(str(message.get("feed")))
            case _:
                return self._tell_mirror(message, len(text))
        return []

    def _welcome(self, message: dict[str, Any]) -> list[Heard]:
        self.heartbeat_seconds = _positive(message, "heartbeatSeconds", _HEARTBEAT_SECONDS)
        welcomed, self.welcomed = self.welcomed, True
        if not welcomed:  # it is not the answer to another token
            for name in self._wanted:
                self.subscribe(name)
        lasts = message.get("expiresInSeconds")
        return [Welcomed(str(message.get("environment", "")), lasts if isinstance(lasts, int | float) else None)]

    def _tell_mirror(self, message: dict[str, Any], size: int) -> list[Heard]:
        if message.get("feed") in self._leaving:
            return []
        self.got_data = self.got_data or message.get("type") in _DATA
        try:
            return [*self._mirror.apply(message, size=size)]
        except OutOfStep as error:
            self.unsubscribe(error.feed)
            self.subscribe(error.feed)
            return []

    def _left(self, feed: str) -> None:
        self._leaving[feed] -= 1
        if self._leaving[feed] <= 0:
            del self._leaving[feed]

    def _error(self, message: dict[str, Any]) -> list[Heard]:
        feed, code = message.get("feed"), str(message.get("code", ""))
        reason = str(message.get("message", "")) or code
        if feed in self._leaving:
            if code == "not_subscribed":
                self._left(str(feed))  # it was refused, and left, at the same time
            return []
        if feed not in self._wanted:
            self.code, self.reason = code, reason
            self._wait_for(message)
            return []
        if message.get("retry") is True:
            self.broken = reason  # on another connection, after a pause, it may be had
            self._wait_for(message)
            return []
        del self._wanted[feed]
        self._mirror.leave(feed)
        return [Refused(feed, code, reason)]

    def _wait_for(self, refusal: dict[str, Any]) -> None:
        """What is refused because there is too much of it may be had later; everybody is told the same time."""
        seconds = _positive(refusal, "afterMilliseconds", 0.0) / 1000
        if seconds:
            self.come_back_seconds = seconds * random.uniform(1, 2)

    def _go_away(self, message: dict[str, Any]) -> None:
        self.come_back_seconds = _positive(message, "afterMilliseconds", 0.0) / 1000
        self.reason = str(message.get("reason", "")) or "the gateway is going away"

    def _say(self, message: dict[str, Any]) -> None:
        self._outbox.append(encode_message(message).decode())


def _positive(message: dict[str, Any], name: str, otherwise: float) -> float:
    value = message.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else otherwise
