"""What is kept and for how long, and which numbers still mean something after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.changes import Operation, Operator
from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import Retention, history_key, prefix
from tests.gateway.store.changing import Changing
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT = Retention(finished_seconds=0.5, unfinished_seconds=1.0)


@pytest.fixture(params=["valkey", "redis"])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with running_server(tmp_path, binaries()[request.param]) as server:
        yield server


def test_every_key_has_a_lifetime_after_every_change(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Should nobody ever call again, nothing stays."""
    with each_redis_server.client() as client:
        changing = Changing(client, environment)
        changing.create(initial={"batchId": "b"})
        for said in (
            {"operations": [Operation(Operator.SET, "a", 1)]},
            {"tags": ["t"]},
            {"status": "EXECUTING"},
            {"operations": [Operation(Operator.DELETE, "a")]},
            {"operations": [Operation(Operator.SET, "b", 1)]},
            {"status": "COMPLETED"},
        ):
            changing.apply(**said)
            lifetimes = {key: client.pttl(key) for key in changing.all_keys()}
            assert len(lifetimes) >= 5
            assert all(lifetime > 0 for lifetime in lifetimes.values()), lifetimes


def test_with_a_short_retention_the_database_ends_as_small_as_it_was(own_server: RedisServer) -> None:
    """Many runs, finished and not; a moment later there is nothing of them, and nobody had to clean up."""
    with own_server.client() as client:
        changing = Changing(client, EnvironmentId("short"), retention=SHORT)
        for number in range(200):
            changing.create(f"run_{number}", tags=[f"t{number}"], initial={"batchId": "b"}, metadata={"k": 1})
            if number % 2:
                changing.apply(f"run_{number}", status="COMPLETED")
        _until_empty(changing)
        assert client.dbsize() == 0


def test_new_runs_sweep_out_those_whose_time_has_come(own_server: RedisServer) -> None:
    """Indexes and rows stay bounded by what is kept, while runs keep coming."""
    with own_server.client() as client:
        changing = Changing(client, EnvironmentId("short"), retention=SHORT)
        for number in range(50):
            changing.create(f"old_{number}", tags=["t"])
            changing.apply(f"old_{number}", status="COMPLETED")
        deadline = time.monotonic() + 10
        number = 0
        while any(key.startswith(f"{prefix(changing.environment)}run:old_") for key in changing.all_keys()):
            assert time.monotonic() < deadline, "the old runs are still there"
            number += 1
            changing.create(f"new_{number}", tags=["t"])
            time.sleep(0.01)
        for feed in ("all", "tag:t", "task:resize"):
            index = f"{prefix(changing.environment)}feed:{feed}"
            assert client.zcard(index) <= number
            assert not [run for run in client.zrange(index, 0, -1) if run.startswith("old_")]


def test_a_finished_run_is_kept_for_less_long_than_one_that_may_go_on(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    with each_redis_server.client() as client:
        changing = Changing(client, environment, retention=Retention(finished_seconds=60, unfinished_seconds=3600))
        changing.create()
        key = f"{prefix(environment)}run:run_1"
        assert client.pttl(key) > 3_600_000
        changing.apply(status="COMPLETED")
        assert 60_000 < client.pttl(key) < 120_000
        assert client.pttl(history_key(environment)) > 3_600_000


def test_a_restart_with_the_data_keeps_the_history(own_server: RedisServer) -> None:
    """A new epoch begins where the last one ended, and says so: viewers keep their cursors."""
    with own_server.client() as client:
        changing = Changing(client, EnvironmentId("env"))
        first = changing.create()
        own_server.stop()
        own_server.start()
        second = changing.apply(status="EXECUTING")
        assert second.epoch != first.epoch
        assert second.sequence == first.sequence + 1
        assert changing.history()["past"] == f"{first.epoch}:{first.sequence};"


def test_lost_data_begins_a_new_epoch_that_knows_no_past(own_server: RedisServer) -> None:
    with own_server.client() as client:
        changing = Changing(client, EnvironmentId("env"))
        first = changing.create()
        client.flushall()
        second = changing.create()
        assert second.epoch != first.epoch
        assert changing.history()["past"] == ""


def test_numbers_of_a_new_history_are_above_those_of_a_lost_one(own_server: RedisServer) -> None:
    """Should only the history be lost, the rows that are left have smaller numbers than everything that comes."""
    with own_server.client() as client:
        changing = Changing(client, EnvironmentId("env"))
        first = changing.create()
        client.delete(history_key(changing.environment))
        assert changing.create("run_2").sequence > first.sequence


def test_the_epoch_lasts_as_long_as_the_server(each_redis_server: RedisServer, environment: EnvironmentId) -> None:
    with each_redis_server.client() as client:
        changing = Changing(client, environment)
        assert changing.create().epoch == changing.apply(status="EXECUTING").epoch


def _until_empty(changing: Changing) -> None:
    deadline = time.monotonic() + 15
    while changing.all_keys():
        assert time.monotonic() < deadline, f"still there: {sorted(changing.all_keys())[:5]}"
        time.sleep(0.02)
