"""
The gateway that people write by hand: Starlette, redis.asyncio, and a queue and a task per viewer.

It is here to be measured beside Runcast, so it is written as well as that design allows: uvloop, httptools, the
fastest of uvicorn's WebSocket protocols, no compression, one subscription connection for the process, each change
decoded and encoded once for all viewers, and queues that are bounded. What it does not do is what costs by hand:
no tokens, no cursors, no heartbeats, no end of a run.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import uvicorn
from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.plain_polls import Tags, polls
from gateway.feeds import EnvironmentId, FeedId
from gateway.store.redis_keys import change_channel, metadata_key, prefix, run_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

#: What a viewer may be behind. When it is full the oldest goes: of progress the newest counts. A longer queue buys
#: some deliveries per second under overload, and pays with a delay that grows in proportion; this one is already
#: generous. (`--queue` tries another.)
QUEUE_SIZE = 256
#: Reads that may be under way at the same time, when many viewers come together.
READ_CONNECTIONS = 16
#: uvicorn's default would let the kernel drop connections when thousands of viewers come back together.
BACKLOG = 4096


class Message(NamedTuple):
    """What viewers are told, once for all of them, as each transport spells it."""

    text: str
    event: bytes
    sequence: int


def encode(body: dict[str, Any], sequence: int) -> Message:
    data = orjson.dumps(body)
    return Message(data.decode(), b"data: " + data + b"\n\n", sequence)


class Viewer:
    """The queue of one viewer."""

    def __init__(self, queue_size: int) -> None:
        self._queue: asyncio.Queue[Message] = asyncio.Queue(queue_size)

    def put(self, message: Message) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(message)

    async def messages(self, first: Message) -> AsyncIterator[Message]:
        """The state as it was read, then what changed after it."""
        yield first
        while True:
            message = await self._queue.get()
            if message.sequence > first.sequence:
                yield message


class Hub:
    """Hears the changes of the runs that somebody views, and puts each into the queues of its viewers."""

    def __init__(self, redis: Redis, environment: EnvironmentId, queue_size: int) -> None:
        self._redis = redis
        self._environment = environment
        self._queue_size = queue_size
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._viewers: dict[bytes, set[Viewer]] = {}
        #: What long polls look at (plain_polls.py).
        self.tags = Tags(redis, environment, self._pubsub)

    async def connect(self) -> None:
        """Before anyone comes: two who subscribe first would make two connections, and one would be lost."""
        await self._pubsub.subscribe(f"{prefix(self._environment)}plain")

    async def listen(self) -> None:
        async for message in self._pubsub.listen():
            change = orjson.loads(message["data"])
            self._tell(message["channel"], change)
            self.tags.tell(message["channel"], change)

    def _tell(self, channel: bytes, change: dict[str, Any]) -> None:
        body = {"type": "update", "run": change["r"], "sequence": change["s"], "changed": change["c"]}
        if "m" in change:
            body["metadata"] = change["m"]
        message = encode(body, change["s"])
        for viewer in self._viewers.get(channel, ()):
            viewer.put(message)

    @asynccontextmanager
    async def viewing(self, run: str) -> AsyncIterator[AsyncIterator[Message]]:
        """What there is to tell a viewer of *run*, for as long as the block lasts."""
        channel = change_channel(self._environment, FeedId.run(run))
        viewer = Viewer(self._queue_size)
        viewers = self._viewers.setdefault(channel.encode(), set())
        viewers.add(viewer)
        if len(viewers) == 1:
            await self._pubsub.subscribe(channel)
        try:
            yield viewer.messages(await self._read(run))
        finally:
            viewers.discard(viewer)
            if not viewers and self._viewers.get(channel.encode()) is viewers:
                del self._viewers[channel.encode()]
                await self._pubsub.unsubscribe(channel)

    async def _read(self, run: str) -> Message:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(run_key(self._environment, run))
            pipeline.hgetall(metadata_key(self._environment, run))
            row, metadata = await pipeline.execute()
        columns: dict[str, Any] = {
            name.decode(): orjson.Fragment(text) for name, text in row.items() if not name.startswith(b"_")
        }
        columns["metadata"] = {key.decode(): orjson.Fragment(text) for key, text in metadata.items()}
        sequence = int(row.get(b"_sequence", 0))
        return encode({"type": "state", "run": run, "sequence": sequence, "row": columns}, sequence)


async def websocket(socket: WebSocket) -> None:
    """`/ws?run=ID`: one task tells the viewer, another one waits for it to leave."""
    await socket.accept()
    async with socket.app.state.hub.viewing(socket.query_params["run"]) as messages:
        telling = asyncio.create_task(_tell(socket, messages))
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            pass
        finally:
            telling.cancel()


async def _tell(socket: WebSocket, messages: AsyncIterator[Message]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # it left while it was being told
        async for message in messages:
            await socket.send_text(message.text)


async def events(request: Request) -> StreamingResponse:
    """`/events?run=ID`: Server-Sent Events."""

    async def body() -> AsyncIterator[bytes]:
        async with request.app.state.hub.viewing(request.query_params["run"]) as messages:
            async for message in messages:
                yield message.event

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def create_app(redis_url: str, environment: EnvironmentId, queue_size: int = QUEUE_SIZE) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pool = BlockingConnectionPool.from_url(redis_url, max_connections=READ_CONNECTIONS, timeout=None)
        async with Redis(connection_pool=pool) as redis:
            hub = app.state.hub = Hub(redis, environment, queue_size)
            await hub.connect()
            listening = asyncio.create_task(hub.listen())
            yield
            listening.cancel()

    routes = [WebSocketRoute("/ws", websocket), Route("/events", events), Route("/realtime/v1/runs", polls)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--queue", type=int, default=QUEUE_SIZE)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(arguments.redis_url, EnvironmentId(arguments.environment), arguments.queue),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
