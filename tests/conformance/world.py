"""A real gateway in a process of its own with two environments, and whoever publishes to one and asks as a client."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx2

from auth import EnvironmentKeys, generate_secret_key, mint
from gateway.feeds import EnvironmentId
from gateway.publisher import Publisher
from tests.conformance.shape_client import ShapeClient
from tests.journeys.gateway_process import GatewayProcess, running_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.publisher import Run
    from tests.redis_server import RedisServer

#: The page that may talk to the gateway from another origin.
ORIGIN: Final = "https://app.example.com"
#: What the official clients send with everything (Trigger.dev realtime protocol, section 0.1).
CLIENT_HEADERS: Final = {
    "trigger-version": "4.8.3",
    "x-trigger-api-version": "2025-07-16",
    "x-trigger-electric-version": "1.0.0-beta.1",
}
#: The six that a page of another origin must be able to read (shape protocol, section 13).
EXPOSED: Final = (
    *("electric-offset", "electric-handle", "electric-schema", "electric-cursor"),
    *("electric-up-to-date", "retry-after"),
)

_numbers = itertools.count(1)


@dataclass
class World:
    """What a test of this directory talks to."""

    gateway: GatewayProcess
    redis: RedisServer
    keys: EnvironmentKeys
    #: Of the other environment that the same gateway serves.
    others: EnvironmentKeys
    #: Retired 23 hours ago, and 25 hours ago.
    retired: str
    forgotten: str
    http: httpx2.AsyncClient
    publisher: Publisher

    @property
    def url(self) -> str:
        return self.gateway.url

    @property
    def secret(self) -> str:
        return self.keys.current.secret

    @property
    def environment(self) -> EnvironmentId:
        return EnvironmentId(self.keys.environment)

    def token(self, *scopes: str, **options: Any) -> str:
        """A public token; it may read all runs unless *scopes* say otherwise."""
        return mint(scopes or ("read:runs",), options.pop("keys", self.keys), **options)

    def new(self, kind: str) -> str:
        """A name that no other test uses: `run_7`, `tag_8`."""
        return f"{kind}_{next(_numbers)}"

    def run(self, **options: Any) -> Run:
        """A run of the task `resize`, created and stored."""
        run = self.publisher.create("resize", **{"id": self.new("run"), **options})
        assert self.publisher.flush()
        return run

    def feed(self, path: str, *, bearer: str | None = None, **parameters: str) -> ShapeClient:
        """Somebody who follows the feed at *path*, `runs/run_1` say."""
        return ShapeClient(self.http, f"/realtime/v1/{path}", self.secret if bearer is None else bearer, parameters)

    async def ask(
        self, path: str, method: str = "GET", *, bearer: str | None = None, headers: Any = None, **options: Any
    ) -> httpx2.Response:
        """One request; with the secret key unless *bearer* says otherwise ("" for none)."""
        credential = self.secret if bearer is None else bearer
        sent = {
            **CLIENT_HEADERS,
            **({"authorization": f"Bearer {credential}"} if credential else {}),
            **(headers or {}),
        }
        return await self.http.request(method, path, headers=sent, **options)


def segment(text: str) -> str:
    """*text* as a part of a path, as `encodeURIComponent` writes it."""
    return quote(text, safe="-_.!~*'()")


@contextlib.asynccontextmanager
async def running_world(redis: RedisServer, directory: Path, name: str, **settings: str) -> AsyncIterator[World]:
    """A gateway, its clients and its publisher, for as long as the block lasts."""
    keys, others = (EnvironmentKeys.of(name + end, generate_secret_key()) for end in ("", "-other"))
    retired, forgotten = generate_secret_key(), generate_secret_key()
    environments = directory / "environments.toml"
    environments.write_text(_environments(keys, others, {retired: 23, forgotten: 25}))
    with (
        running_gateway(
            directory / "gateway.log",
            redis.url,
            RUNCAST_SECRET_KEY="",
            RUNCAST_ENVIRONMENTS_FILE=str(environments),
            RUNCAST_ALLOWED_ORIGINS=ORIGIN,
            **settings,
        ) as gateway,
        Publisher(redis.url, environment=name) as publisher,
    ):
        # Shorter than the gateway keeps idle connections: one that it is about to close is not used again.
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=1)
        client = httpx2.AsyncClient(base_url=gateway.url, timeout=60, limits=limits, trust_env=False)
        async with client as http:
            yield World(gateway, redis, keys, others, retired, forgotten, http, publisher)


def _environments(keys: EnvironmentKeys, others: EnvironmentKeys, retired: dict[str, int]) -> str:
    """The file that names them, with the keys that were *retired* so many hours ago."""
    now = datetime.now(UTC)
    previous = ", ".join(
        f'{{ secret_key = "{key}", retired_at = {(now - timedelta(hours=hours)).isoformat()} }}'
        for key, hours in retired.items()
    )
    return (
        f'[environments.{keys.environment}]\nsecret_key = "{keys.current.secret}"\n'
        f"previous_secret_keys = [{previous}]\n"
        f'[environments.{others.environment}]\nsecret_key = "{others.current.secret}"\n'
    )


async def feeds_of(world: World, count: int = 1) -> dict[str, ShapeClient]:
    """A run feed, a tag feed and a batch feed, each of runs of its own."""
    tag, batch = world.new("tag"), world.new("batch")
    runs = [world.run(tags=[tag], batch=batch) for _ in range(count)]
    feeds = {
        "run": world.feed(f"runs/{runs[0].id}"),
        "tag": world.feed("runs", tags=tag, createdAt="1h"),
        "batch": world.feed(f"batches/{batch}"),
    }
    for feed in feeds.values():
        await feed.catch_up()
    return feeds
