"""Whether a WebSocket comes through, and stays."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.doctor.findings import Finding, error, ok
from gateway.doctor.lines import IDLE, UPGRADE
from gateway.doctor.stream_checks import token_refused
from gateway.viewer.address import websocket_url

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from gateway.doctor.http import Target

_CHECK: Final = "gateway.upgrade"
_WHY: Final = "viewers by WebSocket see nothing; those that can do both fall back to event streams"
_GRACE_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 15.0


async def check_socket(target: Target, token: str, *, idle: float | None, patience: float) -> list[Finding]:
    """Open a WebSocket, hear the gateway's first word, and keep it for *idle* seconds (None: for a heartbeat)."""
    try:
        async with connect(
            websocket_url(str(target)),
            subprotocols=["runcast.v1"],  # type: ignore[list-item]
            additional_headers={"Authorization": f"Bearer {token}"},
            open_timeout=patience,
            close_timeout=1,
            ping_interval=None,  # it must be the gateway that keeps it alive
            compression=None,
            proxy=None,
        ) as socket:
            return await _listen(socket, idle, patience)
    except InvalidStatus as refused:
        return [_refused(refused)]
    except (InvalidHandshake, OSError, TimeoutError, ValueError) as wrong:
        reason = f"no answer within {patience:g} s" if isinstance(wrong, TimeoutError) else str(wrong)
        return [error(_CHECK, f"a WebSocket can't be opened: {reason}", _WHY, *UPGRADE)]


def _refused(refused: InvalidStatus) -> Finding:
    problem = _json(refused.response.body or b"")
    code, status = str(problem.get("code") or ""), refused.response.status_code
    if status in (401, 403) and code:
        return token_refused(code, str(problem.get("detail") or ""))
    # A gateway that is asked without the header sees a plain request for something that is not there.
    return error(_CHECK, f"asked for a WebSocket it answers {status}: the upgrade does not arrive", _WHY, *UPGRADE)


async def _listen(socket: ClientConnection, idle: float | None, patience: float) -> list[Finding]:
    began = time.monotonic()
    try:
        async with asyncio.timeout(patience):
            first = _json(await socket.recv())
    except TimeoutError:
        says = f"a WebSocket opens, and nothing comes through it within {patience:g} s"
        return [error(_CHECK, says, _WHY, *UPGRADE)]
    except ConnectionClosed as closed:
        said = f"{closed.rcvd.code} {closed.rcvd.reason}" if closed.rcvd else "without a word"
        return [error(_CHECK, f"a WebSocket opens, and is closed at once: {said}", _WHY, *UPGRADE)]
    if first.get("type") == "error":
        return [token_refused(str(first.get("code")), str(first.get("message")))]
    seconds = first.get("heartbeatSeconds")
    heartbeat = float(seconds) if isinstance(seconds, int | float) else _HEARTBEAT_SECONDS
    hold = idle if idle is not None else heartbeat + _GRACE_SECONDS
    took = f"after {(time.monotonic() - began) * 1000:.0f} ms"
    opened = ok(_CHECK, f"WebSockets come through (the first message {took})")
    return [opened, await _hold(socket, hold)]


async def _hold(socket: ClientConnection, hold: float) -> Finding:
    began = time.monotonic()
    try:
        async with asyncio.timeout(hold):
            while True:
                await socket.recv()
    except TimeoutError:
        return ok("gateway.idle", f"a WebSocket stays open (looked at for {hold:.0f} s)")
    except ConnectionClosed as closed:
        seconds = time.monotonic() - began
        if closed.rcvd is not None and closed.rcvd.code in (1001, 1012):
            return ok("gateway.idle", "a WebSocket stayed open until the gateway was stopped")
        says = f"a WebSocket that was silent was cut after {seconds:.0f} s"
        why = "viewers reconnect each time; the gateway sends a heartbeat every 15 s"
        return error("gateway.idle", says, why, *IDLE)


def _json(data: str | bytes | bytearray) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
