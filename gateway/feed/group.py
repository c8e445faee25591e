"""
The viewers who see one feed in the same way.

Here is the hot path: an event is encoded once for the group, framed once per transport, and written once per viewer
and loop turn. Nobody is awaited and nothing is queued; whoever does not take what is written falls behind, and
catches up from its cursor when it does.

What is heard is told by `flush`, to everybody at once; or, where that would take too long, by `share`, which says what
each is to be told, and `tell_some`, which tells it to some of them at a time. feed/rounds.py decides when.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.feed.coalescing import Coalesced
from gateway.feed.follower import Follower, Phase, Reason, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.codec import AppendEvent, Event
    from gateway.feed.channel import Channel
    from gateway.feed.view import Framing, Message, Shown

_log = logging.getLogger("runcast.feed")

#: Events kept for those who are reading the state meanwhile. When more come, they read again.
MAX_HEARD: Final = 1000
#: The same in bytes: metadata, and chunks of a stream, may be large.
MAX_HEARD_BYTES: Final = 4 * 1024 * 1024
#: Runs of which a number is kept, for viewers of a cut-off snapshot. When more come, we start over.
MAX_SEEN: Final = 50_000


class Group:
    """
    Followers with the same view of a feed, and their common place in it.

    `position` is the number of the last change that all live followers have been told, but for those who are still
    `untold`; `floor` the highest number that some of them read before they joined, below which each one's own place is
    looked at.

    A viewer of a cut-off snapshot can't be told a part of a run that it never had. It was told every change after its
    base, so it has a run exactly when that changed between there and now; `seen` keeps one such number for each run.
    """

    __slots__ = (
        *("_base", "_dirty", "_floor", "_heard_bytes", "_pending", "_reached", "_seen", "_untold", "_untold_from"),
        *("_wants_wave", "channel", "deliveries", "epoch", "heard", "heard_all", "live", "position", "size", "view"),
        "waiting",
    )

    def __init__(self, channel: Channel, view: Shown, wants_wave: Callable[[Group], None]) -> None:
        self.channel = channel
        self.view = view
        self.epoch = ""
        self.position = 0
        #: By how they spell what they are told; empty when nobody is live.
        self.live: dict[Framing, dict[Follower, None]] = {}
        self.waiting: dict[Follower, None] = {}
        self.size = 0
        #: Events since the reading of the state began, while somebody catches up; and whether these are all.
        self.heard: list[Event | AppendEvent] | None = None
        self.heard_all = True
        self._heard_bytes = 0
        self.deliveries = 0
        self._base = 0  # the highest of all live followers
        self._seen: dict[str, int] = {}
        self._floor = 0
        self._reached = 0  # as `position`, but of events that are not yet told
        #: What was heard and is not told yet.
        self._pending: list[Event | AppendEvent] | Coalesced = []
        self._dirty = False
        #: Who is still to be told what was shared, and what; and up to where they have been told everything.
        self._untold: dict[Follower, bytes] = {}
        self._untold_from = 0
        self._wants_wave = wants_wave

    # Followers come, fall behind, return, leave.

    def add(self, follower: Follower) -> None:
        """It comes, and is told the state first."""
        self.size += 1
        self._wait(follower, Reason.JOINED if follower.replaces else Reason.RETURNED)

    def remove(self, follower: Follower) -> None:
        """It goes. Going twice is harmless."""
        if follower.phase is not Phase.LEFT:
            self._forget(follower)
            follower.move(Signal.VIEWER_LEFT)
            self.size -= 1

    def fell_behind(self, follower: Follower) -> None:
        """Its sink is full: from now on it is told nothing."""
        self._keep_place(follower)
        self._forget(follower)
        follower.move(Signal.SINK_FULL)

    def drained(self, follower: Follower) -> None:
        """Its sink has room again: it catches up from its place."""
        if follower.phase is Phase.BEHIND:
            follower.move(Signal.SINK_DRAINED)
            self._wait(follower, Reason.FELL_BEHIND)

    def broke(self, reason: Reason = Reason.RESUBSCRIBED) -> None:
        """Changes may have been missed, or can't be told as they came: all who were live catch up."""
        self.flush()
        for follower in [follower for followers in self.live.values() for follower in followers]:
            self._keep_place(follower)
            self._forget(follower)
            follower.move(Signal.FEED_BROKEN)
            self._wait(follower, reason)

    def _wait(self, follower: Follower, reason: Reason) -> None:
        self.channel.catch_ups[reason] += 1
        self.waiting[follower] = None
        self._wants_wave(self)

    def _forget(self, follower: Follower) -> None:
        self.waiting.pop(follower, None)
        self._untold.pop(follower, None)
        framing = follower.connection.framing
        alike = self.live.get(framing, {})
        if follower in alike:
            del alike[follower]
            if not alike:
                del self.live[framing]

    def _keep_place(self, follower: Follower) -> None:
        if follower.phase is Phase.LIVE:
            follower.epoch = self.epoch
            follower.at = self.place(follower)

    def place(self, follower: Follower) -> int:
        """The number up to which a live follower has been told everything."""
        told = self._untold_from if follower in self._untold else self.position
        return max(follower.at, told, self.channel.settled(self.epoch))

    def listen(self) -> None:
        """From now on keep what is heard: somebody reads the state, and joins then."""
        self.heard, self.heard_all, self._heard_bytes = [], True, 0

    def stop_listening(self) -> None:
        """Nobody needs what was heard."""
        self.heard, self.heard_all, self._heard_bytes = None, True, 0

    def begin(self, epoch: str) -> None:
        """Those who are about to join read the history of *epoch*; live followers of another one join them."""
        if epoch != self.epoch:
            self.broke(Reason.EPOCH)
            self.epoch, self.position, self._reached, self._floor = epoch, 0, 0, 0
            self._seen.clear()  # some of these numbers may have been lost, and given again

    def missed(self, at: int) -> list[Event | AppendEvent]:
        """What was heard, and is not in what was read up to *at*."""
        return [event for event in self.heard or () if event.sequence > at]

    def can_admit(self, at: int, base: int) -> bool:
        """Whether followers of *base*, who have read everything up to *at*, can be told as it came what came since."""
        if not self.heard_all or any(event.epoch != self.epoch for event in self.heard or ()):
            return False
        entered: set[str] = set()
        for event in self.missed(at):
            if event.run not in entered and not self.can_tell(event, base):
                return False
            entered.add(event.run)
        return True

    def admit(self, followers: Iterable[Follower], at: int) -> None:
        """Let *followers*, who have read everything up to *at*, hear what comes; first, what came meanwhile."""
        self.share()  # what was heard before they came is not for them
        joining = list(followers)
        missed = self.missed(at)
        if self.live:
            self._floor = max(self._floor, at)
        else:
            self._base = 0
            self._floor = at
            self.position = self._reached = max(at, missed[-1].sequence if missed else 0)
        self._base = max(self._base, highest_base(joining))
        for event in missed:
            self.learn(event.run, event.sequence, 0)
        messages = [message for event in missed for message in self.view.messages(event, event.cursor)]
        for follower in joining:
            del self.waiting[follower]
            follower.move(Signal.CAUGHT_UP)
            follower.at = at
            self.live.setdefault(follower.connection.framing, {})[follower] = None
        self._write(messages, joining)

    # Changes come.

    def hear(self, event: Event | AppendEvent, *, late: bool = False) -> None:
        """A change of this feed's channel, in order; *late* when they come faster than each of them can be told."""
        if not self.view.admits(event):
            return
        if self.heard is not None:
            self._remember(event, self.heard)
        if not self.live:
            return
        if event.epoch != self.epoch:
            self.broke(Reason.EPOCH)
        elif event.sequence > self._reached:
            self._tell(event, late)

    def skip(self) -> None:
        """A change of this feed's channel that is not told."""
        if self.heard is not None:
            self.heard_all = False
        if self.live:
            self.broke(Reason.OVER_LIMIT)

    def _tell(self, event: Event | AppendEvent, late: bool) -> None:
        if not self.can_tell(event, self._base):
            self.broke(Reason.LARGE_VALUE if self.view.lacks(event) else Reason.CUT_OFF)
            return
        if self._base:
            self.learn(event.run, event.sequence, 0)
        if event.sequence <= self._floor:
            self._tell_some(event)
            return
        self._reached = event.sequence
        if late and self._pending and type(self._pending) is list:
            self._pending = Coalesced(self._pending)
        self._pending.append(event)
        if not self._dirty:
            self._dirty = True
            self.channel.dirty(self)

    def can_tell(self, event: Event | AppendEvent, base: int) -> bool:
        """Whether all that this view shows of the change is in the event, for viewers of *base*."""
        if self.view.lacks(event):
            return False
        # The run's number may come from reading the state, and then be later than this event.
        return not base or not self.view.is_partial(event) or base < self._seen.get(event.run, 0) < event.sequence

    def is_cut_off(self, base: int) -> bool:
        """Whether anybody here, or who comes with *base*, may lack a run that did not change since."""
        return bool(base or self._base)

    def learn(self, run: str, number: int, base: int) -> None:
        """The run changed under this number: who is of *base*, and has been told everything up to there, has it."""
        highest = max(base, self._base)
        if highest and self._seen.get(run, 0) <= highest:
            self._seen[run] = number

    def _tell_some(self, event: Event | AppendEvent) -> None:
        """Some followers read this change before they joined: it came late, over the subscription."""
        self.flush()
        self.position = self._reached = event.sequence
        late = [follower for followers in self.live.values() for follower in followers if follower.at < event.sequence]
        self._write(self.view.messages(event, event.cursor), late)

    def _remember(self, event: Event | AppendEvent, heard: list[Event | AppendEvent]) -> None:
        if not self.heard_all:
            return
        self._heard_bytes += event.size
        if len(heard) >= MAX_HEARD or self._heard_bytes > MAX_HEARD_BYTES or self.view.lacks(event):
            self.heard_all = False
            heard.clear()  # nobody can join by what is not all of it
        else:
            heard.append(event)

    # Viewers are told.

    def flush(self) -> None:
        """Tell everybody what was heard: one write per viewer."""
        if self._untold:
            self.tell_some(len(self._untold))
        messages = self._take()
        if not messages:
            return
        for framing, followers in list(self.live.items()):
            data = _spell(framing, messages)
            # A write may fill a sink, which takes its followers out of `live`, here and elsewhere.
            told = list(followers)
            for follower in told:
                if follower.phase is Phase.LIVE:
                    follower.write(data)
            self._tell_ends(messages, told)

    def share(self) -> None:
        """Whoever is live is to be told what was heard: by `tell_some`, or at once when their run may have ended."""
        if self.view.feed.run_id is not None and any(event.transition is not None for event in self._pending):
            self.flush()  # it may close who hears it; and it comes a few times in the life of a run
            return
        before = self.position
        messages = self._take()
        if not messages:
            return
        shares = {framing: _spell(framing, messages) for framing in self.live}
        if not self._untold:
            self._untold_from = before
            for framing, followers in self.live.items():
                self._untold.update(dict.fromkeys(followers, shares[framing]))
            return
        # Somebody joins while others are being told: these are then told both.
        for framing, followers in self.live.items():
            for follower in followers:
                earlier = self._untold.get(follower)
                if earlier is None:
                    follower.at = max(follower.at, before)
                self._untold[follower] = (earlier or b"") + shares[framing]

    def tell_some(self, most: int) -> int:
        """Write to *most* of those who are to be told what was shared. Returns to how many it was."""
        untold = self._untold
        for told in range(most):
            if not untold:
                return told
            follower, data = untold.popitem()
            follower.write(data)
        return most

    @property
    def is_telling(self) -> bool:
        """Whether some are still to be told what was shared."""
        return bool(self._untold)

    def _take(self) -> list[Message]:
        """What is to be told of what was heard. From here on it counts as told."""
        events, self._pending, self._dirty = self._pending, [], False
        # Before the writes: a follower whose sink fills up with this has been given it, and
        # one that was full before is not in `live` any more.
        self.position = self._reached
        if len(self._seen) > MAX_SEEN:
            self._seen.clear()
        messages: list[Message] = []
        for event in events:
            try:
                messages += self.view.messages(event, event.cursor)
            except Exception:
                # Whoever can reach Redis can publish, and what comes with it in one piece must still be told.
                _log.exception("a change of %s can't be told", self.view.feed)
        for followers in self.live.values():
            self.deliveries += len(messages) * len(followers)
        return messages

    def _write(self, messages: list[Message], followers: list[Follower]) -> None:
        if not messages:
            return  # an empty chunk would end a response
        spelled: dict[Framing, bytes] = {}
        self.deliveries += len(messages) * len(followers)
        for follower in followers:
            framing = follower.connection.framing
            if framing not in spelled:
                spelled[framing] = _spell(framing, messages)
            if follower.phase is Phase.LIVE:
                follower.write(spelled[framing])
        self._tell_ends(messages, followers)

    def _tell_ends(self, messages: list[Message], followers: list[Follower]) -> None:
        # A final status is told by an update and an end; should the run have been reopened since, that is what counts.
        told = [message.ends for message in messages if message.ends is not None]
        if told:
            for follower in followers:
                follower.ended = told[-1]
                if follower.ended:
                    follower.connection.ended(self.view.feed)


def highest_base(followers: Iterable[Follower]) -> int:
    """The number where the latest of their snapshots began; 0 when none of them was cut off."""
    return max((follower.base or 0 for follower in followers), default=0)


def _spell(framing: Framing, messages: list[Message]) -> bytes:
    return framing.wrap(b"".join([framing.frame(kind, body, cursor) for kind, body, cursor, _ in messages]))
