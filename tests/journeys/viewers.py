"""
Simple viewers, as anyone would write them from docs/protocol.md: WebSocket and Server-Sent Events.

Each keeps a model, and comes back with its cursor when its connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.journeys.model import Model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from tests.journeys.gateway_process import GatewayProcess

RECONNECT_SECONDS = 0.05


class Viewer(ABC):
    """
    Follows one feed until its block ends, whatever happens to its connection.

    *feed* is what a WebSocket viewer says in `subscribe`, such as {"run": "run_1"} or {"tags": ["a"]}.
    """

    def __init__(self, gateway: GatewayProcess | str, token: str, feed: dict[str, Any], cursor: str = "") -> None:
        self.url = gateway if isinstance(gateway, str) else gateway.url
        self.token = token
        self.feed = feed
        self.cursor = cursor
        self.model = Model()
        self.connections = 0
        #: Close codes, or HTTP statuses, with which connections ended.
        self.endings: list[int] = []
        #: It does not come back after these.
        self.gives_up_on: frozenset[int] = frozenset()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Close the connection and don't come back."""
        if self._task is not None:
            task, self._task = self._task, None
            if task.done():
                await task  # what went wrong in there is raised here
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_back(self) -> None:
        """Wait until it is caught up on another connection than its first."""
        await self.model.until(lambda: self.connections > 1, "another connection")
        await self.model.until_live()

    async def until_gone(self, code: int) -> None:
        """Wait until a connection ended with *code*."""
        await self.model.until(lambda: code in self.endings, f"an ending with {code}, not {self.endings},")

    @property
    def cursor_now(self) -> str:
        """Where it is: what the next connection asks from."""
        cursors = list(self.model.cursors.values())
        return cursors[0] if cursors else self.cursor

    async def _run(self) -> None:
        while not self.gives_up_on.intersection(self.endings):
            self.connections += 1
            self.model.complete.clear()
            await self._connect()
            await self.model.changed()
            await asyncio.sleep(RECONNECT_SECONDS)

    @abstractmethod
    async def _connect(self) -> None:
        """Connect, and stay until the connection ends."""


class WebSocketViewer(Viewer):
    """By WebSocket, with the token in a header."""

    socket: ClientConnection | None = None

    async def _connect(self) -> None:
        try:
            async with connect(
                f"{self.url.replace('http', 'ws', 1)}/v1/ws",
                subprotocols=["runcast.v1"],  # type: ignore[list-item]
                additional_headers={"Authorization": f"Bearer {self.token}"},
                compression=None,
                max_size=None,
                proxy=None,
            ) as self.socket:
                await self._follow(self.socket)
        except ConnectionClosed as closed:
            self.endings.append(closed.rcvd.code if closed.rcvd is not None else 1006)
        except (OSError, InvalidHandshake, EOFError, TimeoutError):
            pass  # nobody there yet

    async def _follow(self, socket: ClientConnection) -> None:
        cursor = {"cursor": self.cursor_now} if self.cursor_now else {}
        await socket.send(json.dumps({"type": "subscribe", **self.feed, **cursor}))
        while True:
            message = json.loads(await socket.recv())
            await self.model.take(message)

    async def say(self, **message: Any) -> None:
        assert self.socket is not None
        await self.socket.send(json.dumps(message))


class EventsViewer(Viewer):
    """By Server-Sent Events, as a bare EventSource does it: the token in the query, Last-Event-ID for its place."""

    async def _connect(self) -> None:
        headers = {"Last-Event-ID": self.cursor_now} if self.cursor_now else {}
        timeout = httpx2.Timeout(10, read=None)
        try:
            async with (
                httpx2.AsyncClient(timeout=timeout, trust_env=False) as client,
                client.stream("GET", f"{self.url}/v1/events", params=self._query(), headers=headers) as response,
            ):
                if response.status_code == 200:
                    await self._read(response)
                self.endings.append(response.status_code)
        except httpx2.TransportError:
            self.endings.append(0)

    def _query(self) -> dict[str, str]:
        pairs = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in self.feed.items()}
        return pairs | {"token": self.token}

    async def _read(self, response: httpx2.Response) -> None:
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                message = json.loads(fields["data"])
                assert message["type"] == fields["event"]
                # What an EventSource sends back is the event's id; with one feed both spell the same cursor.
                assert fields.get("id") == message.get("cursor")
                fields = {}
                await self.model.take(message)


VIEWERS: dict[str, type[Viewer]] = {"websocket": WebSocketViewer, "events": EventsViewer}


@contextlib.asynccontextmanager
async def watching(
    gateway: GatewayProcess | str, token: str, feed: dict[str, Any], cursor: str = ""
) -> AsyncIterator[tuple[WebSocketViewer, EventsViewer]]:
    """One viewer of each kind, both caught up."""
    async with (
        WebSocketViewer(gateway, token, feed, cursor) as first,
        EventsViewer(gateway, token, feed, cursor) as second,
    ):
        for viewer in (first, second):
            await viewer.model.until_live()
        yield first, second


def assert_lives(viewer: Viewer, runs: Sequence[str], life: Sequence[str]) -> None:
    """The viewer was told every status of each run, in order."""
    told = Counter(tuple(viewer.model.statuses.get(run, ())) for run in runs)
    assert told == {tuple(life): len(runs)}
