"""A poll that waits: for news, for the end of its time, or for somebody who sends it away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from gateway.errors import TokenExpired, TokenRevoked

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.errors import GatewayError
    from gateway.revocations import Revocation
    from gateway.transports.admission import Admitted
    from gateway.transports.expirations import Expiring
    from gateway.transports.viewing import Services


def take_place(services: Services, admitted: Admitted, poll: Expiring) -> None:
    """*poll* is held: it has one of the places of its token, and those know it who end what a token opened."""
    services.quotas.connect(admitted.environment, admitted.token)
    services.expirations.add(poll, None)
    services.counters.viewers["shape"] += 1


def give_place_back(services: Services, admitted: Admitted, poll: Expiring) -> None:
    """It is held no more. To be called once for each place that was taken."""
    services.counters.viewers["shape"] -= 1
    services.expirations.remove(poll, None)
    services.quotas.disconnect(admitted.environment, admitted.token)


class HeldPoll:
    """
    One held request, as those know it who end what a token opened (transports/expirations.py).

    Holds its place among the open connections for as long as a `with` block lasts. Its token may expire meanwhile: that
    is looked at when the client comes again.

    Raises:
        TooManyConnections: From `with`, when there is no place for another one.
        TokenRevoked, TokenExpired, Unavailable: When the token was taken back since it was admitted.
    """

    __slots__ = ("_admitted", "_services", "_told", "_wakes", "draining", "error", "gone")

    def __init__(self, services: Services, admitted: Admitted) -> None:
        self._services = services
        self._admitted = admitted
        self._wakes: asyncio.Future[None] | None = None
        self._told = False
        #: Why it is to be refused after all.
        self.error: GatewayError | None = None
        #: Whether nobody waits for the answer any more.
        self.gone = False
        #: Whether it was sent away because the server stops. Who comes while it does has a turn of its own, too: a
        #: proxy that was answered at once would send it here again, on the next connection that it has kept.
        self.draining = False

    @property
    def admitted(self) -> Admitted | None:
        return self._admitted

    def __enter__(self) -> HeldPoll:
        services, admitted = self._services, self._admitted
        # Once more, now that whoever hears of a revocation will find it: nothing is awaited until then.
        services.admission.check_revoked(admitted)
        services.quotas.check_connection(admitted.environment, admitted.token)
        take_place(services, admitted, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        give_place_back(self._services, self._admitted, self)

    async def wait(self, until: float) -> bool:
        """Return when it was woken, or at *until* (loop time). Returns whether there is still time."""
        loop = asyncio.get_running_loop()
        if not self._told and loop.time() < until:
            self._wakes = loop.create_future()
            timer = loop.call_at(until, self.wake)
            try:
                await self._wakes
            finally:
                timer.cancel()
                self._wakes = None
        self._told = False
        return loop.time() < until

    def wake(self) -> None:
        """There may be news."""
        self._told = True
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)

    def left(self) -> None:
        """The client has gone."""
        self.gone = True
        self.wake()

    def drain(self) -> None:
        """The server stops."""
        self.draining = True
        self.wake()

    def expired(self) -> None:
        """Its token's time is over, which is not asked while it waits."""

    def revoked(self, revocation: Revocation) -> None:
        """Its token was taken back."""
        self._services.counters.token_ended("revoked", time.time() - revocation.said_at / 1000)
        self._refuse(TokenRevoked())

    def keys_changed(self) -> None:
        """Other secret keys count now: without its own its time is over."""
        if self._services.admission.end_of(self._admitted) == 0:
            self._services.counters.token_ended("expired", 0.0)
            self._refuse(TokenExpired("the key behind this token was taken away; come back with a new one"))

    def _refuse(self, error: GatewayError) -> None:
        self.error = error
        self.wake()
