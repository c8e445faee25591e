"""What becomes of an event stream on its way: held back, packed, or cut."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.doctor.events import EventReader
from gateway.doctor.findings import Finding, error, note, ok
from gateway.doctor.http import NotHttp, asking
from gateway.doctor.lines import BUFFERING, COMPRESSION, IDLE

if TYPE_CHECKING:
    from gateway.doctor.events import Event
    from gateway.doctor.http import Answer, Target

_BUFFERING: Final = "gateway.buffering"
_WHY_BUFFERING: Final = "viewers see what happens when a buffer is full, or never; a heartbeat fills one in an hour"
#: What browsers say, so that we are treated as they are.
_BROWSER: Final = ("Accept-Encoding", "gzip, deflate, br, zstd")
#: A heartbeat may be so late.
_GRACE_SECONDS: Final = 2.0


@dataclass(slots=True)
class Seen:
    """What a stream told while it was looked at."""

    heartbeat_seconds: float | None = None
    #: Of the newest message that had one.
    cursor: str = ""
    events: list[Event] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    heartbeats: int = 0

    def note(self, event: Event) -> None:
        self.events.append(event)
        seconds = event.data.get("heartbeatSeconds")
        if isinstance(seconds, int | float):
            self.heartbeat_seconds = float(seconds)
        self.cursor = str(event.data.get("cursor") or self.cursor)
        if event.kind == "heartbeat":
            self.heartbeats += 1
            self.states.append(str(event.data.get("state")))

    def has(self, kind: str) -> bool:
        return any(event.kind == kind for event in self.events)

    def hold_seconds(self, wanted: float | None) -> float:
        """How long to look: as *wanted*, else a little more than one heartbeat takes."""
        return wanted if wanted is not None else (self.heartbeat_seconds or 15.0) + _GRACE_SECONDS


async def check_stream(
    target: Target, query: str, token: str, *, idle: float | None, patience: float
) -> tuple[list[Finding], Seen]:
    """
    Follow a feed by Server-Sent Events for a while.

    Args:
        query: The feed, as the query of `/v1/events` names it.
        idle: For how many seconds; None for a little more than one heartbeat takes.
        patience: How long to wait for what should come at once.
    """
    seen = Seen()
    found, packed = await _look(target, query, token, idle, patience, seen, packed=True)
    if packed:
        more, _ = await _look(target, query, token, idle, patience, seen := Seen(), packed=False)
        found += more
    return found, seen


async def _look(
    target: Target, query: str, token: str, idle: float | None, patience: float, seen: Seen, *, packed: bool
) -> tuple[list[Finding], bool]:
    """What was found, and whether the stream came packed, so that it can't be read."""
    headers = [("Accept", "text/event-stream"), ("Authorization", f"Bearer {token}"), *([_BROWSER] if packed else [])]
    try:
        async with asking(target, "GET", f"/v1/events?{query}", headers, patience=patience) as answer:
            refused = await _refusal(answer, patience)
            if refused is not None:
                return [refused], False
            encoding = answer.header("content-encoding")
            if encoding and encoding != "identity":
                says = f"the event stream is packed ({encoding})"
                why = "what packs holds events back until it has enough of them"
                return [error("gateway.compression", says, why, *COMPRESSION)], packed
            return await _follow(answer, idle, patience, seen), False
    except TimeoutError:
        says = f"of an event stream nothing comes within {patience:g} s, and other requests are answered"
        return [error(_BUFFERING, says, _WHY_BUFFERING, *BUFFERING)], False
    except (OSError, NotHttp) as wrong:
        why = "viewers by Server-Sent Events see nothing"
        return [error("gateway.events", f"the event stream broke off: {wrong}", why, *IDLE[:1])], False


async def _refusal(answer: Answer, patience: float) -> Finding | None:
    """What stands in the way of a stream, if something does."""
    kind = (answer.header("content-type") or "").partition(";")[0]
    if answer.status == 200 and kind == "text/event-stream":
        return None
    code, detail = await read_problem(answer, patience)
    if answer.status in (401, 403) and code:
        return token_refused(code, detail)
    says = f"/v1/events answers {answer.status} {kind or 'without a type'}: {detail or 'no event stream'}"
    why = "viewers by Server-Sent Events see nothing"
    return error("gateway.events", says, why, "nginx:      location /v1/ { proxy_pass http://127.0.0.1:8787; }")


def token_refused(code: str, detail: str) -> Finding:
    """What it means that a gateway does not take a token of ours."""
    says = f"a token of this place is refused ({code}): {detail}"
    if code == "not_allowed":
        why = "RUNCAST_TOKEN allows to see something else than was asked for"
        return error("gateway.token", says, why, "runcast explain - all   # says what it allows")
    if code == "token_expired":
        why = "its time is over by the gateway's clock"
        return error("gateway.token", says, why, "runcast token mint --all-runs --expires 1h")
    why = "the gateway has other keys than whoever mints tokens here, or another name for the environment"
    return error(
        "gateway.token", says, why, "RUNCAST_SECRET_KEY=… and RUNCAST_ENVIRONMENT=…   # the same in both places"
    )


async def read_problem(answer: Answer, patience: float) -> tuple[str, str]:
    """The code and text of an error of ours; empty when it is none."""
    try:
        async with asyncio.timeout(patience):
            body: Any = json.loads(await answer.body())
    except (ValueError, TimeoutError, NotHttp, OSError):
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    return str(body.get("code") or ""), str(body.get("detail") or body.get("error") or "")


async def _follow(answer: Answer, idle: float | None, patience: float, seen: Seen) -> list[Finding]:
    reader, began = EventReader(), time.monotonic()
    try:
        async with asyncio.timeout(patience):
            while not seen.has("welcome"):
                if not await _read(answer, reader, seen):
                    return [_cut(time.monotonic() - began, patience)]
    except TimeoutError:
        says = f"the head of an event stream comes at once, its events not within {patience:g} s"
        return [error(_BUFFERING, says, _WHY_BUFFERING, *BUFFERING)]
    first = time.monotonic() - began
    hold = seen.hold_seconds(idle)
    cut_after = await _hold(answer, reader, seen, hold)
    return [
        ok(_BUFFERING, f"events come as they are sent (the first after {first * 1000:.0f} ms)"),
        *_held(seen, hold, cut_after),
    ]


async def _hold(answer: Answer, reader: EventReader, seen: Seen, hold: float) -> float | None:
    """Keep it open for so long. Returns the second at which it was cut, or None."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(hold):
            while await _read(answer, reader, seen):
                pass
    except TimeoutError:
        return None
    except (NotHttp, OSError):
        pass
    return time.monotonic() - began


async def _read(answer: Answer, reader: EventReader, seen: Seen) -> bool:
    """Take what came; whether more may come."""
    data = await answer.piece()
    for event in reader.feed(data):
        seen.note(event)
    return bool(data)


def _held(seen: Seen, hold: float, cut_after: float | None) -> list[Finding]:
    if seen.has("reconnect"):
        return [note("gateway.idle", "the gateway is being stopped and sent us away", "ask again in a moment")]
    if cut_after is not None:
        return [_cut(cut_after, hold)]
    found = [ok("gateway.idle", f"an event stream stays open (looked at for {hold:.0f} s)")]
    if seen.states and seen.states[-1] == "stale":
        why = "it does not hear Redis, so viewers see old data, and are told so"
        line = "RUNCAST_REDIS_URL=redis://…   # of the gateway; runcast doctor there"
        found.append(error("gateway.stale", "the gateway says that its data is stale", why, line))
    expected = hold > (seen.heartbeat_seconds or 15.0) + _GRACE_SECONDS / 2
    if expected and not seen.heartbeats:
        says = f"no heartbeat came in {hold:.0f} s; there is one every {seen.heartbeat_seconds or 15.0:g} s"
        found.append(error(_BUFFERING, says, _WHY_BUFFERING, *BUFFERING))
    return found


def _cut(seconds: float, hold: float) -> Finding:
    says = f"an event stream that was silent was cut after {seconds:.0f} s"
    why = "viewers reconnect each time, and see nothing new meanwhile; the gateway sends a heartbeat every 15 s"
    return error("gateway.idle", says, why, *IDLE)
