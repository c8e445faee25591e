"""One worker among several: what it does when it can't write down what it counts."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from gateway.metrics.workers import VARIABLE
from tests.gateway.monitoring.scraping import scrape
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


async def test_a_gateway_without_its_directory_serves_and_shows_its_own_counts(
    tmp_path: Path,
    redis_server: RedisServer,
    environment: EnvironmentId,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Viewers matter more than counts; that something is wrong is in the log."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nobody made this"))
    async with ServedGateway(redis_server, environment) as gateway:
        found = await scrape(gateway.url, gateway.secret)

    assert found.value("runcast_workers") == 1
    assert "can't write down what it counts" in caplog.text


async def test_a_directory_that_goes_away_is_told_once(
    tmp_path: Path,
    redis_server: RedisServer,
    environment: EnvironmentId,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A full disk, or a hand: each scrape still shows what there is."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv(VARIABLE, str(shared))
    with caplog.at_level(logging.WARNING, logger="runcast.monitoring"):
        async with ServedGateway(redis_server, environment) as gateway:
            before = await scrape(gateway.url, gateway.secret)
            shutil.rmtree(shared)
            after = [await scrape(gateway.url, gateway.secret) for _ in range(3)]

    assert before.value("runcast_workers") == 1
    assert [found.value("runcast_workers_started_total") for found in after] == [1, 1, 1]
    assert [record.name for record in caplog.records].count("runcast.monitoring") == 1


async def test_a_worker_leaves_what_it_counted(
    tmp_path: Path, redis_server: RedisServer, environment: EnvironmentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last: what it did in its last second is in the sums of those who go on."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    async with ServedGateway(redis_server, environment) as stays:
        async with ServedGateway(redis_server, environment) as leaves:
            shown = await scrape(leaves.url, leaves.secret)
            assert shown.value("runcast_workers") == 2
            leaves._services.counters.refusals["not_allowed"] += 5
        after = await scrape(stays.url, stays.secret)

    assert after.value("runcast_workers") == 1
    assert after.value("runcast_workers_started_total") == 2
    assert after.value("runcast_refusals_total", code="not_allowed") == 5
