"""
Reading a run's stream without a client of ours: the words of `read_stream.lua`, for whoever has a client of its own.

`RedisStore.read_stream` says the same for the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import public_status
from gateway.cursors import History
from gateway.store.redis_keys import history_key, run_key, script, stream_key, stream_state_key

if TYPE_CHECKING:
    from gateway.runs import Status
    from gateway.store.writing import ChangeWriter, Command

SCRIPT: Final = "read_stream"
#: What one read may hold up in Redis, and how much of a stream lies in a job's memory.
MOST_CHUNKS: Final = 100
MOST_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """One chunk, by its number in the environment and its index in the stream; its value as JSON."""

    sequence: int
    index: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """
    The chunks of a stream after a number, up to `end`, and how its run is.

    When `epoch` is not the one that was asked for, nothing was read.
    """

    epoch: str
    end: int
    #: Whether there are no others by now.
    complete: bool
    chunks: list[StoredChunk]
    #: None when there is no such run.
    status: Status | None
    #: The index that the stream's next chunk will have.
    next_index: int


def read_stream_command(writer: ChangeWriter, run: str, stream: str, *, epoch: str, after: int) -> Command:
    """The command for a server that knows the script; `whole_read_stream` makes the one that brings the text along."""
    environment = writer.environment
    keys = (
        history_key(environment),
        run_key(environment, run),
        stream_key(environment, run, stream),
        stream_state_key(environment, run, stream),
    )
    arguments = (writer.retention.history_ms, epoch, after, MOST_CHUNKS, MOST_BYTES)
    return ("EVALSHA", script(SCRIPT).sha1, len(keys), *keys, *arguments)


def whole_read_stream(command: Command) -> Command:
    """A command made by `read_stream_command`, with the script's text instead of its digest."""
    return ("EVAL", script(SCRIPT).text, *command[2:])


def read_stream_answer(reply: Any) -> Reading:
    """
    What the script returned, from a client that does not decode responses.

    Raises:
        ValueError: When it is not the script's answer.
    """
    epoch, end, complete, chunks, status, _, _, following, *_ = reply
    return Reading(
        epoch.decode(),
        int(end),
        complete == 1,
        [StoredChunk(int(number), int(index), text) for number, index, text, *_ in chunks],
        public_status(status.decode()) if status else None,
        int(following),
    )


def history_command(writer: ChangeWriter) -> Command:
    """Asks for the line of epochs, as the last script that ran has left it."""
    return ("HMGET", history_key(writer.environment), "epoch", "sequence", "past")


def read_history(reply: Any) -> History:
    """
    What `history_command` was answered.

    Raises:
        ValueError: When it is not that.
    """
    epoch, sequence, past = (b"" if part is None else part for part in reply)
    entries = (entry.split(":") for entry in past.decode().split(";") if entry)
    return History(epoch.decode(), int(sequence or 0), tuple((name, int(last)) for name, last in entries))
