"""How each peer is started, what its viewers say to it, and how events get into it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.marks import event
from benchmarks.peers import nchan
from benchmarks.processes import Server, python
from benchmarks.targets import Opening, Source, Transport, post, publish

if TYPE_CHECKING:
    from collections.abc import Sequence


#: What they are measured at. None keeps state, so there is nothing to come back to.
WORKS: Final = ("dense", "sparse", "quiet", "idle")
#: What those are asked for besides that come near to it; and what they do when it is far too much.
MIXED: Final = (*WORKS, "mixed")
OVERLOAD: Final = (*MIXED, "overload")
_NODE: Final = Path(__file__).with_name("node")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """
    A server that passes on what it is given: events of a feed come from Redis, on the channel `bench:FEED`.

    Viewers come to `/ws?feed=NAME` or `/events?feed=NAME`.
    """

    name: str
    #: What it is, for a table.
    title: str
    #: A module of this package, and what it is told beside its port and its Redis.
    module: str = ""
    options: tuple[str, ...] = ()
    #: The packages that it is made of.
    packages: tuple[str, ...] = ()
    transports: tuple[Transport, ...] = tuple(Transport)
    works: tuple[str, ...] = WORKS
    source: Source = Source.PUBLISH

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        place = ("--port", str(port), "--redis-url", redis_url)
        return Server(python(f"benchmarks.peers.{self.module}", *place, *self.options), {}, port, core)

    def opening(self, transport: Transport, feed: str, cursor: str = "") -> Opening:
        return Opening(f"/ws?feed={feed}" if transport is Transport.WEBSOCKET else f"/events?feed={feed}", {})

    def creation(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return b""

    def offer(self, run: str, feeds: Sequence[str], mark: bytes) -> bytes:
        return b"".join(self.published(feed, event(run, mark)) for feed in feeds)

    def published(self, feed: str, told: bytes) -> bytes:
        """How an event gets to the viewers of a feed."""
        return publish(f"bench:{feed}", told)

    def missing(self) -> str:
        """What has to be installed before it can be measured, in words; "" when it is all there."""
        try:
            self.versions()
        except PackageNotFoundError as error:
            return f"{error.name} (pip install 'runcast[bench]')"
        return ""

    def versions(self) -> str:
        """What was measured."""
        return ", ".join(f"{package} {version(package)}" for package in self.packages)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketIo(Peer):
    """Its Redis manager has one channel for all rooms, and messages of its own."""

    def opening(self, transport: Transport, feed: str, cursor: str = "") -> Opening:
        join = "40" + json.dumps({"feed": feed})  # CONNECT to the default namespace, once Engine.IO has opened
        return Opening("/socket.io/?EIO=4&transport=websocket", {}, ((b"0{", join),), heartbeat=("2", "3"))

    def published(self, feed: str, told: bytes) -> bytes:
        emit = {"method": "emit", "event": "event", "data": told.decode(), "namespace": "/", "room": feed}
        return publish("socketio", json.dumps(emit).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels(Peer):
    """Its layer has a channel for each group, and messages in msgpack."""

    def published(self, feed: str, told: bytes) -> bytes:
        import msgpack  # comes with channels_redis, which is not needed unless it is measured

        group = feed.replace(":", ".")
        return publish(f"asgi__group__{group}", msgpack.packb({"type": "event", "text": told.decode()}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Nchan(Peer):
    source: Source = Source.HTTP

    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        return nchan.Nchan(port, core)

    def opening(self, transport: Transport, feed: str, cursor: str = "") -> Opening:
        return Opening(f"/sub/{feed}", {})

    def published(self, feed: str, told: bytes) -> bytes:
        return post(f"/pub/{feed}", told)

    def missing(self) -> str:
        return "nginx with Nchan (scripts/system-packages nchan)" if nchan.missing() else ""

    def versions(self) -> str:
        return nchan.versions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Peer):
    def server(self, port: int, redis_url: str, core: int | None) -> Server:
        environment = {"NODE_ENV": "production"}
        return Server(["node", str(_NODE / "server.js"), str(port), redis_url], environment, port, core)

    def missing(self) -> str:
        if shutil.which("node") is None:
            return "node (scripts/system-packages node)"
        installed = all((_NODE / "node_modules" / package).exists() for package in self.packages)
        return "" if installed else "its packages (npm ci --prefix benchmarks/peers/node)"

    def versions(self) -> str:
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        found = [f"Node {node.removeprefix('v')}"]
        for package in self.packages:
            about = json.loads((_NODE / "node_modules" / package / "package.json").read_text())
            found.append(f"{package} {about['version']}")
        return ", ".join(found)


_BARE: Final = ("uvloop", "hiredis")
_SERVED: Final = ("uvicorn", "uvloop")

#: In the order of the tables.
PEERS: Final[tuple[Peer, ...]] = (
    Peer(name="ceiling", title="ceiling", module="ceiling", options=("--together",), packages=_BARE, works=MIXED),
    Peer(
        name="ceiling-each",
        title="ceiling, one event at a time",
        module="ceiling",
        packages=_BARE,
        transports=(Transport.WEBSOCKET,),
        works=("dense", "sparse"),  # elsewhere there is nothing to be told together
    ),
    Peer(
        name="plain",
        title="plain Starlette",
        module="starlette_queues",
        packages=("starlette", "sse-starlette", *_SERVED, "redis"),
        works=OVERLOAD,
    ),
    Peer(
        name="websockets",
        title="websockets broadcast()",
        module="websockets_broadcast",
        packages=("websockets", "uvloop", "redis"),
        works=(*WORKS, "overload"),
        transports=(Transport.WEBSOCKET,),
    ),
    SocketIo(
        name="socketio",
        title="python-socketio",
        module="socketio_rooms",
        packages=("python-socketio", "python-engineio", *_SERVED, "redis"),
        transports=(Transport.WEBSOCKET,),
    ),
    Channels(
        name="channels",
        title="Django Channels",
        module="channels_groups",
        packages=("channels", "channels-redis", "django", *_SERVED, "redis"),
    ),
    Nchan(name="nchan", title="Nchan", works=OVERLOAD),
    Node(name="node", title="Node ws", packages=("ws", "ioredis"), works=OVERLOAD),
)
