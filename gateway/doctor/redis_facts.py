"""What a Redis says of itself, read once. What it does not say, as a managed one may not, is not known."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECT_SECONDS: Final = 5.0
_PINGS: Final = 40
_SECTIONS: Final = ("server", "clients", "memory", "persistence", "replication", "cluster")
_CONFIG: Final = ("maxmemory-policy", "client-output-buffer-limit", "timeout", "save", "appendonly")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What was read, and the clock beside it."""

    url: str = field(repr=False)
    #: The lines of INFO; empty when it may not be asked.
    info: Mapping[str, Any] = field(default_factory=dict)
    #: Why there is no `info`.
    info_refused: str = ""
    #: Settings by name, those that could be read.
    config: Mapping[str, str] = field(default_factory=dict)
    config_refused: str = ""
    #: Who we are there, as an ACL knows it; None when that is not said.
    user: str | None = None
    #: Seconds that each of some pings took.
    pings: Sequence[float] = ()
    #: Seconds by which Redis's clock is ahead of ours; None when it could not be asked.
    clock_ahead: float | None = None

    @property
    def host(self) -> str:
        """Empty for a Unix socket."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "rediss"


def connect(url: str) -> redis.Redis:
    """
    A client that gives up after some seconds, and does not repeat.

    Raises:
        ValueError: When *url* can't be one.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=CONNECT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # as the gateway's subscription: its answers come in the order of the commands
    )


def read_facts(client: redis.Redis, url: str) -> RedisFacts:
    """
    Everything that Redis says of itself.

    Raises:
        redis.RedisError, OSError: When it can't be reached, or does not let us in.
    """
    pings = _pings(client)
    info, info_refused = _info(client)
    config, config_refused = _config(client)
    return RedisFacts(
        url=url,
        info=info,
        info_refused=info_refused,
        config=config,
        config_refused=config_refused,
        user=_user(client, url),
        pings=pings,
        clock_ahead=_clock_ahead(client),
    )


def _info(client: redis.Redis) -> tuple[dict[str, Any], str]:
    found: dict[str, Any] = {}
    try:
        for section in _SECTIONS:
            answer: Any = client.info(section)
            found |= answer
    except redis.ResponseError as refused:
        return found, str(refused)
    return found, ""


def _config(client: redis.Redis) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    try:
        for name in _CONFIG:
            answer: Any = client.config_get(name)
            found |= {key: str(value) for key, value in answer.items()}
    except redis.ResponseError as refused:
        return found, str(refused)
    return found, ""


def _user(client: Any, url: str) -> str | None:
    try:
        return str(client.execute_command("ACL", "WHOAMI"))
    except redis.ResponseError:
        # It may not be asked. The URL says whom we came as; without a name it is Redis's default user.
        named = dict(parse_qsl(urlsplit(url).query)).get("username")
        return urlsplit(url).username or named or "default"


def _pings(client: redis.Redis) -> tuple[float, ...]:
    """The first opens the connection, and does not count."""
    moments = []
    try:
        for _ in range(_PINGS + 1):
            client.ping()
            moments.append(time.perf_counter())
    except redis.ResponseError:
        return ()  # not allowed, which `redis_access` says; we are connected all the same
    return tuple(after - before for before, after in pairwise(moments))


def _clock_ahead(client: Any) -> float | None:
    before = time.time()
    try:
        seconds, microseconds = client.time()
    except redis.ResponseError:
        return None
    # The answer was true somewhere in between; in the middle the error is half of the round trip.
    return float(seconds) + float(microseconds) / 1e6 - (before + time.time()) / 2
