"""
Follows each feed once per process, however many viewers there are, and tells them.

One subscription brings changes; each is decoded once, handed to the groups of its channel, and written at the end of
the loop turn in which it came, or when its group's turn has come (feed/rounds.py). Around that: canaries that prove
every second that the subscription hears (feed/canaries.py), heartbeats that say how fresh the feeds are, and the waves
that bring viewers up to date.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.codec import AppendEvent, decode_event
from gateway.feed.canaries import Canaries, Canary, CanaryStore
from gateway.feed.catching_up import CatchingUp, RowReader
from gateway.feed.channel import Channel
from gateway.feed.follower import Follower, Phase, Reason
from gateway.feed.group import Group
from gateway.feed.heartbeats import Environment, Heartbeats
from gateway.feed.remembering import RememberingGroup, RememberingView
from gateway.feed.rounds import Rounds
from gateway.feed.statistics import Statistics
from gateway.limits import Hearing
from gateway.metrics.redis_clock import RedisClock
from gateway.store.redis_keys import change_channel
from gateway.store.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.codec import Event
    from gateway.cursors import Cursor
    from gateway.feed.connection import Connection
    from gateway.feed.view import Shown
    from gateway.feeds import EnvironmentId

_log = logging.getLogger("runcast.feed")


class Store(RowReader, CanaryStore, Protocol):
    """What the hub needs of the store."""


class ControlListener(Protocol):
    """Who hears a channel that has no feed behind it. None of these may block or raise."""

    def heard(self, payload: bytes) -> None:
        """A message came."""

    def joined(self) -> None:
        """From now on every message is heard."""

    def lost(self) -> None:
        """Messages may have been missed, until it is joined again."""


#: Stands for a change that is not even read, because the environment's come faster than they may.
_SKIPPED: Final = object()
_UNHEARD: Final = object()
#: Of the changes that were heard last so much is remembered, and as much of those before: more than come together.
_RECENT_BYTES: Final = 64 * 1024


def _hear_everything(environment: EnvironmentId) -> Hearing:
    return Hearing(math.inf, environment, Counter())


@dataclass(slots=True)
class _Turn:
    """What must be written when this loop turn's messages are heard."""

    groups: list[Group] = field(default_factory=list)
    canaries: list[Canary] = field(default_factory=list)
    #: When its changes were stored (ms since 1970, by Redis's clock), and how many then: many at the same moment.
    moments: dict[int, int] = field(default_factory=dict)


class Hub:
    """The feeds that somebody follows, and everybody who does. Does its work while `run` runs."""

    def __init__(
        self,
        store: Store,
        url: str,
        environments: Iterable[EnvironmentId],
        heartbeat_seconds: float,
        hearing: Callable[[EnvironmentId], Hearing] | None = None,
    ) -> None:
        self.statistics = Statistics()
        self.clock = RedisClock()
        self.heartbeat_seconds = heartbeat_seconds
        self._store = store
        self._catching_up = CatchingUp(store)
        self._known_environments = list(environments)
        self._subscription = Subscription(url, self)
        self._channels: dict[bytes, Channel] = {}
        #: The same by environment: of a thousand each is looked at every second.
        self._channels_of: dict[EnvironmentId, dict[bytes, Channel]] = {}
        self._environments: dict[EnvironmentId, Environment] = {}
        self._heartbeats = Heartbeats(heartbeat_seconds)
        self._canaries = Canaries(
            store, self._subscription, self._environments, self._heartbeats, self.statistics, self.clock
        )
        self._turn = _Turn()
        self._rounds = Rounds(asyncio.get_running_loop, self._flush_gathered)
        #: Connections that follow several feeds, and have something of some of them to write.
        self._gathered: list[Connection] = []
        self._waves: dict[Group, asyncio.Task[None]] = {}
        self._control: dict[bytes, ControlListener] = {}
        #: The changes that were heard last, or what stands for them, and those before.
        self._recent: dict[bytes, Any] = {}
        self._before_recent: dict[bytes, Any] = {}
        self._recent_bytes = 0
        self._hearing = hearing or _hear_everything
        self._hearings: dict[EnvironmentId, Hearing] = {}
        self._stopped = False

    # Connections and what they follow.

    def know(self, environments: Iterable[EnvironmentId]) -> None:
        """Look after the runs of these environments, too, whether they have viewers or not."""
        self._known_environments += [name for name in environments if name not in self._known_environments]

    def open(self, connection: Connection) -> None:
        """A viewer's connection comes; from now on it gets heartbeats."""
        environment = self._environments.get(connection.environment)
        if environment is None:
            environment = Environment(connection.environment, heard_at=time.monotonic())
            environment.stale = not self._subscription.connected
            self._environments[connection.environment] = environment
        environment.connections[connection] = None
        self._heartbeats.add(connection, environment)

    def close(self, connection: Connection) -> None:
        """It goes, with all that it follows. Closing twice is harmless."""
        if not self._heartbeats.remove(connection):
            return
        for follower in list(connection.followers.values()):
            self.leave(follower)
        environment = self._environments[connection.environment]
        del environment.connections[connection]
        if not environment.connections:
            del self._environments[connection.environment]

    def follow(self, connection: Connection, view: Shown, cursor: Cursor | None) -> Follower:
        """
        Tell *connection* about *view*: what changed after *cursor*, or everything, and then each change.

        The feed need not exist. Returns at once; what is told goes to the connection's sink.
        """
        group = self._group(connection.environment, view)
        follower = Follower(connection, group, cursor)
        connection.add(follower, group.view)  # the view of all, not its own that is equal
        group.add(follower)
        if connection.full:
            group.fell_behind(follower)  # its sink, which takes nothing now, will not say so again
        return follower

    def leave(self, follower: Follower) -> None:
        """Tell it no more. Leaving twice is harmless."""
        group = follower.group
        if follower.phase is Phase.LEFT:
            return
        group.remove(follower)
        follower.connection.remove(group.view)
        if group.size == 0:
            self._forget(group)

    def listen(self, channel: str, listener: ControlListener) -> None:
        """Hear *channel* for as long as the hub runs: what processes tell each other, on the same subscription."""
        self._control[channel.encode()] = listener
        self._subscription.join(channel.encode())

    def _group(self, environment: EnvironmentId, view: Shown) -> Group:
        name = change_channel(environment, view.feed).encode()
        channel = self._channels.get(name)
        if channel is None:
            hearing = self._hearings.get(environment)
            if hearing is None:
                hearing = self._hearings[environment] = self._hearing(environment)
            channel = self._channels[name] = Channel(
                name, environment, self._turn_groups_append, self.statistics.catch_ups, hearing
            )
            self._channels_of.setdefault(environment, {})[name] = channel
            self._subscription.join(name)
        group = channel.groups.get(view)
        if group is None:
            group = channel.groups[view] = (
                RememberingGroup(channel, view, self._wants_wave).remember(view)
                if isinstance(view, RememberingView)
                else Group(channel, view, self._wants_wave)
            )
        return group

    def _turn_groups_append(self, group: Group) -> None:
        self._turn.groups.append(group)

    def _forget(self, group: Group) -> None:
        channel = group.channel
        self.statistics.deliveries += group.deliveries
        del channel.groups[group.view]
        wave = self._waves.pop(group, None)
        if wave is not None:
            wave.cancel()
        self._catching_up.forget(group)
        if not channel.groups:
            del self._channels[channel.name]
            of_environment = self._channels_of[channel.environment]
            del of_environment[channel.name]
            if not of_environment:
                del self._channels_of[channel.environment]
            self._subscription.leave(channel.name)

    def _wants_wave(self, group: Group) -> None:
        if group in self._waves or self._stopped:
            return
        self.statistics.waves += 1
        task = asyncio.create_task(self._catching_up.run(group), name=f"catching up with {group.view.feed}")
        self._waves[group] = task

        def ended(task: asyncio.Task[None]) -> None:
            if self._waves.get(group) is task:
                del self._waves[group]
                if group.waiting:  # somebody came between its last look and its end
                    self._wants_wave(group)

        task.add_done_callback(ended)

    # What connections say of themselves (feed/connection.py: Audience).

    def fell_behind(self, connection: Connection) -> None:
        self.statistics.fell_behind += 1
        for follower in connection.followers.values():
            follower.group.fell_behind(follower)

    def drained(self, connection: Connection) -> None:
        for follower in connection.followers.values():
            follower.group.drained(follower)
        self._heartbeats.tell(connection)  # nobody told it while it was full

    def gathered(self, connection: Connection) -> None:
        if not self._gathered:
            # Within a turn its end comes anyway; a share that comes at another time must not wait for one.
            asyncio.get_running_loop().call_soon(self._flush_gathered)
        self._gathered.append(connection)

    def _flush_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        for connection in gathered:
            connection.flush()

    def caught_up(self, connection: Connection) -> None:
        self._heartbeats.tell(connection)

    # What the subscription says (store/subscription.py: Listener).

    def heard(self, channel: bytes, payload: bytes) -> None:
        found = self._channels.get(channel)
        if found is None:
            if channel == self._canaries.channel:
                canary = self._canaries.hear(payload)
                if canary is not None:
                    self._turn.canaries.append(canary)
            elif channel in self._control:
                self._control[channel].heard(payload)
            return
        # A run that is in several feeds comes once for each, with others that were changed together with it between.
        event = self._recent.get(payload, _UNHEARD)
        if event is _UNHEARD:
            event = self._before_recent.get(payload, _UNHEARD)
            if event is _UNHEARD:
                event = self._hear_first(payload, found.hearing)
        if event is _SKIPPED:
            found.skip()
        elif event is not None:
            found.hear(event, late=self._rounds.late)

    def _hear_first(self, payload: bytes, hearing: Hearing) -> Any:
        self.statistics.events += 1
        event = self._decode(payload) if hearing.hear() else _SKIPPED
        self._recent_bytes += len(payload)
        if self._recent_bytes > _RECENT_BYTES:
            self._before_recent, self._recent, self._recent_bytes = self._recent, {}, len(payload)
        self._recent[payload] = event
        return event

    def _decode(self, payload: bytes) -> Event | AppendEvent | None:
        try:
            event = decode_event(payload)
        except ValueError:
            self.statistics.bad_events += 1
            _log.exception("somebody else publishes on our channels")
            return None
        moment = event.moment
        if moment is not None:
            moments = self._turn.moments
            moments[moment] = moments.get(moment, 0) + 1
        return event

    def turn_ended(self) -> None:
        turn, self._turn = self._turn, _Turn()
        if turn.moments:
            self._canaries.age = age = self.clock.since(max(turn.moments), time.time())
            self._canaries.aged_at = time.monotonic()
            self._rounds.judge(sum(turn.moments.values()), age)
        self._rounds.tell(turn.groups)
        self._flush_gathered()
        if turn.moments or turn.canaries:
            self._rounds.when_told(partial(self._told, turn))

    def _told(self, turn: _Turn) -> None:
        """What came in this turn is heard and written."""
        now, lag = time.time(), self.statistics.delivery_lag
        for moment, count in turn.moments.items():
            lag.observe(self.clock.since(moment, now), count)
        for canary in turn.canaries:
            if canary.lost == self.statistics.lost_subscriptions:  # else the subscription broke while it was written
                canary.environment.as_of = canary.sent
                self._settle(canary.environment, canary.cursor)

    def joined(self, channel: bytes) -> None:
        found = self._channels.get(channel)
        if found is not None:
            found.joined.set()
        elif channel in self._control:
            self._control[channel].joined()

    def lost(self) -> None:
        self.statistics.lost_subscriptions += 1
        for channel in list(self._channels.values()):
            channel.broke()
        for listener in list(self._control.values()):
            listener.lost()
        for environment in self._environments.values():
            self._heartbeats.become(environment, stale=True)

    def _settle(self, environment: Environment, cursor: Cursor) -> None:
        """Every change up to *cursor* has been heard and written, on every channel that was joined."""
        environment.settled = cursor
        for channel in list(self._channels_of.get(environment.name, {}).values()):
            if channel.joined.is_set():
                channel.last_settled = cursor
                for group in list(channel.groups.values()):
                    if group.live and group.epoch != cursor.epoch:
                        group.broke(Reason.EPOCH)  # data was lost while nobody wrote
        self._heartbeats.become(environment, stale=False)

    @property
    def hears(self) -> bool:
        """Whether the subscription is connected, and no environment with viewers is stale."""
        return self._subscription.connected and not any(e.stale for e in self._environments.values() if e.settled)

    # What there is, for whoever shows it.

    @property
    def deliveries(self) -> int:
        """Messages of feeds that were written to viewers."""
        return self.statistics.deliveries + sum(
            group.deliveries for channel in self._channels.values() for group in channel.groups.values()
        )

    def connections(self) -> Iterator[list[Connection]]:
        """All connections, in parts; others may come and go between two."""
        return self._heartbeats.connections()

    def followed(self) -> Counter[str]:
        """How many feeds somebody follows, by kind."""
        feeds = {(channel.environment, view.feed) for channel in self._channels.values() for view in channel.groups}
        return Counter(feed.kind for _, feed in feeds)

    # Running.

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._subscription.run(), name="subscription")
                tasks.create_task(self._canaries.send(), name="canaries")
                tasks.create_task(self._canaries.look_for_deafness(), name="looking for deafness")
                tasks.create_task(self._heartbeats.run(), name="heartbeats")
                tasks.create_task(self._canaries.sweep(self._known_environments), name="sweeping")
        finally:
            self._stopped = True
            for wave in self._waves.values():
                wave.cancel()
            await asyncio.gather(*self._waves.values(), return_exceptions=True)
