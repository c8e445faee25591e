"""
How the official clients write to a stream: which run's, who writes, and that what is sent again is stored once
(Trigger.dev realtime protocol, sections 6.3 and 6.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.api.appending import Writing
from gateway.api.forms import wrong
from gateway.api.idempotency import letters_of
from gateway.codec import decode_json
from gateway.errors import BadChange, NotFound
from gateway.runs import FINAL
from gateway.store.appending import MAX_WRITER_LENGTH, has_written_command
from gateway.triggerdev.access import read_row

if TYPE_CHECKING:
    from gateway.api.calls import Call
    from gateway.codec import Row

TARGETS: Final = ("self", "parent", "root")
#: How long a part that comes again is known. Those who repeat one do so for half a minute.
PART_MILLISECONDS: Final = 10 * 60 * 1000
_WRITER: Final = re.compile(f"[A-Za-z0-9_-]{{1,{MAX_WRITER_LENGTH}}}")
_NUMBER: Final = re.compile("[0-9]{1,15}")
_RESUME: Final = "X-Resume-From-Chunk"
#: Who says where it goes on, or asks for that, but not who it is.
SOMEBODY: Final = "default"
_TARGET_COLUMNS: Final = ("status", "realtimeStreams")
_COLUMN: Final = {"parent": "parentRunId", "root": "rootRunId"}


async def find_target(call: Call) -> Row:
    """
    The run whose stream the path names: itself, its parent, or the first of its ancestors. With status and streams.

    Raises:
        NotFound: When there is no such run.
        Unavailable: When it can't be read now.
    """
    row = await read_row(call, call.path["id"], (*_TARGET_COLUMNS, *_COLUMN.values()))
    if row is None:
        raise NotFound("Run not found")
    target = call.path["target"]
    if target == "self":
        return row
    column = row.columns.get(_COLUMN[target])
    other = row.run if column is None and target == "root" else decode_json(column or b"null")
    if other == row.run:
        return row
    found = None if other is None else await read_row(call, other, _TARGET_COLUMNS)
    if found is None:
        raise NotFound("Target not found")
    return found


def check_open(row: Row) -> None:
    """
    Raises:
        BadChange: When the run has ended, so that nothing new begins in it.
    """
    if row.status in FINAL:
        raise BadChange(f"the run has ended ({row.status}); nothing more can be sent to its streams")


def writer_of(call: Call) -> str:
    """The name of who uploads, as the store takes it; "" for nobody in particular, whose chunks are always new."""
    client = call.headers.get("x-client-id", "")
    if not client:
        return SOMEBODY if _RESUME.lower() in call.headers else ""
    return client if _WRITER.fullmatch(client) else letters_of(client)


def first_of(call: Call) -> int:
    """
    The number that the writer gives to the first line of its request.

    Raises:
        BadMessage: When it is no number.
    """
    text = call.headers.get(_RESUME.lower(), "0").strip()
    if not _NUMBER.fullmatch(text):
        raise wrong(_RESUME, "must be the number of this request's first line, counted from 0")
    return int(text)


async def append_part(call: Call, row: Row, stream: str, chunk: bytes) -> None:
    """
    Put one chunk at the end of a stream of a run that has not ended; once, however often its request comes.

    Raises:
        BadChange: When the run has ended, and the part has not come before.
        GatewayError: As `Writing.append`.
    """
    part = _part_of(call)
    if part is None:
        check_open(row)
        await Writing(call, row.run, stream).append([chunk])
        return
    writer = letters_of(call.environment, "part", row.run, stream, *part)
    if row.status in FINAL:
        if not await call.services.writer.ask(has_written_command(call.environment, writer)):
            check_open(row)
        return
    await Writing(call, row.run, stream, writer=writer, once_ms=PART_MILLISECONDS).append([chunk])


def _part_of(call: Call) -> tuple[str, str] | None:
    for header in ("x-part-id", call.dialect.key_header):
        if call.headers.get(header):
            return header, call.headers[header]
    return None
