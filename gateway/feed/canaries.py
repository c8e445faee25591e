"""
Whether what is heard is still the truth.

Every second Redis publishes a canary for each environment that has viewers, on a channel that only this process hears.
Whoever hears it has heard all that was published before it. When none comes for two seconds the data may be old; when
Redis says that it sent one, and it does not come, the subscription is deaf and is made anew.

The same call removes runs whose time has come, so environments without viewers get it, too, but seldom, and with no
canary.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cursors import Cursor
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.feed.heartbeats import Environment, Heartbeats
    from gateway.feed.statistics import Statistics
    from gateway.feeds import EnvironmentId
    from gateway.metrics.redis_clock import RedisClock
    from gateway.store.subscription import Subscription

CANARY_SECONDS: Final = 1.0
#: A subscription that did not hear a canary for so long is deaf (design: noticed in two seconds).
DEAF_SECONDS: Final = 2.0
#: How often we look. Not by whoever sends canaries: that may have to wait for a Redis that does not answer.
_LOOK_SECONDS: Final = 0.25
#: Changes say how old they are, and anybody who reaches Redis can publish: this much is believed.
_MOST_LAG_SECONDS: Final = 10.0
#: Environments without viewers are only swept.
SWEEP_SECONDS: Final = 5.0
SWEEP_RUNS: Final = 200


class CanaryStore(Protocol):
    """What canaries need of the store."""

    async def canary(self, environment: EnvironmentId, channel: str, text: str, *, sweep: int) -> float | None:
        """
        Have Redis send *text*, its epoch and its newest number to *channel*, and remove *sweep* runs that are due.

        Without a channel it only removes. Returns Redis's time (unix seconds), if it is known.

        Raises:
            Unavailable: When Redis can't be reached, or does not answer in time.
        """


@dataclass(slots=True)
class Canary:
    """A canary that was heard: all that Redis published before it was, too."""

    environment: Environment
    #: When it was sent (ms since 1970), and the environment's newest number then.
    sent: int
    cursor: Cursor
    #: How often the subscription had been lost by then.
    lost: int


class Canaries:
    """
    Sends canaries, and notices that they do not come.

    Args:
        environments: Those that have viewers; they come and go.
        heartbeats: Who is told that the data may be old.
        clock: Learns Redis's time from the answers.
    """

    def __init__(
        self,
        store: CanaryStore,
        subscription: Subscription,
        environments: Mapping[EnvironmentId, Environment],
        heartbeats: Heartbeats,
        statistics: Statistics,
        clock: RedisClock,
    ) -> None:
        self._store = store
        self._subscription = subscription
        self._environments = environments
        self._heartbeats = heartbeats
        self._statistics = statistics
        self._clock = clock
        self._channel = f"runcast:canary:{secrets.token_hex(8)}"
        #: Where they are heard.
        self.channel: Final = self._channel.encode()
        #: How old the newest change was that was heard last, in seconds, and when that was (monotonic).
        self.age = self.aged_at = 0.0

    def hear(self, payload: bytes) -> Canary | None:
        """What came on `channel`; None when the last viewer of its environment has gone meanwhile."""
        name, sent, epoch, sequence = payload.decode().rsplit(" ", 3)
        environment = self._environments.get(name)  # type: ignore[call-overload]
        if environment is None:
            return None
        environment.heard_at = time.monotonic()
        environment.unheard_since = None
        return Canary(environment, int(sent), Cursor(epoch, int(sequence)), self._statistics.lost_subscriptions)

    async def send(self) -> None:
        """Have one sent every second, until cancelled."""
        self._subscription.join(self.channel)
        while True:
            await asyncio.gather(*(self._send_one(known) for known in list(self._environments.values())))
            await asyncio.sleep(CANARY_SECONDS)

    async def _send_one(self, environment: Environment) -> None:
        # The text's last parts are added by the script: epoch and number.
        text = f"{environment.name} {int(time.time() * 1000)}"
        began = time.monotonic()
        with contextlib.suppress(Unavailable):
            asked = time.time()
            told = await self._store.canary(environment.name, self._channel, text, sweep=SWEEP_RUNS)
            if told is not None:
                self._clock.learn(asked, time.time(), told)
            if environment.unheard_since is None and environment.heard_at < began:
                environment.unheard_since = began

    async def look_for_deafness(self) -> None:
        """Say what may be old, and drop a subscription that does not hear, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            for environment in self._environments.values():
                if now - environment.heard_at > DEAF_SECONDS:
                    self._heartbeats.become(environment, stale=True)
            # A subscription that was just made is given the time to join.
            joined = self._subscription.connected and now - self._subscription.connected_at > DEAF_SECONDS
            if joined and self.are_missed(now):
                self._statistics.deaf_subscriptions += 1
                self._subscription.drop()

    def are_missed(self, now: float) -> bool:
        """Whether some were sent that should have been heard by *now*. Those that could not be sent say nothing."""
        unheard = [e.unheard_since for e in self._environments.values() if e.unheard_since is not None]
        patience = DEAF_SECONDS - CANARY_SECONDS + self._lag(now)
        return any(now - since > patience for since in unheard)

    def _lag(self, now: float) -> float:
        """
        How far behind Redis we hear, in seconds, as far as changes tell. A canary comes in its turn, after all that was
        published before it: who hears old changes is not deaf, but slow, and to begin anew would make it slower.
        """
        return min(self.age, _MOST_LAG_SECONDS) if now - self.aged_at < CANARY_SECONDS else 0.0

    async def sweep(self, environments: Sequence[EnvironmentId]) -> None:
        """Remove what is due in those of *environments* (there may come more) that have no viewers, until cancelled."""
        while True:
            for environment in environments:
                if environment not in self._environments:
                    with contextlib.suppress(Unavailable):
                        await self._store.canary(environment, "", "", sweep=SWEEP_RUNS)
            await asyncio.sleep(SWEEP_SECONDS)
