"""
A shape as Server-Sent Events (shape protocol, section 14): the same changes as a poll would be answered, in a response
that goes on for a while. The official SDK does not ask for it; applications may that use the feeds' client directly.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from gateway.codec import decode_json, encode_message
from gateway.errors import GatewayError
from gateway.triggerdev.shape.answers import Answer, event_headers
from gateway.triggerdev.shape.log import OutOfLog
from gateway.triggerdev.shape.shape import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.transports.sinks import Receive, Send
    from gateway.triggerdev.shape.held import HeldPoll
    from gateway.triggerdev.shape.poll import Asked, Poll

#: A response goes on for so long; then the client comes back at once.
STREAM_SECONDS: Final = 55.0
#: How much longer it may take to send what is left then.
LATE_SECONDS: Final = 10.0
#: What is silent for half a minute is cut by some proxies.
KEEP_ALIVE_SECONDS: Final = 15.0
_KEEP_ALIVE: Final = b": keep-alive\n\n"


class EventStream:
    """One response with the changes that come after *place*."""

    def __init__(self, poll: Poll, asked: Asked, place: Place) -> None:
        self._poll = poll
        self._asked = asked
        self._place = place

    async def send(self, receive: Receive, send: Send) -> Answer | None:
        """
        Send it; or return what is to be answered instead, if what the client has does not hold.

        Raises:
            GatewayError: When it is refused, or what it lacks can't be read now. Nothing was sent then.
        """
        with self._poll.held(receive) as held:
            first: list[bytes] = []
            try:
                self._poll.shape.look(self._place)
            except OutOfLog:
                read = await self._poll.shape.read(self._place)
                if read.replaces:
                    return self._asked.refetch()
                self._place = Place(read.epoch, read.end, self._place.base, not read.complete)
                first = _messages_of(read.body) if read.rows else []
            headers = event_headers(self._poll.handle_at(self._place), self._place.offset, self._asked.request.cursor)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # Some servers keep the headers until there is a body.
            data = self._spelled(first) if first else _KEEP_ALIVE
            await send({"type": "http.response.body", "body": data, "more_body": True})
            with contextlib.suppress(TimeoutError):
                # A client that takes nothing holds us in `send`, whatever server is below; its place is not for ever.
                async with asyncio.timeout(STREAM_SECONDS + LATE_SECONDS):
                    await self._go_on(held, send)
                    await send({"type": "http.response.body", "body": b""})
        return None

    async def _go_on(self, held: HeldPoll, send: Send) -> None:
        """Send what comes, until the response has been long enough or can't tell what happened."""
        loop, shape = asyncio.get_running_loop(), self._poll.shape
        ends = loop.time() + STREAM_SECONDS
        told_at, has_time = loop.time(), True
        while True:
            shape.wait(held.wake)  # before looking
            if held.gone or held.error is not None:
                return
            try:
                messages = await self._news()
            except GatewayError:
                return  # the client asks again, and is told
            if messages is None:
                return
            if messages:
                data = self._spelled(messages)
            elif not has_time or held.draining:
                return
            elif loop.time() >= told_at + KEEP_ALIVE_SECONDS:
                data = _KEEP_ALIVE
            else:
                await held.wait(min(ends, told_at + KEEP_ALIVE_SECONDS))
                has_time = loop.time() < ends
                continue
            told_at = loop.time()
            await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _news(self) -> list[bytes] | None:
        """What happened since; None when only another request can be told, under another handle."""
        place = self._place
        try:
            found = self._poll.shape.look(place)
        except OutOfLog:
            read = await self._poll.shape.read(place)
            if read.replaces or read.epoch != place.epoch or not read.complete:
                return None
            self._place = Place(read.epoch, read.end, place.base)
            return _messages_of(read.body) if read.rows else []
        if found is None:
            return []
        self._place = Place(place.epoch, found.end, place.base)
        return _messages_of(found.body)

    def _spelled(self, messages: Iterable[bytes]) -> bytes:
        """Each message an event, and that there are no others: with our place, from which the client goes on."""
        told = {"control": "up-to-date", "global_last_seen_lsn": str(self._place.offset)}
        return b"".join([b"data: %s\n\n" % message for message in (*messages, encode_message({"headers": told}))])


def _messages_of(body: bytes) -> list[bytes]:
    """The changes of an answer, each by itself."""
    return [encode_message(message) for message in decode_json(body) if "key" in message]
