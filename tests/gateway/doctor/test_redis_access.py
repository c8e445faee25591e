"""What a Redis user lacks: found, all of it, and the line that is given is enough to publish and to read."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from gateway.doctor.examination import Place, examine_place
from gateway.doctor.findings import Severity
from gateway.doctor.redis_access import HARMLESS, commands_of_scripts
from gateway.feeds import FeedId
from gateway.publisher import Publisher
from gateway.store.redis_keys import Retention, prefix
from gateway.store.redis_store import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.doctor.findings import Finding
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

PASSWORD = "of-this-test"


class User:
    """A user of a Redis, who may do nothing at first."""

    def __init__(self, server: RedisServer, environment: EnvironmentId) -> None:
        self.server, self.environment = server, environment
        self.name = f"user-{secrets.token_hex(4)}"
        self.url = f"redis://{self.name}:{PASSWORD}@127.0.0.1:{server.port}/0"
        self.allow("reset", "on", f">{PASSWORD}")

    def allow(self, *rules: str) -> None:
        with self.server.client() as client:
            client.execute_command("ACL", "SETUSER", self.name, *rules)

    def examined(self, check: str) -> Finding:
        """What the doctor finds of one kind, when it comes as this user."""
        found, reached = examine_place(Place(environ={"RUNCAST_ENVIRONMENT": self.environment}, redis_url=self.url))
        assert reached
        return next(finding for finding in found if finding.check == check)


@pytest.fixture
def user(each_redis_server: RedisServer, environment: EnvironmentId) -> Iterator[User]:
    user = User(each_redis_server, environment)
    yield user
    with each_redis_server.client() as client:
        client.execute_command("ACL", "DELUSER", user.name)


async def test_who_may_nothing_is_given_the_line_that_is_enough(user: User) -> None:
    """The line that the doctor gives is all that a publisher and a gateway need."""
    lacking = user.examined("redis.acl")
    assert lacking.severity is Severity.ERROR
    line = lacking.change[0]
    assert line.startswith(f"ACL SETUSER {user.name} ")

    user.allow(*line.split()[3:])

    assert user.examined("redis.acl").severity is Severity.OK
    assert user.examined("redis.pubsub").severity is Severity.OK
    with Publisher(user.url, environment=user.environment) as publisher:
        run = publisher.create("resize", tags=["a"], metadata={"step": 1})
        run.start()
        run.increment("step")
        run.complete({"rows": 1})
        assert publisher.flush()
        assert publisher.statistics.dropped == {}
    store = RedisStore(user.url, Retention())
    try:
        place = await store.place(user.environment, FeedId.tags("a"), limit=10, since=0)
        row = await store.read_row(user.environment, run.id, ("status",))
    finally:
        await store.close()
    assert place.history.epoch
    assert row is not None


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        (("+@all", "~runcast:*", "resetchannels", "&runcast:*", "-hset", "-zadd"), "+hset +zadd"),
        (("+@all", "~other:*", "resetchannels", "&runcast:*"), "~runcast:*"),
        (("+@all", "~runcast:*", "resetchannels"), "&runcast:*"),
        (("+@all", "~runcast:*", "resetchannels", "&runcast:*", "-subscribe"), "+subscribe"),
        (("+@all", "~runcast:*", "resetchannels", "&runcast:*", "-publish"), "+publish"),
    ],
)
def test_only_what_is_missing_is_given(user: User, rules: tuple[str, ...], line: str) -> None:
    user.allow(*rules)

    lacking = user.examined("redis.acl")

    assert lacking.severity is Severity.ERROR
    assert lacking.change[0] == f"ACL SETUSER {user.name} {line}"


def test_looking_changes_nothing(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Even for a user who may write and not remove."""
    user = User(redis_server, environment)
    user.allow("+@all", "~runcast:*", "resetchannels", "&runcast:*", "-del", "-pexpire", "-expire")
    with redis_server.client() as client:
        before = set(client.scan_iter(match=prefix(environment) + "*"))

        user.examined("redis.acl")

        assert set(client.scan_iter(match=prefix(environment) + "*")) == before
        client.execute_command("ACL", "DELUSER", user.name)


def test_where_config_and_info_are_not_allowed_that_is_said_and_no_more(user: User) -> None:
    """As with managed providers: a note, and a warning with the line."""
    user.allow("+@all", "~runcast:*", "resetchannels", "&runcast:*", "-config", "-info")

    assert user.examined("redis.config").severity is Severity.NOTE
    lacking = user.examined("redis.info")
    assert lacking.severity is Severity.WARNING
    assert lacking.change == (f"ACL SETUSER {user.name} +info",)
    assert user.examined("redis.acl").severity is Severity.OK


def test_every_command_of_the_scripts_is_tried() -> None:
    """A script that learns a new command must not surprise a user of an ACL."""
    said_elsewhere = {"INFO", "TIME", "PUBLISH"}

    assert len(commands_of_scripts()) > 10
    assert commands_of_scripts() - HARMLESS.keys() - said_elsewhere == set()
