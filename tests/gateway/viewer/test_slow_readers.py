"""Readers that are slower than changes, and more feeds than fit: the newest state and every status all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import Viewer
from gateway.viewer import inboxes, lines
from tests.gateway.serving import ServedGateway
from tests.gateway.viewer.reading_runs import eventually, feeds_of, is_ended, next_of

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


async def test_a_slow_reader_is_shown_the_newest_state_and_every_status(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.run("run_1") as slow, viewer.run("run_1") as fast:
        await slow.until_caught_up()
        job = gateway.publisher.create("resize", id="run_1")
        for number in range(50):
            job.set("number", number)
        job.start()
        job.complete()
        await next_of(fast, lambda run: run.is_final)
        seen = [run async for run in slow]

    assert len(seen) == 1
    assert seen[0].metadata["number"] == 49
    assert [entry.status for entry in seen[0].transitions] == ["QUEUED", "EXECUTING", "COMPLETED"]


@pytest.mark.parametrize("others", [0, 1])
async def test_more_runs_than_are_kept_for_a_slow_reader_are_fetched_when_it_has_room(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Each run is told, with its last state; and whoever else reads the feed does not wait."""
    monkeypatch.setattr(inboxes, "MAX_RUNS_WAITING", 10)
    async with Viewer(gateway.url, gateway.secret) as viewer, viewer.tags("a") as slow:
        await slow.until_caught_up()
        fast = [viewer.tags("a") for _ in range(others)]
        for number in range(100):
            gateway.publisher.create("resize", id=f"run_{number}", tags=["a"]).complete()
            for updates in fast:
                await next_of(updates, is_ended(f"run_{number}"))
        await eventually(lambda: any(followed.line is None for followed in viewer._lines._feeds))
        most, known = 0, dict[str, str | None]()
        while sum(status == "COMPLETED" for status in known.values()) < 100:
            most = max(most, len(slow._inbox._waiting))
            run = await next_of(slow)
            known[run.id] = run.status
        gateway.publisher.create("resize", id="last", tags=["a"])
        assert (await next_of(slow, lambda run: run.id == "last")).status == "QUEUED"

    assert most <= 100
    assert len(known) == 100


async def test_a_slow_reader_that_leaves_while_it_is_waited_for_leaves_nothing(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "MAX_RUNS_WAITING", 2)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        async with viewer.tags("a") as slow:
            await slow.until_caught_up()
            for number in range(5):
                gateway.publisher.create("resize", id=f"run_{number}", tags=["a"])
            await eventually(lambda: feeds_of(gateway) == set())
        assert viewer._lines._feeds == []
        async with viewer.tags("a") as again:
            assert await next_of(again)


async def test_more_feeds_than_fit_on_a_socket_go_on_another(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "FEEDS_PER_SOCKET", 2)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        followed = [viewer.run(f"run_{number}") for number in range(5)]
        for number, updates in enumerate(followed):
            gateway.publisher.create("resize", id=f"run_{number}")
            assert (await next_of(updates)).id == f"run_{number}"
        assert viewer._lines.sockets == 3


async def test_a_gateway_that_allows_fewer_feeds_on_a_socket_gets_more_sockets(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    async with (
        ServedGateway(redis_server, environment, feeds_per_connection=2) as gateway,
        Viewer(gateway.url, gateway.secret) as viewer,
    ):
        followed = [viewer.run(f"run_{number}") for number in range(5)]
        for number, updates in enumerate(followed):
            gateway.publisher.create("resize", id=f"run_{number}")
            assert (await next_of(updates)).id == f"run_{number}"
        assert viewer._lines.sockets == 3
