"""
The way to Redis for the threads of one process. Callers of the same moment share one write and one read.

A round trip costs the kernel more than packing a change does (send, wake-ups, receive: some 35 µs against 5), and the
more threads wait, the more of them one round trip can serve. So whoever comes while a line is free leads: sends, and
reads the answers. Whoever comes when none is waits; the one who has led hands the line to the first who waits, and
that one takes the others along.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - see `rehearse`
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import Misconfigured
from gateway.publisher.conversing import Conversations
from gateway.publisher.mailing import (
    BYTES_AT_ONCE,
    COMMANDS_AT_ONCE,
    CONNECTIONS,
    PATIENCE_SECONDS,
    TIMEOUT_SECONDS,
)
from gateway.publisher.sending import REDIS_ERRORS, Pause
from gateway.store.joining import joined, spread
from gateway.store.packing import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.publisher.sending import Asking
    from gateway.store.writing import Command

#: Longer than anyone leads: connecting, one write, and the answers.
_LONGEST_LEAD_SECONDS: Final = 10.0


class _Here(threading.local):
    """Whether this thread is asking Redis."""

    asking = False


class Call:
    """What one thread asks, and the replies."""

    __slots__ = ("_woken", "commands", "error", "gone", "line", "replies")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        #: In the order of the commands; what Redis refused as the error that it is.
        self.replies: Sequence[Any] = ()
        #: Why there are none.
        self.error: BaseException | None = None
        #: Handed over by the one who has led before.
        self.line: _Line | None = None
        #: Whoever asked does not wait any more.
        self.gone = False
        self._woken: threading.Lock | None = None

    def queued(self) -> None:
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self, seconds: float) -> bool:
        """Returns whether something has become of it."""
        return self._woken is None or self._woken.acquire(timeout=seconds)

    def wake(self) -> None:
        if self._woken is not None:
            with suppress(RuntimeError):  # twice is harmless
                self._woken.release()


class Wire:
    """A few lines to one Redis. Belongs to the process that made it, and is safe for its threads."""

    def __init__(self, url: str, unanswered: Callable[[Wire], None]) -> None:
        """
        Args:
            unanswered: Called in the thread that had no answer, before it, or anyone, asks again.
        """
        self._client = make_client(url)
        self._unanswered = unanswered
        self._here = _Here()
        self._lock = threading.Lock()
        pool = self._client.connection_pool
        self._free = [_Line(pool.make_connection()) for _ in range(CONNECTIONS)]
        self._lines = tuple(self._free)
        self._queue: deque[Call] = deque()
        self._led_at = time.monotonic()

    def hold(self, conversation: Asking) -> Any:
        """
        Hand what *conversation* asks to Redis, and the replies back. Returns what it comes to.

        Raises:
            REDIS_ERRORS: What the conversation made of an error.
        """
        try:
            command = next(conversation)
            while True:
                if isinstance(command, Pause):
                    time.sleep(command.seconds)
                    command = conversation.send(None)
                    continue
                try:
                    (reply,) = self._ask((command,))
                except REDIS_ERRORS as error:
                    reply = error
                command = conversation.throw(reply) if isinstance(reply, REDIS_ERRORS) else conversation.send(reply)
        except StopIteration as end:
            return end.value

    def hold_all(self, conversations: Sequence[Asking]) -> list[Any]:
        """As `hold`, for several at the same time. What each comes to, or the error of Redis that ended it."""
        together = Conversations(conversations)
        while together.asking:
            if together.pause:
                time.sleep(together.pause)
            try:
                replies = self._ask(together.asking)
            except REDIS_ERRORS as error:
                replies = [error] * len(together.asking)
            together.answer(replies)
        return together.results

    def _ask(self, commands: Sequence[Command]) -> Sequence[Any]:
        if self._here.asking:  # a signal handler asks, while its thread is in the middle of this
            return [self._ask_apart(command) for command in commands]
        self._here.asking = True
        try:
            return self.exchange(commands)
        except REDIS_ERRORS:
            self._unanswered(self)
            raise
        finally:
            self._here.asking = False

    def _ask_apart(self, command: Command) -> Any:
        client: Any = self._client
        return client.execute_command(*command)

    def exchange(self, commands: Sequence[Command]) -> Sequence[Any]:
        """
        The reply to each of *commands*, which are not more than `COMMANDS_AT_ONCE`.

        What Redis answers with an error is in the list as that error. Not for a thread that is in here already.

        Raises:
            REDIS_ERRORS: When there was no answer in time. Any of them may have been carried out.
        """
        call = Call(commands)
        try:
            if not self._begin(call):
                self._wait(call)
            if call.line is not None:
                self._lead(call.line, call)
        except BaseException:  # a time limit of the job's, say
            self._leave(call)
            raise
        if call.error is not None:
            raise call.error
        return call.replies

    def close(self) -> None:
        """Let go of the connections."""
        for line in self._lines:
            line.close()
        with suppress(*REDIS_ERRORS):
            self._client.close()

    @property
    def is_stuck(self) -> bool:
        """Whether who had a line never gave it back: what was raised from outside hit it at the worst of moments."""
        return not self._free and time.monotonic() - self._led_at > _LONGEST_LEAD_SECONDS

    def _begin(self, call: Call) -> bool:
        """Take a line that is free, or stand in the queue."""
        with self._lock:
            if self._free:
                self._led_at = time.monotonic()
                call.line = self._free.pop()
                return True
            call.queued()
            self._queue.append(call)
            return False

    def _wait(self, call: Call) -> None:
        if call.wait(TIMEOUT_SECONDS):
            return
        with self._lock:
            if call in self._queue:
                raise redis.TimeoutError("others wait for Redis")
        # It is being sent, and whoever sends it waits no longer than this.
        if not call.wait(PATIENCE_SECONDS + TIMEOUT_SECONDS):
            raise redis.TimeoutError("Redis did not answer in time")

    def _leave(self, call: Call) -> None:
        """Whoever asked is gone. What it was handed meanwhile goes to the next."""
        with self._lock:
            call.gone = True
            line, call.line = call.line, None
        if line is not None:
            self._hand_over(line)

    def _lead(self, line: _Line, call: Call) -> None:
        group = [call]
        try:
            with self._lock:
                self._gather(group)
            line.exchange(group)
        except REDIS_ERRORS as error:
            if isinstance(error, redis.TimeoutError) or not line.has_worked:
                with self._lock:  # whoever waits would only wait as long to see the same
                    group += self._queue
                    self._queue.clear()
            else:
                with self._lock:  # it was cut, and so may be those that lie idle
                    for other in self._free:
                        other.has_worked = False
            line.close()
            for one in group:
                one.error = error if one is call else _same(error)
        except BaseException:
            line.close()
            with self._lock:
                self._queue.extendleft(reversed(group[1:]))  # to ask again is safe
            group = []
            raise
        finally:
            for one in group:
                one.wake()
            call.line = None
            self._hand_over(line)

    def _gather(self, group: list[Call]) -> None:
        if not self._queue:
            return
        count, size = len(group[0].commands), size_of(group[0].commands)
        while self._queue:
            following = self._queue[0]
            if following.gone:
                self._queue.popleft()
                continue
            count, size = count + len(following.commands), size + size_of(following.commands)
            if count > COMMANDS_AT_ONCE or size > BYTES_AT_ONCE:
                return
            group.append(self._queue.popleft())

    def _hand_over(self, line: _Line) -> None:
        with self._lock:
            while self._queue and self._queue[0].gone:
                self._queue.popleft()
            if not self._queue:
                self._free.append(line)
                return
            following = self._queue.popleft()
            following.line, self._led_at = line, time.monotonic()
        following.wake()


class _Line:
    """One connection, for one group of calls at a time."""

    __slots__ = ("_connection", "has_worked")

    def __init__(self, connection: Any) -> None:
        self._connection = connection  # of redis-py, which has no types for it
        #: Whether it was open when it was used last, as far as anyone knows.
        self.has_worked = False

    def exchange(self, group: Sequence[Call]) -> None:
        """Send what the calls ask in one write, and read the replies."""
        connection = self._connection
        if not self.has_worked:
            connection.disconnect()
            connection.connect()
            self.has_worked = True
        sent = joined([command for call in group for command in call.commands])
        connection.send_packed_command([b"".join([packed(command) for command, _ in sent])])
        # Each reply may take the client's time-out: a server that answers steadily is not away. But all of them
        # together keep nobody for ever.
        deadline = time.monotonic() + PATIENCE_SECONDS
        replies: list[Any] = []
        for _ in sent:
            if replies and time.monotonic() > deadline:
                raise redis.TimeoutError("Redis took too long to answer all of it")
            replies.append(_read(connection))
        _share(group, spread(sent, replies))

    def close(self) -> None:
        self.has_worked = False
        with suppress(*REDIS_ERRORS):
            self._connection.disconnect()


def size_of(commands: Sequence[Command]) -> int:
    """The bytes of what users wrote in them: all that may be large."""
    return sum([len(word) for command in commands for word in command if type(word) is bytes])


def _share(group: Sequence[Call], replies: Sequence[Any]) -> None:
    place = 0
    for call in group:
        call.replies = replies[place : place + len(call.commands)]
        place += len(call.commands)


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _same(error: BaseException) -> BaseException:
    """What one thread raises is not for another to raise: the traceback would be of both."""
    return type(error)(*error.args)


def rehearse(url: str) -> None:
    """
    Load what the first connection would load; connects to nothing.

    A fork while another thread imports a module leaves the child with one that is being imported for ever, and its
    own first import of it waits for that. So nothing may be left to import when publishing begins: neither what
    redis-py loads for its first connection, nor what Python loads for its first name look-up.

    Raises:
        Misconfigured: When *url* can't be one.
    """
    make_client(url).connection_pool.make_connection()


def make_client(url: str) -> redis.Redis:
    """
    A client that never keeps a job waiting for long. It does not retry: `sending` says what is tried again.

    Raises:
        Misconfigured: When *url* can't be one.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise Misconfigured(f"the Redis URL can't be one: {error}") from error
