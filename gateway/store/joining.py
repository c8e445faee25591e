"""
Several changes, or appends, in one call of their script, for whoever sends commands together anyway: each costs Redis
little more than half as much, since what they bring to shared indexes and channels is brought there once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from gateway.store import appending, writing
from gateway.store.redis_keys import script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.store.writing import Command

#: As writing.MOST_TOGETHER: appends may have many chunks.
MOST_WORDS: Final = 1_024


def joined(commands: Iterable[Command]) -> list[tuple[Command, int]]:
    """
    The same commands in the same order, with neighbours that have one script and one environment made one.

    Returns each command that is to be sent with the number of those that it stands for; `spread` has their replies.
    """
    groups: list[list[Command]] = []
    start: Command | None = None
    words = 0
    for command in commands:
        words += len(command)
        if start and command[: len(start)] == start and len(groups[-1]) < writing.MOST_TOGETHER and words <= MOST_WORDS:
            groups[-1].append(command)
        else:
            groups.append([command])
            start, words = _start_of(command), len(command)
    return [(_one(group), len(group)) for group in groups]


def spread(sent: Iterable[tuple[Command, int]], replies: Iterable[Any]) -> list[Any]:
    """
    The reply to each command as it would have come alone.

    Args:
        sent: What `joined` returned.
        replies: Those to it; an error that Redis answered instead is that error, and holds for all that were joined.
    """
    single: list[Any] = []
    for (_, count), reply in zip(sent, replies, strict=True):
        if count == 1:
            single.append(reply)
        elif isinstance(reply, Exception):
            single += [reply] * count
        else:  # something may be wrong with one of them alone
            single += [answer if isinstance(answer, Exception) else [answer] for answer in reply]
    return single


def _one(group: Sequence[Command]) -> Command:
    if len(group) == 1:
        return group[0]
    start = len(_start_of(group[0]))
    return (*group[0], *(word for command in group[1:] for word in command[start:]))


def _start_of(command: Command) -> Command:
    """The words that a command shares with those it can be joined with; none when it can't be."""
    return command[: _starts().get(command[1], 0)] if command[0] == "EVALSHA" else ()


@cache
def _starts() -> dict[str | bytes | int, int]:
    return {script(module.SCRIPT).sha1: module.START for module in (writing, appending)}
