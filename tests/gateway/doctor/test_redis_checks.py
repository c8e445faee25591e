"""What is good or bad about what a Redis says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.doctor.examination import Place, examine_place
from gateway.doctor.findings import Severity, worst
from gateway.doctor.redis_checks import check_facts, parse_buffer_limits, parse_version
from gateway.doctor.redis_facts import RedisFacts
from tests.redis_server import RedisServer, binaries, free_port, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.doctor.findings import Finding

SOUND: dict[str, Any] = {"redis_version": "7.4.1", "maxmemory_policy": "noeviction", "aof_enabled": 1, "role": "master"}


def facts(info: dict[str, Any] | None = None, **others: Any) -> RedisFacts:
    given: dict[str, Any] = {"url": "redis://127.0.0.1/0", "pings": (0.001,) * 40, "clock_ahead": 0.0} | others
    return RedisFacts(info=SOUND | (info or {}), **given)


def found(check: str, facts: RedisFacts) -> Finding:
    return next(finding for finding in check_facts(facts) if finding.check == check)


def test_a_sound_redis_has_nothing_wrong() -> None:
    assert worst(check_facts(facts())) is Severity.OK


@pytest.mark.parametrize(
    ("check", "info", "others", "severity", "words"),
    [
        ("redis.version", {"redis_version": "6.0.20"}, {}, Severity.ERROR, "Redis 6.0.20 is too old"),
        ("redis.version", {"redis_version": "5.0.14"}, {}, Severity.ERROR, "too old"),
        ("redis.version", {"redis_version": "6.2.0"}, {}, Severity.OK, "Redis 6.2.0"),
        ("redis.version", {"redis_version": "7.2.4", "valkey_version": "9.1.2"}, {}, Severity.OK, "Valkey 9.1.2"),
        ("redis.version", {"redis_version": ""}, {}, Severity.NOTE, "not told"),
        (
            "redis.role",
            {"role": "slave", "master_host": "10.0.0.1", "master_port": 6379},
            {},
            Severity.ERROR,
            "replica",
        ),
        ("redis.eviction", {"maxmemory_policy": "allkeys-lru", "maxmemory": 1}, {}, Severity.ERROR, "allkeys-lru"),
        ("redis.eviction", {"maxmemory_policy": "allkeys-lru"}, {}, Severity.WARNING, "no maxmemory is set"),
        ("redis.eviction", {"maxmemory_policy": "volatile-ttl", "maxmemory": 1}, {}, Severity.OK, "volatile-ttl"),
        ("redis.memory", {"maxmemory": 1000, "used_memory": 950}, {}, Severity.WARNING, "are used"),
        ("redis.clients", {"connected_clients": 95, "maxclients": 100}, {}, Severity.WARNING, "95 of 100"),
        ("redis.persistence", {"rdb_last_bgsave_status": "err"}, {}, Severity.ERROR, "failed"),
        ("redis.persistence", {"aof_enabled": 0}, {"config": {"save": ""}}, Severity.WARNING, "nothing is saved"),
        ("redis.persistence", {"aof_enabled": 0}, {"config": {"save": "60 1"}}, Severity.NOTE, "only snapshots"),
        ("redis.cluster", {"cluster_enabled": 1}, {}, Severity.WARNING, "cluster"),
        ("redis.timeout", {}, {"config": {"timeout": "30"}}, Severity.NOTE, "30 s"),
        ("redis.latency", {}, {"pings": (0.02,) * 40}, Severity.NOTE, "20 ms"),
        ("redis.latency", {}, {"pings": (0.2,) * 40}, Severity.WARNING, "200 ms"),
        ("redis.clock", {}, {"clock_ahead": 20.0}, Severity.WARNING, "20 s ahead of ours"),
        ("redis.clock", {}, {"clock_ahead": -3600.0}, Severity.ERROR, "3600 s behind ours"),
        ("redis.clock", {}, {"clock_ahead": None}, Severity.NOTE, "can't be read"),
        ("redis.tls", {}, {"url": "redis://93.184.216.34:6379"}, Severity.NOTE, "not encrypted"),
    ],
)
def test_each_fault_is_found(
    check: str, info: dict[str, Any], others: dict[str, Any], severity: Severity, words: str
) -> None:
    """Those too that can't be had here: an old server, a replica, a slow network, another clock."""
    finding = found(check, facts(info, **others))

    assert (finding.severity, words in finding.says) == (severity, True)
    assert bool(finding.why) == (severity is not Severity.OK)


@pytest.mark.parametrize("text", ["6", "", "valkey", "six.two"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert parse_version(text) == (0, 0)


def test_buffer_limits_are_read_as_config_get_says_them() -> None:
    text = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"

    assert parse_buffer_limits(text)["pubsub"] == (33554432, 8388608, 60)
    assert parse_buffer_limits("pubsub lots") == {}


@pytest.fixture(params=["valkey", "redis"])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with running_server(tmp_path, binaries()[request.param], "--appendfsync", "everysec") as server:
        yield server


class TestARealRedis:
    """What is planted with CONFIG SET is found, and the line that is given mends it."""

    @staticmethod
    def examined(server: RedisServer, check: str) -> Finding:
        found, _ = examine_place(Place(environ={}, redis_url=server.url))
        return next(finding for finding in found if finding.check == check)

    def test_nothing_is_wrong_with_a_sound_one(self, own_server: RedisServer) -> None:
        environ = {"RUNCAST_SECRET_KEY": "k" * 40, "RUNCAST_ALLOWED_ORIGINS": "https://app.example.com"}
        found, reached = examine_place(Place(environ=environ, redis_url=own_server.url))

        assert reached
        assert [finding for finding in found if finding.severity is not Severity.OK] == []

    @pytest.mark.parametrize(
        ("check", "planted"),
        [
            ("redis.eviction", ("maxmemory-policy", "allkeys-lru")),
            ("redis.pubsub_buffer", ("client-output-buffer-limit", "pubsub 65536 32768 10")),
        ],
    )
    def test_the_line_that_is_given_mends_it(
        self, own_server: RedisServer, check: str, planted: tuple[str, str]
    ) -> None:
        with own_server.client() as client:
            client.config_set("maxmemory", "100mb")
            client.config_set(*planted)
            finding = self.examined(own_server, check)
            assert finding.severity >= Severity.WARNING

            command, name, value = _parts(finding.change[0])
            assert command == "CONFIG SET"
            client.config_set(name, value)

        assert self.examined(own_server, check).severity is Severity.OK

    def test_a_password_that_is_wrong_is_said_and_not_shown(self, own_server: RedisServer) -> None:
        with own_server.client() as client:
            client.config_set("requirepass", "the-right-one")
        url = f"redis://:the-wrong-one@127.0.0.1:{own_server.port}/0"

        found, reached = examine_place(Place(environ={}, redis_url=url))

        assert reached
        finding = next(finding for finding in found if finding.check == "redis.reachable")
        assert finding.severity is Severity.ERROR
        assert "the-wrong-one" not in str(found)

    def test_one_that_is_not_there_is_not_reached(self) -> None:
        found, reached = examine_place(Place(environ={}, redis_url=f"redis://127.0.0.1:{free_port()}/0"))

        assert not reached
        assert worst(found) is Severity.ERROR


def _parts(line: str) -> tuple[str, str, str]:
    words = line.split(" ", 3)
    return " ".join(words[:2]), words[2], words[3].strip('"')


def test_a_url_that_can_not_be_one_is_said_and_not_shown() -> None:
    found, reached = examine_place(Place(environ={}, redis_url="redis://:pa/ss@[host/0"))

    assert not reached
    assert "pa/ss" not in str(found)
