"""
Viewers that come and go abruptly, at every stage of a connection: a process that puts load on a gateway.

    python -m tests.journeys.churn PORT TOKEN VIEWERS RUNS
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import struct
import sys
import time

from websockets.frames import Frame, Opcode

#: Viewers at the same time. More would be refused by nobody, but wait for each other.
_AT_ONCE = 64
_NO_LINGER = struct.pack("ii", 1, 0)  # close with a reset instead of a goodbye
#: How far each viewer gets before it is cut off.
STAGES = ("connected", "asking", "asked", "answered", "told", "all")


def websocket_request(token: str, run: str) -> bytes:
    head = (
        "GET /v1/ws HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    wish = Frame(Opcode.TEXT, json.dumps({"type": "subscribe", "run": run}).encode())
    return head.encode() + wish.serialize(mask=True)


def events_request(token: str, run: str) -> bytes:
    cursor = f"Last-Event-ID: {'0' * 13}-1\r\n" if random.random() < 0.5 else ""
    return f"GET /v1/events?run={run}&token={token} HTTP/1.1\r\nHost: gateway\r\n{cursor}\r\n".encode()


async def visit(port: int, request: bytes, stage: str) -> None:
    """One viewer, up to *stage*."""
    loop = asyncio.get_running_loop()
    with socket.socket() as viewer:
        viewer.setblocking(False)
        await loop.sock_connect(viewer, ("127.0.0.1", port))
        if stage != "connected":
            await loop.sock_sendall(viewer, request[: len(request) // 2] if stage == "asking" else request)
        if stage in ("answered", "told", "all"):
            await read(viewer, {"answered": b"HTTP/1.1 ", "told": b"welcome", "all": b'"complete":true'}[stage])
        if random.random() < 0.8:
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


async def read(viewer: socket.socket, mark: bytes) -> None:
    seen = b""
    while mark not in seen:
        data = await asyncio.get_running_loop().sock_recv(viewer, 65536)
        if not data:
            raise EOFError(f"the gateway closed before {mark!r}: {seen[-300:]!r}")
        seen += data


async def churn(port: int, token: str, viewers: int, runs: int) -> None:
    left = itertools.cycle(STAGES)
    budget = iter(range(viewers))

    async def come_and_go() -> None:
        for number in budget:
            make = random.choice((websocket_request, events_request))
            await visit(port, make(token, f"run_{number % runs}"), next(left))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(come_and_go())


if __name__ == "__main__":
    port, token, viewers, runs = sys.argv[1:]
    began = time.monotonic()
    asyncio.run(churn(int(port), token, int(viewers), int(runs)))
    print(f"{int(viewers) / (time.monotonic() - began):.0f} connects per second")
