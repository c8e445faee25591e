"""
Appends to streams ↔ the words of `append_chunks.lua`. No client is used here: whoever has one sends the command.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gateway.store.redis_keys import (
    history_key,
    once_key,
    prefix,
    script,
    stream_state_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.feeds import EnvironmentId
    from gateway.store.writing import ChangeWriter, Command

SCRIPT: Final = "append_chunks"
#: Words of a command before those of its appends.
START: Final = 10
#: Chunks that together are larger are published without their values: readers fetch them with one shared read.
LARGE_APPEND_BYTES: Final = 64 * 1024
#: The longest name that a writer may have.
MAX_WRITER_LENGTH: Final = 64


class AppendOutcome(StrEnum):
    """What became of an append."""

    APPENDED = "appended"
    MISSING = "missing"  # there is no such run
    GAP = "gap"  # the writer's chunks before these have not been appended
    TOO_MANY_STREAMS = "too_many_streams"


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of an append, and where the stream and the writer stand now."""

    outcome: AppendOutcome
    epoch: str
    #: The number of the last chunk of this append; of the environment's newest change when nothing was stored.
    sequence: int
    #: The index that the next chunk of the stream will have.
    next_index: int
    #: The number that the writer's next chunk will have.
    writer_next: int
    #: Whether the run's row names the stream. If not, say so: `change(run, stream=key)`.
    announced: bool


@dataclass(frozen=True, slots=True)
class Append:
    """
    Chunks for the end of a stream.

    With a *writer* (up to 64 characters) and the number that it gives to the first chunk, counting its own from 0, the
    same chunks can be appended again and are stored once. Of those who go on the last are known; one who writes once is
    known for a time instead, by a name that nobody else in the environment has.
    """

    run: str
    stream: str
    chunks: Sequence[bytes]
    writer: str = ""
    first: int | None = None
    #: How long it is known (ms) that this writer has written, who writes once; None for one who goes on.
    once_ms: int | None = None


def append_command(append: Append, writer: ChangeWriter) -> Command:
    """
    The command for a server that knows the script; `whole_append` makes the one that brings the text along.

    Those that go out together are better joined (joining.py).
    """
    return (
        *("EVALSHA", script(SCRIPT).sha1, 1, history_key(writer.environment)),
        *(prefix(writer.environment), writer.publish, writer.retention.unfinished_ms, writer.retention.streams_ms),
        *(writer.limits.stream_bytes, LARGE_APPEND_BYTES),
        *(append.run, append.stream, append.writer, _or_nothing(append.first), _or_nothing(append.once_ms)),
        len(append.chunks),
        *append.chunks,
    )


def _or_nothing(number: int | None) -> int | str:
    return "" if number is None else number


def whole_append(command: Command) -> Command:
    """A command made by `append_command`, with the script's text instead of its digest."""
    return ("EVAL", script(SCRIPT).text, *command[2:])


def read_append(reply: Any) -> Appended:
    """
    What the script returned for the one append that it was told, from a client that decodes responses or one that does
    not.

    Raises:
        ValueError: When it is not the script's answer.
    """
    (answer,) = reply
    outcome, epoch, sequence, index, expected, announced = [
        part.decode() if isinstance(part, bytes) else str(part) for part in answer
    ]
    return Appended(AppendOutcome(outcome), epoch, int(sequence), int(index), int(expected), announced == "1")


def ends_command(environment: EnvironmentId, run: str, stream: str, writer: str) -> Command:
    """Asks where a stream and one of its writers are, for `read_ends`; "" for no writer."""
    return ("HMGET", stream_state_key(environment, run, stream), "next", f"writer:{writer}")


def read_ends(reply: Any) -> tuple[int, int]:
    """The index that the stream's next chunk will have, and the number of the writer's next; 0 when there is none."""
    index, number = reply
    return int(index or 0), int(number or 0)


def has_written_command(environment: EnvironmentId, writer: str) -> Command:
    """Asks whether one who writes once has written, as far as that is known: 1 or 0."""
    return ("EXISTS", once_key(environment, writer))
