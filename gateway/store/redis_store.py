"""
Reading run state: where a viewer starts, what changed since, and whether the subscription still hears.

Two connections, whatever the number of viewers: one for reads, which go out together when they are asked for
together, and one for the canary, so that a long read is not mistaken for a deaf subscription.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from gateway.codec import Chunk, Row, public_status
from gateway.cursors import Cursor, History
from gateway.errors import Unavailable
from gateway.feeds import ALL_RUNS, FeedId, RunId
from gateway.metrics.round_trips import RoundTrips
from gateway.runs import RawStatus
from gateway.store.redis_keys import (
    Retention,
    created_key,
    deadlines_key,
    history_key,
    index_key,
    prefix,
    run_key,
    script,
    stream_key,
    stream_state_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.feeds import EnvironmentId
    from gateway.runs import Status

#: Rows and bytes of one page: what one read may hold up in Redis, and one viewer's memory while it catches up.
PAGE_ROWS: Final = 100
PAGE_BYTES: Final = 512 * 1024
#: Chunks of a stream on one page.
PAGE_CHUNKS: Final = 1000

#: Reads that go out together. More would let one burst of large pages fill our memory.
_BATCH: Final = 64
_TIMEOUT_SECONDS: Final = 5.0
_OVERDUE_AT_ONCE: Final = 100
#: Feeds whose runs are merged in a list. Of more it is cheaper to look at all runs.
_MERGED: Final = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where viewers of a feed start: rows numbered above `start` are those within the limit."""

    history: History
    start: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Page:
    """
    All rows of a feed that changed after some number, up to `end`, the oldest change first.

    When it is complete there are no others, and `end` is the number of the environment's newest change. When `epoch`
    is not the one that was asked for, nothing was read.
    """

    epoch: str
    end: int
    complete: bool
    rows: list[Row]

    @property
    def start(self) -> int:
        """Who has been told less than up to this number has missed what can't be read any more."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which runs to list: those that meet all of this."""

    #: Tags that a run has all of.
    tags: tuple[str, ...] = ()
    #: Tags that it has any of; any run when empty.
    any_tags: tuple[str, ...] = ()
    #: Any of these tasks; all when empty.
    tasks: tuple[str, ...] = ()
    batch: str | None = None
    #: Raw statuses, any of them; all when empty.
    statuses: tuple[str, ...] = ()
    #: Created at or after this moment, and at or before that (ms since 1970); 0 for any.
    since: int = 0
    until: int = 0
    is_test: bool | None = None

    @property
    def narrowest(self) -> list[FeedId]:
        """The feeds whose runs are looked at, all of them together; what else is asked is sifted."""
        if self.batch is not None:
            return [FeedId.batch(self.batch)]
        if self.tags:
            return [FeedId.tags(self.tags[0])]
        if 0 < len(self.any_tags) <= _MERGED:
            return [FeedId.tags(tag) for tag in self.any_tags]
        if 0 < len(self.tasks) <= _MERGED:
            return [FeedId.task(task) for task in self.tasks]
        return [ALL_RUNS]


@dataclass(frozen=True, slots=True)
class ListPage:
    """Some runs, the newest first, and where the next page begins; "" when there is none."""

    rows: list[Row]
    next: str
    #: Of each row the number that it was created under: a place to go on from.
    numbers: list[str]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A run past its deadline, and the status that it has by that."""

    run: RunId
    status: RawStatus
    attempt: int


@dataclass(frozen=True, slots=True)
class StreamPage(Page):
    """As `Page`, of a stream: its chunks numbered above what was asked, up to `end`, oldest first. `rows` is empty."""

    chunks: list[Chunk]
    #: The index at which the stream begins: later than 0 when its oldest chunks were removed.
    first_index: int
    #: The index that its next chunk will have.
    next_index: int
    #: Of the run; None when there is none.
    status: Status | None
    attempt: int
    #: Chunks up to this number were removed to keep the stream within its limit.
    trimmed: int

    @property
    def start(self) -> int:
        return self.trimmed


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where a reader of a stream begins."""

    #: It has everything up to here that it is to have.
    cursor: Cursor
    #: The index that the stream's next chunk will have.
    next_index: int
    #: Of the run; None when there is none.
    status: Status | None
    #: How long ago the run ended (seconds); 0 when it has not.
    ended_seconds: float


#: A script with its keys and arguments.
_Question = tuple[str, tuple[str, ...], tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class _Call:
    """A question that waits to go out with others."""

    question: _Question
    answer: asyncio.Future[Any]


class RedisStore:
    """
    Reads run state from Redis.

    Every method raises Unavailable when Redis can't be reached or does not answer in time; the same call may be
    made again. Cancelling is safe.
    """

    def __init__(self, url: str, retention: Retention) -> None:
        self._lifetime = retention.history_ms
        self._reads = _client(url)
        self._canary = _client(url)
        self._waiting: dict[_Question, _Call] = {}
        self._sender: asyncio.Task[None] | None = None
        self.round_trips = RoundTrips("canary", "read")
        #: Runs that were removed because their time had come.
        self.swept = 0

    async def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            for call in self._waiting.values():  # it may have been cancelled before it began
                _settle(call.answer, ConnectionAbortedError("reading has ended"))
        await self._reads.aclose()
        await self._canary.aclose()

    async def ping(self) -> None:
        """Return when Redis answered."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._canary.ping()
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis does not answer: {error}") from error

    async def place(self, environment: EnvironmentId, feed: FeedId, *, limit: int, since: int) -> Place:
        """Where viewers of *feed* start, if they see runs created since *since* (ms since 1970), *limit* at most."""
        epoch, sequence, past, start, truncated = await self._read(
            "place",
            (history_key(environment), index_key(environment, feed)),
            (prefix(environment), self._lifetime, feed.kind, limit, since, _other_tags(feed)),
        )
        return Place(
            History(epoch.decode(), int(sequence), _read_past(past.decode())),
            int(start),
            truncated == 1,
        )

    async def read_page(
        self,
        environment: EnvironmentId,
        feed: FeedId,
        epoch: str,
        *,
        after: int,
        since: int,
        columns: Sequence[str],
        metadata: bool,
    ) -> Page:
        """
        The rows of *feed* whose last change has a number above *after*: the next page of them. Any epoch is "".

        Of a stream, a `StreamPage` with its chunks.
        """
        if feed.kind == "stream":
            return await self.read_stream(environment, feed.names[0], feed.names[1], epoch, after=after)
        run = feed.names[0] if feed.kind == "run" else ""
        arguments: list[str | int] = [prefix(environment), self._lifetime, epoch, feed.kind, run]
        arguments += [after, PAGE_ROWS, PAGE_BYTES, since, _other_tags(feed), int(metadata), *columns]
        found, end, complete, rows = await self._read(
            "read_page", (history_key(environment), index_key(environment, feed)), tuple(arguments)
        )
        return Page(found.decode(), int(end), complete == 1, [_read_row(row, columns) for row in rows])

    async def read_stream(
        self,
        environment: EnvironmentId,
        run: str,
        stream: str,
        epoch: str = "",
        *,
        after: int,
        limit: int = PAGE_CHUNKS,
    ) -> StreamPage:
        """The chunks of a stream with a number above *after*, at most *limit*. Any epoch is ""."""
        stored = (stream_key(environment, run, stream), stream_state_key(environment, run, stream))
        found, end, complete, chunks, status, attempt, first, following, trimmed = await self._read(
            "read_stream",
            (history_key(environment), run_key(environment, run), *stored),
            (self._lifetime, epoch, after, limit, PAGE_BYTES),
        )
        return StreamPage(
            found.decode(),
            int(end),
            complete == 1,
            [],
            [Chunk(int(number), int(index), text, int(at)) for number, index, text, at in chunks],
            int(first),
            int(following),
            public_status(status.decode()) if status else None,
            int(attempt),
            int(trimmed),
        )

    async def find_chunk(self, environment: EnvironmentId, run: str, stream: str, index: int | None) -> StreamPlace:
        """Where to begin to read from the chunk with *index* on, or the oldest after it; with None, from the newest."""
        stored = (stream_key(environment, run, stream), stream_state_key(environment, run, stream))
        epoch, place, following, status, age = await self._read(
            "find_chunk",
            (history_key(environment), run_key(environment, run), *stored),
            (self._lifetime, "" if index is None else index),
        )
        cursor = Cursor(epoch.decode(), int(place))
        shown = public_status(status.decode()) if status else None
        return StreamPlace(cursor, int(following), shown, int(age) / 1000)

    async def read_row(self, environment: EnvironmentId, run: str, columns: Sequence[str]) -> Row | None:
        """Some columns of a run as they are now, or None when there is no such run."""
        feed = FeedId("run", (RunId(run),))
        page = await self.read_page(environment, feed, "", after=0, since=0, columns=columns, metadata=False)
        return page.rows[0] if page.rows else None

    async def list_runs(
        self,
        environment: EnvironmentId,
        listing: Listing,
        *,
        before: str = "",
        after: str = "",
        limit: int,
        columns: Sequence[str],
        metadata: bool,
    ) -> ListPage:
        """
        Runs of *listing*, the newest first: at most *limit* of those created before *before*, which is the `next` of an
        earlier page. Should a filter be sparse, a page is shorter than asked though more follow.

        With *after*, the oldest of those created after it; then `next` is the *after* of those that are newer still.
        """
        tests = "" if listing.is_test is None else int(listing.is_test)
        arguments: list[str | int] = [prefix(environment), before, after, listing.since, listing.until, limit]
        arguments += [listing.batch or "", ",".join(listing.tasks), ",".join(listing.tags)]
        arguments += [",".join(listing.any_tags), ",".join(listing.statuses), tests, int(metadata), *columns]
        feeds = tuple(created_key(environment, feed) for feed in listing.narrowest)
        rows, following = await self._read("list_runs", feeds, tuple(arguments))
        if after:
            rows.reverse()
        numbers = [row.pop().decode() for row in rows]
        return ListPage([_read_row(row, columns) for row in rows], following.decode(), numbers)

    async def overdue(self, environment: EnvironmentId) -> list[Overdue]:
        """Runs that are past a deadline, up to a hundred of them."""
        found = await self._read(
            "overdue",
            (history_key(environment), deadlines_key(environment)),
            (prefix(environment), self._lifetime, _OVERDUE_AT_ONCE),
        )
        return [
            Overdue(RunId(run.decode()), RawStatus(status.decode()), int(attempt)) for run, status, attempt in found
        ]

    async def canary(self, environment: EnvironmentId, channel: str, text: str, *, sweep: int) -> float | None:
        """
        Have Redis send *text*, its epoch and its newest number to *channel*, and remove *sweep* runs that are due.

        Without a channel it only removes. Returns Redis's time (unix seconds).
        """
        call = ((history_key(environment),), (prefix(environment), self._lifetime, "PUBLISH", channel, text, sweep))
        try:
            with self.round_trips.timing("canary"):
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    answer = await _evaluate(self._canary, "canary", *call)
        except (RedisError, OSError) as error:
            raise Unavailable from error
        self.swept += answer[2]
        return int(answer[3]) / 1_000_000

    async def evaluate(self, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any:
        """What the script *name* answers: for what is seldom asked, and must not wait behind long reads."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await _evaluate(self._canary, name, keys, arguments)
        except (RedisError, OSError) as error:
            raise Unavailable from error

    async def publish(self, channel: str, payload: bytes) -> int:
        """Send *payload* to whoever hears *channel*, and return how many did."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                heard: int = await self._canary.publish(channel, payload)
        except (RedisError, OSError) as error:
            raise Unavailable from error
        return heard

    async def _read(self, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any:
        # Who asks the same while the question has not gone out gets the same answer: thousands who come
        # back together ask it once.
        question = (name, keys, arguments)
        call = self._waiting.get(question)
        if call is None:
            call = self._waiting[question] = _Call(question, asyncio.get_running_loop().create_future())
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="store reads")
        return await asyncio.shield(call.answer)

    async def _send(self) -> None:
        """Send what waits, as much as fits together at a time, until nothing does."""
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls = [self._waiting.pop(question) for question in list(itertools.islice(self._waiting, _BATCH))]
                for call, result in zip(calls, await self._send_together(calls), strict=True):
                    _settle(call.answer, result)
        finally:
            # Whatever ended this, nobody waits for ever.
            unanswered, self._waiting, self._sender = [*calls, *self._waiting.values()], {}, None
            for call in unanswered:
                _settle(call.answer, ConnectionAbortedError("reading has ended"))

    async def _send_together(self, calls: list[_Call]) -> list[Any]:
        try:
            with self.round_trips.timing("read"):
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    results = await self._pipelined(calls)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                if any(isinstance(result, NoScriptError) for result in results):
                    # A server that was restarted or promoted knows no scripts. All of them only read, so
                    # asking everything again is right.
                    for name in {call.question[0] for call in calls}:
                        await self._reads.script_load(script(name).text)
                    results = await self._pipelined(calls)
        except (RedisError, OSError) as error:
            return [error] * len(calls)
        return results

    async def _pipelined(self, calls: list[_Call]) -> list[Any]:
        async with self._reads.pipeline(transaction=False) as pipeline:
            for name, keys, arguments in (call.question for call in calls):
                pipeline.evalsha(script(name).sha1, len(keys), *keys, *arguments)
            results: list[Any] = await pipeline.execute(raise_on_error=False)
            return results


def _client(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(  # when more ask at once, they wait
        url,
        max_connections=2,
        # With a time-out of its own redis-py sends inside of `asyncio.wait_for`, which up to Python 3.11 can swallow
        # a cancellation; so we time whole calls instead.
        socket_timeout=None,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        client_name="runcast-gateway",
        # Whoever asks decides whether to ask again; hidden repeats would only make time-outs longer.
        retry=Retry(NoBackoff(), 1),
        timeout=_TIMEOUT_SECONDS,
    )
    return Redis.from_pool(pool)


async def _evaluate(client: Redis, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any:
    loaded = script(name)
    try:
        return await client.evalsha(loaded.sha1, len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(loaded.text, len(keys), *keys, *arguments)


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        unavailable = Unavailable()
        unavailable.__cause__ = result
        answer.set_exception(unavailable)
        answer.exception()  # whoever asked may have gone, and an error that nobody takes would be logged
    else:
        answer.set_result(result)


def _other_tags(feed: FeedId) -> str:
    """What a run must carry beyond the tag whose index is read."""
    return ",".join(feed.names[1:]) if feed.kind == "tag" else ""


def _read_past(text: str) -> tuple[tuple[str, int], ...]:
    entries = (entry.split(":") for entry in text.split(";") if entry)
    return tuple((epoch, int(last)) for epoch, last in entries)


def _read_row(fields: list[Any], columns: Sequence[str]) -> Row:
    run, sequence, version, values, metadata = fields
    return Row(
        RunId(run.decode()),
        int(sequence),
        {name: value for name, value in zip(columns, values, strict=True) if value is not None},
        dict(zip(metadata[::2], metadata[1::2], strict=True)),
        int(version),
    )
