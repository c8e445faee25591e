"""Answers for HTTP/1.0, which knows no chunks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from gateway.transports.sinks import ASGIMessage, Send


def without_chunks(cycle: RequestResponseCycle) -> Send:
    """
    The way to send that uvicorn lacks for HTTP/1.0, which knows no chunks (RFC 9112, section 6.1): a body whose length
    is not known ends with its connection.
    """
    send = cycle.send

    async def send_without_chunks(message: ASGIMessage) -> None:
        begins = message["type"] == "http.response.start" and message["status"] == 200
        if begins and all(name != b"content-length" for name, _ in message["headers"]):
            cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
        await send(cast("Any", message))

    return send_without_chunks
