"""Streams: what a viewer makes of what it hears of one, and what its iterator promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway import BlockingViewer, StreamChunk, Viewer
from gateway.errors import BadMessage, NotAllowed
from gateway.viewer import inboxes
from gateway.viewer.conversation import StreamSubscription
from gateway.viewer.mirror import Mirror
from gateway.viewer.streams import ChunkCame, StreamBegan, StreamEnded

if TYPE_CHECKING:
    from gateway.viewer.updates import StreamUpdates
    from tests.gateway.serving import ServedGateway

FEED = "stream:run_1,llm"
PATIENCE_SECONDS = 20.0


def begin(first: int, cursor: str) -> dict[str, Any]:
    return {"type": "begin", "feed": FEED, "firstIndex": first, "cursor": cursor}


def chunk(index: int, cursor: str, value: Any = None) -> dict[str, Any]:
    return {"type": "chunk", "feed": FEED, "index": index, "chunk": value, "cursor": cursor}


def came(index: int, cursor: str, value: Any = None) -> ChunkCame:
    return ChunkCame(FEED, StreamChunk(value, index, cursor), 7)


def hear(mirror: Mirror, *messages: dict[str, Any]) -> list[Any]:
    return [change for message in messages for change in mirror.apply(message, size=7)]


@pytest.fixture
def mirror() -> Mirror:
    mirror = Mirror()
    mirror.follow_stream(FEED)
    return mirror


@pytest.mark.parametrize(
    ("options", "cursor", "asked"),
    [
        ({}, None, {}),
        ({"from_now": True}, None, {"from": "now"}),
        ({"after": "a-3"}, None, {"cursor": "a-3"}),
        ({"after": "a-3"}, "a-7", {"cursor": "a-7"}),
        ({"from_now": True}, "a-7", {"cursor": "a-7"}),
    ],
)
def test_a_stream_is_asked_for_in_the_words_of_the_protocol(
    options: dict[str, Any], cursor: str | None, asked: dict[str, Any]
) -> None:
    """Once something came of it, it goes on from there, however it was to begin."""
    from gateway.codec import encode_message
    from gateway.transports.requests import Subscribe, parse_message

    subscription = StreamSubscription(run="run_1", key="llm", **options)
    message = subscription.message(cursor)

    assert message == {"type": "subscribe", "stream": {"run": "run_1", "key": "llm"}, **asked}
    understood = parse_message(encode_message(message).decode())
    assert isinstance(understood, Subscribe)
    assert str(understood.wish.feed) == subscription.name == FEED


def test_each_chunk_comes_once_however_often_it_is_told(mirror: Mirror) -> None:
    heard = hear(mirror, begin(0, "a-1"), chunk(0, "a-2", "x"), chunk(0, "a-2", "x"), chunk(1, "a-3", [1]))

    assert heard == [StreamBegan(FEED, 0), came(0, "a-2", "x"), came(1, "a-3", [1])]
    assert mirror.cursor(FEED) == "a-3"


def test_a_cut_after_the_beginning_skips_nothing(mirror: Mirror) -> None:
    """Its cursor stands before the first chunk, also when only what comes from now on is wanted."""
    hear(mirror, begin(5, "a-9"))

    assert mirror.cursor(FEED) == "a-9"


def test_what_was_trimmed_is_seen_by_the_numbers(mirror: Mirror) -> None:
    assert hear(mirror, begin(7, "a-1"), chunk(7, "a-20")) == [StreamBegan(FEED, 7), came(7, "a-20")]


def test_data_that_was_lost_makes_it_begin_anew(mirror: Mirror) -> None:
    hear(mirror, begin(0, "a-1"), chunk(0, "a-2", "lost"), chunk(1, "a-3", "lost"))

    assert hear(mirror, begin(0, "b-1"), chunk(0, "b-2", "new")) == [StreamBegan(FEED, 0), came(0, "b-2", "new")]


def test_its_end_is_told(mirror: Mirror) -> None:
    end = {"type": "end", "feed": FEED, "status": "COMPLETED", "cursor": "a-3"}

    assert hear(mirror, begin(0, "a-1"), end) == [StreamBegan(FEED, 0), StreamEnded(FEED, "COMPLETED")]


@pytest.mark.parametrize("broken", [{"type": "begin"}, {"type": "chunk", "index": "x"}, {"type": "end"}])
def test_what_is_not_of_the_protocol_is_an_error(mirror: Mirror, broken: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        mirror.apply({"feed": FEED, **broken})


# With a real gateway.


async def values(updates: StreamUpdates) -> list[Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [chunk.value async for chunk in updates]


async def test_a_stream_is_told_from_its_start_until_the_run_ended(gateway: ServedGateway) -> None:
    job = gateway.publisher.create("chat", id="run_1")
    stream = job.stream("llm")
    stream.write_all(["Hel", "lo"])
    async with Viewer(gateway.url, gateway.secret) as viewer:
        updates = viewer.stream("run_1", "llm")
        async with asyncio.timeout(PATIENCE_SECONDS):
            first = await anext(updates)
        stream.write({"text": " world", "list": []})
        job.complete()
        rest = await values(updates)

    assert (first.value, first.index) == ("Hel", 0)
    assert rest == ["lo", {"text": " world", "list": []}]


async def test_it_goes_on_after_a_chunk_or_begins_now(gateway: ServedGateway) -> None:
    job = gateway.publisher.create("chat", id="run_1")
    job.stream("llm").write_all(range(5))
    gateway.publisher.flush(5)
    async with Viewer(gateway.url, gateway.secret) as viewer:
        updates = viewer.stream("run_1", "llm")
        async with asyncio.timeout(PATIENCE_SECONDS):
            chunks = [await anext(updates) for _ in range(3)]
            news = viewer.stream("run_1", "llm", from_now=True)
            while sum(map(len, gateway._groups()[0].live.values())) < 2:
                await asyncio.sleep(0.01)
        job.stream("llm").write(5)
        job.complete()
        rest = await values(viewer.stream("run_1", "llm", after=chunks[1].cursor))
        assert rest == [2, 3, 4, 5]
        assert await values(news) == [5]


async def test_several_streams_and_runs_share_the_socket_and_readers_of_one_each_read_all(
    gateway: ServedGateway,
) -> None:
    job = gateway.publisher.create("chat", id="run_1")
    job.stream("a").write_all("abc")
    job.stream("b").write_all("xyz")
    job.complete()
    async with Viewer(gateway.url, gateway.secret) as viewer:
        told = await asyncio.gather(
            *(values(viewer.stream("run_1", key)) for key in ("a", "b")),
            viewer.wait_for_completion("run_1"),
        )
        assert viewer._lines.sockets == 1
        assert await asyncio.gather(*(values(viewer.stream("run_1", "a")) for _ in range(3))) == [[*"abc"]] * 3

    assert told[:2] == [[*"abc"], [*"xyz"]]


async def test_a_slow_reader_gets_every_chunk_and_costs_bounded_memory(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream is left, and taken up where it was; whatever else is read on the socket goes on."""
    monkeypatch.setattr(inboxes, "MAX_CHUNK_BYTES_WAITING", 20_000)
    job = gateway.publisher.create("chat", id="run_1")
    stream = job.stream("llm")
    async with Viewer(gateway.url, gateway.secret) as viewer:
        slow, other = viewer.stream("run_1", "llm"), viewer.run("run_1")
        for number in range(1000):
            stream.write({"number": number, "text": "x" * 1000})
        gateway.publisher.flush(5)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(followed.line is None for followed in viewer._lines._feeds):
                await asyncio.sleep(0.01)
            assert (await anext(other)).status == "QUEUED"
        job.complete()
        seen, most = [], 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for chunk in slow:
                seen.append((chunk.index, chunk.value["number"]))
                most = max(most, slow._inbox._bytes)  # type: ignore[union-attr]

    assert seen == [(number, number) for number in range(1000)]
    assert most < 20_000 + 400_000, "what one read of the socket brings comes on top"


async def test_over_a_restart_of_the_gateway_each_chunk_comes_once(gateway: ServedGateway) -> None:
    job = gateway.publisher.create("chat", id="run_1")
    stream = job.stream("llm")
    async with Viewer(gateway.url, gateway.secret) as viewer:
        reading = asyncio.create_task(values(viewer.stream("run_1", "llm")))
        for number in range(40):
            stream.write(number)
            if number in (10, 25):
                gateway.publisher.flush(5)
                await gateway.stop()
                await gateway.start()
        job.complete()
        assert await reading == list(range(40))


async def test_a_stream_that_the_token_does_not_allow_raises(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.token({"read": {"runs": "run_2"}})) as viewer:
        with pytest.raises(NotAllowed):
            await values(viewer.stream("run_1", "llm"))


async def test_a_script_reads_a_stream(gateway: ServedGateway) -> None:
    job = gateway.publisher.create("chat", id="run_1")
    job.stream("llm").write_all(["Hel", "lo"])
    job.complete()

    def script() -> str:
        with BlockingViewer(gateway.url, gateway.secret) as viewer:
            return "".join(chunk.value for chunk in viewer.stream("run_1", "llm"))

    assert await asyncio.to_thread(script) == "Hello"
