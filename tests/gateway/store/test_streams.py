"""Streams as Redis has them: chunks that are stored once, in order, within a limit, and for as long as their run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import NoScriptError

from gateway.changes import Limits, change
from gateway.codec import AppendEvent, decode_event
from gateway.feeds import EnvironmentId, FeedId
from gateway.runs import Status
from gateway.store.appending import Append, Appended, AppendOutcome, append_command, read_append, whole_append
from gateway.store.redis_keys import Retention, change_channel, history_key, stream_key, stream_state_key
from gateway.store.redis_store import RedisStore
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.store.pages import StreamPage
    from tests.redis_server import RedisServer

RUN, KEY = "run_1", "llm"


class Streaming:
    """One run of an environment, whose streams are written and read."""

    def __init__(self, client: Any, store: RedisStore, environment: EnvironmentId) -> None:
        self.client, self.store, self.environment = client, store, environment
        self.limits = Limits()
        self.changing = Changing(client, environment)
        self.changing.create(RUN)

    def append(
        self, *texts: str, writer: str = "", first: int | None = None, run: str = RUN, key: str = KEY
    ) -> Appended:
        self.changing.writer = type(self.changing.writer)(environment=self.environment, limits=self.limits)
        chunks = [text.encode() for text in texts]
        command: Any = append_command(Append(run, key, chunks, writer, first), self.changing.writer)
        client: Any = self.client
        try:
            return read_append(client.execute_command(*command))
        except NoScriptError:
            return read_append(client.execute_command(*whole_append(command)))

    async def page(self, after: int = 0, **words: Any) -> StreamPage:
        return await self.store.read_stream(self.environment, RUN, KEY, after=after, **words)

    async def texts(self) -> list[str]:
        """Everything that is in the stream, read page by page."""
        texts, after = [], 0
        while True:
            page = await self.page(after)
            texts += [chunk.text.decode() for chunk in page.chunks]
            if page.complete:
                return texts
            after = page.end


@pytest.fixture
def client(each_redis_server: RedisServer) -> Iterator[Any]:
    with each_redis_server.client() as client:
        yield client


@pytest.fixture
async def streaming(
    client: Any, each_redis_server: RedisServer, environment: EnvironmentId
) -> AsyncIterator[Streaming]:
    store = RedisStore(each_redis_server.url, Retention())
    try:
        yield Streaming(client, store, environment)
    finally:
        await store.close()


async def test_chunks_are_read_as_they_were_written(streaming: Streaming) -> None:
    """JSON stays the text that it was: large numbers, empty lists, the order of keys."""
    written = ['"Hello"', "[]", "{}", "12345678901234567890123", '{"b":1.0,"a":[]}', '"ü\\u0000"']

    streaming.append(*written[:2])
    streaming.append(*written[2:])

    page = await streaming.page()
    assert [chunk.text.decode() for chunk in page.chunks] == written
    assert [chunk.index for chunk in page.chunks] == list(range(len(written)))
    assert page.complete
    assert page.status is Status.QUEUED


async def test_every_chunk_takes_a_number_of_the_environment(streaming: Streaming) -> None:
    """So a cursor means the same in a stream as in any feed, and a restart that lost something is noticed."""
    before = streaming.changing.apply(RUN, status="EXECUTING").sequence
    appended = streaming.append("1", "2")
    after = streaming.changing.apply(RUN, status="COMPLETED").sequence

    page = await streaming.page()

    assert [chunk.sequence for chunk in page.chunks] == [before + 1, before + 2]
    assert appended.sequence == before + 2
    assert after == before + 3
    assert page.end == after


async def test_what_a_writer_appends_again_is_stored_once(streaming: Streaming) -> None:
    streaming.append("1", "2", writer="w", first=0)
    again = streaming.append("1", "2", "3", writer="w", first=0)
    late = streaming.append("2", writer="w", first=1)

    assert await streaming.texts() == ["1", "2", "3"]
    assert (again.writer_next, late.writer_next) == (3, 3)
    assert late.outcome is AppendOutcome.APPENDED


async def test_a_writer_leaves_nothing_out(streaming: Streaming) -> None:
    """Chunks that come before their turn are refused, with the number that is due."""
    streaming.append("1", writer="w", first=0)

    refused = streaming.append("3", writer="w", first=2)

    assert refused.outcome is AppendOutcome.GAP
    assert refused.writer_next == 1
    assert await streaming.texts() == ["1"]


async def test_writers_don_t_know_of_each_other(streaming: Streaming) -> None:
    streaming.append('"a0"', writer="a", first=0)
    streaming.append('"b0"', writer="b", first=0)
    streaming.append('"a1"', writer="a", first=1)
    streaming.append('"nobody"')

    assert await streaming.texts() == ['"a0"', '"b0"', '"a1"', '"nobody"']


async def test_who_writes_is_not_forgotten_for_others(streaming: Streaming) -> None:
    """Of many writers those are remembered who wrote last."""
    streaming.append("0", writer="steady", first=0)
    for number in range(200):
        streaming.append("1", writer=f"guest{number}", first=0)
        streaming.append("0", writer="steady", first=number + 1)

    state = streaming.client.hgetall(stream_state_key(streaming.environment, RUN, KEY))
    assert len([name for name in state if name.startswith("writer:")]) == 64
    assert (await streaming.texts()).count("0") == 201


async def test_a_run_that_is_not_there_has_no_streams(streaming: Streaming) -> None:
    missing = streaming.append("1", run="run_none")

    assert missing.outcome is AppendOutcome.MISSING
    assert not streaming.client.exists(stream_key(streaming.environment, "run_none", KEY))


async def test_a_run_has_so_many_streams(streaming: Streaming) -> None:
    for number in range(100):
        assert not streaming.append("1", key=f"s{number}").announced
        streaming.changing.apply(RUN, stream=f"s{number}")

    assert streaming.append("1", key="one_more").outcome is AppendOutcome.TOO_MANY_STREAMS
    assert streaming.append("1", key="s7").outcome is AppendOutcome.APPENDED


async def test_the_row_names_the_streams(streaming: Streaming) -> None:
    """An append says that the row does not name its stream yet; who says so tells everybody who follows the run."""
    assert not streaming.append("1").announced
    with streaming.changing.listen() as listening:
        streaming.changing.apply(RUN, stream=KEY)
        (event,) = [event for feed, event in listening.heard() if feed == f"run:{RUN}"]

    assert event.columns["realtimeStreams"] == [KEY]
    assert streaming.append("2").announced
    assert streaming.changing.apply(RUN, stream=KEY).outcome == "unchanged"


async def test_over_its_limit_a_stream_loses_its_oldest_chunks(streaming: Streaming) -> None:
    """Readers can see it: by where the stream begins, and by the place before which nothing can be read."""
    streaming.limits = Limits(stream_bytes=5 * 60)
    for number in range(30):
        streaming.append(f'"{number:018}"')  # 20 bytes, and what each costs besides

    page = await streaming.page()
    place = await streaming.store.place(streaming.environment, FeedId.stream(RUN, KEY), limit=1, since=0)

    assert [chunk.index for chunk in page.chunks] == [25, 26, 27, 28, 29]
    assert page.first_index == 25
    assert place.start == page.start == page.chunks[0].sequence - 1


async def test_what_is_appended_is_told(streaming: Streaming) -> None:
    pubsub = streaming.client.pubsub()
    pubsub.subscribe(change_channel(streaming.environment, FeedId.stream(RUN, KEY)))
    pubsub.get_message(timeout=5)
    streaming.append('"a\\"b"', "[]")
    message = pubsub.get_message(timeout=5)
    assert message is not None
    event = decode_event(message["data"].encode())
    pubsub.close()

    assert isinstance(event, AppendEvent)
    assert (event.run, event.stream, event.left_out) == (RUN, KEY, False)
    assert [(chunk.index, chunk.text) for chunk in event.chunks] == [(0, b'"a\\"b"'), (1, b"[]")]
    assert list(event.chunks) == (await streaming.page()).chunks


async def test_large_chunks_are_read_and_not_told(streaming: Streaming) -> None:
    pubsub = streaming.client.pubsub()
    pubsub.subscribe(change_channel(streaming.environment, FeedId.stream(RUN, KEY)))
    pubsub.get_message(timeout=5)
    streaming.append('"' + "x" * 100_000 + '"')
    message = pubsub.get_message(timeout=5)
    assert message is not None
    event = decode_event(message["data"].encode())
    pubsub.close()

    assert isinstance(event, AppendEvent)
    assert event.left_out
    assert event.chunks == ()
    assert (await streaming.page()).end == event.sequence


async def test_streams_go_with_their_run(client: Any, environment: EnvironmentId, streaming: Streaming) -> None:
    """They live as long as its row, and the sweep that removes it removes them."""
    streaming.append("1")
    streaming.changing.apply(RUN, stream=KEY)
    names = [stream_key(environment, RUN, KEY), stream_state_key(environment, RUN, KEY)]
    row = client.pttl(f"runcast:{{{environment}}}:run:{RUN}")
    assert [abs(client.pttl(name) - row) < 2000 for name in names] == [True, True]

    short = Changing(client, environment, retention=Retention(finished_seconds=0.05, unfinished_seconds=0.05))
    short.apply(RUN, status="COMPLETED")

    lifetimes = [client.pttl(name) for name in names]
    assert max(lifetimes) <= 2000


async def test_a_stream_is_not_kept_longer_than_it_may(client: Any, streaming: Streaming) -> None:
    limited = Retention(streams_seconds=60)
    command: Any = append_command(
        Append(RUN, KEY, [b"1"]), type(streaming.changing.writer)(environment=streaming.environment, retention=limited)
    )
    client.execute_command(*whole_append(command))

    assert client.pttl(stream_key(streaming.environment, RUN, KEY)) <= 70_000


async def test_who_keeps_streams_for_longer_is_heard_at_once(client: Any, streaming: Streaming) -> None:
    """Lifetimes are not renewed with every append; but those who append may be set up differently."""
    key = stream_key(streaming.environment, RUN, KEY)
    lifetimes = []
    for seconds in (60, 3600, 60):
        writer = type(streaming.changing.writer)(
            environment=streaming.environment, retention=Retention(streams_seconds=seconds)
        )
        client.execute_command(*whole_append(append_command(Append(RUN, KEY, [b"1"]), writer)))
        lifetimes.append(client.pttl(key))

    assert lifetimes[0] <= 70_000
    assert lifetimes[1] > 3_600_000
    assert lifetimes[2] <= 70_000


async def test_ten_thousand_chunks_in_one_command(streaming: Streaming) -> None:
    """More than Lua lets a function take as arguments."""
    streaming.append(*map(str, range(10_000)))

    assert await streaming.texts() == [str(number) for number in range(10_000)]


async def test_numbers_up_to_the_largest_that_are_exact(streaming: Streaming) -> None:
    """Neither Lua nor Redis prints them as anything else than what they are."""
    largest = 2**53 - 1
    streaming.client.hset(history_key(streaming.environment), "sequence", largest - 3)

    appended = streaming.append("1", "2", "3")

    page = await streaming.page(after=largest - 2)
    assert appended.sequence == page.end == largest
    assert [(chunk.sequence, chunk.index) for chunk in page.chunks] == [(largest - 1, 1), (largest, 2)]


async def test_one_large_chunk_pushes_out_many_small_ones(streaming: Streaming) -> None:
    """And many small ones push out a large one; what is counted is what is there."""
    streaming.limits = Limits(stream_bytes=60_000)
    for number in range(1000):
        streaming.append(f"{number:06}", *([f'"{"x" * 50_000}"'] if number in (700, 990) else []))

    page = await streaming.page()
    state = streaming.client.hgetall(stream_state_key(streaming.environment, RUN, KEY))
    entries = streaming.client.xrange(stream_key(streaming.environment, RUN, KEY))

    texts = [text for _, fields in entries for name, text in fields.items() if name != "t"]
    assert int(state["bytes"]) == sum(len(text) + 40 for text in texts) <= 60_000
    assert int(state["next"]) == 1002
    assert (page.first_index, page.chunks[0].index) == (1002 - len(entries),) * 2


@pytest.mark.parametrize("size", [1, 2, 3, 4, 15, 127, 128, 255, 256, 1000, 1001])
async def test_pages_have_neither_gap_nor_repetition(streaming: Streaming, size: int) -> None:
    for start in range(0, size, 100):
        streaming.append(*(str(number) for number in range(start, min(size, start + 100))))

    assert await streaming.texts() == [str(number) for number in range(size)]


async def test_a_page_holds_so_many_bytes(streaming: Streaming) -> None:
    for _ in range(20):
        streaming.append('"' + "x" * 100_000 + '"')

    page = await streaming.page()

    assert not page.complete
    assert 5 <= len(page.chunks) < 10
    assert len(await streaming.texts()) == 20


@settings(max_examples=60)
@given(data=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8), st.integers(1, 5)), min_size=1, max_size=30))
def test_whatever_is_sent_again_is_stored_once(
    redis_server: RedisServer, environment: EnvironmentId, data: list[tuple[str, int, int]]
) -> None:
    """Each writer's chunks come out once and in its order, whatever pieces of them are sent in what order."""
    with redis_server.client() as connected:
        client: Any = connected
        run = f"run_{abs(hash(tuple(data)))}_{client.incr('tests:streams')}"
        client.expire("tests:streams", 600)
        changing = Changing(client, environment)
        changing.create(run)
        known = {"a": 0, "b": 0}
        for writer, first, count in data:
            chunks = [f'"{writer}{number}"'.encode() for number in range(first, first + count)]
            command: Any = append_command(Append(run, KEY, chunks, writer, first), changing.writer)
            appended = read_append(client.execute_command(*whole_append(command)))
            if first <= known[writer]:
                known[writer] = max(known[writer], first + count)
            assert appended.writer_next == known[writer]
        stored = [next(iter(fields.values())) for _, fields in client.xrange(stream_key(environment, run, KEY))]
        for writer, count in known.items():
            assert [text for text in stored if text[1] == writer] == [f'"{writer}{n}"' for n in range(count)]


def test_a_change_may_name_a_stream() -> None:
    assert change(RUN, stream="llm").stream == "llm"
