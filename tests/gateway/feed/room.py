"""A group without a hub: events are put in, and what viewers are told comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.codec import Event, Transition
from gateway.cursors import Cursor
from gateway.feed.channel import Channel
from gateway.feed.connection import Connection
from gateway.feed.follower import Follower
from gateway.feed.group import Group
from gateway.feed.view import View
from gateway.feeds import ALL_RUNS, RunId
from gateway.transports.framings import LINES
from tests.doubles import RecordingSink
from tests.gateway.feed.memory import CREATED, ENVIRONMENT, NoAudience

if TYPE_CHECKING:
    from gateway.feed.view import Framing

EPOCH = "e1"


def event(sequence: int, run: str = "run_1", **fields: Any) -> Event:
    standard: dict[str, Any] = {
        "epoch": EPOCH,
        "created": CREATED,
        "tags": (),
        "columns": {"number": sequence, "updatedAt": CREATED + sequence},
        "whole": False,
        "metadata": {},
        "deleted": (),
        "left_out": {},
        "transition": None,
        "added": frozenset(),
    }
    return Event(sequence=sequence, run=RunId(run), **{**standard, **fields})


def final(sequence: int, attempt: int = 1, **fields: Any) -> Event:
    status = "COMPLETED_SUCCESSFULLY"
    return event(
        sequence, columns={"status": status}, transition=Transition(sequence, status, CREATED, attempt), **fields
    )


class CountingFraming:
    """Spells as LINES does, and counts."""

    def __init__(self) -> None:
        self.frames = 0

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        self.frames += 1
        return LINES.frame(kind, body, cursor)

    def wrap(self, frames: bytes) -> bytes:
        return LINES.wrap(frames)


class Room:
    """One group on one channel, and the viewers in it."""

    def __init__(self, view: View | None = None) -> None:
        self.audience = NoAudience()
        self.dirty: list[Group] = []
        self.wanted = 0
        self.channel = Channel(b"changes", ENVIRONMENT, self.dirty.append)
        self.group = Group(self.channel, view or View(ALL_RUNS), self._wants_wave)
        self.channel.groups[self.group.view] = self.group
        self.group.begin(EPOCH)

    def _wants_wave(self, group: Group) -> None:
        self.wanted += 1

    def viewer(self, framing: Framing = LINES, *, limit: int = 1000) -> tuple[Follower, RecordingSink]:
        sink = RecordingSink(limit)
        sink.connection = Connection(self.audience, sink, framing, ENVIRONMENT)
        follower = Follower(sink.connection, self.group, None)
        sink.connection.add(follower, self.group.view)
        self.group.add(follower)
        return follower, sink

    def live(self, at: int = 100, *, base: int = 0, **words: Any) -> tuple[Follower, RecordingSink]:
        """A viewer who has read everything up to *at*."""
        follower, sink = self.viewer(**words)
        follower.base, follower.epoch, follower.replaces = base, EPOCH, False
        self.group.admit([follower], at)
        return follower, sink

    def hear(self, *events: Event) -> None:
        """One loop turn of the subscription."""
        for heard in events:
            self.channel.hear(heard)
        for group in self.dirty:
            group.flush()
        self.dirty.clear()


def numbers(sink: RecordingSink) -> list[int]:
    return [Cursor.parse(message["cursor"]).sequence for message in sink.take()]
