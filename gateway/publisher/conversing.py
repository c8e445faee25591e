"""
Several conversations with Redis at the same time: what all of them ask goes out together, and each gets its answer.

No client, as in `sending`: a shell takes what is asked to Redis, and brings the replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.publisher.sending import REDIS_ERRORS, Pause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.publisher.sending import Asking
    from gateway.store.writing import Command


class Conversations:
    """Each goes one step further with each round trip, until all have come to their end."""

    __slots__ = ("_open", "asking", "pause", "results")

    def __init__(self, conversations: Sequence[Asking]) -> None:
        #: What each came to, or the error of Redis that ended it.
        self.results: list[Any] = [None] * len(conversations)
        #: What is asked now, to be followed by `answer` with as many replies; empty at the end.
        self.asking: list[Command] = []
        #: How long to wait before.
        self.pause = 0.0
        self._open: list[tuple[int, Asking]] = []
        for conversation in enumerate(conversations):
            self._go_on(*conversation, None)

    def answer(self, replies: Sequence[Any]) -> None:
        """Hand in the reply to each command that was asked; an error of Redis, or of the way to it, in its place."""
        opened, self._open, self.asking, self.pause = self._open, [], [], 0.0
        for (index, conversation), reply in zip(opened, replies, strict=True):
            self._go_on(index, conversation, reply)

    def _go_on(self, index: int, conversation: Asking, reply: Any) -> None:
        try:
            command = conversation.throw(reply) if isinstance(reply, REDIS_ERRORS) else conversation.send(reply)
            while isinstance(command, Pause):
                self.pause = max(self.pause, command.seconds)
                command = conversation.send(None)
        except StopIteration as end:
            self.results[index] = end.value
        except REDIS_ERRORS as error:
            self.results[index] = error
        else:
            self._open.append((index, conversation))
            self.asking.append(command)
