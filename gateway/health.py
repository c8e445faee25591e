"""`/livez` and `/readyz`: is the process alive, and may it be sent viewers? Both tell the truth, and no secrets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.transports.viewing import Services

_REDIS_SECONDS: Final = 2.0
#: A loop that is busy for longer serves nobody well.
_LAG_SECONDS: Final = 1.0


async def livez(request: Request) -> Response:
    """200 whenever the event loop still turns."""
    return JSONResponse({"status": "alive"}, headers={"cache-control": "no-store"})


class Readiness:
    """
    200 when Redis answers, the subscription hears, and the loop keeps up; else 503 with what is wrong, or `draining`.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def readyz(self, request: Request) -> Response:
        if self._services.lifecycle.draining:
            # What the others would say does not matter any more, and asking Redis may take a while.
            return JSONResponse({"status": "draining"}, status_code=503, headers={"cache-control": "no-store"})
        checks = {
            "redis": await self._redis(),
            "subscription": "ok" if self._services.hub.hears else "the subscription to Redis is not connected",
            "loop": self._loop(),
            "tokens": "ok" if self._services.revocations.known else "it was not read yet which tokens were revoked",
        }
        ready = all(result == "ok" for result in checks.values())
        return JSONResponse(
            {"status": "ready" if ready else "not ready", "checks": checks},
            status_code=200 if ready else 503,
            headers={"cache-control": "no-store"},
        )

    async def _redis(self) -> str:
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                await self._services.store.ping()
        except (Unavailable, TimeoutError):
            return "Redis does not answer"
        return "ok"

    def _loop(self) -> str:
        lag = self._services.counters.loop_lag.recent()
        return "ok" if lag < _LAG_SECONDS else f"the event loop is {lag:.1f} s behind"
