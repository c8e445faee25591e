"""
What is measured: how each server is started, what a viewer says to it, and how events get into it.

A target is data only, for it is handed to the processes of the viewers and of the publisher.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol

import hiredis

import auth
from benchmarks.marks import PADDING
from benchmarks.processes import Server, python
from gateway.changes import change
from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import script
from gateway.store.writing import SCRIPT, ChangeWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.store.writing import Command

#: The environment that a gateway with a single secret key serves.
ENVIRONMENT: Final = EnvironmentId("default")
#: How many changes of one environment are told as they come (docs/settings.md). The usual limit is what we measure.
NO_LIMITS: Final = {"RUNCAST_CHANGES_PER_SECOND": "1000000"}


class Transport(StrEnum):
    WEBSOCKET = "WebSocket"
    SSE = "SSE"


class Source(StrEnum):
    """Where the publisher's bytes go, and what answers each of them."""

    #: To Redis: one change by the script that publishers use, whatever feeds the run is in. Answered once.
    CHANGES = "changes"
    #: To Redis: a PUBLISH for each feed. Each answered by a number.
    PUBLISH = "publish"
    #: To the server itself: an HTTP request for each feed, pipelined over one connection. Each answered by a 2xx.
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Opening:
    """How a viewer comes in. It sends the path and the headers beside what every handshake has."""

    path: str
    headers: Mapping[str, str]
    #: What it says on a WebSocket, in that order: each text, as a message, once these bytes have come (b"": at once).
    says: tuple[tuple[bytes, str], ...] = ()
    #: A message that is to be answered, and the answer. Pings of WebSocket are answered anyway.
    heartbeat: tuple[str, str] | None = None


class Target(Protocol):
    """A server to measure. Feeds are named "tag:x" and "run:y" everywhere."""

    @property
    def name(self) -> str:
        """One word, for `--peer` and in results."""

    @property
    def transports(self) -> Sequence[Transport]:
        """What it speaks."""

    @property
    def works(self) -> Sequence[str]:
        """What it can do, of the names in benchmarks/works."""

    @property
    def source(self) -> Source:
        """How events get into it."""

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        """Its server, not yet started."""

    def opening(self, transport: Transport, feed: str, cursor: str = "") -> Opening:
        """How a viewer of *feed* comes in; *cursor* is "" for one who comes first, or to a server that knows none."""

    def creation(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        """What is sent before *run* changes for the first time, so that it is in *feeds*; b"" for nothing."""

    def offer(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        """
        What is sent to say that *run*, which is in *feeds*, changed: commands for Redis or requests, as bytes.

        *mark* (`marks.py`) stands in it once for each answer that comes, as it is: it is replaced later, in a copy of
        these bytes, by others of the same length. `marks.event` makes an event that has it, of 300 bytes.
        """

    def missing(self) -> str:
        """Why it can't run here: what is not installed, in words; "" for nothing."""

    def versions(self) -> str:
        """What it stands on, as a reader must know it: "nginx 1.26, nchan 1.3"."""


class Polled(Target, Protocol):
    """A target that also answers long polls, as the official client sends them."""

    def tokens(self, scope: str, count: int) -> list[str]:
        """Public tokens for as many viewers who poll, each with one of its own."""


def load_script() -> bytes:
    """What Redis must be told before the first change, for targets with Source.CHANGES."""
    return _packed(("SCRIPT", "LOAD", script(SCRIPT).text))


def say_status(run: str, status: str, feeds: Sequence[str] = ()) -> bytes:
    """The command that says a run's status, for targets with Source.CHANGES; with *feeds* it creates the run there."""
    tags = [feed.removeprefix("tag:") for feed in feeds if feed.startswith("tag:")]
    initial = {"taskIdentifier": "benchmark"} if feeds else {}
    return _packed(_WRITER.by_digest(change(run, create=bool(feeds), status=status, tags=tags, initial=initial)))


def publish(channel: str, message: bytes) -> bytes:
    """A PUBLISH, packed, for targets with Source.PUBLISH."""
    return _packed(("PUBLISH", channel, message))


def post(path: str, body: bytes) -> bytes:
    """A request on a connection that is kept, for targets with Source.HTTP."""
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


@dataclass(frozen=True, slots=True)
class Plain:
    """`plain_gateway.py`, which knows runs, as the plain server of benchmarks/peers does not."""

    name: str = "plain"
    transports: tuple[Transport, ...] = tuple(Transport)
    works: tuple[str, ...] = ("polls", "restart")
    source: Source = Source.CHANGES

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        place = ("--port", str(port), "--redis-url", redis_url, "--environment", ENVIRONMENT)
        return Server(python("benchmarks.plain_gateway", *place), {}, port, core)

    def opening(self, transport: Transport, feed: str, cursor: str = "") -> Opening:
        run = feed.partition(":")[2]
        path = f"/ws?run={run}" if transport is Transport.WEBSOCKET else f"/events?run={run}"
        return Opening(path, {})

    def creation(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return _creation(run, feeds, mark)

    def offer(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return _progress(run, mark)

    def missing(self) -> str:
        return ""

    def versions(self) -> str:
        return ""

    def tokens(self, scope: str, count: int) -> list[str]:
        return _mint(auth.generate_secret_key(), scope, count)  # it looks at none, but each is sent


@dataclass(frozen=True, slots=True)
class Runcast:
    """The gateway of this project, as its command starts it (docs/protocol.md)."""

    secret: str
    name: str = "runcast"
    transports: tuple[Transport, ...] = tuple(Transport)
    works: tuple[str, ...] = (
        *("dense", "sparse", "mixed", "quiet", "overload", "polls"),
        *("idle", "storm", "streams", "publishing", "jobs", "workers", "ticks", "restart"),
    )
    source: Source = Source.CHANGES

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        environment = {"RUNCAST_SECRET_KEY": self.secret, "RUNCAST_REDIS_URL": redis_url} | NO_LIMITS
        return Server(python("gateway.cli", "serve", "--port", str(port)), environment, port, core)

    def opening(self, transport: Transport, feed: str, cursor: str = "") -> Opening:
        headers = {"Authorization": f"Bearer {self.secret}"}
        if transport is Transport.WEBSOCKET:
            subscribe = {"type": "subscribe", **_feed(feed), **({"cursor": cursor} if cursor else {})}
            headers["Sec-WebSocket-Protocol"] = "runcast.v1"
            return Opening("/v1/ws", headers, ((b"", json.dumps(subscribe)),))
        kind, _, name = feed.partition(":")
        run, _, key = name.partition(",")
        path = f"/v1/runs/{run}/streams/{key}" if kind == "stream" else f"/v1/events?{kind}={name}"
        return Opening(path, headers | ({"Last-Event-ID": cursor} if cursor else {}))

    def creation(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return _creation(run, feeds, mark)

    def offer(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return _progress(run, mark)

    def missing(self) -> str:
        return ""

    def versions(self) -> str:
        return f"Runcast {version('runcast')}, uvicorn {version('uvicorn')}, uvloop {version('uvloop')}"

    def tokens(self, scope: str, count: int) -> list[str]:
        return _mint(self.secret, scope, count)


def _feed(feed: str) -> dict[str, object]:
    """How a subscription names a feed."""
    kind, _, name = feed.partition(":")
    if kind == "stream":
        run, _, key = name.partition(",")
        return {"stream": {"run": run, "key": key}}
    return {"tags": [name]} if kind == "tag" else {kind: name}


_WRITER: Final = ChangeWriter(environment=ENVIRONMENT)


def _creation(run: str, feeds: Sequence[str], mark: bytes) -> bytes:
    """The command that creates a run in these feeds, executing, with a first mark."""
    tags = [feed.removeprefix("tag:") for feed in feeds if feed.startswith("tag:")]
    made = change(run, create=True, status="EXECUTING", tags=tags, initial={"taskIdentifier": "benchmark"})
    return _packed(_WRITER.by_digest(made, [("set", "progress", _value(mark))]))


def _progress(run: str, mark: bytes) -> bytes:
    """The command that changes a run's progress, past every client."""
    return _packed(_WRITER.by_digest(change(run), [("set", "progress", _value(mark))]))


def _value(mark: bytes) -> bytes:
    return b'"%b%b"' % (PADDING, mark)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word only
    return packed


def _mint(secret: str, scope: str, count: int) -> list[str]:
    keys = auth.EnvironmentKeys.of(ENVIRONMENT, secret)
    return [auth.mint([scope], keys, expires="1h") for _ in range(count)]
