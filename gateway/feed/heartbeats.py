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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feed.connection import Connection
    from gateway.feed.view import Framing
    from gateway.feeds import EnvironmentId

#: Into how many parts heartbeats are spread, so that ten thousand viewers are not written to at once.
HEARTBEAT_SLOTS: Final = 60
#: Why what was told may be old, in words for people.
LOST_SIGHT: Final = "the gateway has lost sight of the data"


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
        #: The heartbeats of this moment, spelled: most viewers are told the same.
        self._spelled: dict[tuple[Framing, int, str, int, bool], bytes] = {}

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
            self._beat(connection, environment)

    async def run(self) -> None:
        """Work until cancelled."""
        for slot in itertools.cycle(range(HEARTBEAT_SLOTS)):
            await asyncio.sleep(self._seconds / HEARTBEAT_SLOTS)
            self._spelled.clear()
            for connection, environment in list(self._ring[slot].items()):
                self._beat(connection, environment)

    def _beat(self, connection: Connection, environment: Environment) -> None:
        """Say how fresh its feeds are; with a cursor only when all of them have everything up to it."""
        if connection.full:
            return
        live = _is_live(connection)
        connection.told_stale = stale = environment.stale or (connection.told_stale and not live)
        epoch, number = _delivered(connection, environment.settled) if live and not stale else ("", 0)
        # While one of its feeds catches up nobody knows from when what it was told is.
        as_of = environment.as_of if stale or live else 0
        key = (connection.framing, as_of, epoch, number, stale)
        spelled = self._spelled.get(key)
        if spelled is None:
            spelled = self._spelled[key] = _spell(*key)
        connection.tell_spelled(spelled)


def _is_stale(connection: Connection, environment: Environment) -> bool:
    """Whether what it has may be old: until all its feeds have caught up, if it was so once."""
    return environment.stale or (connection.told_stale and not _is_live(connection))


def _is_live(connection: Connection) -> bool:
    for follower in connection.followers.values():  # noqa: SIM110 - a generator for each heartbeat would be felt
        if follower.phase is not Phase.LIVE:
            return False
    return True


def _delivered(connection: Connection, settled: Cursor | None) -> tuple[str, int]:
    """Up to where all its feeds, which are live, have been told everything: epoch and number, "" when not known."""
    if settled is None:
        return "", 0
    told = None
    for follower in connection.followers.values():
        group = follower.group
        if group.epoch != settled.epoch:
            return "", 0
        place = group.place(follower)
        told = place if told is None or place < told else told
    # What it was told since the last canary counts too: a viewer's cursor never goes back.
    return settled.epoch, max(settled.sequence, told or 0)


def _spell(framing: Framing, as_of: int, epoch: str, number: int, stale: bool) -> bytes:
    message = {"type": "heartbeat", "state": "live"}
    if stale:
        message |= {"state": "stale", "reason": LOST_SIGHT}
    if as_of:
        message["asOf"] = rfc3339(as_of)
    if epoch:
        message["cursor"] = str(Cursor(epoch, number))
    return framing.wrap(framing.frame("heartbeat", encode_message(message), message.get("cursor", "")))
