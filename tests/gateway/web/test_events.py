"""`/v1/events` as HTML, over a real gateway: every state of a run, whole, to whoever may see it, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway.web import cards
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

PATIENCE_SECONDS = 10.0


@pytest.fixture
async def gateway(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[ServedGateway]:
    async with ServedGateway(redis_server, environment, heartbeat_seconds=0.5) as gateway:
        yield gateway


class Events:
    """The events of one response, as an EventSource would dispatch them."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        #: Type and data of all so far.
        self.told: list[tuple[str, str]] = []
        self.last_id = ""

    async def until(self, pattern: str, kind: str = "") -> str:
        """The data of the next event of this *kind* (any, when empty) in which *pattern* is found."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found, data = await self.next()
                self.told.append((found, data))
                if re.search(pattern, data) and kind in ("", found):
                    return data

    async def next(self) -> tuple[str, str]:
        """Type and data of the next event."""
        kind, data = "message", []
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                self.last_id = value
            elif not line and data:
                return kind, "\n".join(data)
        raise AssertionError("the response ended")


@contextlib.asynccontextmanager
async def following(gateway: ServedGateway, query: str, token: str, **headers: str) -> AsyncIterator[Events]:
    async with (
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
        client.stream("GET", f"/v1/events?{query}&token={token}", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Events(answer.aiter_lines())


async def publish(action: Any, *arguments: Any, **words: Any) -> Any:
    """Do what waits for Redis beside the loop that the gateway runs in."""
    return await asyncio.to_thread(action, *arguments, **words)


async def test_each_change_is_told_with_the_whole_run(gateway: ServedGateway) -> None:
    """Though what is published is a part of it; and the end at last."""
    run = await publish(gateway.publisher.create, "export", id="run_1", tags=["customer:7"])
    async with following(gateway, "run=run_1&format=html", gateway.token(["read:runs:run_1"])) as events:
        snapshot = await events.until("runcast-runs", "snapshot")
        await publish(run.start)
        started = await events.until('data-status="EXECUTING"', "update")
        await publish(run.progress, 3, 10, "resizing")
        moved = await events.until("<progress", "update")
        await publish(run.complete)
        completed = await events.until('data-status="COMPLETED"', "update")
        ended = await events.until("ended", "end")

    assert 'id="runs-run:run_1"' in snapshot
    assert 'data-status="QUEUED"' in snapshot
    for told in (snapshot, started, moved, completed):
        assert '<span class="runcast-task">export</span>' in told
        assert "<li>customer:7</li>" in told
    assert 'value="30"' in moved
    assert "resizing" in moved
    assert "<progress" not in completed
    assert 'data-status="COMPLETED"' in ended
    assert events.told[0][0] == "welcome"


async def test_whoever_comes_later_is_told_the_same(gateway: ServedGateway) -> None:
    """Viewers of one feed share what is known of it."""
    run = await publish(gateway.publisher.create, "export", id="run_1", tags=["a"])
    token = gateway.token(["read:tags:a"])
    async with following(gateway, "tag=a&format=html", token) as first:
        await first.until("runcast-runs", "snapshot")
        await publish(run.start)
        await first.until('data-status="EXECUTING"', "update")
        async with following(gateway, "tag=a&format=turbo", token) as second:
            await second.until('data-status="EXECUTING"')
            await publish(gateway.publisher.create, "export", id="run_2", tags=["a"])
            for events in (first, second):
                assert "run-run_2" in await events.until('data-run="run_2"')


async def test_a_run_that_is_not_known_is_read(gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for so many; of the others nothing is missing either."""
    monkeypatch.setattr(cards, "MOST_CARDS", 1)
    runs = [await publish(gateway.publisher.create, f"task_{number}", id=f"run_{number}") for number in range(3)]
    async with following(gateway, "all=true&format=html", gateway.secret) as events:
        await events.until("runcast-runs", "snapshot")
        for number, run in enumerate(runs):
            await publish(run.start)
            told = await events.until(f'data-run="run_{number}" data-status="EXECUTING"', "update")
            assert f">task_{number}<" in told


async def test_a_return_tells_what_happened_meanwhile(gateway: ServedGateway) -> None:
    """With the number of the last event; what did not change is not told again."""
    run = await publish(gateway.publisher.create, "export", id="run_1", tags=["a"])
    await publish(gateway.publisher.create, "export", id="run_2", tags=["a"])
    token = gateway.token(["read:tags:a"])
    async with following(gateway, "tag=a&format=html", token) as events:
        await events.until("runcast-runs", "snapshot")
        cursor = events.last_id
    await publish(run.start)
    async with following(gateway, "tag=a&format=html", token, **{"Last-Event-ID": cursor}) as events:
        await events.until('data-run="run_1" data-status="EXECUTING"', "update")

    assert not any("run_2" in data for _, data in events.told)


async def test_hidden_columns_are_in_no_event(gateway: ServedGateway) -> None:
    """Whatever the request asks for, what the token hides is not there: in the list, in updates, in the last state."""
    run = await publish(gateway.publisher.create, "export", id="run_1", tags=["secret-tag"])
    hidden = ["tags", "metadata", "error", "transitions"]
    token = gateway.token(["read:runs:run_1"], skip_columns=hidden)
    async with following(gateway, "run=run_1&format=html&skipColumns=startedAt", token) as events:
        await events.until("runcast-runs", "snapshot")
        await publish(run.start)
        await publish(run.progress, 3, 10, "secret-text")
        await publish(run.fail, "secret-error")
        await events.until("ended", "end")

    everything = "".join(data for _, data in events.told)
    assert "secret" not in everything
    assert "runcast-transitions" not in everything
    assert "<progress" not in everything
    assert "runcast-started" in everything  # what a token hides replaces what a request does


async def test_a_page_that_is_up_to_date_is_told_so_at_once(gateway: ServedGateway) -> None:
    """It need not wait for a heartbeat, whose time may be far."""
    async with following(gateway, "all=true&format=htmx", gateway.secret) as events:
        await events.until("runcast-runs")
        kind, data = await events.next()

    assert kind == "message"
    assert 'data-state="live"' in data


async def test_how_fresh_it_is_is_an_event(own_redis: RedisServer, environment: EnvironmentId) -> None:
    """A page can say that what it shows may be old."""
    async with (
        ServedGateway(own_redis, environment, heartbeat_seconds=0.5) as gateway,
        following(gateway, "all=true&format=html", gateway.secret) as events,
    ):
        await events.until('data-state="live"', "heartbeat")
        await publish(own_redis.stop)
        stale = await events.until('data-state="stale"', "heartbeat")

    assert "stale" in re.sub("<[^>]*>", "", stale)


async def test_a_token_that_ends_is_said_in_words(gateway: ServedGateway) -> None:
    """As a problem that a page can show."""
    token = gateway.token(["read:runs:run_1"], expires="2s")
    async with following(gateway, "run=run_1&format=html", token) as events:
        told = await events.until("token_expired", "error")

    assert 'role="alert"' in told


@pytest.mark.parametrize("query", ["format=xml", "format=html&format=html", "format="])
async def test_a_form_that_there_is_not_is_refused(gateway: ServedGateway, query: str) -> None:
    """The answer says which there are."""
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        answer = await client.get(f"/v1/events?run=run_1&{query}&token={gateway.secret}")

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_message")


async def test_json_can_be_asked_for_by_name(gateway: ServedGateway) -> None:
    """And is what it is without."""
    async with following(gateway, "run=run_1&format=json", gateway.secret) as events:
        assert (await events.until('"snapshot"', "snapshot")).startswith('{"type":"snapshot"')


async def test_what_datastar_adds_to_its_requests_is_let_by(gateway: ServedGateway) -> None:
    """It tells the server what the page knows; in other forms that is a mistake like any other unknown parameter."""
    query = {"run": "run_1", "datastar": '{"open":true}', "token": gateway.token(["read:runs:run_1"])}
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        for form, status in {"datastar": 200, "turbo": 400, "json": 400}.items():
            async with client.stream("GET", "/v1/events", params={**query, "format": form}) as answer:
                assert answer.status_code == status
