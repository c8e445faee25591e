"""The runs of the Celery tests, read from Redis as they are stored."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.feeds import EnvironmentId, FeedId
from gateway.store.redis_keys import change_channel, metadata_key, run_key

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Row:
    """A run as it is stored."""

    columns: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.columns["status"])

    @property
    def statuses(self) -> list[tuple[str, int]]:
        """Every status it had, in order, each with its attempt."""
        return [(status, attempt) for _, status, _, attempt in self.columns["transitions"]]


class Data:
    """One environment of the Redis that our runs are in."""

    def __init__(self, server: RedisServer, environment: EnvironmentId) -> None:
        self.server, self.environment = server, environment

    def row(self, run: str) -> Row | None:
        with self.server.client() as client:
            stored = client.hgetall(run_key(self.environment, run))
            metadata = client.hgetall(metadata_key(self.environment, run))
        if not stored:
            return None
        columns = {name: json.loads(text) for name, text in stored.items() if not name.startswith("_")}
        return Row(columns, {name: json.loads(text) for name, text in metadata.items()})

    def until(self, run: str, status: str, *, attempt: int | None = None) -> Row:
        """The row, as soon as it has that status (in that attempt). Waits for changes, not for time."""
        with self.server.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
            listener.subscribe(change_channel(self.environment, FeedId.run(run)))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                row = self.row(run)
                if row and row.status == status and attempt in (None, row.columns["attempt"]):
                    return row
                assert time.monotonic() < deadline, f"{run} is not {status}: {row}"
                listener.get_message(timeout=1)
