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
    unknown = False

    async def send_without_chunks(message: ASGIMessage) -> None:
        nonlocal unknown
        if message["type"] == "http.response.start" and message["status"] == 200:
            unknown = all(name != b"content-length" for name, _ in message["headers"])
            if unknown:
                cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
        elif unknown and not message.get("more_body", False):
            cycle.expected_content_length = len(message.get("body", b""))  # the last of it, whatever came before
        await send(cast("Any", message))

    return send_without_chunks
