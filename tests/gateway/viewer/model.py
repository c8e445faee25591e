"""A gateway without network: it keeps rows and their order, and says of them what docs/protocol.md promises."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from typing import Any, Final

FEED: Final = "tag:t"
FINAL: Final = ("COMPLETED", "FAILED", "CANCELED")


class ModelGateway:
    """
    The runs of one feed, and one viewer of it.

    `say` collects what the viewer is told, in order; what happens while it is away or behind is told when it is back,
    as pages.
    """

    def __init__(self, feed: str = FEED) -> None:
        self.feed = feed
        self.epoch, self.sequence = "a", 0
        self.rows: dict[str, dict[str, Any]] = {}
        self.numbers: dict[str, int] = {}
        self.live = False
        self.said: deque[dict[str, Any]] = deque()

    def cursor(self, sequence: int | None = None) -> str:
        return f"{self.epoch}-{self.sequence if sequence is None else sequence}"

    # What happens to runs.

    def set(self, run: str, **fields: Any) -> None:
        """Columns change; None empties one. The first change creates the run."""
        is_new = run not in self.rows
        row = self._touch(run, is_new=is_new)
        row.update(fields)
        self._tell(run, {**fields, "updatedAt": row["updatedAt"]}, whole=is_new)

    def status(self, run: str, status: str) -> None:
        is_new = run not in self.rows
        row = self._touch(run, is_new=is_new)
        row["status"] = status
        transition = {"status": status, "at": f"at {self.sequence}", "attempt": 1, "sequence": self.sequence}
        row["transitions"].append(transition)
        changed = {"status": status, "updatedAt": row["updatedAt"]}
        self._tell(run, changed, whole=is_new, transition=transition)

    def metadata(self, run: str, changed: dict[str, Any], deleted: tuple[str, ...] = ()) -> None:
        if run not in self.rows:
            self.set(run)
        row = self._touch(run, is_new=False)
        row["metadata"].update(changed)
        for key in deleted:
            row["metadata"].pop(key, None)
        parts = {"changed": changed, "deleted": list(deleted)}
        self._tell(run, {"updatedAt": row["updatedAt"]}, whole=False, metadata=parts)

    def tag(self, run: str, tag: str) -> None:
        """It enters some feed, so everybody is told all of it."""
        row = self._touch(run, is_new=run not in self.rows)
        row["tags"] = [*row.get("tags", []), tag]
        self._tell(run, {}, whole=True)

    def forget(self, run: str) -> None:
        """Its time is over. Nobody is told."""
        self.rows.pop(run, None)
        self.numbers.pop(run, None)

    def _touch(self, run: str, *, is_new: bool) -> dict[str, Any]:
        self.sequence += 1
        if is_new:
            self.rows[run] = {"id": run, "createdAt": f"at {self.sequence}", "transitions": [], "metadata": {}}
        self.numbers[run] = self.sequence
        self.rows[run]["updatedAt"] = f"at {self.sequence}"
        return self.rows[run]

    def _tell(self, run: str, changed: dict[str, Any], *, whole: bool, **beside: Any) -> None:
        if not self.live:
            return
        message = {"type": "update", "feed": self.feed, "run": {"id": run, **changed}, **beside}
        if whole:
            message |= {"run": self.whole(run), "whole": True}
        self.said.append({**deepcopy(message), "cursor": self.cursor()})

    def whole(self, run: str) -> dict[str, Any]:
        return {name: deepcopy(value) for name, value in self.rows[run].items() if value is not None}

    # How the viewer hears of it.

    def join(self, cursor: str | None, *, page: int = 100) -> None:
        """It subscribes, or has drained: pages of what it does not have, and from then on each change."""
        after = 0 if cursor is None else int(cursor.partition("-")[2])
        changed = sorted((number, run) for run, number in self.numbers.items() if number > after)
        pages = [changed[start : start + page] for start in range(0, len(changed), page)] or [[]]
        for index, rows in enumerate(pages):
            last = index == len(pages) - 1
            self.said.append(
                {
                    "type": "snapshot",
                    "feed": self.feed,
                    "runs": [self.whole(run) for _, run in rows],
                    "cursor": self.cursor(None if last else rows[-1][0]),
                    "replaces": cursor is None and index == 0,
                    "complete": last,
                    "truncated": False,
                }
            )
        self.live = True

    def heartbeat(self, state: str = "live") -> None:
        moves = {"cursor": self.cursor()} if self.live and state == "live" else {}
        self.said.append({"type": "heartbeat", "state": state, "asOf": f"at {self.sequence}", **moves})

    def leave(self) -> None:
        """It fell behind, or its connection broke: it is told nothing more."""
        self.live = False
