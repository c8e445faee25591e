"""
What a viewer knows of the feeds it follows (docs/protocol.md, "What the server says"). Does no I/O and never waits.

Messages go in, as they were decoded; out comes what each of them changed. Whatever the way there (updates, pages of a
snapshot, a reconnect in between), the same history ends in the same runs, with the same list of statuses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.cursors import Cursor
from gateway.errors import BadInput, BadMessage, GatewayError
from gateway.viewer.streams import MirroredStream, StreamChange
from gateway.viewer.viewed import Transition, ViewedRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Runs kept of one feed. Redis forgets old runs without a word; whoever follows a feed for weeks must forget them, too.
MAX_RUNS: Final = 10_000


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A run is another than before, or new."""

    feed: str
    run: ViewedRun
    #: Statuses that this viewer had not heard of, in order.
    new: tuple[Transition, ...]
    #: Where in the environment's history the run is like this: one that is in two feeds may be told late by one.
    at: Cursor


@dataclass(frozen=True, slots=True)
class RunsGone:
    """Runs that are not kept any more: a snapshot did not bring them back, or they ended and there is no room."""

    feed: str
    runs: tuple[str, ...]
    #: Whether the gateway does not have them any more either.
    lost: bool = False


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The feed is whole: everything that happened so far is known."""

    feed: str
    #: More runs match than the limit of the subscription.
    truncated: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The run of a run feed reached its final status. A new attempt may open it again."""

    feed: str
    status: str


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh the feeds are: the gateway sees the data, or has lost sight of it; what it said was so at `as_of`."""

    stale: bool
    as_of: str | None


Change = RunChanged | RunsGone | CaughtUp | Ended | Freshness | StreamChange


class OutOfStep(GatewayError):
    """A part of a run came, and the run is not known. The feed was forgotten; it must be subscribed to afresh."""

    code = "out_of_step"
    retry = True

    def __init__(self, feed: str, run: str) -> None:
        super().__init__(f"a change of run {run!r} came in {feed}, but the run itself never did")
        self.feed, self.run = feed, run


@dataclass(slots=True)
class MirroredFeed:
    """What is known of one feed."""

    name: str
    #: Over this, runs that ended are forgotten. Should one change after all, the feed is out of step, and begins anew.
    max_runs: int = MAX_RUNS
    #: Those that changed last come last.
    runs: dict[str, ViewedRun] = field(default_factory=dict)
    #: Everything up to here is known; None when nothing is, or nothing may be built upon.
    cursor: Cursor | None = None
    #: Whether `runs` is the whole feed, as of some moment: it has been, since it was last replaced.
    complete: bool = False
    #: Whether the connection that we have now has brought it up to date, and brings each change as it happens.
    caught_up: bool = False
    #: Whether more runs match than the limit.
    truncated: bool = False
    #: For a run feed: the final status of its run, once that was told.
    ended: str | None = None
    #: Runs from before a replacing snapshot, until its last page says which of them are gone.
    replaced: dict[str, ViewedRun] = field(default_factory=dict)

    def advance(self, text: str) -> None:
        """Move the cursor, never backwards. Numbers of another epoch don't compare: the newer message is right."""
        told = Cursor.parse(text)
        if self.cursor is None or self.cursor.epoch != told.epoch or self.cursor.sequence <= told.sequence:
            self.cursor = told

    def has(self, text: str) -> bool:
        """Whether what carries this cursor is part of what is known."""
        told = Cursor.parse(text)
        known = self.cursor
        return known is not None and known.epoch == told.epoch and told.sequence <= known.sequence

    def keep(self, run: ViewedRun) -> list[str]:
        """Put a run in, and return which ones had to go for it."""
        self.runs.pop(run.id, None)
        self.runs[run.id] = run
        if len(self.runs) <= self.max_runs:
            return []
        ended = next((known.id for known in self.runs.values() if known.is_final and known is not run), None)
        if ended is None:
            return []  # all of these are at work
        del self.runs[ended]
        return [ended]

    def copy(self) -> MirroredFeed:
        """The same knowledge, to be followed on another connection."""
        return replace(self, runs=dict(self.runs), replaced=dict(self.replaced), caught_up=False)

    def forget(self) -> None:
        """Start over: only a snapshot that replaces everything is of use now."""
        self.replaced = self.replaced | self.runs
        self.runs = {}
        self.cursor = self.ended = None
        self.complete = self.caught_up = False


class Mirror:
    """
    The feeds that one viewer follows.

    One message at a time; not for several threads. It outlives connections: tell it when one ends.
    """

    def __init__(self, feeds: Iterable[str] = (), *, max_runs: int = MAX_RUNS) -> None:
        self._max_runs = max_runs
        self.feeds: dict[str, MirroredFeed] = {}
        self.streams: dict[str, MirroredStream] = {}
        #: Whether the gateway has lost sight of the data, and when it last saw it, by its last heartbeat.
        self.stale = False
        self.as_of: str | None = None
        for feed in feeds:
            self.follow(feed)

    def follow(self, feed: str) -> None:
        """Keep what comes of *feed*. Messages of other feeds are ignored."""
        self.feeds.setdefault(feed, MirroredFeed(feed, self._max_runs))

    def follow_stream(self, stream: str) -> None:
        """Hand on what comes of *stream*."""
        self.streams.setdefault(stream, MirroredStream(stream))

    def adopt(self, feed: MirroredFeed | MirroredStream) -> None:
        """Follow a feed of which something is known already; it belongs to one mirror at a time."""
        if isinstance(feed, MirroredStream):
            self.streams[feed.name] = feed
        else:
            self.feeds[feed.name] = feed

    def leave(self, feed: str) -> None:
        left = self.feeds.pop(feed, None)
        if left is not None:
            left.caught_up = False
        self.streams.pop(feed, None)

    def cursor(self, feed: str) -> str | None:
        """Where to go on in *feed*; None to begin with a snapshot, or at the beginning of a stream."""
        cursor = self.streams[feed].cursor if feed in self.streams else self.feeds[feed].cursor
        return None if cursor is None else str(cursor)

    @property
    def live(self) -> bool:
        """Whether what is known is the truth, as far as anyone can tell."""
        return not self.stale and all(feed.caught_up for feed in self.feeds.values())

    def disconnected(self) -> None:
        """The connection ended. What is known stays, but may be old until each feed has caught up on another one."""
        self.stale = False
        for feed in self.feeds.values():
            feed.caught_up = False

    def apply(self, message: Mapping[str, Any], *, size: int = 0) -> list[Change]:
        """
        Take in one message of the server, of *size* bytes; what is not about feeds changes nothing.

        Raises:
            OutOfStep: When it can't be applied. Its feed was forgotten: leave it and subscribe again without a cursor.
            BadMessage: When it is not of the protocol.
        """
        try:
            return self._apply(message, size)
        except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
            kind = str(message.get("type"))[:40]
            raise BadMessage(f"the server's {kind!r} is not of the protocol: {error!r}") from error

    def _apply(self, message: Mapping[str, Any], size: int) -> list[Change]:
        kind, name = message.get("type"), message.get("feed", "")
        if kind == "heartbeat":
            return self._heartbeat(message)
        if name in self.streams:
            return [*self.streams[name].apply(message, size)]
        feed = self.feeds.get(name)
        if feed is None:
            return []
        match kind:
            case "snapshot":
                return _snapshot(feed, message)
            case "update":
                return _update(feed, message)
            case "end":
                return _end(feed, message)
        return []

    def _heartbeat(self, message: Mapping[str, Any]) -> list[Change]:
        self.stale = message["state"] != "live"
        self.as_of = message.get("asOf", self.as_of)
        if "cursor" in message:
            for feed in self.feeds.values():
                # It speaks for the feeds that the gateway knows of. One that has not caught up here may be
                # on its way there still: with this cursor, what it missed would never come.
                if feed.caught_up:
                    feed.advance(message["cursor"])
        return [Freshness(self.stale, self.as_of)]


def _snapshot(feed: MirroredFeed, message: Mapping[str, Any]) -> list[Change]:
    at = Cursor.parse(message["cursor"])
    if message["replaces"]:
        feed.forget()
        feed.cursor = at
    elif feed.cursor is None:
        return []  # of a subscription that began with knowledge we have given up since
    changes: list[Change] = [change for told in message["runs"] for change in _put(feed, told, at)]
    feed.advance(message["cursor"])
    feed.caught_up = message["complete"]
    feed.truncated = message["truncated"]
    if feed.caught_up:
        feed.complete = True
        gone = tuple(run for run in feed.replaced if run not in feed.runs)
        feed.replaced = {}
        changes += [RunsGone(feed.name, gone, lost=True)] if gone else []
        changes.append(CaughtUp(feed.name, feed.truncated))
    return changes


def _update(feed: MirroredFeed, message: Mapping[str, Any]) -> list[Change]:
    told = message["run"]
    if feed.cursor is None or feed.has(message["cursor"]):
        return []
    heard = [Transition.read(message["transition"])] if "transition" in message else []
    at = Cursor.parse(message["cursor"])
    if message.get("whole"):
        changes = _put(feed, told, at, heard)
    elif told["id"] in feed.runs:
        changes = _change(feed, told, message.get("metadata"), at, heard)
    else:
        feed.forget()
        raise OutOfStep(feed.name, str(told["id"]))
    feed.advance(message["cursor"])
    return changes


def _end(feed: MirroredFeed, message: Mapping[str, Any]) -> list[Change]:
    if feed.cursor is None or feed.ended == message["status"]:
        return []  # each reconnect tells it again
    feed.ended = message["status"]
    return [Ended(feed.name, message["status"])]


def _put(feed: MirroredFeed, told: Mapping[str, Any], at: Cursor, heard: Sequence[Transition] = ()) -> list[Change]:
    """Take a whole run, in the place of what was known of it."""
    before = feed.runs.get(told["id"]) or feed.replaced.get(told["id"])
    fields = {name: value for name, value in told.items() if value is not None}
    listed = [Transition.read(entry) for entry in fields.get("transitions", ())]
    # Redis forgets runs. One that was created again under the same id has a history of its own; and what was
    # known before a replacing snapshot may never have happened.
    continues = told["id"] in feed.runs and feed.runs[told["id"]].fields.get("createdAt") == fields.get("createdAt")
    known = feed.runs[told["id"]].transitions if continues else ()
    return _keep(feed, before, fields, _merged(known, (*listed, *heard)), at)


def _change(
    feed: MirroredFeed,
    told: Mapping[str, Any],
    metadata: Mapping[str, Any] | None,
    at: Cursor,
    heard: Sequence[Transition],
) -> list[Change]:
    """Take what changed of a run that is known."""
    before = feed.runs[told["id"]]
    fields = {**before.fields, **told}
    if metadata is not None:
        document = {**before.metadata, **metadata.get("changed", {})}
        for key in metadata.get("deleted", ()):
            document.pop(key, None)
        fields["metadata"] = document
    fields = {name: value for name, value in fields.items() if value is not None}
    return _keep(feed, before, fields, _merged(before.transitions, heard), at)


def _merged(known: Iterable[Transition], told: Iterable[Transition]) -> tuple[Transition, ...]:
    """All of them in order, each number once."""
    by_number = {transition.sequence: transition for transition in (*known, *told)}
    return tuple(by_number[number] for number in sorted(by_number))


def _keep(
    feed: MirroredFeed,
    before: ViewedRun | None,
    fields: dict[str, Any],
    transitions: tuple[Transition, ...],
    at: Cursor,
) -> list[Change]:
    if transitions:
        fields["transitions"] = [transition.public() for transition in transitions]
    run = ViewedRun(fields["id"], fields, transitions)
    gone = feed.keep(run)
    changes: list[Change] = [RunsGone(feed.name, tuple(gone))] if gone else []
    if not run.is_final:
        feed.ended = None
    if run == before:
        return changes
    known = set(before.transitions) if before is not None else set()
    return [*changes, RunChanged(feed.name, run, tuple(entry for entry in transitions if entry not in known), at)]
