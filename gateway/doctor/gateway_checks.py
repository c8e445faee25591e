"""A gateway seen from outside: is it there, does it work, which HTTP does it speak, what does its clock say."""

from __future__ import annotations

import asyncio
import email.utils
import json
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.doctor.clocks import compare_clocks
from gateway.doctor.findings import Finding, error, note, ok, warning
from gateway.doctor.http import NotHttp, Target, asking
from gateway.doctor.lines import LONG_HEADERS
from gateway.viewer.address import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.doctor.http import Answer

#: A token with about 150 scopes; the gateway itself takes 16 KiB.
_LONG_HEADER: Final = 7 * 1024
_DAYS_LEFT: Final = 14
_DAY_SECONDS: Final = 86400.0
#: The Date header has whole seconds, and was written when the answer was.
_DATE_PRECISION: Final = 1.0


class Unreachable(Exception):
    """No gateway answers there, though somebody else may (*answered*); the finding says what was tried."""

    def __init__(self, finding: Finding, *, answered: bool = False) -> None:
        super().__init__(finding.says)
        self.finding, self.answered = finding, answered


async def check_gateway(target: Target, *, patience: float, now: Callable[[], float] = time.time) -> list[Finding]:
    """
    Health, HTTP and clock.

    Raises:
        Unreachable: When nobody answers.
    """
    found = await _check_alive(target, patience, now)
    found += await _check_ready(target, patience)
    if target.is_encrypted:
        found += await _check_certificate(target, patience, now())
    elif not is_loopback(str(target)):
        why = "tokens can be read by whoever is on the way, and browsers keep pages of https:// from coming here"
        found.append(warning("gateway.tls", f"{target} is not encrypted", why, f"https://{target.authority}"))
    return found + await _check_long_headers(target, patience)


async def _check_alive(target: Target, patience: float, now: Callable[[], float]) -> list[Finding]:
    try:
        async with asking(target, "GET", "/livez", patience=patience) as answer:
            body = await _json(answer, patience)
            if answer.status != 200 or body.get("status") != "alive":
                says = f"{target}/livez answers {answer.status}"
                why = "what answers there is no gateway, or what stands before it does not lead to one"
                line = "nginx:      location /v1/ { proxy_pass http://127.0.0.1:8787; }   # and /livez, /readyz"
                raise Unreachable(error("gateway.reachable", says, why, line), answered=True)
            return [
                ok("gateway.reachable", f"{target} answers in {answer.took * 1000:.0f} ms"),
                *_check_http(answer, target),
                *_check_date(answer, now()),
            ]
    except ssl.SSLCertVerificationError as wrong:
        why = "browsers refuse to connect"
        line = f"# a certificate for {target.host}: certbot, or Caddy, which gets one by itself"
        finding = error("gateway.tls", f"its certificate does not hold: {wrong.verify_message}", why, line)
        raise Unreachable(finding, answered=True) from None
    except (OSError, NotHttp, TimeoutError) as wrong:
        reason = _reason(wrong)
        why = "nothing else could be looked at"
        line = "runcast serve   # RUNCAST_HOST and RUNCAST_PORT say where it listens"
        raise Unreachable(error("gateway.reachable", f"{target} can't be reached: {reason}", why, line)) from None


def _reason(wrong: Exception) -> str:
    """Python's words without its numbers."""
    if isinstance(wrong, TimeoutError):
        return "no answer in time"
    return (wrong.strerror if isinstance(wrong, OSError) else None) or str(wrong) or type(wrong).__name__


def _check_http(answer: Answer, target: Target) -> list[Finding]:
    if answer.version == "HTTP/1.0":
        why = "streams and WebSockets need HTTP/1.1"
        return [error("gateway.http", "it is answered with HTTP/1.0", why, "nginx:      proxy_http_version 1.1;")]
    if (answer.header("connection") or "").lower() == "close":
        why = "every request opens a connection of its own"
        return [note("gateway.http", f"{answer.version}, without keep-alive", why)]
    if target.is_encrypted:
        return []  # `_check_certificate` says which versions there are
    why = "a browser opens six connections to one origin at most, and each event stream takes one; a WebSocket does not"
    if is_loopback(str(target)):
        return [ok("gateway.http", f"{answer.version} with keep-alive")]
    return [note("gateway.http", f"{answer.version} with keep-alive, and no HTTP/2 without TLS", why)]


def _check_date(answer: Answer, now: float) -> list[Finding]:
    try:
        date = email.utils.parsedate_to_datetime(answer.header("date") or "")
    except ValueError:
        return [note("gateway.clock", "it does not say what time it is", "its clock was not compared")]
    # It was cut to a whole second; in the middle of that second the error is half of one.
    ahead = date.timestamp() + _DATE_PRECISION / 2 - (now - answer.took / 2)
    return [compare_clocks("gateway.clock", "the clock of what answers", ahead, precision=_DATE_PRECISION)]


async def _check_ready(target: Target, patience: float) -> list[Finding]:
    try:
        async with asking(target, "GET", "/readyz", patience=patience) as answer:
            body = await _json(answer, patience)
    except (OSError, NotHttp, TimeoutError) as wrong:
        return [error("gateway.ready", f"/readyz does not answer: {_reason(wrong)}", "no viewer is served")]
    if answer.status == 200:
        return [ok("gateway.ready", "it is ready for viewers")]
    checks = body.get("checks")
    wrong_ones = (
        [f"{name}: {said}" for name, said in checks.items() if said != "ok"] if isinstance(checks, dict) else []
    )
    says = f"/readyz answers {answer.status}: {'; '.join(wrong_ones) or 'without saying why'}"
    why = "viewers are let in and told `stale`; a load balancer sends it none"
    return [error("gateway.ready", says, why, "RUNCAST_REDIS_URL=redis://…   # of the gateway; runcast doctor there")]


async def _json(answer: Answer, patience: float) -> dict[str, Any]:
    with suppress(ValueError, TimeoutError):
        async with asyncio.timeout(patience):
            value = json.loads(await answer.body())
            return value if isinstance(value, dict) else {}
    return {}


async def _check_certificate(target: Target, patience: float, now: float) -> list[Finding]:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    except (OSError, TimeoutError) as wrong:
        return [error("gateway.tls", f"TLS with HTTP/2 on offer fails: {_reason(wrong)}", "browsers offer it too")]
    tls = writer.get_extra_info("ssl_object")
    chosen, certificate = tls.selected_alpn_protocol(), tls.getpeercert()
    writer.transport.abort()
    return [*_check_end_of_certificate(certificate, now), _check_http2(chosen)]


def _check_end_of_certificate(certificate: dict[str, Any] | None, now: float) -> list[Finding]:
    ends = (certificate or {}).get("notAfter")
    if not isinstance(ends, str):
        return []
    days = (ssl.cert_time_to_seconds(ends) - now) / _DAY_SECONDS
    if days > _DAYS_LEFT:
        return [ok("gateway.tls", f"its certificate holds for {days:.0f} days more")]
    why = "after that browsers refuse to connect"
    return [warning("gateway.tls", f"its certificate ends in {days:.0f} days", why, "certbot renew")]


def _check_http2(chosen: str | None) -> Finding:
    if chosen == "h2":
        return ok("gateway.http", "HTTP/2 and HTTP/1.1")
    why = "a browser opens six connections to one origin at most, and each event stream takes one; a WebSocket does not"
    return note("gateway.http", "no HTTP/2", why, "nginx:      listen 443 ssl http2;")


async def _check_long_headers(target: Target, patience: float) -> list[Finding]:
    padding = ("X-Runcast-Doctor", "x" * _LONG_HEADER)
    try:
        async with asking(target, "GET", "/livez", [padding], patience=patience) as answer:
            if answer.status == 200:
                return [ok("gateway.headers", f"a header of {_LONG_HEADER // 1024} KiB passes")]
            says = f"a header of {_LONG_HEADER // 1024} KiB is answered with {answer.status}"
    except (OSError, NotHttp, TimeoutError) as wrong:
        says = f"a header of {_LONG_HEADER // 1024} KiB is not answered: {_reason(wrong)}"
    why = "tokens with many scopes are that long; the gateway itself takes up to 16 KiB"
    return [warning("gateway.headers", says, why, *LONG_HEADERS)]
