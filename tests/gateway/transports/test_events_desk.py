"""Requests for events are let in at the desk as the endpoint would let them in, and never when that would not."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from auth import EnvironmentKeys, generate_secret_key, mint
from gateway.transports import events_desk
from gateway.transports.origins import Origins
from tests.hardening.peers import upgrade
from tests.journeys.in_process import serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from gateway.transports.desk import Visit
    from tests.journeys.in_process import Inside
    from tests.redis_server import RedisServer

PAGE = "https://app.example.com"
#: What differs between two answers that say the same.
OWN = re.compile(rb"(date: [^\r]*|retry: \d+|\"expiresInSeconds\":[\d.]+|\"connection\":\"[^\"]*\"|\r\n[0-9a-f]+\r\n)")


class Asking:
    """A gateway, who asks it, and what its desk took."""

    def __init__(self, inside: Inside, keys: EnvironmentKeys) -> None:
        self.inside, self.keys = inside, keys
        self.taken: list[bool] = []
        desk = inside.services.desk
        take = desk.take

        def noting(visit: Visit) -> bool:
            self.taken.append(take(visit))
            return self.taken[-1]

        desk.take = noting  # type: ignore[method-assign]
        self._writers: list[asyncio.StreamWriter] = []

    def token(self, *scopes: str, one_time: bool = False) -> str:
        return mint(scopes or ("read:tags:a",), self.keys, one_time=one_time)

    async def ask(self, query: str, *headers: str, until: bytes = b'"snapshot"', method: str = "GET") -> bytes:
        """What comes until *until*."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.inside.port)
        self._writers.append(writer)
        lines = [f"{method} /v1/events?{query} HTTP/1.1", "Host: gateway", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(20):
            return await reader.readuntil(until)

    async def status(self, query: str, *headers: str, method: str = "GET") -> int:
        answer = await self.ask(query, *headers, until=b"\r\n\r\n", method=method)
        return int(answer.split(b" ", 2)[1])

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def asking(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Asking]:
    keys = EnvironmentKeys.of(environment, generate_secret_key())
    async with serving(redis_server.url, keys=[keys], origins=Origins.parse(PAGE)) as inside:
        asking = Asking(inside, keys)
        yield asking
        asking.close()
        await until(lambda: not any(inside.leftovers().values()), "the end of everything")


@pytest.mark.parametrize("headers", [(), (f"Origin: {PAGE}",)], ids=["program", "page"])
async def test_an_answer_of_the_desk_looks_like_one_of_the_endpoint(asking: Asking, headers: tuple[str, ...]) -> None:
    """Header by header and word by word; and both are counted alike."""
    counted = asking.inside.services.counters
    token = asking.token()

    answers = [await asking.ask(f"tags=a&token={token}", *headers) for _ in range(3)]

    assert asking.taken == [False, True, True]
    assert OWN.sub(b"", answers[1]) == OWN.sub(b"", answers[0])
    assert (b"access-control-allow-origin" in answers[1]) is bool(headers)
    assert counted.requests["GET", "/v1/events", "2xx"] == 3
    assert counted.connections["sse"] == counted.viewers["sse"] == 3


async def test_each_origin_has_its_own_lines(asking: Asking) -> None:
    """What a program was answered says nothing about pages."""
    token = asking.token()
    await asking.ask(f"tags=a&token={token}")

    answer = await asking.ask(f"tags=a&token={token}", f"Origin: {PAGE}")

    assert asking.taken == [False, False]
    assert f"access-control-allow-origin: {PAGE}\r\n".encode() in answer


async def test_other_origins_forget_them(asking: Asking) -> None:
    """When keys and origins are read again."""
    token = asking.token()
    await asking.ask(f"tags=a&token={token}")

    asking.inside.services.desk.forget()
    await asking.ask(f"tags=a&token={token}")

    assert asking.taken == [False, False]


async def test_origins_without_end_are_not_kept(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wildcard lets in any number."""
    monkeypatch.setattr(events_desk, "_ORIGINS", 3)
    desk = events_desk.EventsDesk(asking.inside.services)

    for number in range(10):
        await desk.learn([(b"origin", b"https://%d.example.com" % number)])

    assert len(desk._lines) <= 3


UNUSUAL = {
    "no token": ("tags=a", (), 401),
    "no token of ours": ("tags=a&token=x.y.z", (), 401),
    "another feed than it may see": ("tags=b&token={token}", (), 403),
    "a run, whose tags may allow it": ("run=run_1&token={token}", (), 403),
    "no feed": ("token={token}", (), 400),
    "an unknown parameter": ("tags=a&token={token}&x=y", (), 400),
    "a cursor that is none": ("tags=a&token={token}&cursor=x", (), 400),
    "another origin": ("tags=a&token={token}", ("Origin: https://evil.example.com",), 403),
    "two origins": ("tags=a&token={token}", (f"Origin: {PAGE}", f"Origin: {PAGE}"), 403),
    "a cookie": ("tags=a&token={token}", ("Cookie: a=b",), 200),
    "a body": ("tags=a&token={token}", ("Content-Length: 0",), 200),
    "a connection that ends": ("tags=a&token={token}", ("Connection: close",), 200),
}


@pytest.mark.parametrize("name", UNUSUAL)
async def test_whatever_is_unusual_the_endpoint_says_what_becomes_of_it(asking: Asking, name: str) -> None:
    """Also when others with the same token were taken at the desk a moment ago; each refusal counts once."""
    query, headers, status = UNUSUAL[name]
    token = asking.token()
    await asking.ask(f"tags=a&token={token}")
    await asking.ask(f"tags=a&token={token}")

    assert await asking.status(query.format(token=token), *headers) == status

    assert asking.taken[:2] == [False, True]
    assert True not in asking.taken[2:]
    assert sum(asking.inside.services.counters.refusals.values()) == (status >= 400)


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
async def test_other_methods_are_not_shown(asking: Asking, method: str) -> None:
    """The app says what it thinks of them."""
    await asking.ask(f"tags=a&token={asking.token()}")

    await asking.status(f"tags=a&token={asking.token()}", method=method)

    assert asking.taken == [False]


async def test_a_one_time_token_is_used_up_by_the_endpoint(asking: Asking) -> None:
    """Redis has to be asked, and it lets in once."""
    await asking.ask(f"tags=a&token={asking.token()}")
    token = asking.token(one_time=True)

    assert await asking.status(f"tags=a&token={token}") == 200
    assert await asking.status(f"tags=a&token={token}") == 401
    assert asking.taken == [False, False, False]


async def test_who_has_seen_the_end_of_a_run_may_be_told_so(asking: Asking) -> None:
    """With a cursor of a run it must be looked whether that has ended; without one it begins at once."""
    token = asking.token("read:runs:run_1")
    await asking.ask(f"run=run_1&token={token}")

    await asking.ask(f"run=run_1&token={token}")
    await asking.ask(f"run=run_1&token={token}", "Last-Event-ID: 0-0")

    assert asking.taken == [False, True, False]


async def test_a_full_environment_is_refused_by_the_endpoint(redis_server: RedisServer) -> None:
    """With its status and a time to come back, and counted once; the desk only sees that there is no place."""
    keys = EnvironmentKeys.of("full", generate_secret_key())
    async with serving(redis_server.url, keys=[keys], connections_per_token=2) as inside:
        asking = Asking(inside, keys)
        token = asking.token()
        for _ in range(2):
            await asking.ask(f"tags=a&token={token}")

        assert await asking.status(f"tags=a&token={token}") == 429

        assert asking.taken == [False, True, False]
        assert sum(inside.services.counters.limits_hit.values()) == 1
        asking.close()


async def test_a_handshake_is_accepted_at_the_desk_of_sockets(asking: Asking) -> None:
    """Without a task of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", asking.inside.port)
    writer.write(upgrade(f"Authorization: Bearer {asking.token()}"))
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b'"welcome"')

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert asking.inside.server.server_state.tasks == set()
    writer.close()
