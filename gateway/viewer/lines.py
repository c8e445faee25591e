"""
Who reads what on which socket. All readers of a viewer share one socket, and those who read the same share a feed.

A feed is on a socket once, so there is a second socket when two readers want the same feed in different ways. And when
one reader does not keep up, its feed is left, and taken up from its cursor when it has room: nothing is lost, nobody
else waits, and memory is bounded (the gateway treats slow viewers in the same way).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from gateway.codec import rfc3339
from gateway.errors import TooManyFeeds
from gateway.viewer.conversation import Refused, StreamSubscription
from gateway.viewer.following import Following, State, StateChanged
from gateway.viewer.inboxes import ChunkInbox, RunInbox
from gateway.viewer.mirror import CaughtUp, Ended, Mirror, MirroredFeed, RunChanged, RunsGone
from gateway.viewer.refused import ViewerClosed, error_of
from gateway.viewer.streams import ChunkCame, MirroredStream, StreamBegan, StreamEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.viewer.conversation import Wanted
    from gateway.viewer.following import Event
    from gateway.viewer.tokens import Tokens
    from gateway.viewer.viewed import ViewedRun

#: A gateway allows 500 feeds on one socket by default.
FEEDS_PER_SOCKET: Final = 400

#: What a person is told of several sockets: the worst of them.
_WORST_FIRST: Final = (State.DENIED, State.RECONNECTING, State.CONNECTING, State.STALE, State.LIVE)


class Followed:
    """A feed that somebody reads: what is known of it, its readers, and the socket it is on, unless it waits."""

    def __init__(self, subscription: Wanted, known: MirroredFeed | MirroredStream) -> None:
        self.subscription = subscription
        self.known = known
        self.readers: list[RunInbox | ChunkInbox] = []
        self.line: Line | None = None
        #: Whether it is to be taken off its socket for a while.
        self.waits = False

    @property
    def name(self) -> str:
        return self.subscription.name

    @property
    def full(self) -> bool:
        return any(reader.full for reader in self.readers)

    def take(self, event: Event) -> None:
        """Hand on to its readers what happened."""
        for reader in self.readers:
            match event, reader:
                case RunChanged(run=run), RunInbox():
                    reader.put(run)
                case RunsGone(), RunInbox():
                    reader.forget(event)
                case ChunkCame(chunk=chunk, size=size), ChunkInbox():
                    reader.put(chunk, size)
                case ((CaughtUp() | StreamBegan()), _):
                    reader.catch_up()
                case ((Ended() | StreamEnded()), _):
                    reader.end()

    def fail(self, error: Exception) -> None:
        for reader in self.readers:
            reader.fail(error)


class Line:
    """One socket, as long as it is of use, and the feeds on it."""

    def __init__(self, lines: Lines, url: str, tokens: Tokens) -> None:
        self._lines = lines
        self._mirror = Mirror()
        self._following = Following(url, tokens, (), self._mirror, stays=True)
        self._feeds: dict[str, Followed] = {}
        #: How many feeds it takes; fewer, when the gateway says so.
        self._room = FEEDS_PER_SOCKET
        self._caught_up_at: str | None = None
        self.state = State.CONNECTING
        #: Begins when whoever made it waits, with a feed by then.
        self.task = asyncio.create_task(self._run(), name="viewer")

    @property
    def as_of(self) -> str | None:
        """As the gateway says with each heartbeat; before the first, when a feed had caught up, by our clock."""
        return self._mirror.as_of or self._caught_up_at

    @property
    def idle(self) -> bool:
        return not self._feeds

    def can_take(self, name: str) -> bool:
        return name not in self._feeds and len(self._feeds) < self._room

    def add(self, followed: Followed) -> None:
        self._feeds[followed.name] = followed
        followed.line = self
        self._mirror.adopt(followed.known)
        self._following.subscribe(followed.subscription)

    def leave(self, followed: Followed) -> None:
        del self._feeds[followed.name]
        followed.line = None
        self._following.leave(followed.name)
        self._mirror.leave(followed.name)

    async def _run(self) -> None:
        error: Exception = ViewerClosed()
        try:
            async with aclosing(self._following.events()) as events:
                async for event in events:
                    self._take(event)
                    if isinstance(event, StateChanged) and event.state is State.DENIED:
                        error = error_of(event.code, event.reason)
        except Exception as failure:  # what makes tokens failed: whoever reads should know why
            error = failure
        finally:
            # Either it was denied, or closed, or nobody reads anything on it.
            for followed in self._feeds.values():
                followed.line = None
                followed.fail(error)
            self._feeds.clear()
            self._lines.ended(self)

    def _take(self, event: Event) -> None:
        match event:
            case StateChanged():
                self.state = event.state
                self._lines.state_changed(event)
            case Refused():
                self._refused(event)
            case _:
                if isinstance(event, CaughtUp):
                    self._caught_up_at = rfc3339(time.time_ns() // 1_000_000)
                followed = self._feeds.get(getattr(event, "feed", ""))
                if followed is not None:
                    followed.take(event)
                    if followed.full and not followed.waits:
                        # Not at once: the message that brought this may bring more, and its cursor is beyond all that.
                        followed.waits = True
                        asyncio.get_running_loop().call_soon(self._lines.wait_for_readers, followed)

    def _refused(self, refusal: Refused) -> None:
        refused = self._feeds.pop(refusal.feed, None)
        if refused is None:
            return
        refused.line = None
        if refusal.code == TooManyFeeds.code and self._feeds:
            self._room = len(self._feeds)
            self._lines.put_on(refused)
        else:
            refused.fail(error_of(refusal.code, refusal.message, refusal.feed))


class Lines:
    """All sockets of a viewer. For one event loop."""

    def __init__(self, url: str, tokens: Tokens, on_state: Callable[[StateChanged], None]) -> None:
        self._url = url
        self._tokens = tokens
        self._on_state = on_state
        self._lines: list[Line] = []
        self._feeds: list[Followed] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._last_state = State.CONNECTING

    @property
    def state(self) -> State:
        states = [line.state for line in self._lines]
        return min(states, key=_WORST_FIRST.index) if states else self._last_state

    @property
    def as_of(self) -> str | None:
        """The oldest of them: what is shown was true then, all of it."""
        told = [line.as_of for line in self._lines if line.as_of is not None]
        return min(told) if told else None

    @property
    def sockets(self) -> int:
        return len(self._lines)

    def read_runs(self, subscription: Wanted, *, ends: bool) -> RunInbox:
        """Begin to read runs; with what is known already, when somebody reads the same."""
        self._check_open()
        inbox = RunInbox(ends=ends)
        for followed in self._feeds:
            if followed.subscription == subscription and followed.line is not None:
                break
        else:
            followed = self._follow(subscription, MirroredFeed(subscription.name))
        if isinstance(followed.known, MirroredFeed):
            inbox.put_all(followed.known)
        followed.readers.append(inbox)
        return inbox

    def read_stream(self, subscription: StreamSubscription) -> ChunkInbox:
        """Begin to read a stream. Each reader of one has a place of its own in it."""
        self._check_open()
        inbox = ChunkInbox()
        followed = self._follow(subscription, MirroredStream(subscription.name))
        followed.readers.append(inbox)
        return inbox

    def leave(self, inbox: RunInbox | ChunkInbox) -> None:
        """Read no more. A feed that nobody reads is left."""
        for followed in list(self._feeds):
            if inbox in followed.readers:
                followed.readers.remove(inbox)
                inbox.drained = None
                if not followed.readers:
                    self._feeds.remove(followed)
                    self._take_off(followed)
                elif inbox.full:
                    self._go_on(followed)

    def wait_for_readers(self, followed: Followed) -> None:
        """Somebody does not keep up: take the feed off its socket until there is room; for the others it goes on."""
        followed.waits = False
        slow = [reader for reader in followed.readers if reader.full]
        if not slow or followed.line is None:
            return
        waiting = followed
        if len(slow) < len(followed.readers) and isinstance(followed.known, MirroredFeed):
            followed.readers = [reader for reader in followed.readers if reader not in slow]
            waiting = Followed(followed.subscription, followed.known.copy())
            waiting.readers = slow
            self._feeds.append(waiting)
        else:
            self._take_off(followed)
        for reader in slow:
            reader.drained = lambda: self._go_on(waiting)

    def _go_on(self, followed: Followed) -> None:
        if followed.line is None and all(reader.has_room for reader in followed.readers):
            for reader in followed.readers:
                reader.drained = None
            self.put_on(followed)

    async def close(self) -> None:
        """Close all sockets. Whoever still reads is told."""
        self._closed = True
        for followed in self._feeds:
            followed.fail(ViewerClosed())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the lines tell.

    def state_changed(self, event: StateChanged) -> None:
        before, self._last_state = self._last_state, self.state
        if self._last_state is event.state:
            self._on_state(event)  # also when it failed once more to get out of it
        elif self._last_state is not before:
            self._on_state(StateChanged(state=self._last_state, as_of=self.as_of))

    def ended(self, line: Line) -> None:
        with contextlib.suppress(ValueError):
            self._lines.remove(line)
        if not self._lines and self._last_state is not State.DENIED:
            self._last_state = State.CONNECTING

    def _follow(self, subscription: Wanted, known: MirroredFeed | MirroredStream) -> Followed:
        followed = Followed(subscription, known)
        self._feeds.append(followed)
        self.put_on(followed)
        return followed

    def put_on(self, followed: Followed) -> None:
        """Follow it on a socket that has room for it."""
        line = next((line for line in self._lines if line.can_take(followed.name)), None)
        if line is None:
            line = Line(self, self._url, self._tokens)
            self._lines.append(line)
            self._tasks.add(line.task)
            line.task.add_done_callback(self._tasks.discard)
        line.add(followed)

    def _take_off(self, followed: Followed) -> None:
        line = followed.line
        if line is None:
            return
        line.leave(followed)
        # One is kept for who comes next.
        if line.idle and len(self._lines) > 1:
            self._lines.remove(line)
            line.task.cancel()

    def runs_of(self, inbox: RunInbox) -> dict[str, ViewedRun]:
        """Everything that is known of what it reads."""
        for followed in self._feeds:
            if inbox in followed.readers and isinstance(followed.known, MirroredFeed):
                return dict(followed.known.runs)
        return {}

    def _check_open(self) -> None:
        asyncio.get_running_loop()  # raises RuntimeError where nothing can be followed
        if self._closed:
            raise ViewerClosed
