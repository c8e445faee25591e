"""
How long a client may take, which uvicorn does not ask: until it has said what it wants, and to take what it is told.

uvicorn waits for ever for the rest of a request: whoever sends it byte by byte holds a socket. Whoever takes no answers
holds the app's task that writes them, and his place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

#: How long a connection may take to say what it wants.
REQUEST_SECONDS: Final = 10.0
#: A client that takes nothing of what waits to be sent to it is let go after so long.
STUCK_SECONDS: Final = 60.0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with an end to its patience."""

    _request_timer: asyncio.TimerHandle | None = None
    #: Bytes of the request line and headers that are being read; None when there are none.
    _request_bytes: int | None = None
    #: Runs while something waits to be sent that should have been taken.
    _stuck_timer: asyncio.TimerHandle | None = None

    def _expect_request(self) -> None:
        """From now on the connection has its time to say what it wants, if it had not begun already."""
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _request_came(self) -> None:
        """It has said it, or will not say it to us."""
        self._request_bytes = None
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch_no_more()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_unsent()  # the transport closes only when all is sent

    def _watch_unsent(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._stuck_timer is None:
            self._stuck_timer = self.loop.call_later(STUCK_SECONDS, self._look_whether_stuck, unsent)

    def _look_whether_stuck(self, unsent_before: int) -> None:
        self._stuck_timer = None
        if self.transport.get_write_buffer_size() < unsent_before:
            self._watch_unsent()  # slow, but it takes something
        else:
            self.transport.abort()

    def _watch_no_more(self) -> None:
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
