"""A request at the desk of an app (gateway/transports/desk.py), without a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transports.desk import FrontDesk
    from gateway.transports.sinks import Peer, SocketLimits


class AskedVisit:
    """What a server of ours shows to a desk; keeps what it is answered."""

    port = None

    def __init__(self, path: str, query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.path = path.encode()
        self.query = query
        self.headers = headers
        self.gone: Callable[[], None] | None = None
        #: Header lines and body; None when it is for the app.
        self.answered: asyncio.Future[tuple[bytes, bytes] | None] = asyncio.get_running_loop().create_future()

    def answer(self, head: bytes, body: bytes) -> None:
        self.answered.set_result((head, body))

    def begin(self, head: bytes, first: bytes, peer: Peer, limits: SocketLimits) -> None:
        raise AssertionError("a poll is answered whole")

    def go_on(self) -> None:
        self.answered.set_result(None)

    async def at(self, desk: FrontDesk, gone: asyncio.Event) -> tuple[bytes, bytes] | None:
        """
        What *desk* answers; None when it is for the app.

        Raises:
            EOFError: When the client hangs up before, which is when *gone* is set.
        """
        if not desk.take(self):
            return None
        leaving: asyncio.Future[Any] = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait([leaving, self.answered], return_when=asyncio.FIRST_COMPLETED)
            if self.answered.done():
                return self.answered.result()
            raise EOFError
        finally:
            leaving.cancel()
            if not self.answered.done() and self.gone is not None:
                self.gone()
