"""Whether the scripts of a page from some origin may talk to a gateway, through what is in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Origin

from gateway.doctor.findings import Finding, error, ok
from gateway.doctor.http import NotHttp, asking
from gateway.doctor.stream_checks import read_problem
from gateway.viewer.address import websocket_url

if TYPE_CHECKING:
    from gateway.doctor.http import Target

_CHECK: Final = "gateway.origin"
_ALLOW: Final = "access-control-allow-origin"


async def check_origin(target: Target, origin: str, *, patience: float) -> list[Finding]:
    """As a browser asks: a preflight, a request, and a WebSocket, all from *origin*."""
    try:
        answered = await _preflight(target, origin, patience)
        found = answered or await _request(target, origin, patience) or await _socket(target, origin, patience)
    except (OSError, NotHttp) as wrong:
        return [error(_CHECK, f"asked from {origin} it does not answer: {wrong or 'in time'}", _why(origin))]
    return [found or ok(_CHECK, f"pages of {origin} may talk to it")]


async def _preflight(target: Target, origin: str, patience: float) -> Finding | None:
    wanted = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization,last-event-id"),
    ]
    async with asking(target, "OPTIONS", "/v1/events", wanted, patience=patience) as answer:
        allowed, headers = answer.every(_ALLOW), (answer.header("access-control-allow-headers") or "").lower()
        if answer.status in (200, 204) and allowed:
            if not {"authorization", "*"} & {name.strip() for name in headers.split(",")}:
                says = f"pages of {origin} may not send an Authorization header"
                return error(_CHECK, says, _why(origin), "# what stands before the gateway answers OPTIONS: let it not")
            return _judge(allowed, origin)
    # Is it the gateway that says no, or somebody before it that does not ask?
    return await _blocked(target, origin, patience)


async def _blocked(target: Target, origin: str, patience: float) -> Finding:
    async with asking(target, "GET", "/v1/events", [("Origin", origin)], patience=patience) as answer:
        code, _ = await read_problem(answer, patience)
    if code == "origin_not_allowed":
        line = f"RUNCAST_ALLOWED_ORIGINS={origin}   # of the gateway; added to what is there, with a comma"
        return error(_CHECK, f"pages of {origin} are not let in", _why(origin), line)
    says = f"the gateway lets pages of {origin} in, and their preflight (OPTIONS) is answered by somebody else"
    return error(_CHECK, says, _why(origin), "nginx:      # no `if ($request_method = OPTIONS)`, no limit_except")


async def _request(target: Target, origin: str, patience: float) -> Finding | None:
    async with asking(target, "GET", "/livez", [("Origin", origin)], patience=patience) as answer:
        return _judge(answer.every(_ALLOW), origin)


def _judge(allowed: list[str], origin: str) -> Finding | None:
    """What a browser makes of the header, which must be there once."""
    if len(allowed) > 1:
        says = f"Access-Control-Allow-Origin comes {len(allowed)} times: {', '.join(allowed)}"
        return error(
            _CHECK, says, _why(origin), "nginx:      # no add_header Access-Control-Allow-Origin: the gateway says it"
        )
    if not allowed:
        says = "what stands before the gateway takes Access-Control-Allow-Origin away"
        return error(_CHECK, says, _why(origin), "nginx:      # no proxy_hide_header Access-Control-Allow-Origin")
    if allowed[0] not in ("*", origin):
        line = f"RUNCAST_ALLOWED_ORIGINS={origin}   # of the gateway; added to what is there, with a comma"
        return error(_CHECK, f"pages of {allowed[0]} are let in, and not those of {origin}", _why(origin), line)
    return None


async def _socket(target: Target, origin: str, patience: float) -> Finding | None:
    try:
        async with connect(
            websocket_url(str(target)),
            origin=Origin(origin),
            open_timeout=patience,
            close_timeout=1,
            proxy=None,
        ):
            return None
    except InvalidStatus as refused:
        if refused.response.status_code != 403:
            return None  # `socket_checks` says that sockets don't come through
        line = f"RUNCAST_ALLOWED_ORIGINS={origin}   # of the gateway; added to what is there, with a comma"
        return error(_CHECK, f"WebSockets of pages of {origin} are refused", _why(origin), line)
    except (InvalidHandshake, TimeoutError):
        return None


def _why(origin: str) -> str:
    return f"browsers keep what it answers from the scripts of {origin}"
