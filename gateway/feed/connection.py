"""What the hub needs of a viewer's connection, and what it keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.feed.follower import Follower
    from gateway.feed.view import Framing, Message, Shown
    from gateway.feeds import EnvironmentId, FeedId


class Sink(Protocol):
    """
    Where a viewer's bytes go.

    `write` never blocks and never fails: bytes for a connection that is gone are dropped. When too much is unsent
    the sink calls its connection's `filled`, possibly from within `write`, and `drained` once it has been sent.
    """

    def write(self, data: bytes) -> None:
        """Take *data*, as the connection's framing spells it."""


class Audience(Protocol):
    """What a connection asks of the hub."""

    def fell_behind(self, connection: Connection) -> None:
        """Its sink is full: tell it nothing until it `drained`."""

    def drained(self, connection: Connection) -> None:
        """It has room again, and lacks what happened meanwhile."""

    def gathered(self, connection: Connection) -> None:
        """It has something to write at the end of the loop turn: have it flushed then."""

    def caught_up(self, connection: Connection) -> None:
        """One of its feeds is live, of which it was told that it may be old."""


class Connection:
    """One viewer's connection: a sink, how it spells messages, and the feeds it follows."""

    __slots__ = ("_hub", "_turn", "environment", "followers", "framing", "full", "sink", "slot", "told_stale")

    def __init__(self, hub: Audience, sink: Sink, framing: Framing, environment: EnvironmentId) -> None:
        self._hub = hub
        self.sink = sink
        self.framing = framing
        self.environment = environment
        self.followers: dict[FeedId, Follower] = {}
        #: Whether more is unsent than we keep for one viewer.
        self.full = False
        #: Whether the last heartbeat said that the data may be old.
        self.told_stale = False
        #: Which heartbeats it gets; the hub spreads connections over them.
        self.slot = 0
        self._turn: list[bytes] | None = None

    def add(self, follower: Follower, view: Shown) -> None:
        """It follows another feed; one at a time in one view."""
        self.followers[view.feed] = follower
        self._choose_writers()

    def remove(self, view: Shown) -> None:
        """It follows that no more."""
        self.followers.pop(view.feed, None)
        self.flush()  # what was gathered goes before what may now be written directly
        self._choose_writers()

    def _choose_writers(self) -> None:
        # With one feed a turn's share goes straight to the socket; with several it is gathered
        # first, so that there is one write per viewer and loop turn.
        write = self.sink.write if len(self.followers) == 1 else self._gather
        for follower in self.followers.values():
            follower.write = write

    def _gather(self, data: bytes) -> None:
        if self._turn is None:
            self._turn = []
            self._hub.gathered(self)
        self._turn.append(data)

    def flush(self) -> None:
        """Write what was gathered in this loop turn."""
        if self._turn is not None:
            data, self._turn = b"".join(self._turn), None
            self.sink.write(data)

    def tell(self, message: Message) -> None:
        """Write one message, after what was gathered."""
        self.tell_spelled(self.framing.wrap(self.framing.frame(message.kind, message.body, message.cursor)))

    def tell_spelled(self, data: bytes) -> None:
        """As `tell`, with what was spelled already, perhaps for many."""
        self.flush()
        if data:
            self.sink.write(data)

    def ended(self, feed: FeedId) -> None:
        """A run feed told its `end`. Transports that close then override this."""

    def caught_up(self) -> None:
        """One of its followers is live."""
        if self.told_stale:
            self._hub.caught_up(self)

    def filled(self) -> None:
        """The sink holds all that we keep for one viewer."""
        self.full = True
        self._hub.fell_behind(self)

    def drained(self) -> None:
        """The sink has sent it."""
        self.full = False
        self._hub.drained(self)
