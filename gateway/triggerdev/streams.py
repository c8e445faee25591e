"""
A run's streams, as the official clients write and read them (Trigger.dev realtime protocol, section 6): create,
upload, probe, append, read. They are the streams of docs/streams.md; each way in and out shows the same chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api.access import secret_key_only
from gateway.api.appending import Writing
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount, read_body
from gateway.api.forms import Text
from gateway.api.parts import RUN_PATH
from gateway.api.uploads import lines
from gateway.changes import change
from gateway.codec import decode_json
from gateway.errors import NotFound, OutOfTurn, TooManyStreams, Unavailable, UnsupportedMedia
from gateway.feeds import MAX_ID_LENGTH, check_stream
from gateway.store.appending import ends_command, read_ends
from gateway.triggerdev.dialect import TRIGGERDEV
from gateway.triggerdev.stream_chunks import chunk_of_line, text_chunk
from gateway.triggerdev.stream_reading import answer_stream, find_stream
from gateway.triggerdev.stream_records import Spelling
from gateway.triggerdev.stream_writing import (
    SOMEBODY,
    TARGETS,
    append_part,
    check_open,
    find_target,
    first_of,
    writer_of,
)

if TYPE_CHECKING:
    from gateway.api.endpoint import ApiRoute
    from gateway.transports.viewing import Services

READ_PATH: Final = "/realtime/v1/streams/{id}/{key}"
WRITE_PATH: Final = "/realtime/v1/streams/{id}/{target}/{key}"
APPEND_PATH: Final = "/realtime/v1/streams/{id}/{target}/{key}/append"
_PART_BYTES: Final = 512 * 1024
_MAX_STREAMS: Final = 100

_KEY: Final = Parameter(
    name="key",
    form=Text(least=1, most=MAX_ID_LENGTH, check=check_stream),
    description="The stream's key.",
    required=True,
)
_TARGET: Final = Parameter(
    name="target",
    form=Text(choices=TARGETS),
    description="Whose stream: the run's own, its parent's, or that of the first of its ancestors.",
    required=True,
)


async def _create(call: Call) -> Answer:
    target, key = await find_target(call), call.path["key"]
    check_open(target)
    known = decode_json(target.columns.get("realtimeStreams", b"[]"))
    if key not in known:
        if len(known) >= _MAX_STREAMS:
            raise TooManyStreams
        await call.services.writer.apply(call.environment, change(target.run, stream=key))
    # Whatever version was asked for: the other one is written to a service of its own, past the server.
    return json_answer(202, {"version": "v1"})


async def _upload(call: Call) -> Answer:
    if call.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("the body must come as it is, without Content-Encoding")
    writer, first = writer_of(call), first_of(call)
    target = await find_target(call)
    writing = Writing(call, target.run, call.path["key"], writer=writer, first=first)
    try:
        async for some in lines(call, chunk_of_line):
            await writing.append(some)
    except OutOfTurn as error:
        # It holds what was stored once and is not there any more. When it tries again it asks first where it is.
        raise Unavailable(str(error)) from error
    return Answer(200)


async def _probe(call: Call) -> Answer:
    target, writer = await find_target(call), writer_of(call) or SOMEBODY
    command = ends_command(call.environment, target.run, call.path["key"], writer)
    _, writer_next = read_ends(await call.services.writer.ask(command))
    return Answer(200, b"", (("x-last-chunk-index", str(writer_next - 1)),))


async def _append(call: Call) -> Answer:
    raw = await read_body(call, limit=_PART_BYTES)
    target = await find_target(call)
    await append_part(call, target, call.path["key"], text_chunk(raw))
    return json_answer(200, {"ok": True})


async def _may_read(call: Call) -> None:
    asked = call.headers.get("x-trigger-realtime-streams-version")
    await find_stream(call, call.path["key"], Spelling.V1 if asked == "v1" else Spelling.V2)


_OK: Final = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
_CREATE: Final = Operation(
    id="triggerdevCreateStream",
    method="PUT",
    summary="Name a stream of a run",
    tag="streams",
    allow=secret_key_only,
    handle=_create,
    path=(RUN_PATH, _TARGET, _KEY),
    counted=False,
    replies=(Reply(status=202, description="It is named, and how to write to it.", schema={"type": "object"}),),
    errors=(NotFound, TooManyStreams),
)
_UPLOAD: Final = Operation(
    id="triggerdevWriteStream",
    method="POST",
    summary="Append lines to a stream as they come",
    tag="streams",
    allow=secret_key_only,
    handle=_upload,
    path=(RUN_PATH, _TARGET, _KEY),
    counted=False,
    replies=(Reply(status=200, description="All of them are in the stream."),),
    errors=(NotFound, TooManyStreams, UnsupportedMedia),
)
_PROBE: Final = Operation(
    id="triggerdevProbeStream",
    method="HEAD",
    summary="Where a writer is",
    tag="streams",
    allow=secret_key_only,
    handle=_probe,
    path=(RUN_PATH, _TARGET, _KEY),
    counted=False,
    replies=(
        Reply(
            status=200,
            description="Where it is.",
            headers={"X-Last-Chunk-Index": "The number of its last line that is in the stream; -1 for none."},
        ),
    ),
    errors=(NotFound,),
)
_APPEND: Final = Operation(
    id="triggerdevAppendToStream",
    method="POST",
    summary="Append text to a stream, as one chunk",
    tag="streams",
    allow=secret_key_only,
    handle=_append,
    path=(RUN_PATH, _TARGET, _KEY),
    counted=False,
    replies=(Reply(status=200, description="It is in the stream.", schema=_OK),),
    errors=(NotFound, TooManyStreams),
)
_READ: Final = Operation(
    id="triggerdevReadStream",
    method="GET",
    summary="Read a stream as it grows",
    tag="streams",
    allow=_may_read,
    handle=answer_stream,
    path=(RUN_PATH, _KEY),
    counted=False,
    replies=(Reply(status=200, description="Events.", schema={"type": "string"}, media_type="text/event-stream"),),
    errors=(NotFound,),
)


def routes(services: Services) -> list[ApiRoute]:
    """Everything about one stream of a run, but what is sent into it (gateway/triggerdev/inputs.py)."""
    operations = [
        *((WRITE_PATH, operation) for operation in (_CREATE, _UPLOAD, _PROBE)),
        (APPEND_PATH, _APPEND),
        (READ_PATH, _READ),
    ]
    return mount(services, operations, TRIGGERDEV)
