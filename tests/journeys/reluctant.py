"""Viewers that read little or nothing: on bare sockets, with small buffers of their own."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlencode, urlsplit

import h11
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from tests.journeys.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

#: What the kernel takes for a viewer that does not read; more than this counts as taken.
_RECEIVE_BUFFER = 4096


class Wire(Protocol):
    """One transport without a network: what to send first, and the messages in what comes."""

    def opening(self) -> bytes: ...

    def after_opening(self) -> bytes:
        """What to say once it was answered."""

    def messages(self, data: bytes) -> Iterator[dict[str, Any]]: ...


class WebSocketWire:
    def __init__(self, url: str, token: str, feed: Mapping[str, object]) -> None:
        self._protocol = ClientProtocol(parse_uri(f"{url.replace('http', 'ws', 1)}/v1/ws"), max_size=None)
        self._token, self._feed = token, feed

    def opening(self) -> bytes:
        request = self._protocol.connect()
        request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        return b"".join(self._protocol.data_to_send())

    def after_opening(self) -> bytes:
        wish = Frame(Opcode.TEXT, json.dumps({"type": "subscribe", **self._feed}).encode())
        return wish.serialize(mask=True)

    def messages(self, data: bytes) -> Iterator[dict[str, Any]]:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                yield json.loads(bytes(event.data))


class EventsWire:
    def __init__(self, url: str, token: str, feed: Mapping[str, object]) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._host = urlsplit(url).netloc
        self._query = urlencode({**feed, "token": token})
        self._text = bytearray()

    def opening(self) -> bytes:
        request = h11.Request(method="GET", target=f"/v1/events?{self._query}", headers=[("Host", self._host)])
        return (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def after_opening(self) -> bytes:
        return b""

    def messages(self, data: bytes) -> Iterator[dict[str, Any]]:
        searched = max(0, len(self._text) - 1)  # an event may be large, and come in small pieces
        self._http.receive_data(data)
        while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Data):
                self._text += event.data
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
        if self._text.find(b"\n\n", searched) < 0:
            return
        *events, self._text = self._text.split(b"\n\n")
        for text in events:
            for line in text.splitlines():
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: ") :])


WIRES: dict[str, type[WebSocketWire | EventsWire]] = {"websocket": WebSocketWire, "events": EventsWire}


class ReluctantViewer:
    """Reads when it is told to, and as much as it is told."""

    def __init__(self, wire: Wire, port: int) -> None:
        self.model = Model()
        self.gone = False
        self._wire = wire
        self._port = port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.setblocking(False)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        await loop.sock_sendall(self._socket, self._wire.opening())
        await self.read()
        await loop.sock_sendall(self._socket, self._wire.after_opening())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def read(self, at_most: int = 64 * 1024) -> int:
        """Take a piece; 0 when there is no more and never will be."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, at_most)
        except ConnectionError:
            data = b""
        self.gone = not data
        for message in self._wire.messages(data) if data else ():
            await self.model.take(message)
        return len(data)

    async def read_until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                assert await self.read(), f"it was let go; {self.model.describe()}"

    async def read_slowly(self, *, bytes_per_second: int = 1024) -> None:
        """Read at this rate until cancelled."""
        while await self.read(bytes_per_second // 10):
            await asyncio.sleep(0.1)
