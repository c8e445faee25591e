"""
What was revoked, as this process knows it, and the end of what that opened.

Each environment has a channel on which revocations come. The process hears it first and then reads all of them, so that
none falls in between, and does so again whenever its subscription broke. Until it has read them once it can't tell a
revoked token from a good one, and lets in none; from then on losing Redis leaves it with what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import TokenRevoked, Unavailable
from gateway.revocations import Revoked, TokenMarks
from gateway.store.redis_keys import revocation_channel
from gateway.store.revocations import parse_revocation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.feed.hub import Hub
    from gateway.feeds import EnvironmentId
    from gateway.revocations import Revocation
    from gateway.store.revocations import RevocationStore
    from gateway.transports.admission import Admitted

_log = logging.getLogger("runcast.tokens")

_RETRY_SECONDS: Final = 0.25
#: All is read again that often, spread over this time: the canary proves the subscription only while there are viewers.
REFRESH_SECONDS: Final = 60.0
#: Viewers that are looked at in one go: some tenths of a millisecond.
_SLICE: Final = 200


class Bearer(Protocol):
    """A viewer that was let in with a token."""

    @property
    def admitted(self) -> Admitted | None: ...

    def revoked(self, revocation: Revocation) -> None:
        """Its token was taken back."""


class Bearers(Protocol):
    """Who knows all viewers of this process that were let in with a token."""

    def viewers(self) -> list[Bearer]: ...


class _Watched:
    """One environment: what is revoked there, and whether that is all."""

    def __init__(self, watch: RevocationWatch, environment: EnvironmentId) -> None:
        self.environment = environment
        self.revoked = Revoked()
        self.known = asyncio.Event()
        self._watch = watch

    # What the hub says (feed/hub.py: ControlListener).

    def heard(self, payload: bytes) -> None:
        try:
            revocation = parse_revocation(payload)
        except ValueError:
            _log.exception("somebody else publishes on our channels")
            return
        self._watch.learn(self, [revocation])

    def joined(self) -> None:
        self._watch.read_soon(self)

    def lost(self) -> None:
        """What is known stays known; all is read again when the channel is joined."""


class RevocationWatch:
    """Keeps count of the tokens that don't hold any more (transports/admission.py: Gatekeeper)."""

    def __init__(
        self, store: RevocationStore, hub: Hub, environments: Iterable[EnvironmentId], bearers: Bearers
    ) -> None:
        self._store = store
        self._hub = hub
        self._bearers = bearers
        self._watched: dict[EnvironmentId, _Watched] = {}
        self._unread: dict[_Watched, None] = {}
        self._concerned: set[EnvironmentId] = set()
        self._wakes_reader = asyncio.Event()
        self._wakes_ender = asyncio.Event()
        self.watch(environments)

    def watch(self, environments: Iterable[EnvironmentId]) -> None:
        """Know what is revoked in these environments, too."""
        for environment in environments:
            if environment not in self._watched:
                watched = self._watched[environment] = _Watched(self, environment)
                self._hub.listen(revocation_channel(environment), watched)

    def check(self, admitted: Admitted) -> None:
        if admitted.marks is None:
            return
        watched = self._watched.get(admitted.environment)
        if watched is None or not watched.known.is_set():
            raise Unavailable("it can't be read now which tokens were revoked; come back in a moment")
        if watched.revoked.find(admitted.marks, admitted.tags) is not None:
            raise TokenRevoked

    async def use(self, admitted: Admitted) -> bool:
        if admitted.marks is None or admitted.expires_at is None:
            return True
        return await self._store.use(admitted.environment, admitted.marks.digest, ends=admitted.expires_at)

    async def revoke(self, environment: EnvironmentId, revocation: Revocation) -> Revocation:
        """
        Take tokens back, here and in every other process. Returns what holds now.

        Raises:
            TooManyRevocations: When the environment has as many as are kept.
            Unavailable: When Redis can't be reached. Nothing was revoked then, or it will be heard of soon; either way
                it may be asked again.
        """
        kept = await self._store.add(environment, revocation)
        watched = self._watched.get(environment)
        if watched is not None:
            self.learn(watched, [kept])  # whoever asked may rely on it from now on, at least here
        return kept

    def first_issue(self, environment: EnvironmentId, subject: str | None, tags: Collection[str], now: float) -> float:
        """
        The earliest moment, not before *now* (unix seconds), at which a token for *subject* and *tags* is not revoked.

        Another gateway's clock may be ahead of ours, and what was revoked there up to now lies in our future then.
        """
        watched = self._watched.get(environment)
        while watched is not None:
            found = watched.revoked.find(TokenMarks("", None, subject, now), tags)
            if found is None:
                break
            now = (found.before + 1) / 1000
        return now

    def last_issue(self, environment: EnvironmentId, now: float) -> int:
        """A moment (ms since 1970) behind all that was issued up to *now*, also by what `first_issue` says."""
        watched = self._watched.get(environment)
        newest = 0 if watched is None else watched.revoked.newest
        return max(int(now * 1000) + 1, newest + 2)

    # What comes.

    def learn(self, watched: _Watched, revocations: Iterable[Revocation]) -> None:
        now = int(time.time() * 1000)
        # All of them: one that is passed over here would never be known.
        news = [revocation for revocation in revocations if watched.revoked.learn(revocation, now)]
        if news:
            self._concerned.add(watched.environment)
            self._wakes_ender.set()

    def read_soon(self, watched: _Watched) -> None:
        self._unread[watched] = None
        self._wakes_reader.set()

    # Running.

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name="reading revocations")
            tasks.create_task(self._end(), name="ending what was revoked")
            tasks.create_task(self._refresh(), name="refreshing revocations")

    async def read_once(self, *, seconds: float) -> None:
        """Return when the revocations of every environment were read, or after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for watched in list(self._watched.values()):
                    await watched.known.wait()

    @property
    def known(self) -> bool:
        """Whether the revocations of every environment were read."""
        return all(watched.known.is_set() for watched in self._watched.values())

    async def _read(self) -> None:
        while True:
            await self._wakes_reader.wait()
            self._wakes_reader.clear()
            for watched in list(self._unread):
                # Before it is read: should the channel be joined anew meanwhile, it is read once more.
                del self._unread[watched]
                try:
                    await self._read_one(watched)
                except Unavailable:
                    self.read_soon(watched)
                except ValueError:
                    _log.exception("the revocations of %s can't be understood", watched.environment)
                else:
                    watched.known.set()
            if self._unread:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_one(self, watched: _Watched) -> None:
        known = watched.known.is_set()
        found = await self._store.read(watched.environment)
        self.learn(watched, found)
        if known:
            # A Redis that lost its data is told again what we know, for those who start after us.
            for revocation in watched.revoked.others(found, int(time.time() * 1000)):
                await self._store.add(watched.environment, revocation)

    async def _refresh(self) -> None:
        while True:
            for watched in [*self._watched.values()]:
                await asyncio.sleep(REFRESH_SECONDS / len(self._watched))
                self.read_soon(watched)
            if not self._watched:
                await asyncio.sleep(REFRESH_SECONDS)

    async def _end(self) -> None:
        while True:
            await self._wakes_ender.wait()
            self._wakes_ender.clear()
            concerned, self._concerned = self._concerned, set()
            looked_at = 0
            for viewer in self._bearers.viewers():
                admitted = viewer.admitted
                if admitted is None or admitted.environment not in concerned:
                    continue
                self._look_at(viewer, admitted)
                looked_at += 1
                if looked_at % _SLICE == 0:
                    await asyncio.sleep(0)

    def _look_at(self, viewer: Bearer, admitted: Admitted) -> None:
        if admitted.marks is not None:
            found = self._watched[admitted.environment].revoked.find(admitted.marks, admitted.tags)
            if found is not None:
                viewer.revoked(found)
