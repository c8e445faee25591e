"""What a page knows of its feeds, kept as docs/protocol.md says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Long enough for a slow machine; nothing that works waits for it.
PATIENCE_SECONDS = 20.0
#: What a loaded machine may add to any time that is promised.
LATE_SECONDS = 10.0


@dataclass
class Model:
    """Runs as they were told, and a record of how."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Every status of each run, in the order in which it was told; each once.
    statuses: dict[str, list[str]] = field(default_factory=dict)
    #: By feed: where it is, for the next connection.
    cursors: dict[str, str] = field(default_factory=dict)
    #: By feed: whether its last snapshot was complete. A new connection begins without.
    complete: dict[str, bool] = field(default_factory=dict)
    #: Snapshots that said `replaces`.
    replacements: int = 0
    #: What heartbeats said, without repetitions.
    states: list[str] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)
    #: Messages of other types, and how many came of each.
    said: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _sequences: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, message: dict[str, Any]) -> None:
        """Believe one message of the server."""
        kind = message["type"]
        self.counts[kind] = self.counts.get(kind, 0) + 1
        match kind:
            case "snapshot":
                self._snapshot(message)
            case "update":
                self._update(message)
            case "heartbeat":
                self._heartbeat(message)
            case "end":
                self.ends.append((message["feed"], message["status"]))
                self.cursors[message["feed"]] = message["cursor"]
            case _:
                self.said.append(message)
        await self.changed()

    async def changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, holds: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until *holds*; looked at whenever something was told."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: bool(holds()))
        except TimeoutError:
            raise AssertionError(f"{what} did not come; {self.describe()}") from None

    async def until_status(self, run: str, status: str) -> None:
        await self.until(lambda: self.status(run) == status, f"{run} {status}")

    async def until_live(self) -> None:
        """Wait until every feed that was told of is caught up."""
        await self.until(lambda: self.complete and all(self.complete.values()), "a complete snapshot")

    async def until_state(self, *states: str) -> None:
        """Wait until the last heartbeats said *states*."""
        await self.until(lambda: tuple(self.states[-len(states) :]) == states, " and ".join(states))

    async def until_empty(self) -> None:
        await self.until(lambda: not self.runs, "an empty snapshot")

    async def until_metadata(self, run: str, key: str, value: object) -> None:
        await self.until(lambda: self.runs[run].get("metadata", {}).get(key) == value, f"{key} {value} of {run}")

    def status(self, run: str) -> str | None:
        return self.runs.get(run, {}).get("status")

    def describe(self) -> str:
        shown = {run: fields.get("status") for run, fields in list(self.runs.items())[:5]}
        return f"{shown=} {self.cursors=} {self.states=} {self.counts=} said={self.said[-3:]}"

    def _snapshot(self, message: dict[str, Any]) -> None:
        feed = message["feed"]
        if message["replaces"]:
            self.replacements += 1
            # With several feeds one would drop what only this one showed; the journeys replace all.
            self.runs.clear()
        for run in message["runs"]:
            self._whole(run)
        self.cursors[feed] = message["cursor"]
        self.complete[feed] = message["complete"]

    def _update(self, message: dict[str, Any]) -> None:
        run, known = message["run"], self.runs.get(message["run"]["id"])
        if message.get("whole"):
            self._whole(run)
        else:
            assert known is not None, f"a part of a run that was never told whole: {message}"
            known.update(run)
        if "metadata" in message:
            document = self.runs[run["id"]].setdefault("metadata", {})
            document.update(message["metadata"]["changed"])
            for key in message["metadata"]["deleted"]:
                document.pop(key, None)
        if "transition" in message:
            self._transition(run["id"], message["transition"])
        self.cursors[message["feed"]] = message["cursor"]

    def _whole(self, run: dict[str, Any]) -> None:
        self.runs[run["id"]] = run
        for transition in run.get("transitions", ()):
            self._transition(run["id"], transition)

    def _transition(self, run: str, transition: dict[str, Any]) -> None:
        if transition["sequence"] > self._sequences.get(run, 0):
            self._sequences[run] = transition["sequence"]
            self.statuses.setdefault(run, []).append(transition["status"])

    def _heartbeat(self, message: dict[str, Any]) -> None:
        if not self.states or self.states[-1] != message["state"]:
            self.states.append(message["state"])
        if "cursor" in message:  # it speaks for all feeds of the connection
            self.cursors = dict.fromkeys(self.cursors, message["cursor"])
