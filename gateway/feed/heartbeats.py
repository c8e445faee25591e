"""
Who is told how fresh the feeds are, and when: at once when it changes, and every so often in any case.

A heartbeat says whether the data is the truth, as of when, and up to where its viewer has been told everything.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.codec import encode_message, rfc3339
from gateway.cursors import Cursor
from gateway.feed.follower import Phase
from gateway.feed.view import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feed.connection import Connection
    from gateway.feeds import EnvironmentId

#: Into how many parts heartbeats are spread, so that ten thousand viewers are not written to at once.
HEARTBEAT_SLOTS: Final = 60


@dataclass(slots=True)
class Environment:
    """What the hub knows of one environment that has viewers."""

    name: EnvironmentId
    connections: dict[Connection, None] = field(default_factory=dict)
    #: When the data was last known to be the truth (ms since 1970), and where it was then.
    as_of: int = 0
    settled: Cursor | None = None
    stale: bool = False
    #: When a canary was last heard, or the first connection came (monotonic seconds).
    heard_at: float = 0.0
    #: When the first canary after that was sent, if Redis said that it sent it.
    unheard_since: float | None = None


class Heartbeats:
    """
    All connections, each in one of the slots that take turns.

    Args:
        seconds: Between two heartbeats of one connection.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ring: list[dict[Connection, Environment]] = [{} for _ in range(HEARTBEAT_SLOTS)]
        self._slots = itertools.cycle(range(HEARTBEAT_SLOTS))

    def add(self, connection: Connection, environment: Environment) -> None:
        """From now on it gets heartbeats."""
        connection.slot = next(self._slots)
        self._ring[connection.slot][connection] = environment
        if environment.stale:
            # Soon, not now: its transport has not said welcome yet.
            asyncio.get_running_loop().call_soon(self.tell, connection)

    def remove(self, connection: Connection) -> bool:
        """It gets none any more. Returns whether it got some before."""
        return self._ring[connection.slot].pop(connection, None) is not None

    def connections(self) -> Iterator[list[Connection]]:
        """All connections, in parts; others may come and go between two."""
        for connections in self._ring:
            yield list(connections)

    def become(self, environment: Environment, *, stale: bool) -> None:
        """The data of *environment* is the truth, or may be old: whoever was told otherwise is told at once."""
        if environment.stale == stale:
            return
        environment.stale = stale
        for connection in list(environment.connections):
            self.tell(connection)

    def tell(self, connection: Connection) -> None:
        """Tell it at once how fresh its feeds are, if that is not what it was told last."""
        environment = self._ring[connection.slot].get(connection)
        if environment is not None and _is_stale(connection, environment) != connection.told_stale:
            _beat(connection, environment)

    async def run(self) -> None:
        """Work until cancelled."""
        for slot in itertools.cycle(range(HEARTBEAT_SLOTS)):
            await asyncio.sleep(self._seconds / HEARTBEAT_SLOTS)
            for connection, environment in list(self._ring[slot].items()):
                _beat(connection, environment)


def _is_stale(connection: Connection, environment: Environment) -> bool:
    """Whether what it has may be old: until all its feeds have caught up, if it was so once."""
    return environment.stale or (connection.told_stale and not _is_live(connection))


def _beat(connection: Connection, environment: Environment) -> None:
    """Say how fresh its feeds are; with a cursor only when all of them have everything up to it."""
    if connection.full:
        return
    connection.told_stale = stale = _is_stale(connection, environment)
    cursor = None if stale else _delivered(connection, environment.settled)
    # While one of its feeds catches up nobody knows from when what it was told is.
    as_of = environment.as_of if stale or _is_live(connection) else 0
    connection.tell(_heartbeat(as_of, cursor, stale=stale))


def _is_live(connection: Connection) -> bool:
    return all(follower.phase is Phase.LIVE for follower in connection.followers.values())


def _delivered(connection: Connection, settled: Cursor | None) -> Cursor | None:
    """Up to where all its feeds have been told everything, if that is known."""
    followers = connection.followers.values()
    if settled is None or not _is_live(connection) or any(f.group.epoch != settled.epoch for f in followers):
        return None
    # What it was told since the last canary counts too: a viewer's cursor never goes back.
    told = min((follower.group.place(follower) for follower in followers), default=0)
    return Cursor(settled.epoch, max(settled.sequence, told))


def _heartbeat(as_of: int, cursor: Cursor | None, *, stale: bool) -> Message:
    message = {"type": "heartbeat", "state": "stale" if stale else "live"}
    if as_of:
        message["asOf"] = rfc3339(as_of)
    if cursor is not None:
        message["cursor"] = str(cursor)
    return Message("heartbeat", encode_message(message), message.get("cursor", ""))
