"""A run's streams over HTTP: write chunks at once or as they come, read them as events or in pages (docs/http.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gateway.api import access, idempotency
from gateway.api.appending import Writing
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import LARGE_BYTES, mount, parse_json, read_body
from gateway.api.forms import Field, Json, ListOf, Number, Object, Text, wrong
from gateway.api.parts import RUN_PATH, STATUSES
from gateway.api.uploads import LINES_TYPE, lines
from gateway.codec import encode_json, raw_json
from gateway.cursors import Cursor
from gateway.errors import NotFound, OutOfTurn, TooLarge, TooManyStreams, UnsupportedMedia
from gateway.feeds import MAX_ID_LENGTH, FeedId, check_stream
from gateway.store.appending import MAX_WRITER_LENGTH, ends_command, read_ends
from gateway.transports.requests import Wish
from gateway.transports.sse import EventsResponse
from gateway.transports.streams import resolved

if TYPE_CHECKING:
    from gateway.api.endpoint import ApiRoute
    from gateway.transports.viewing import Services

PATH: Final = "/v1/runs/{id}/streams/{key}"
_EVENTS_TYPE: Final = "text/event-stream"
_MOST_ON_A_PAGE: Final = 1000

_KEY_PATH: Final = Parameter(
    name="key",
    form=Text(least=1, most=MAX_ID_LENGTH, check=check_stream),
    description="The stream's key, percent-encoded: `log` is the run's log.",
    required=True,
)
_WRITER: Final = Parameter(
    name="writer",
    form=Text(least=1, most=MAX_WRITER_LENGTH, pattern="^[A-Za-z0-9_-]+$", words="letters, digits, - and _"),
    description="Who writes: chunks that this writer appended before are stored once.",
)
_FIRST: Final = Parameter(
    name="first",
    form=Number(least=0),
    description="The number that the writer gives to the first chunk of this request, counting its own from 0.",
)
_CHUNKS: Final = Object(
    {"chunks": Field(ListOf(Json(), least=1, most=10_000), "The chunks, in order: any JSON each.", required=True)},
    name="NewChunks",
    example={"chunks": ["Hello", ", world"]},
)


def _answer(writing: Writing, writer: str) -> Answer:
    message: dict[str, Any] = {"received": writing.count}
    if writing.last is not None:
        message["nextIndex"] = writing.last.next_index
        if writer:
            message["writerNext"] = writing.last.writer_next
        message["cursor"] = str(Cursor(writing.last.epoch, writing.last.sequence))
    return json_answer(200, message)


def _numbering(call: Call) -> tuple[str, int]:
    """Whose chunks these are, and the number of the first. An `Idempotency-Key` is a writer who writes once."""
    writer, first = call.query.get("writer"), call.query.get("first")
    if call.key is not None and writer is not None:
        raise wrong("writer", "says what the Idempotency-Key says; send one of the two")
    if first is not None and writer is None:
        raise wrong("first", "is the number of a writer's chunk; name the writer, too")
    if call.key is not None:
        return idempotency.letters_of(call.environment, "writer", call.path["id"], call.path["key"], call.key), 0
    return writer or "", first or 0


async def _append(call: Call) -> Answer:
    writer, first = _numbering(call)
    writing = Writing(call, call.path["id"], call.path["key"], writer=writer, first=first)
    media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == LINES_TYPE:
        if call.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise UnsupportedMedia("the body must come as it is, without Content-Encoding")
        async for some in lines(call):
            await writing.append(some)
    elif media == "application/json":
        raw = await read_body(call)
        await writing.append(_chunks(raw) if len(raw) <= LARGE_BYTES else await asyncio.to_thread(_chunks, raw))
    else:
        raise UnsupportedMedia(f"the body must be application/json or {LINES_TYPE}, not {media[:80] or 'nothing'!r}")
    return _answer(writing, writer)


def _chunks(raw: bytes) -> list[bytes]:
    body = _CHUNKS.read(parse_json(raw), "")
    return [encode_json(chunk, what="a chunk") for chunk in body["chunks"]]


async def _read(call: Call) -> Answer | None:
    run, key = call.path["id"], call.path["key"]
    cursor = _cursor(call)
    wish = Wish(FeedId.stream(run, key), cursor=cursor, from_now=call.query.get("from") == "now")
    wish = await resolved(call.services.store, call.environment, wish)
    if _wants_page(call):
        return await _page(call, wish.cursor)
    await EventsResponse(call.services, [wish], call.admitted).send(call.scope, call.receive, call.send)
    return None


def _cursor(call: Call) -> Cursor | None:
    after = call.query.get("after")
    if after and "from" in call.query:
        raise wrong("from", "says where to begin when there is no cursor; send one of the two")
    # A browser that comes back sends it with the address that it had in the beginning.
    text = call.headers.get("last-event-id") or after
    return Cursor.parse(text) if text else None


def _wants_page(call: Call) -> bool:
    accepted = call.headers.get("accept", "")
    return "application/json" in accepted and _EVENTS_TYPE not in accepted


async def _page(call: Call, cursor: Cursor | None) -> Answer:
    run, key = call.path["id"], call.path["key"]
    store, environment = call.services.store, call.environment
    place = await store.place(environment, FeedId.stream(run, key), limit=1, since=0)
    after = cursor.sequence if cursor is not None and place.history.keeps(cursor) else 0
    page = await store.read_stream(environment, run, key, after=after, limit=call.query.get("limit", _MOST_ON_A_PAGE))
    # What was trimmed meanwhile is known to the page. Should the data have been lost since, the next page says so.
    keeps = cursor is not None and after == cursor.sequence and after >= page.trimmed
    if page.status is None:
        raise NotFound(f"there is no run {run[:80]!r}")
    chunks = [
        {
            "index": chunk.index,
            "chunk": raw_json(chunk.text),
            "cursor": str(Cursor(page.epoch, chunk.sequence)),
        }
        for chunk in page.chunks
    ]
    return json_answer(
        200,
        {
            "chunks": chunks,
            "firstIndex": page.first_index,
            "nextIndex": page.next_index,
            "next": str(Cursor(page.epoch, page.end)),
            "complete": page.complete,
            "replaces": not keeps,
            "status": page.status,
        },
    )


async def _probe(call: Call) -> Answer:
    run, key, writer = call.path["id"], call.path["key"], call.query.get("writer", "")
    next_index, writer_next = read_ends(
        await call.services.writer.ask(ends_command(call.environment, run, key, writer))
    )
    headers = [("runcast-next-index", str(next_index))]
    if writer:
        headers.append(("runcast-writer-next", str(writer_next)))
    return Answer(200, b"", tuple(headers))


_CURSOR_SCHEMA: Final = {"type": "string", "description": "A place in the stream, to go on from."}
_APPEND: Final = Operation(
    id="appendToStream",
    method="POST",
    summary="Append chunks to a stream",
    description="One or many chunks as JSON, or one a line as they come (`application/x-ndjson`): each line is stored, "
    "and told to readers, when it is there. With `writer` and `first`, or an `Idempotency-Key`, chunks that are sent "
    "again are stored once: after a cut ask `HEAD` where the writer is, and go on from there.",
    tag="streams",
    scopes="`write:runs`, `write:runs:ID`, or `write:` of the run's task, a tag or the batch",
    allow=access.may_write_run,
    handle=_append,
    path=(RUN_PATH, _KEY_PATH),
    query=(_WRITER, _FIRST),
    takes_key=True,
    body_types={"application/json": _CHUNKS.schema, LINES_TYPE: {"type": "string"}},
    replies=(
        Reply(
            status=200,
            description="All of them are in the stream.",
            schema={
                "type": "object",
                "properties": {
                    "received": {"type": "integer", "description": "Chunks of this request, new or known."},
                    "nextIndex": {
                        "type": "integer",
                        "description": "The index that the stream's next chunk will have.",
                    },
                    "writerNext": {"type": "integer", "description": "The number of the writer's next chunk."},
                    "cursor": _CURSOR_SCHEMA,
                },
                "required": ["received"],
            },
        ),
    ),
    errors=(NotFound, OutOfTurn, TooManyStreams, UnsupportedMedia, TooLarge),
)
_READ: Final = Operation(
    id="readStream",
    method="GET",
    summary="Read a stream",
    description="As Server-Sent Events: everything from the start, from a cursor (`after`, or `Last-Event-ID`), or "
    "from now; then each chunk as it comes. Ends when the run has ended and everything is read. With `Accept: "
    "application/json` one page of what is there. The run need not exist yet, for events.",
    tag="streams",
    scopes="As for the run's feed: `read:runs`, `read:runs:ID`, or `read:` of the run's task, a tag or the batch",
    allow=access.may_read_run,
    handle=_read,
    token_in_query=True,
    path=(RUN_PATH, _KEY_PATH),
    query=(
        Parameter(name="after", form=Text(least=1, most=64), description="A cursor: read what comes after it."),
        Parameter(name="from", form=Text(choices=("start", "now")), description="Without a cursor: where to begin."),
        Parameter(name="limit", form=Number(least=1, most=_MOST_ON_A_PAGE), description="Of a page: the most chunks."),
    ),
    replies=(
        Reply(
            status=200,
            description="Events `begin`, `chunk`, `heartbeat`, `end` (docs/protocol.md, “Streams”).",
            schema={"type": "string"},
            media_type=_EVENTS_TYPE,
        ),
        Reply(
            status=200,
            description="A page: `complete` says whether that is all there is by now.",
            schema={
                "type": "object",
                "properties": {
                    "chunks": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"index": {"type": "integer"}, "chunk": {}, "cursor": _CURSOR_SCHEMA},
                            "required": ["index", "chunk", "cursor"],
                        },
                    },
                    "firstIndex": {"type": "integer", "description": "Later than 0 when the oldest were removed."},
                    "nextIndex": {"type": "integer"},
                    "next": _CURSOR_SCHEMA,
                    "complete": {"type": "boolean"},
                    "replaces": {"type": "boolean", "description": "Whether it begins anew: the cursor did not hold."},
                    "status": {"type": "string", "enum": list(STATUSES), "description": "Of the run."},
                },
                "required": ["chunks", "firstIndex", "nextIndex", "next", "complete", "replaces", "status"],
            },
        ),
        Reply(status=204, description="The reader has seen the end."),
    ),
    errors=(NotFound,),
)
_PROBE: Final = Operation(
    id="probeStream",
    method="HEAD",
    summary="Where a writer goes on",
    tag="streams",
    scopes="As for appending",
    allow=access.may_write_run,
    handle=_probe,
    path=(RUN_PATH, _KEY_PATH),
    query=(_WRITER,),
    replies=(
        Reply(
            status=200,
            description="Where the stream and the writer are.",
            headers={
                "Runcast-Next-Index": "The index that the stream's next chunk will have.",
                "Runcast-Writer-Next": "The number of the writer's next chunk, if a writer was named.",
            },
        ),
    ),
)


def routes(services: Services) -> list[ApiRoute]:
    """Everything about one stream of a run."""
    return mount(services, [(PATH, _APPEND), (PATH, _READ), (PATH, _PROBE)])
