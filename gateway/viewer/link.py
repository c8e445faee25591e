"""One connection to a gateway, from its opening to its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from gateway.errors import BadMessage
from gateway.viewer import endings
from gateway.viewer.address import is_loopback
from gateway.viewer.endings import Ending, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from websockets.asyncio.client import ClientConnection

    from gateway.viewer.conversation import Conversation, Heard

SUBPROTOCOL: Final = Subprotocol("runcast.v1")

#: Connecting, and being welcomed.
OPEN_SECONDS: Final = 10.0
#: What the other end gets to say goodbye. A connection that is dead never does.
CLOSE_SECONDS: Final = 1.0
#: After so many silent heartbeat intervals a connection is dead (docs/protocol.md, "heartbeat").
SILENT_INTERVALS: Final = 2
#: A page of a snapshot is half a megabyte, or one run that is larger: 3 MiB of payload and 10 of output by default.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


class Link:
    """The socket, and the talk on it. Whoever wants something said meanwhile puts it in the talk, and calls `poke`."""

    def __init__(self, url: str, token: str, talk: Conversation, *, known_good: bool) -> None:
        self._url = url
        self.token = token
        self.talk = talk
        #: Whether a gateway has answered at this address before.
        self._known_good = known_good
        self._socket: ClientConnection | None = None
        self._sending = asyncio.Lock()
        self._errand: asyncio.Task[None] | None = None
        self.ending = Ending(Verdict.COME_BACK, "")

    async def heard(self) -> AsyncGenerator[list[Heard], None]:
        """What the gateway says, message by message, until the connection ends; then `ending` says how."""
        talk = self.talk
        try:
            async with self._open() as socket:
                self._socket = socket
                while not talk.over:
                    yield talk.receive(await self._next(socket))
                    await self._send(socket)
            self.ending = Ending(Verdict.COME_BACK, talk.broken or talk.reason)
        except ConnectionClosed as error:
            closing = error.rcvd
            code, said = (closing.code, closing.reason) if closing is not None else (1006, "")
            self.ending = endings.of_close(code, talk.reason or said, talk.code)
        except InvalidStatus as error:
            self.ending = endings.of_status(error.response.status_code, known_good=self._known_good)
        except (WebSocketException, OSError, EOFError, BadMessage) as error:
            self.ending = Ending(Verdict.COME_BACK, str(error) or type(error).__name__)
        finally:
            self._socket = None
            if self._errand is not None:
                self._errand.cancel()

    def poke(self) -> None:
        """Send what there is to be said, soon, while the reading goes on."""
        if self._socket is not None and (self._errand is None or self._errand.done()):
            self._errand = asyncio.create_task(self._run_errand(self._socket), name="viewer messages")

    async def _run_errand(self, socket: ClientConnection) -> None:
        # When the connection is broken, whoever reads it notices.
        with contextlib.suppress(ConnectionClosed, OSError):
            await self._send(socket)

    async def _send(self, socket: ClientConnection) -> None:
        async with self._sending:
            while messages := self.talk.take_messages():
                for message in messages:
                    await socket.send(message)

    def _open(self) -> connect:
        return connect(
            self._url,
            subprotocols=[SUBPROTOCOL],
            additional_headers={"Authorization": f"Bearer {self.token}"},
            compression=None,  # the gateway never compresses
            ping_interval=None,  # its heartbeats say that it is there
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            proxy=None if is_loopback(self._url) else True,
        )

    async def _next(self, socket: ClientConnection) -> str | bytes:
        try:
            async with asyncio.timeout(self._patience()):
                return await socket.recv()
        except TimeoutError:
            raise TimeoutError("the gateway has gone silent") from None

    def _patience(self) -> float:
        talk = self.talk
        return SILENT_INTERVALS * talk.heartbeat_seconds if talk.welcomed else OPEN_SECONDS
