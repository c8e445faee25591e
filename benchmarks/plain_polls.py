"""
The long poll that people write by hand: a Starlette route that waits on an event, in the official client's protocol.

It is the peer of Runcast's shape feeds, and written as well as that design allows: one subscription, each change read
once, and one body, spelled once, for all who ask from the same place. What it does not do is what costs by hand: no
tokens, no catching up beyond its log, no columns to skip, nobody who notices that a viewer has left.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from starlette.responses import Response

from gateway.feeds import FeedId
from gateway.store.redis_keys import change_channel, history_key, index_key, metadata_key, run_key

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from starlette.requests import Request

    from gateway.feeds import EnvironmentId

HOLD_SECONDS: Final = 20.0
#: Changes that are kept for those who come back with an older offset.
KEPT: Final = 10_000
_UP_TO_DATE: Final = b'{"headers":{"control":"up-to-date"}}'
_HANDLE: Final = "plain-1"
_SCHEMA: Final = '{"id":{"type":"text"},"status":{"type":"text"},"metadata":{"type":"text"}}'


class Tag:
    """The newest changes of the runs with a tag. What a run came to is told once in an answer, as Runcast does."""

    def __init__(self, redis: Redis, environment: EnvironmentId, feed: FeedId) -> None:
        self._redis, self._environment = redis, environment
        self._index = index_key(environment, feed)
        self._log: list[tuple[int, str, dict[str, Any]]] = []
        self._bodies: dict[int, bytes] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._news = asyncio.Event()
        self.offset = 0

    def tell(self, change: dict[str, Any]) -> None:
        """A change, as publishers publish it."""
        document = self._documents.setdefault(change["r"], {})
        document.update(change.get("m", {}))
        columns = {name: _text(value) for name, value in change["c"].items()}
        self._log.append((change["s"], change["r"], {**columns, "metadata": orjson.dumps(document).decode()}))
        del self._log[:-KEPT]
        self._bodies.clear()
        self.offset = change["s"]
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def snapshot(self) -> tuple[int, bytes]:
        """All rows, as the answer to who has none, and from where that goes on."""
        offset = int(await cast("Any", self._redis.hget(history_key(self._environment), "sequence")) or 0)
        self.offset = max(self.offset, offset)
        runs: list[bytes] = cast("Any", await self._redis.zrange(self._index, 0, -1))
        rows = [await self._row(run.decode()) for run in runs]
        return offset, b"[%s]" % b",".join([*rows, _UP_TO_DATE])

    async def _row(self, run: str) -> bytes:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(run_key(self._environment, run))
            pipeline.hgetall(metadata_key(self._environment, run))
            row, metadata = await pipeline.execute()
        columns = {name.decode(): _text(orjson.loads(text)) for name, text in row.items() if not name.startswith(b"_")}
        document = {key.decode(): orjson.loads(text) for key, text in metadata.items()}
        self._documents.setdefault(run, document)
        return _message("insert", run, {**columns, "metadata": orjson.dumps(document).decode()})

    async def after(self, offset: int) -> tuple[int, bytes]:
        """What changed after *offset*; held until something does, or for the time that a poll is held."""
        if self.offset <= offset:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), HOLD_SECONDS)
        body = self._bodies.get(offset)
        if body is None:
            first = bisect_right(self._log, offset, key=lambda entry: entry[0])
            runs: dict[str, dict[str, Any]] = {}
            for _, run, value in self._log[first:]:
                runs[run] = {**runs.get(run, {}), **value}
            changes = [_message("update", run, value) for run, value in runs.items()]
            body = self._bodies[offset] = b"[%s]" % b",".join([*changes, _UP_TO_DATE])
        return max(self.offset, offset), body


def _message(operation: str, run: str, value: dict[str, Any]) -> bytes:
    headers = {"operation": operation}
    return orjson.dumps({"key": f'"public"."TaskRun"/"{run}"', "value": {"id": run, **value}, "headers": headers})


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


class Tags:
    """The tags that somebody looks at. `tell` is to be called with what is published on their channels."""

    def __init__(self, redis: Redis, environment: EnvironmentId, pubsub: Any) -> None:
        self._redis, self._environment, self._pubsub = redis, environment, pubsub
        self._tags: dict[bytes, Tag] = {}

    def tell(self, channel: bytes, change: dict[str, Any]) -> None:
        if channel in self._tags:
            self._tags[channel].tell(change)

    async def tag(self, name: str) -> Tag:
        """What there is to tell of a tag; followed from its first viewer on."""
        feed = FeedId.tags(name)
        channel = change_channel(self._environment, feed)
        tag = self._tags.get(channel.encode())
        if tag is None:
            tag = self._tags[channel.encode()] = Tag(self._redis, self._environment, feed)
            await self._pubsub.subscribe(channel)
        return tag


async def polls(request: Request) -> Response:
    """`/realtime/v1/runs?tags=TAG&offset=…`."""
    query = request.query_params
    tag = await request.app.state.hub.tags.tag(query["tags"])
    headers = {"cache-control": "no-store", "electric-handle": _HANDLE}
    if query["offset"] == "-1":
        offset, body = await tag.snapshot()
        headers |= {"electric-schema": _SCHEMA, "electric-up-to-date": ""}
    else:
        offset, body = await tag.after(int(query["offset"].partition("_")[0]))
        headers["electric-cursor"] = str(int(query["cursor"] or 0) + 1)
    headers["electric-offset"] = f"{offset}_0"
    return Response(body, headers=headers, media_type="application/json")
