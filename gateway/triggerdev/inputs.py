"""
What is sent into a run while it runs: input streams (Trigger.dev realtime protocol, section 7.1).

A value is one chunk of a stream with a name of its own kind (store/inputs.py), which a job reads by
`run.input(key)`, or an official client by the same path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from auth import Resource
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount, read_body
from gateway.api.forms import Text
from gateway.api.parts import RUN_PATH
from gateway.codec import decode_json, encode_message
from gateway.errors import BadMessage, GatewayError, NotFound
from gateway.store.inputs import MAX_INPUT_LENGTH, input_stream
from gateway.triggerdev.access import read_row, require
from gateway.triggerdev.dialect import TRIGGERDEV
from gateway.triggerdev.stream_chunks import json_value, value_chunk
from gateway.triggerdev.stream_reading import answer_stream, find_stream
from gateway.triggerdev.stream_records import Spelling
from gateway.triggerdev.stream_writing import append_part

if TYPE_CHECKING:
    from gateway.api.endpoint import ApiRoute
    from gateway.transports.viewing import Services

PATH: Final = "/realtime/v1/streams/{id}/input/{key}"
_VALUE_BYTES: Final = 1024 * 1024

#: The input's key; read, it is the stream that holds what is sent.
_STREAM: Final = Parameter(
    name="key",
    form=Text(least=1, most=MAX_INPUT_LENGTH, check=input_stream),
    description="The input's key.",
    required=True,
)


async def _may_send(call: Call) -> None:
    run = call.path["id"]
    require(call, "write", f"sending to run:{run}", [Resource("inputStreams", run)])


async def _send(call: Call) -> Answer:
    try:
        raw = await read_body(call, limit=_VALUE_BYTES)
        chunk = value_chunk(_value(raw))
        row = await read_row(call, call.path["id"], ("status",))
        if row is None:
            raise NotFound("Run not found")
        await append_part(call, row, call.path["key"], chunk)
    except GatewayError as error:
        call.services.counters.refusals[error.code] += 1
        refused = TRIGGERDEV.refused(error)
        body = encode_message({"ok": False, **decode_json(refused.body)})
        return Answer(refused.status, body, refused.headers, refused.media_type)
    return json_answer(200, {"ok": True})


def _value(raw: bytes) -> Any:
    """What is sent; JavaScript leaves out what is undefined, and sends nothing for it."""
    try:
        body = json_value(raw)
    except ValueError as error:
        raise BadMessage(f"the body must be JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadMessage('the body must be an object: {"data": anything}')
    return body.get("data")


async def _may_read(call: Call) -> None:
    await find_stream(call, call.path["key"], Spelling.INPUT)


_SEND: Final = Operation(
    id="triggerdevSendInput",
    method="POST",
    summary="Send a value into a run",
    tag="streams",
    scopes="`write:inputStreams`, or `write:inputStreams:RUN`",
    allow=_may_send,
    handle=_send,
    path=(RUN_PATH, _STREAM),
    replies=(
        Reply(
            status=200,
            description="It is there for the run to read.",
            schema={"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
        ),
    ),
    errors=(NotFound,),
)
_READ: Final = Operation(
    id="triggerdevReadInput",
    method="GET",
    summary="Read what is sent into a run",
    tag="streams",
    allow=_may_read,
    handle=answer_stream,
    path=(RUN_PATH, _STREAM),
    counted=False,
    replies=(Reply(status=200, description="Events.", schema={"type": "string"}, media_type="text/event-stream"),),
    errors=(NotFound,),
)


def routes(services: Services) -> list[ApiRoute]:
    """The inputs of a run. To stand before the routes of its streams, one of which fits this path, too."""
    return mount(services, [(PATH, _SEND), (PATH, _READ)], TRIGGERDEV)
