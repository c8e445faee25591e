"""What a process knows of revoked tokens, from its first moment on; and the end of what they opened."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from auth import EnvironmentKeys, Grant, Keyring, mint
from gateway.errors import TokenRevoked, TokenUsed, Unavailable
from gateway.feeds import EnvironmentId
from gateway.revocations import By, Revocation, TokenMarks
from gateway.transports import revoking
from gateway.transports.admission import Admission, Admitted
from gateway.transports.origins import Origins
from gateway.transports.revoking import RevocationWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feed.hub import ControlListener

ENV = EnvironmentId("env_1")
KEYS = EnvironmentKeys.of(ENV, "tr_test_the_secret_of_the_first_one_0001")
NOW = time.time()
LASTS = 86_400  # seconds; a module may have been loaded long before its tests run
GONE = Revocation(By.SUBJECT, "gone", int((NOW + 1) * 1000), int(NOW * 1000), int((NOW + LASTS) * 1000))


class Redis:
    """The store and the hub of a watch: it can be away, and be stopped while it is read."""

    def __init__(self) -> None:
        self.kept: list[Revocation] = []
        self.used: set[str] = set()
        self.away = False
        self.reads = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.reading = asyncio.Event()
        self.listeners: dict[str, ControlListener] = {}

    def listen(self, channel: str, listener: ControlListener) -> None:
        self.listeners[channel] = listener

    def join(self) -> None:
        for listener in self.listeners.values():
            listener.joined()

    def tell(self, payload: bytes) -> None:
        for listener in self.listeners.values():
            listener.heard(payload)

    async def read(self, environment: EnvironmentId) -> list[Revocation]:
        found = list(self.kept)
        self.reads += 1
        self.reading.set()
        await self.goes_on.wait()
        if self.away:
            raise Unavailable
        return found

    async def add(self, environment: EnvironmentId, revocation: Revocation) -> Revocation:
        if self.away:
            raise Unavailable
        self.kept.append(revocation)
        return revocation

    async def use(self, environment: EnvironmentId, digest: str, *, ends: float) -> bool:
        if self.away:
            raise Unavailable
        unused = digest not in self.used
        self.used.add(digest)
        return unused


@dataclass(eq=False)
class Seen:
    """A viewer that remembers why it ended, and in which turn of the loop."""

    admitted: Admitted | None
    why: Revocation | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def revoked(self, revocation: Revocation) -> None:
        self.why = revocation
        self.ended.set()


class Viewers:
    def __init__(self) -> None:
        self.all: list[Seen] = []

    def viewers(self) -> list[Any]:
        return list(self.all)

    def come(self, subject: str | None, environment: EnvironmentId = ENV) -> Seen:
        self.all.append(Seen(admitted(subject, environment)))
        return self.all[-1]


def admitted(subject: str | None, environment: EnvironmentId = ENV) -> Admitted:
    marks = TokenMarks("", None, subject, NOW)
    return Admitted(environment, Grant.parse(["read:tags:a:b", "read:runs"]), NOW + LASTS, None, marks)


def word(revocation: Revocation) -> bytes:
    return f"{revocation.until} {revocation.before} {revocation.said_at} {revocation.key}".encode()


@contextlib.asynccontextmanager
async def watching(redis: Redis, viewers: Viewers | None = None) -> AsyncIterator[RevocationWatch]:
    watch = RevocationWatch(cast("Any", redis), cast("Any", redis), [ENV], viewers or Viewers())
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def admitting(redis: Redis) -> AsyncIterator[Admission]:
    """Lets in whoever KEYS let in, but for what was revoked, which it knows."""
    async with watching(redis) as watch:
        redis.join()
        await watch.read_once(seconds=10)
        yield Admission(Keyring([KEYS]), Origins(), cast("Any", None), watch)


async def test_nobody_is_let_in_before_all_was_read() -> None:
    """Joining alone is not enough. From the first reading on, what was kept is known, and what is not is let in."""
    redis = Redis()
    redis.kept = [GONE]
    redis.goes_on.clear()
    async with watching(redis) as watch:
        redis.join()
        await redis.reading.wait()
        for subject in ("gone", "good"):
            with pytest.raises(Unavailable, match="revoked"):
                watch.check(admitted(subject))
        assert not watch.known
        redis.goes_on.set()
        await watch.read_once(seconds=10)
        watch.check(admitted("good"))
        with pytest.raises(TokenRevoked):
            watch.check(admitted("gone"))
        watch.check(Admitted(ENV, Grant.everything(), None, None))  # a secret key


async def test_what_is_heard_while_it_is_read_is_not_lost() -> None:
    """It is in the channel and not yet in what was read."""
    redis = Redis()
    redis.goes_on.clear()
    async with watching(redis) as watch:
        redis.join()
        await redis.reading.wait()
        redis.tell(word(GONE))
        redis.goes_on.set()
        await watch.read_once(seconds=10)
        with pytest.raises(TokenRevoked):
            watch.check(admitted("gone"))


async def test_reading_goes_on_until_redis_answers_and_starts_anew_when_it_was_lost() -> None:
    """A process that could not read tries again; one that lost its subscription keeps what it knows meanwhile."""
    redis = Redis()
    redis.away = True
    async with watching(redis) as watch:
        redis.join()
        async with asyncio.timeout(10):
            while redis.reads < 2:
                await asyncio.sleep(0.01)
        redis.away = False
        await watch.read_once(seconds=10)
        watch.check(admitted("gone"))

        redis.away = True
        for listener in redis.listeners.values():
            listener.lost()
        watch.check(admitted("gone"))
        redis.kept, redis.away = [GONE], False
        redis.join()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(TokenRevoked):
                    watch.check(admitted("gone"))
                    await asyncio.sleep(0.01)
                    continue
                break


async def test_all_is_read_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing seems to be wrong: a subscription that went deaf is noticed only while there are viewers."""
    monkeypatch.setattr(revoking, "REFRESH_SECONDS", 0.01)
    redis = Redis()
    async with watching(redis) as watch:
        redis.join()
        await watch.read_once(seconds=10)
        redis.kept = [GONE]
        async with asyncio.timeout(10):
            while True:
                try:
                    watch.check(admitted("gone"))
                except TokenRevoked:
                    break
                await asyncio.sleep(0.01)


async def test_what_redis_has_lost_it_is_told_again() -> None:
    """Whatever holds; but not by a process that has only begun to read."""
    redis = Redis()
    async with watching(redis) as watch:
        redis.tell(word(GONE))
        redis.join()
        await watch.read_once(seconds=10)
        assert redis.kept == []
        redis.join()
        async with asyncio.timeout(10):
            while not redis.kept:
                await asyncio.sleep(0.01)
        assert redis.kept == [GONE]


async def test_viewers_of_a_revoked_token_end_and_no_others() -> None:
    """Whatever their number, and in whatever environment; they are told which revocation it was."""
    redis, viewers = Redis(), Viewers()
    async with watching(redis, viewers) as watch:
        redis.join()
        await watch.read_once(seconds=10)
        gone = [viewers.come("gone") for _ in range(3)]
        others = [viewers.come("good"), viewers.come(None), viewers.come("gone", EnvironmentId("env_2"))]
        viewers.all.append(Seen(Admitted(ENV, Grant.everything(), None, None)))
        viewers.all.append(Seen(None))
        redis.tell(word(GONE))
        for viewer in gone:
            await asyncio.wait_for(viewer.ended.wait(), 10)
            assert viewer.why == GONE
        assert [viewer.why for viewer in others + viewers.all[-2:]] == [None] * 5

        redis.tell(word(Revocation(By.TAG, "a:b", int((NOW + 2) * 1000), 0, GONE.until)))
        for viewer in others[:2]:
            await asyncio.wait_for(viewer.ended.wait(), 10)
        assert others[2].why is None


async def test_ending_ten_thousand_does_not_hold_the_loop() -> None:
    """The others get their turn in between."""
    redis, viewers = Redis(), Viewers()
    async with watching(redis, viewers) as watch:
        redis.join()
        await watch.read_once(seconds=10)
        everybody = [viewers.come("gone") for _ in range(10_000)]
        redis.tell(word(GONE))
        turns = 0
        while not everybody[-1].why:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 10


async def test_whoever_revokes_may_rely_on_it_at_once() -> None:
    """Here, before the channel brings it; and when Redis is away it says so."""
    redis, viewers = Redis(), Viewers()
    async with watching(redis, viewers) as watch:
        redis.join()
        await watch.read_once(seconds=10)
        viewer = viewers.come("gone")
        await watch.revoke(ENV, GONE)
        with pytest.raises(TokenRevoked):
            watch.check(admitted("gone"))
        await asyncio.wait_for(viewer.ended.wait(), 10)
        redis.away = True
        with pytest.raises(Unavailable):
            await watch.revoke(ENV, GONE)


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"\xff 1 2 jti:x", b"1 2 3 who:x"])
async def test_nonsense_on_the_channel_is_passed_over(payload: bytes) -> None:
    """It is logged, and nothing breaks."""
    redis = Redis()
    async with watching(redis) as watch:
        redis.join()
        redis.tell(payload)
        await watch.read_once(seconds=10)
        watch.check(admitted("gone"))


async def test_a_new_token_is_issued_behind_what_was_revoked() -> None:
    """Also when another gateway's clock is ahead; and what is revoked then covers it."""
    redis = Redis()
    redis.kept = [
        Revocation(By.SUBJECT, "s", int((NOW + 5) * 1000), 0, GONE.until),
        Revocation(By.TAG, "t", int((NOW + 9) * 1000), 0, GONE.until),
        Revocation(By.JTI, "j", 0, 0, GONE.until),
    ]
    async with watching(redis) as watch:
        redis.join()
        await watch.read_once(seconds=10)
        assert watch.first_issue(ENV, None, (), NOW) == NOW
        for subject, tags, least in (("s", (), 5), (None, ("x", "t"), 9), ("s", ("t",), 9)):
            issued = watch.first_issue(ENV, subject, tags, NOW)
            assert NOW + least < issued < NOW + least + 0.1
            assert watch.last_issue(ENV, NOW) > issued * 1000
        assert watch.first_issue(EnvironmentId("another"), "s", (), NOW) == NOW


async def test_a_one_time_token_is_used_once_whoever_asks() -> None:
    """By its digest; secret keys and other tokens are never used up."""
    redis = Redis()
    async with admitting(redis) as admission:
        once, often = (admission.admit(mint("read:runs", KEYS, one_time=flag)) for flag in (True, False))
        redis.away = True
        with pytest.raises(Unavailable):
            await admission.use(once)
        redis.away = False
        await admission.use(once)
        with pytest.raises(TokenUsed):
            await admission.use(once)
        for _ in range(2):
            await admission.use(often)
            await admission.use(admission.admit(KEYS.current.secret))
        assert len(redis.used) == 1
        with pytest.raises(Unavailable):
            await Admission(Keyring([KEYS]), Origins(), cast("Any", None)).use(once)


async def test_a_cached_token_is_looked_at_again() -> None:
    """What was verified before does not outlive its revocation."""
    redis = Redis()
    async with admitting(redis) as admission:
        token = mint("read:runs", KEYS, subject="gone", jti="x", now=NOW, expires=int(NOW) + LASTS)
        assert admission.admit(token) is admission.admit(token)
        redis.tell(word(GONE))
        with pytest.raises(TokenRevoked):
            admission.admit(token)
