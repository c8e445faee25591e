"""What is measured: how each gateway is started, and what a viewer says to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

import auth
from benchmarks.processes import Server, python
from gateway.feeds import EnvironmentId

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The environment that a gateway with a single secret key serves.
ENVIRONMENT: Final = EnvironmentId("default")


class Transport(StrEnum):
    WEBSOCKET = "WebSocket"
    SSE = "SSE"


class Target(Protocol):
    """A gateway to measure. It is handed to the load generator's process, so it is data only."""

    @property
    def name(self) -> str: ...

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        """Its server, not yet started."""

    def path(self, transport: Transport, run: str) -> str:
        """Where a viewer of *run* connects."""

    def headers(self, transport: Transport, cursor: str) -> Mapping[str, str]:
        """What it sends beside what the transport asks for; *cursor* is "" for a viewer who comes first."""

    def first_message(self, run: str, cursor: str) -> str:
        """What it says first on a WebSocket; "" for nothing."""

    def tokens(self, scope: str, count: int) -> list[str]:
        """Public tokens for as many viewers who poll, each with one of its own."""


@dataclass(frozen=True, slots=True)
class Plain:
    """`plain_gateway.py`."""

    queue: int
    name: str = "plain"

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        place = ("--port", str(port), "--redis-url", redis_url, "--environment", ENVIRONMENT)
        command = python("benchmarks.plain_gateway", *place, "--queue", str(self.queue))
        return Server(command, {}, port, core)

    def path(self, transport: Transport, run: str) -> str:
        return f"/ws?run={run}" if transport is Transport.WEBSOCKET else f"/events?run={run}"

    def headers(self, transport: Transport, cursor: str) -> Mapping[str, str]:
        return {}

    def first_message(self, run: str, cursor: str) -> str:
        return ""

    def tokens(self, scope: str, count: int) -> list[str]:
        return _mint(auth.generate_secret_key(), scope, count)  # it looks at none, but each is sent


@dataclass(frozen=True, slots=True)
class Runcast:
    """The gateway of this project, as its command starts it (docs/protocol.md)."""

    secret: str
    name: str = "runcast"

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        environment = {"RUNCAST_SECRET_KEY": self.secret, "RUNCAST_REDIS_URL": redis_url}
        return Server(python("gateway.cli", "serve", "--port", str(port)), environment, port, core)

    def path(self, transport: Transport, run: str) -> str:
        return "/v1/ws" if transport is Transport.WEBSOCKET else f"/v1/events?run={run}"

    def headers(self, transport: Transport, cursor: str) -> Mapping[str, str]:
        headers = {"Authorization": f"Bearer {self.secret}"}
        if transport is Transport.WEBSOCKET:
            headers["Sec-WebSocket-Protocol"] = "runcast.v1"
        elif cursor:
            headers["Last-Event-ID"] = cursor
        return headers

    def first_message(self, run: str, cursor: str) -> str:
        return json.dumps({"type": "subscribe", "run": run, **({"cursor": cursor} if cursor else {})})

    def tokens(self, scope: str, count: int) -> list[str]:
        return _mint(self.secret, scope, count)


def _mint(secret: str, scope: str, count: int) -> list[str]:
    keys = auth.EnvironmentKeys.of(ENVIRONMENT, secret)
    return [auth.mint([scope], keys, expires="1h") for _ in range(count)]
