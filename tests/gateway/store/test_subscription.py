"""One connection that hears every message of its channels, or says that it may have missed some."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.codec import BETWEEN_EVENTS
from gateway.store import subscription as subscription_module
from gateway.store.subscription import PIECE, Subscription
from tests.doubles import PATIENCE_SECONDS, impostor
from tests.gateway.transports.doubles import FakeTransport
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


class RecordingListener:
    """Keeps what the subscription said, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes, bytes]] = []
        self._news = asyncio.Event()

    def heard(self, channel: bytes, payload: bytes) -> None:
        self._note("heard", channel, payload)

    def turn_ended(self) -> None:
        self._note("turn ended")

    def joined(self, channel: bytes) -> None:
        self._note("joined", channel)

    def lost(self) -> None:
        self._note("lost")

    def _note(self, what: str, channel: bytes = b"", payload: bytes = b"") -> None:
        self.log.append((what, channel, payload))
        self._news.set()

    @property
    def messages(self) -> list[tuple[bytes, bytes]]:
        return [(channel, payload) for what, channel, payload in self.log if what == "heard"]

    def count(self, what: str, channel: bytes = b"") -> int:
        return sum(entry[:2] == (what, channel) for entry in self.log)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def running(url: str, *channels: bytes) -> AsyncIterator[tuple[Subscription, RecordingListener]]:
    listener = RecordingListener()
    subscription = Subscription(url, listener)
    for channel in channels:
        subscription.join(channel)
    task = asyncio.create_task(subscription.run())
    try:
        yield subscription, listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=binaries())
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop and configure."""
    with running_server(tmp_path, binaries()[request.param]) as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest that each pause might have been; none is waited for."""
    drawn: list[float] = []

    def uniform(least: float, most: float) -> float:
        drawn.append(most)
        return 0.0

    monkeypatch.setattr("gateway.store.subscription.random.uniform", uniform)
    return drawn


# Hearing


async def test_messages_of_all_channels_come_in_order(each_redis_server: RedisServer) -> None:
    """As Redis published them, across channels, each once, however the pieces of the socket cut them."""
    channels = [b"one", b"two", b"three"]
    expected = [(channels[number % 3], b"%d" % number * (number % 7)) for number in range(3000)]
    expected.append((b"one", b"x" * 1_000_000))
    async with running(each_redis_server.url, *channels) as (_, listener):
        await listener.until(lambda: all(listener.count("joined", channel) for channel in channels))
        with each_redis_server.client() as client, client.pipeline(transaction=False) as pipeline:
            for channel, payload in expected:
                pipeline.publish(channel.decode(), payload)
            pipeline.execute()

        await listener.until(lambda: len(listener.messages) == len(expected))

    assert listener.messages == expected


async def test_events_that_were_published_together_are_heard_one_by_one(each_redis_server: RedisServer) -> None:
    """In their order, and after what came before them."""
    async with running(each_redis_server.url, b"one") as (_, listener):
        await listener.until(lambda: listener.count("joined", b"one"))
        with each_redis_server.client() as client:
            for events in ([b"1"], [b"2", b"3", b""], [b"4"], [b"5", b"6"]):
                client.publish("one", BETWEEN_EVENTS.join(events))

        await listener.until(lambda: (b"one", b"6") in listener.messages)

    assert [payload for _, payload in listener.messages] == [b"1", b"2", b"3", b"", b"4", b"5", b"6"]


async def test_a_piece_is_followed_by_the_end_of_the_turn(each_redis_server: RedisServer) -> None:
    """Many messages that came together end in one turn."""
    async with running(each_redis_server.url, b"one") as (_, listener):
        await listener.until(lambda: listener.count("joined", b"one"))
        begin = len(listener.log)
        with each_redis_server.client() as client, client.pipeline(transaction=True) as pipeline:
            for _ in range(100):
                pipeline.publish("one", "x")
            pipeline.execute()

        await listener.until(lambda: len(listener.messages) == 100 and listener.log[-1][0] == "turn ended")

    assert [what for what, *_ in listener.log[begin:]].count("turn ended") < 10


async def test_a_flood_leaves_others_their_turns(each_redis_server: RedisServer) -> None:
    """However much came in one piece: some hundred messages, then the end of a turn, and so on, to the last one."""
    count = 20 * PIECE
    async with running(each_redis_server.url, b"one") as (_, listener):
        await listener.until(lambda: listener.count("joined", b"one"))
        begin = len(listener.log)
        with each_redis_server.client() as client, client.pipeline(transaction=True) as pipeline:
            for number in range(count):
                pipeline.publish("one", number)
            pipeline.execute()

        await listener.until(lambda: len(listener.messages) == count and listener.log[-1][0] == "turn ended")

    turns = "".join("." if what == "turn ended" else "x" for what, *_ in listener.log[begin:]).split(".")
    assert max(map(len, turns)) == PIECE
    assert [int(payload) for _, payload in listener.messages] == list(range(count))


async def test_a_flood_of_many_events_in_a_message_leaves_others_their_turns(each_redis_server: RedisServer) -> None:
    """It is events that are counted, not messages."""
    together = 32
    count = 10 * PIECE // together
    async with running(each_redis_server.url, b"one") as (_, listener):
        await listener.until(lambda: listener.count("joined", b"one"))
        begin = len(listener.log)
        with each_redis_server.client() as client, client.pipeline(transaction=True) as pipeline:
            for number in range(0, count * together, together):
                pipeline.publish("one", BETWEEN_EVENTS.join(b"%d" % each for each in range(number, number + together)))
            pipeline.execute()

        await listener.until(lambda: len(listener.messages) == count * together and listener.log[-1][0] == "turn ended")

    turns = "".join("." if what == "turn ended" else "x" for what, *_ in listener.log[begin:]).split(".")
    assert max(map(len, turns)) == PIECE
    assert [int(payload) for _, payload in listener.messages] == list(range(count * together))


async def test_what_is_left_of_a_lost_connection_is_not_heard() -> None:
    """Its channels may be joined again by then, and everybody who follows them begins to catch up."""
    listener = RecordingListener()
    connection = subscription_module._Connection(listener, asyncio.get_running_loop())
    connection.connection_made(FakeTransport())
    connection.data_received(b"*3\r\n$7\r\nmessage\r\n$3\r\none\r\n$1\r\nx\r\n" * (PIECE + 1))

    connection.connection_lost(None)
    await asyncio.sleep(0)

    assert len(listener.messages) == PIECE


async def test_a_channel_is_joined_when_nothing_is_missed_any_more(each_redis_server: RedisServer) -> None:
    """Whatever is published after that is heard, whether it was asked for before or while it runs."""
    async with running(each_redis_server.url, b"early") as (subscription, listener):
        await listener.until(lambda: listener.count("joined", b"early"))
        subscription.join(b"later")
        await listener.until(lambda: listener.count("joined", b"later"))
        with each_redis_server.client() as client:
            assert client.publish("early", "1") == client.publish("later", "2") == 1
        await listener.until(lambda: len(listener.messages) == 2)


async def test_a_channel_that_was_left_is_not_heard(each_redis_server: RedisServer) -> None:
    """Redis does not even send it."""
    async with running(each_redis_server.url, b"one", b"two") as (subscription, listener):
        await listener.until(lambda: listener.count("joined", b"one") and listener.count("joined", b"two"))
        subscription.leave(b"one")
        with each_redis_server.client() as client:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while client.publish("one", "nobody hears"):
                    await asyncio.sleep(0)
            client.publish("two", "the end")
        await listener.until(lambda: (b"two", b"the end") in listener.messages)

    assert listener.messages[-1] == (b"two", b"the end")


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_only_the_last_of_several_answers_says_that_it_is_joined(
    each_redis_server: RedisServer, turns: int
) -> None:
    """Left and joined again before Redis answered: the first answer is older than the gap between the two."""
    async with running(each_redis_server.url, b"other") as (subscription, listener):
        await listener.until(lambda: listener.count("joined", b"other"))
        for _ in range(3):
            subscription.join(b"one")
            for _ in range(turns):
                await asyncio.sleep(0)
            subscription.leave(b"one")
        subscription.join(b"one")
        subscription.join(b"end")

        await listener.until(lambda: listener.count("joined", b"end"))

    # With turns in between Redis may have answered the first before the second was asked.
    assert listener.count("joined", b"one") == 1 or turns


async def test_leaving_before_the_answer_and_joining_again_later_works(each_redis_server: RedisServer) -> None:
    """An answer that nobody waits for is not mistaken for that of the next one."""
    async with running(each_redis_server.url, b"other") as (subscription, listener):
        await listener.until(lambda: listener.count("joined", b"other"))
        subscription.join(b"one")
        subscription.leave(b"one")
        subscription.join(b"end")
        await listener.until(lambda: listener.count("joined", b"end"))
        begin = listener.count("joined", b"one")

        subscription.join(b"one")
        await listener.until(lambda: listener.count("joined", b"one") == begin + 1)


# Breaking


async def test_a_connection_that_is_killed_is_made_again(each_redis_server: RedisServer, pauses: list[float]) -> None:
    """It says so, once, and then of each channel when it is joined again; without a pause."""
    async with running(each_redis_server.url, b"one", b"two") as (subscription, listener):
        for number in range(1, 4):
            await listener.until(lambda number=number: listener.count("joined", b"two") == number)  # type: ignore[misc]
            await listener.until(lambda number=number: listener.count("joined", b"one") == number)  # type: ignore[misc]
            assert listener.count("lost") == number - 1
            with each_redis_server.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await listener.until(lambda: listener.count("joined", b"two") == 4)
        assert subscription.connected

    assert pauses == []
    order = [what for what, *_ in listener.log if what in ("lost", "joined")]
    assert order == ["joined", "joined", "lost"] * 4  # the last one because it was told to end


async def test_a_connection_that_is_dropped_is_made_again(each_redis_server: RedisServer) -> None:
    """Because it seemed deaf, say. Dropping what is not there is harmless."""
    async with running(each_redis_server.url, b"one") as (subscription, listener):
        subscription.drop()
        await listener.until(lambda: listener.count("joined", b"one") == 1)
        before = subscription.connected_at
        subscription.drop()
        subscription.drop()
        await listener.until(lambda: listener.count("joined", b"one") == 2)

        assert listener.count("lost") == 1
        assert subscription.connected_at > before


async def test_a_server_that_restarts_is_found_again(own_server: RedisServer) -> None:
    """However often it has to be tried; channels joined meanwhile are joined too."""
    async with running(own_server.url, b"one") as (subscription, listener):
        await listener.until(lambda: listener.count("joined", b"one"))
        own_server.stop(kill=True)
        await listener.until(lambda: listener.count("lost"))
        assert not subscription.connected
        subscription.join(b"two")
        subscription.leave(b"one")
        own_server.start()

        await listener.until(lambda: listener.count("joined", b"two"))
        with own_server.client() as client:
            assert client.publish("two", "x") == 1
            assert client.publish("one", "x") == 0
        await listener.until(lambda: listener.messages == [(b"two", b"x")])
        assert listener.count("lost") == 1


# Not being let in


async def test_a_password_opens_the_door(own_server: RedisServer, pauses: list[float]) -> None:
    """Without, or with a wrong one, it is not connected, and tries again with growing pauses until it is let in."""
    with own_server.client() as client:
        client.config_set("requirepass", "right")
        wrong = own_server.url.replace("redis://", "redis://:wrong@")
        async with running(wrong, b"one") as (subscription, listener):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(pauses) < 8:
                    await asyncio.sleep(0)
            assert not subscription.connected
            assert {what for what, *_ in listener.log} <= {"turn ended"}
            assert pauses[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
            client.config_set("requirepass", "wrong")
            await listener.until(lambda: listener.count("joined", b"one"))
        client.config_set("requirepass", "")


async def test_a_user_has_a_name_and_a_password(own_server: RedisServer) -> None:
    """As the URL says."""
    with own_server.client() as client:
        client.acl_setuser("hub", enabled=True, passwords=["+p%ss"], commands=["+@all"], keys=["*"], channels=["*"])
        url = own_server.url.replace("redis://", "redis://hub:p%25ss@")
        async with running(url, b"one") as (_, listener):
            await listener.until(lambda: listener.count("joined", b"one"))
            ours = [entry for entry in client.client_list() if entry["name"] == "runcast-gateway-subscription"]
            assert [entry["user"] for entry in ours] == ["hub"]


async def test_a_channel_that_is_not_allowed_is_not_asked_for_without_a_pause(
    own_server: RedisServer, pauses: list[float]
) -> None:
    """Asking again at once would keep both sides busy for nothing."""
    with own_server.client() as client:
        client.acl_setuser("hub", enabled=True, passwords=["+p"], commands=["+@all"], reset_channels=True)
        async with running(own_server.url.replace("redis://", "redis://hub:p@"), b"forbidden") as (_, listener):
            await listener.until(lambda: listener.count("lost") == 4)
            assert pauses[:3] == [0.05, 0.1, 0.2]
            client.acl_setuser("hub", enabled=True, channels=["forbidden"])
            await listener.until(lambda: listener.count("joined", b"forbidden"))


async def test_a_server_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open connection is closed on our side too, and another is tried."""
    monkeypatch.setattr(subscription_module, "_CONNECT_SECONDS", 0.05)
    closed = asyncio.Semaphore(0)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        closed.release()

    async with impostor(say_nothing) as url, running(url, b"one") as (subscription, listener):
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(3):
                await closed.acquire()
        assert not subscription.connected
        assert listener.log == []


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-ERR max number of clients reached\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff\x00\xff",
        b"",
    ],
)
async def test_what_does_not_answer_as_redis_should_is_tried_again(answer: bytes, pauses: list[float]) -> None:
    """Still loading, full, or something else altogether: not connected, and not the end."""

    async def say_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()

    async with impostor(say_it) as url, running(url, b"one") as (subscription, listener):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(pauses) < 3:
                await asyncio.sleep(0)
        assert not subscription.connected
        assert listener.count("joined", b"one") == 0


async def test_a_stream_that_loses_its_place_ends_the_connection(each_redis_server: RedisServer) -> None:
    """What can't be understood is not skipped: messages may have been in it."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+OK\r\n+PONG\r\n")
        await reader.readuntil(b"SUBSCRIBE\r\n")
        writer.write(b"*3\r\n$9\r\nsubscribe\r\n$3\r\none\r\n:1\r\n")
        writer.write(b"*3\r\n$7\r\nmessage\r\n$3\r\none\r\n$1\r\nx\r\nNONSENSE\r\n")
        await reader.read()

    async with impostor(break_off) as url, running(url, b"one") as (_, listener):
        await listener.until(lambda: listener.count("lost") >= 2)

    whats = [what for what, *_ in listener.log if what != "turn ended"]
    assert whats[:4] == ["joined", "heard", "lost", "joined"]


async def test_a_server_that_is_not_there_is_waited_for(pauses: list[float], tmp_path: Path) -> None:
    """It need not be the first to start."""
    server = RedisServer(tmp_path, binaries()["valkey"])
    async with running(server.url, b"one") as (_, listener):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(pauses) < 3:
                await asyncio.sleep(0)
        server.start()
        await listener.until(lambda: listener.count("joined", b"one"))
    server.stop()


async def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    """On one machine there may be no port at all."""
    path = tmp_path / "socket"
    with running_server(tmp_path, binaries()["valkey"], "--unixsocket", str(path)) as server:
        async with running(f"unix://{path}", b"one") as (_, listener):
            await listener.until(lambda: listener.count("joined", b"one"))
            with server.client() as client:
                client.publish("one", "x")
            await listener.until(lambda: listener.messages == [(b"one", b"x")])
