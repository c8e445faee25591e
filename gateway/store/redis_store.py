"""
Reading run state: where a viewer starts, what changed since, and whether the subscription still hears.

Two connections, whatever the number of viewers: one for reads, which go out together when they are asked for
together, and one for the canary, so that a long read is not mistaken for a deaf subscription.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoScriptError

from gateway.codec import Chunk, Row, public_status
from gateway.cursors import Cursor, History
from gateway.errors import Unavailable
from gateway.feeds import FeedId, RunId
from gateway.metrics.round_trips import RoundTrips
from gateway.runs import RawStatus
from gateway.store.clients import in_time, make_client
from gateway.store.deadlines import Overdue
from gateway.store.listing import ListPage
from gateway.store.pages import Page, Place, StreamPage, StreamPlace
from gateway.store.questions import Questions
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

    from redis.asyncio import Redis

    from gateway.feeds import EnvironmentId
    from gateway.store.listing import Listing

#: Rows and bytes of one page: what one read may hold up in Redis, and one viewer's memory while it catches up.
PAGE_ROWS: Final = 100
PAGE_BYTES: Final = 512 * 1024
#: Chunks of a stream on one page.
PAGE_CHUNKS: Final = 1000

_OVERDUE_AT_ONCE: Final = 100


class RedisStore:
    """
    Reads run state from Redis.

    Every method raises Unavailable when Redis can't be reached or does not answer in time; the same call may be
    made again. Cancelling is safe.
    """

    def __init__(self, url: str, retention: Retention) -> None:
        self._lifetime = retention.history_ms
        self.round_trips = RoundTrips("canary", "read")
        self._questions = Questions(make_client(url, connections=2), self.round_trips)
        self._canary = make_client(url, connections=2)
        #: Runs that were removed because their time had come.
        self.swept = 0

    async def close(self) -> None:
        await self._questions.close()
        await self._canary.aclose()

    async def ping(self) -> None:
        """Return when Redis answered."""
        try:
            async with in_time():
                await self._canary.ping()
        except Unavailable as error:
            raise Unavailable(f"Redis does not answer: {error.__cause__}") from error.__cause__

    async def place(self, environment: EnvironmentId, feed: FeedId, *, limit: int, since: int) -> Place:
        """Where viewers of *feed* start, if they see runs created since *since* (ms since 1970), *limit* at most."""
        epoch, sequence, past, start, truncated = await self._questions.ask(
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
        found, end, complete, rows = await self._questions.ask(
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
        found, end, complete, chunks, status, attempt, first, following, trimmed = await self._questions.ask(
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
        epoch, place, following, status, age = await self._questions.ask(
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
        rows, following = await self._questions.ask("list_runs", feeds, tuple(arguments))
        if after:
            rows.reverse()
        numbers = [row.pop().decode() for row in rows]
        return ListPage([_read_row(row, columns) for row in rows], following.decode(), numbers)

    async def overdue(self, environment: EnvironmentId) -> list[Overdue]:
        """Runs that are past a deadline, up to a hundred of them."""
        found = await self._questions.ask(
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
        with self.round_trips.timing("canary"):
            async with in_time():
                answer = await _evaluate(self._canary, "canary", *call)
        self.swept += answer[2]
        return int(answer[3]) / 1_000_000

    async def evaluate(self, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any:
        """What the script *name* answers: for what is seldom asked, and must not wait behind long reads."""
        async with in_time():
            return await _evaluate(self._canary, name, keys, arguments)

    async def publish(self, channel: str, payload: bytes) -> int:
        """Send *payload* to whoever hears *channel*, and return how many did."""
        async with in_time():
            heard: int = await self._canary.publish(channel, payload)
        return heard


async def _evaluate(client: Redis, name: str, keys: tuple[str, ...], arguments: tuple[str | int, ...]) -> Any:
    loaded = script(name)
    try:
        return await client.evalsha(loaded.sha1, len(keys), *keys, *arguments)
    except NoScriptError:
        return await client.eval(loaded.text, len(keys), *keys, *arguments)


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
