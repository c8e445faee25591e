"""
Polls that come again are answered at the desk as the endpoint would answer them, and never when that would not.

What both have in common is held by test_properties.py, where every second client comes by the desk.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from auth import EnvironmentKeys, Keyring, generate_secret_key
from gateway.changes import Operation, Operator
from gateway.revocations import By, Revocation
from gateway.transports.origins import Origins
from gateway.triggerdev import feeds
from gateway.triggerdev.shape import desk, log, poll
from tests.gateway.feed.world import eventually
from tests.gateway.store.changing import Changing
from tests.gateway.triggerdev.shape.folding import ask
from tests.gateway.triggerdev.shape.serving import Feeds
from tests.gateway.triggerdev.shape.visiting import AskedVisit
from tests.shape_desk import shape_desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from gateway.triggerdev.shape.desk import ShapeDesk
    from tests.gateway.triggerdev.shape.folding import Answer, FoldingClient
    from tests.redis_server import RedisServer

_ticks = itertools.count(1)
IDLE = [{"headers": {"control": "up-to-date"}}]


@pytest.fixture
async def served(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Feeds]:
    async with Feeds(redis_server, environment).serving() as served:
        yield served
        assert not held_by(served)
        assert not served.expirations.viewers()
        assert served.services.counters.viewers["shape"] == 0


def clerk(served: Feeds) -> ShapeDesk:
    return shape_desk(served.services)


def held_by(served: Feeds) -> int:
    """How many wait at the desk."""
    return len(clerk(served)._held)


def tick(changing: Changing) -> None:
    """A change that was never before."""
    changing.apply("run_1", operations=[Operation(Operator.SET, "tick", next(_ticks))])


async def known(client: FoldingClient, changing: Changing) -> FoldingClient:
    """A client who has polled once, so that the desk knows it."""
    await client.poll()
    tick(changing)
    await client.poll(live=True)
    return client


async def waiting(served: Feeds, client: FoldingClient, count: int = 1) -> asyncio.Task[Answer]:
    """Its next poll, once it waits at the desk with so many."""
    asking = asyncio.create_task(client.poll(live=True))
    async with asyncio.timeout(10):
        while held_by(served) < count:
            assert not asking.done(), asking.result()
            await asyncio.sleep(0.001)
    return asking


@pytest.fixture
async def client(served: Feeds, changing: Changing) -> FoldingClient:
    changing.create(tags=["a"], initial={"payload": {"n": 1}})
    return await known(served.visitor("runs", served.token("read:tags:a"), tags="a"), changing)


async def test_who_waits_is_told_what_happens(served: Feeds, changing: Changing, client: FoldingClient) -> None:
    """Everybody at once, and those who come behind it at once; it looks like an answer of the endpoint."""
    others = [replace(client, rows=dict(client.rows)) for _ in range(200)]
    asking = [await waiting(served, one, count) for count, one in enumerate([client, *others], start=1)]
    straight = asyncio.create_task(replace(client, desk=None).ask(live=True))
    late = replace(client, rows=dict(client.rows))

    tick(changing)
    answers = await asyncio.gather(*asking)
    expected = await straight

    assert all(answer.body == expected.body for answer in answers)
    assert answers[0].headers == {
        **{name: value for name, value in expected.headers.items() if name != "content-length"},
        "electric-cursor": answers[0].headers["electric-cursor"],
    }
    assert (await late.poll(live=True)).body == expected.body
    route = ("GET", "/realtime/v1/runs", "2xx")
    assert served.services.counters.requests[route] == 202


async def test_nothing_happens_for_a_while(
    served: Feeds, client: FoldingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so, where it was."""
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.05)
    before = client.offset

    answer = await (await waiting(served, client))

    assert (answer.body, client.offset) == (IDLE, before)


async def test_who_hangs_up_is_let_go(served: Feeds, changing: Changing, client: FoldingClient) -> None:
    """Nothing of it stays, and what comes after is told to nobody."""
    gone = asyncio.Event()
    asking = asyncio.create_task(client.ask(live=True, gone=gone))
    while not held_by(served):
        await asyncio.sleep(0.001)
    gone.set()
    with pytest.raises(EOFError):
        await asking
    assert held_by(served) == 0

    tick(changing)
    assert (await client.poll(live=True)).status == 200


async def test_what_is_not_in_the_log_is_read(
    served: Feeds, changing: Changing, client: FoldingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the endpoint, for those who come as for those who wait."""
    monkeypatch.setattr(log, "MAX_ENTRIES", 4)
    old = replace(client, rows=dict(client.rows))
    for _ in range(20):
        asking = await waiting(served, client)
        tick(changing)
        await asking
    await old.poll(live=True)
    assert old.rows == client.rows
    assert old.inserts > client.inserts

    asking = await waiting(served, client)
    changing.client.delete(*changing.client.keys(f"runcast:{{{served.environment}}}:*"))
    changing.create("run_2", tags=["a"])
    assert (await asking).status == 409
    await client.poll()
    assert client.rows.keys() == {"run_2"}


async def test_a_revoked_token_ends_it(served: Feeds, client: FoldingClient) -> None:
    """For who waits, and for who comes."""
    asking = await waiting(served, client)
    digest = served.admission.admit(client.token).token
    assert digest is not None

    now = int(time.time() * 1000)
    revocation = Revocation(By.TOKEN, digest, now + 1, now, now + 900_000)
    await served.revocations.revoke(served.environment, revocation)
    with pytest.raises(AssertionError, match="401"):
        await asyncio.wait_for(asking, 10)

    assert (await client.ask(live=True)).status == 401


async def test_another_key_ends_it(served: Feeds, client: FoldingClient) -> None:
    """For who waits, and for who comes."""
    asking = await waiting(served, client)

    served.admission.reload(Keyring([EnvironmentKeys.of(served.environment, generate_secret_key())]), Origins())
    served.services.desk.forget()
    served.expirations.keys_changed()
    with pytest.raises(AssertionError, match="401"):
        await asyncio.wait_for(asking, 10)

    assert (await client.ask(live=True)).status == 401


async def test_a_stop_answers_who_waits(served: Feeds, client: FoldingClient) -> None:
    """At once, so that he finds another gateway."""
    asking = await waiting(served, client)

    served.stop()

    assert (await asking).body == IDLE


async def test_while_redis_is_away_nobody_is_told_that_nothing_happened(
    own_redis: RedisServer, environment: EnvironmentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither who has waited since before, nor who comes meanwhile. Afterwards everything is as it was."""
    async with Feeds(own_redis, environment).serving() as served:
        with own_redis.client() as connection:
            changing = Changing(connection, environment)
            changing.create(tags=["a"])
            client = await known(served.visitor("runs", served.token("read:tags:a"), tags="a"), changing)
        asking = await waiting(served, client)
        (waits,) = clerk(served)._held
        own_redis.stop()
        await eventually(lambda: waits.found.shape.is_stale, "the gateway knows it")

        gone = asyncio.Event()
        coming = asyncio.create_task(client.ask(live=True, gone=gone))
        await eventually(lambda: served.services.counters.viewers["shape"] == 2, "another one waits")
        assert held_by(served) == 1, "the endpoint holds the other, who can say so when its time is up"
        gone.set()
        with pytest.raises(EOFError):
            await coming
        monkeypatch.setattr(poll, "HOLD_SECONDS", 0.05)
        assert (await client.ask(live=True)).status == 503
        waits.time_is_up()
        assert (await asking).status == 503

        own_redis.start()
        await eventually(lambda: served.hub.hears, "the gateway sees it again")
        with own_redis.client() as connection:
            tick(Changing(connection, environment))
        answer = await client.poll(live=True)
        assert (answer.status, len(answer.body)) == (200, 2)


async def test_who_finds_no_place_is_refused(
    redis_server: RedisServer, environment: EnvironmentId, changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits at the desk has a place like everybody else."""
    monkeypatch.setattr(feeds, "REFUSAL_SECONDS", 0.01)
    changing.create(tags=["a"])
    async with Feeds(redis_server, environment, connections=1).serving() as served:
        first = await known(served.visitor("runs", tags="a"), changing)
        second = replace(first, rows=dict(first.rows))
        asking = await waiting(served, first)
        assert (await second.ask(live=True)).status == 429
        tick(changing)
        await asking
        assert (await second.poll(live=True)).status == 200


@pytest.mark.parametrize(
    "other",
    [
        {"token": "read:tags:b"},
        {"handle": "made.up"},
        {"path": "/realtime/v1/runs/run_1"},
        {"query": {"tags": "b"}},
        {"query": {"tags": "a", "skipColumns": "payload"}},
        {"query": {"tags": "a", "live_sse": "true"}},
        {"query": {"tags": "a", "unknown": "1"}},
    ],
    ids=str,
)
async def test_only_what_was_let_in_before_is_taken(
    served: Feeds, client: FoldingClient, other: dict[str, Any]
) -> None:
    """Each word of a request counts: what differs is for the endpoint to judge."""
    if "token" in other:
        other = {"token": served.token(other["token"])}
    changed = replace(client, **other)
    query = {"offset": changed.offset, "log": "full", "live": "true", "cursor": "", "handle": changed.handle}
    words = "&".join(f"{name}={value}" for name, value in sorted({**changed.query, **query}.items()))
    headers = [(b"authorization", f"Bearer {changed.token}".encode())]

    assert not served.services.desk.take(AskedVisit(changed.path, words.encode(), headers))


@pytest.mark.parametrize("more", [[(b"cookie", b"a=b")], [(b"authorization", b"Bearer other")], [(b"origin", b"x")]])
async def test_headers_that_change_an_answer_are_the_endpoints(
    served: Feeds, client: FoldingClient, more: list[tuple[bytes, bytes]]
) -> None:
    """A second credential, cookies, and pages of another origin."""
    words = f"cursor=&handle={client.handle}&live=true&log=full&offset={client.offset}&tags=a".encode()
    headers = [(b"authorization", f"Bearer {client.token}".encode())]

    assert not served.services.desk.take(AskedVisit(client.path, words, headers + more))


async def test_a_pass_has_an_end(
    served: Feeds, changing: Changing, client: FoldingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the endpoint judges anew; and there are not too many of them."""
    (found,) = clerk(served)._passes.values()
    assert found.until <= served.admission.end_of(found.admitted)
    monkeypatch.setattr(desk, "PASS_SECONDS", -1.0)
    clerk(served).forget()
    tick(changing)
    await client.poll(live=True)
    headers = [(b"authorization", f"Bearer {client.token}".encode())]
    words = f"cursor=&handle={client.handle}&live=true&log=full&offset={client.offset}&tags=a".encode()
    assert not served.services.desk.take(AskedVisit(client.path, words, headers))

    monkeypatch.setattr(desk, "MOST_PASSES", 3)
    for _ in range(10):
        await known(served.visitor("runs", served.token("read:tags:a"), tags="a"), changing)
    assert len(clerk(served)._passes) <= 3


async def test_what_a_runs_row_allows_is_looked_up_each_time(served: Feeds, changing: Changing) -> None:
    """A token for a tag opens its runs as long as they have it, and there is no pass for that."""
    changing.create(tags=["a"])
    await known(served.visitor("runs/run_1", served.token("read:tags:a")), changing)

    assert not clerk(served)._passes


async def test_a_page_reads_the_answer_of_the_desk(served: Feeds, changing: Changing, client: FoldingClient) -> None:
    """With the lines that its origin needs."""

    async def lines_for(origin: str) -> bytes:
        return f"access-control-allow-origin: {origin}\r\n".encode()

    served.services.desk.lines_for = lines_for
    words = f"cursor=&handle={client.handle}&live=true&log=full&offset={client.offset}&tags=a".encode()
    headers = [(b"authorization", f"Bearer {client.token}".encode()), (b"origin", b"https://app.example.com")]
    scope = {"raw_path": client.path.encode(), "query_string": words, "headers": headers, "route": served.routes[1]}
    (found,) = clerk(served)._passes.values()
    await clerk(served).leave_pass(scope, found.admitted, found.shape, found.handle)
    visit = AskedVisit(client.path, words, headers)
    assert served.services.desk.take(visit)

    tick(changing)
    answered = await visit.answered

    assert answered is not None
    assert b"access-control-allow-origin: https://app.example.com\r\n" in answered[0]


async def test_old_clients_are_known_too(served: Feeds, changing: Changing, client: FoldingClient) -> None:
    """Those that don't say `log`, and those that remember a refused handle."""
    for words in ("handle={}&live=true&offset={}&tags=a", "expired_handle=x&handle={}&live=true&offset={}&tags=a"):
        query = dict(part.split("=") for part in words.format(client.handle, client.offset).split("&"))
        asking = asyncio.create_task(
            ask(*(client.app, client.path, {"cursor": "", **query}, client.token), desk=client.desk)
        )
        while not held_by(served):
            await asyncio.sleep(0.001)
        tick(changing)
        assert (await asking).status == 200
        await client.poll(live=True)
