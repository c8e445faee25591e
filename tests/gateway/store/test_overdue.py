"""Who looks for what is overdue, and how long it must have looked: nobody is dead because nobody looked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import deadlines_key, history_key, run_key
from tests.gateway.publisher.waiting import until
from tests.gateway.store.watching import LEASE, Watching
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis


def redis_clock_ms(client: Redis) -> int:
    """Redis's clock, rounded as the scripts round it: any other clock may find the same time a little shorter."""
    seconds, microseconds = client.time()
    return seconds * 1_000 + microseconds // 1_000


def test_a_lease_is_judged_only_by_who_looked_as_long_as_it_lasts(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Whoever looks for the first time does not know whether workers could renew."""
    with each_redis_server.client() as client:
        watching = Watching(client, environment)
        watching.start("long", lease=0.2)
        watching.start("short", lease=0.01)
        time.sleep(0.2)
        first_look = redis_clock_ms(client)
        assert watching.overdue() == {}
        until(lambda: "short" in watching.overdue())
        until(lambda: "long" in watching.overdue())
        assert redis_clock_ms(client) - first_look >= 200


def test_nobody_is_dead_because_nobody_looked(watching: Watching) -> None:
    """After a gap the time of a lease begins anew; who renews in it lives."""
    watching.start("alive", lease=0.2)
    watching.start("dead", lease=0.2)
    time.sleep(0.2)
    gap_ms = 3_000  # as if the last look were so long ago
    watched = int(watching.history()["watched"])
    watching.client.hset(history_key(watching.environment), mapping={"watched": watched - gap_ms, "watched_since": 1})
    assert watching.overdue() == {}
    watching.apply("alive", attempt=1, lease_seconds=60)
    until(lambda: watching.overdue() == {"dead": "CRASHED"})


def test_after_a_gap_every_word_has_a_moment_to_arrive(watching: Watching) -> None:
    """What was begun or ended in time while Redis was away is said in a moment; so the other deadlines wait for it."""
    watching.create(initial={"ttl": "0.001"})
    watching.until_overdue()
    watched = int(watching.history()["watched"])
    watching.client.hset(history_key(watching.environment), "watched", str(watched - 3_000))
    assert watching.overdue() == {}
    again = int(watching.history()["watched_again"])
    assert int(watching.client.zscore(deadlines_key(watching.environment), "run_1") or 0) == again + 6_000
    watching.client.hset(history_key(watching.environment), "watched_again", str(again - 6_000))
    watching.client.zadd(deadlines_key(watching.environment), {"run_1": again})
    assert watching.overdue() == {"run_1": "EXPIRED"}


def test_those_that_are_not_judged_yet_are_not_in_the_way(watching: Watching) -> None:
    """However many there are."""
    for number in range(5):
        watching.start(f"unjudged_{number}")
    time.sleep(LEASE)
    watched = int(watching.history()["watched"])
    watching.client.hset(history_key(watching.environment), "watched", str(watched - 3_000))
    watching.overdue()
    scores: Any = watching.client.zrange(deadlines_key(watching.environment), 0, -1, withscores=True)
    assert all(score >= watched + LEASE * 1000 for _, score in scores)
    assert len(scores) == 5
    until(lambda: len(watching.overdue()) == 5)
    assert len(watching.overdue(most=2)) == 2


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_restart_of_redis_ends_nobody_who_lives(kind: str, tmp_path: Path) -> None:
    """However short the lease and however long it took: the time begins when it is back."""
    with running_server(tmp_path, binaries()[kind]) as server, server.client() as client:
        watching = Watching(client, EnvironmentId("env"))
        watching.watched_for_long()
        watching.start("alive", lease=0.1)
        watching.start("dead", lease=0.1)
        server.stop()
        time.sleep(0.2)
        server.start()
        assert watching.overdue() == {}
        watching.apply("alive", attempt=1, lease_seconds=60)
        until(lambda: watching.overdue() == {"dead": "CRASHED"})


def test_a_run_that_is_gone_leaves_no_deadline(watching: Watching) -> None:
    watching.create(initial={"ttl": "0.001"})
    watching.client.delete(run_key(watching.environment, "run_1"))
    until(lambda: watching.overdue() == {} == dict.fromkeys(watching.deadlines))
