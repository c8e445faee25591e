"""Whether the polls of the Trigger.dev clients come through, and are held (docs/triggerdev.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from gateway.doctor.findings import Finding, error, note, ok
from gateway.doctor.http import NotHttp, asking
from gateway.doctor.lines import POLLS, ROUTES
from gateway.doctor.stream_checks import read_problem, token_refused

if TYPE_CHECKING:
    from gateway.doctor.http import Answer, Target

_CHECK: Final = "gateway.polls"
_FEED: Final = "/realtime/v1/runs"
_WHY: Final = "pages and backends with the Trigger.dev clients see nothing"
#: No gateway holds a poll for longer.
_HELD_SECONDS: Final = 23.0
_GRACE_SECONDS: Final = 2.0
#: The places of a feed, as its answers name them.
_HANDLE, _OFFSET = "electric-handle", "electric-offset"


async def check_polls(target: Target, tag: str, token: str, *, idle: float | None, patience: float) -> list[Finding]:
    """
    Ask for the runs of *tag* as the Trigger.dev clients do, and then for what is new of them.

    Args:
        idle: For how many seconds the second request may wait; None for as long as a gateway holds it.
        patience: How long to wait for what should come at once.
    """
    headers = [("Authorization", f"Bearer {token}")]
    try:
        async with asking(
            target, "GET", f"{_FEED}?{urlencode({'offset': -1, 'tags': tag})}", headers, patience=patience
        ) as answer:
            refused = await _refusal(answer, patience)
            if refused is not None:
                return [refused]
            place = {"handle": answer.header(_HANDLE), "offset": answer.header(_OFFSET)}
    except (OSError, NotHttp, TimeoutError) as wrong:
        says = f"{_FEED} is not answered: {wrong or f'nothing came within {patience:g} s'}"
        return [error(_CHECK, says, _WHY, *ROUTES)]
    query = urlencode(sorted({"cursor": "", "live": "true", "tags": tag, **place}.items()))
    return [await _hold(target, f"{_FEED}?{query}", headers, _HELD_SECONDS + _GRACE_SECONDS if idle is None else idle)]


async def _refusal(answer: Answer, patience: float) -> Finding | None:
    """What stands in the way of a feed, if something does."""
    if answer.status == 200:
        if answer.header(_HANDLE) and answer.header(_OFFSET):
            return None
        says = f"the answers of {_FEED} come without their headers (electric-…)"
        return error(_CHECK, says, _WHY, *ROUTES)
    code, detail = await read_problem(answer, patience)
    if answer.status in (401, 403) and code:
        return token_refused(code, detail)
    return error(_CHECK, f"{_FEED} answers {answer.status}", _WHY, *ROUTES)


async def _hold(target: Target, path: str, headers: list[tuple[str, str]], hold: float) -> Finding:
    began = time.monotonic()
    try:
        async with asking(target, "GET", path, headers, patience=hold) as answer:
            seconds = time.monotonic() - began
            if answer.status == 200:
                return ok(_CHECK, f"a poll of the Trigger.dev clients is held (this one for {seconds:.0f} s)")
            if answer.status == 429:
                why = "an environment, or a token, has as many connections as it may"
                return note(_CHECK, "there is no place for another poll", why)
            how = f"answered with {answer.status}"
    except TimeoutError:
        return ok(_CHECK, f"a poll of the Trigger.dev clients is held (looked at for {hold:.0f} s)")
    except (OSError, NotHttp):
        how = "cut"
    says = f"a poll that waited was {how} after {time.monotonic() - began:.0f} s; a gateway holds one for up to 23 s"
    why = "the Trigger.dev clients ask again after a pause each time, so changes come late"
    return error(_CHECK, says, why, *POLLS)
