"""
What people write by hand: Starlette, a queue and a task per viewer, WebSocket and sse-starlette.

Kindly: an event is framed once for all viewers of Server-Sent Events, no pings are sent, and queues are bounded: when
one is full the oldest event goes.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.peers.hearing import Feeds
from benchmarks.peers.serving import arguments, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

#: What a viewer may be behind: generous, since a longer queue only adds delay under overload.
QUEUE_SIZE: Final = 256


class Event:
    """What all viewers of a feed are told, as each transport wants it."""

    __slots__ = ("data", "text")

    def __init__(self, event: bytes) -> None:
        self.text = event.decode()
        self.data = b"data: " + event + b"\r\n\r\n"


class Viewer:
    """The queue of one viewer."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_SIZE)

    def put(self, event: Event) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)

    async def events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._queue.get()


async def listen(feeds: Feeds[Viewer]) -> None:
    async for viewers, heard in feeds.heard():
        event = Event(heard)
        for viewer in viewers:
            viewer.put(event)


async def websocket(socket: WebSocket) -> None:
    """One task tells the viewer, another one waits for it to leave."""
    viewer = Viewer()
    async with socket.app.state.feeds.joined(socket.query_params["feed"], viewer):
        await socket.accept()
        telling = asyncio.create_task(tell(socket, viewer))
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            pass
        finally:
            telling.cancel()


async def tell(socket: WebSocket, viewer: Viewer) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # it left while it was being told
        async for event in viewer.events():
            await socket.send_text(event.text)


async def events(request: Request) -> EventSourceResponse:
    async def body() -> AsyncIterator[bytes]:
        viewer = Viewer()
        async with request.app.state.feeds.joined(request.query_params["feed"], viewer):
            async for event in viewer.events():
                yield event.data

    return EventSourceResponse(body(), ping=0)


def create_app(redis_url: str) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        feeds = app.state.feeds = Feeds[Viewer](redis_url)
        await feeds.connect()
        listening = asyncio.create_task(listen(feeds))
        yield
        listening.cancel()

    return Starlette(routes=[WebSocketRoute("/ws", websocket), Route("/events", events)], lifespan=lifespan)


if __name__ == "__main__":
    given = arguments(__doc__)
    serve(create_app(given.redis_url), given.port)
