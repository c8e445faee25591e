"""What `test_subscription` promises, of the subscription that lives in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.store import blocking_subscription
from gateway.store.blocking_subscription import BlockingSubscription
from tests.doubles import impostor
from tests.gateway.publisher.waiting import BlackHole, until
from tests.redis_server import RedisServer, binaries, free_port, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RecordingListener:
    """Keeps what the subscription said, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes, bytes]] = []

    def heard(self, channel: bytes, payload: bytes) -> None:
        self.log.append(("heard", channel, payload))

    def turn_ended(self) -> None:
        pass

    def joined(self, channel: bytes) -> None:
        self.log.append(("joined", channel, b""))

    def lost(self) -> None:
        self.log.append(("lost", b"", b""))

    @property
    def messages(self) -> list[tuple[bytes, bytes]]:
        return [(channel, payload) for what, channel, payload in self.log if what == "heard"]

    def count(self, what: str, channel: bytes = b"") -> int:
        return sum(entry[:2] == (what, channel) for entry in list(self.log))


@contextlib.contextmanager
def running(url: str, *channels: bytes) -> Iterator[tuple[BlockingSubscription, RecordingListener]]:
    """It ends when it is told to, soon, and leaves nothing open."""
    listener = RecordingListener()
    subscription = BlockingSubscription(url, listener, name="test")
    for channel in channels:
        subscription.join(channel)

    def run() -> None:
        subscription.run(lambda: None, every=10)
        subscription.release()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield subscription, listener
    finally:
        subscription.close()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop and configure."""
    with running_server(tmp_path, binaries()["valkey"]) as server:
        yield server


def test_messages_of_all_channels_come_in_order(each_redis_server: RedisServer) -> None:
    channels = [b"one", b"two", b"three"]
    expected = [(channels[number % 3], b"%d" % number * (number % 7)) for number in range(3000)]
    expected.append((b"one", b"x" * 1_000_000))
    with running(each_redis_server.url, *channels) as (_, listener):
        until(lambda: all(listener.count("joined", channel) for channel in channels))
        with each_redis_server.client() as client, client.pipeline(transaction=False) as pipeline:
            for channel, payload in expected:
                pipeline.publish(channel.decode(), payload)
            pipeline.execute()
        until(lambda: len(listener.messages) == len(expected))
    assert listener.messages == expected


def test_channels_are_joined_and_left_by_any_thread(each_redis_server: RedisServer) -> None:
    """And only the last of several answers says that one is joined."""
    with running(each_redis_server.url, b"early") as (subscription, listener):
        until(lambda: listener.count("joined", b"early"))
        for _ in range(100):
            subscription.join(b"later")
            subscription.leave(b"later")
        subscription.join(b"later")
        until(lambda: listener.count("joined", b"later"))
        with each_redis_server.client() as client:
            until(lambda: client.publish("later", "x") == 1)
            subscription.leave(b"later")
            until(lambda: client.publish("later", "nobody") == 0)
            client.publish("early", "end")
        until(lambda: (b"early", b"end") in listener.messages)


def test_a_connection_that_ends_is_made_again(each_redis_server: RedisServer) -> None:
    """Killed by the server, or given up because it seemed deaf."""
    with running(each_redis_server.url, b"one", b"two") as (subscription, listener):
        for number in range(1, 5):
            until(lambda number=number: listener.count("joined", b"two") == number)  # type: ignore[misc]
            until(lambda number=number: listener.count("joined", b"one") == number)  # type: ignore[misc]
            assert listener.count("lost") == number - 1
            if number % 2:
                subscription.drop()
            else:
                with each_redis_server.client() as client:
                    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        until(lambda: listener.count("joined", b"two") == 5)


def test_a_server_that_restarts_is_found_again(server: RedisServer) -> None:
    with running(server.url, b"one") as (subscription, listener):
        until(lambda: listener.count("joined", b"one"))
        server.stop(kill=True)
        until(lambda: listener.count("lost"))
        subscription.join(b"two")
        subscription.leave(b"one")
        server.start()
        until(lambda: listener.count("joined", b"two"))
        with server.client() as client:
            assert (client.publish("two", "x"), client.publish("one", "x")) == (1, 0)
        until(lambda: listener.messages == [(b"two", b"x")])


def test_who_is_not_let_in_tries_again(server: RedisServer) -> None:
    """With a wrong password, and with a channel that is not allowed."""
    with server.client() as client:
        client.acl_setuser("job", enabled=True, passwords=["+p%ss"], commands=["+@all"], reset_channels=True)
        with running(server.url.replace("redis://", "redis://job:p%25ss@"), b"one") as (_, listener):
            until(lambda: listener.count("lost") >= 2)
            assert not listener.count("joined", b"one")
            client.acl_setuser("job", enabled=True, channels=["one"])
            until(lambda: listener.count("joined", b"one"))
            assert [entry["user"] for entry in client.client_list() if entry["name"] == "test"] == ["job"]
        with running(server.url.replace("redis://", "redis://job:wrong@"), b"one") as (_, listener):
            until(lambda: listener.count("lost") >= 2)
            assert not listener.count("joined", b"one")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_subscription, "_TIMEOUT_SECONDS", 0.05)
    with BlackHole() as hole, running(hole.url, b"one") as (_, listener):
        until(lambda: len(hole.connections) >= 3)
        assert {what for what, *_ in listener.log} == {"lost"}


def test_nobody_there_is_waited_for_without_hurry() -> None:
    with running(f"redis://127.0.0.1:{free_port()}/0", b"one") as (_, listener):
        until(lambda: listener.count("lost") >= 3)


@pytest.mark.parametrize(
    "answer", [b"-LOADING Redis is loading\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\x00\xff", b""]
)
async def test_what_does_not_answer_as_redis_should_is_tried_again(answer: bytes) -> None:
    asked = 0

    async def say_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read(100)
        writer.write(answer)
        await writer.drain()

    async with impostor(say_it) as url:
        with running(url, b"one") as (_, listener):
            await asyncio.to_thread(until, lambda: asked >= 3)
    assert {what for what, *_ in listener.log} == {"lost"}


async def test_a_stream_that_loses_its_place_ends_the_connection() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+OK\r\n+PONG\r\n")
        await reader.readuntil(b"SUBSCRIBE\r\n")
        writer.write(b"*3\r\n$9\r\nsubscribe\r\n$3\r\none\r\n:1\r\n")
        writer.write(b"*3\r\n$7\r\nmessage\r\n$3\r\none\r\n$1\r\nx\r\n:7\r\n")
        await reader.read()

    async with impostor(break_off) as url:
        with running(url, b"one") as (_, listener):
            await asyncio.to_thread(until, lambda: listener.count("lost") >= 2)
    assert [what for what, *_ in listener.log][:4] == ["joined", "heard", "lost", "joined"]


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        running_server(tmp_path, binaries()["valkey"], "--unixsocket", str(path)) as server,
        running(f"unix://{path}", b"one") as (_, listener),
    ):
        until(lambda: listener.count("joined", b"one"))
        with server.client() as client:
            client.publish("one", "x")
        until(lambda: listener.messages == [(b"one", b"x")])
