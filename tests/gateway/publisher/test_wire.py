"""The way to Redis: threads that ask at the same moment share it, and whoever is gone is nobody else's trouble."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

from gateway.publisher.mailing import CONNECTIONS, TIMEOUT_SECONDS
from gateway.publisher.sending import REDIS_ERRORS, Pause
from gateway.publisher.wire import Call, Wire
from tests.gateway.publisher.waiting import BlackHole, LosingProxy, until
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.redis_server import RedisServer

THREADS = 20


@pytest.fixture
def unanswered() -> list[Wire]:
    return []


@pytest.fixture
def wire(redis_server: RedisServer, unanswered: list[Wire]) -> Iterator[Wire]:
    wire = Wire(redis_server.url, unanswered.append)
    yield wire
    wire.close()


class Held:
    """Keeps the lines of a wire busy: whoever comes has to queue, until `let_go`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines, wire._free[:] = list(wire._free), []

    def let_go(self) -> None:
        for line in self._lines:
            self._wire._hand_over(line)


def asked_together(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], dict[int, Any]]:
    """Have many wait for one line, and hand it over: how large the groups were, and what each was answered."""
    held, answers = Held(wire), dict[int, Any]()
    line = held._lines[0]
    real, groups = type(line).exchange, list[int]()

    def exchange(self: Any, group: Any) -> None:
        groups.append(len(group))
        real(self, group)

    monkeypatch.setattr(type(line), "exchange", exchange)
    threads = [echoing(wire, number, answers) for number in range(THREADS)]
    until(lambda: len(wire._queue) == THREADS)
    wire._hand_over(line)
    for thread in threads:
        thread.join()
    assert wire._free == [line]
    return groups, answers


def echoing(wire: Wire, number: int, answers: dict[int, Any]) -> threading.Thread:
    def ask() -> None:
        try:
            (answers[number],) = wire.exchange([("ECHO", f"{number}")])
        except redis.RedisError as error:
            answers[number] = error

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_each_gets_its_own_answers(wire: Wire) -> None:
    """In the order of what it asked; what Redis refuses is an error in its place."""
    answers = wire.exchange([("ECHO", "a"), ("NONSENSE",), ("ECHO", b"b")])
    assert (answers[0], answers[2]) == (b"a", b"b")
    assert isinstance(answers[1], redis.ResponseError)


def test_those_who_wait_go_together(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """One write for all of them, and each gets what it asked for."""
    groups, answers = asked_together(wire, monkeypatch)
    assert groups == [THREADS]
    assert answers == {number: b"%d" % number for number in range(THREADS)}


def test_a_group_has_a_bound(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of commands and of bytes; the rest goes with the next."""
    monkeypatch.setattr("gateway.publisher.wire.COMMANDS_AT_ONCE", 6)
    groups, answers = asked_together(wire, monkeypatch)
    assert groups == [6, 6, 6, 2]
    assert len(answers) == THREADS


def test_who_waited_long_enough_is_told_so(wire: Wire) -> None:
    held = Held(wire)
    with pytest.raises(redis.TimeoutError):
        wire.exchange([("ECHO", "a")])
    held.let_go()
    assert len(wire._free) == CONNECTIONS
    assert not wire._queue
    assert wire.exchange([("ECHO", "a")]) == [b"a"]


def test_who_is_interrupted_hands_its_line_on(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit of one job's is raised while it leads: the others ask again, on a new connection."""
    held, answers = Held(wire), dict[int, Any]()
    line = held._lines[0]
    real, calls = type(line).exchange, []

    def exchange(self: Any, group: Any) -> None:
        calls.append(len(group))
        if len(calls) == 1:
            real(self, group)
            raise KeyboardInterrupt
        real(self, group)

    interrupted = threading.Event()

    def lead() -> None:
        try:
            wire.exchange([("ECHO", "leader")])
        except KeyboardInterrupt:
            interrupted.set()

    leader = threading.Thread(target=lead)
    leader.start()
    until(lambda: len(wire._queue) == 1)
    threads = [echoing(wire, number, answers) for number in range(3)]
    until(lambda: len(wire._queue) == 4)
    monkeypatch.setattr(type(line), "exchange", exchange)
    wire._hand_over(line)
    for thread in [leader, *threads]:
        thread.join()
    wire._hand_over(held._lines[1])
    assert interrupted.is_set()
    assert calls[0] == 4
    assert answers == {number: b"%d" % number for number in range(3)}
    assert len(wire._free) == CONNECTIONS


def test_who_leaves_the_queue_is_not_waited_for(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted while it waits for a line."""
    held = Held(wire)

    def wait(self: Any, seconds: float) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Call, "wait", wait)
        with pytest.raises(KeyboardInterrupt):
            wire.exchange([("ECHO", "a")])
    held.let_go()
    assert len(wire._free) == CONNECTIONS
    assert not wire._queue
    assert wire.exchange([("ECHO", "a")]) == [b"a"]


def test_nobody_who_is_gone_is_handed_a_line(wire: Wire) -> None:
    """Neither when it left the queue, nor when it comes back there, because the one who led was interrupted."""
    held, gone = Held(wire), Call([("ECHO", "gone")])
    wire._begin(gone)
    wire._leave(gone)
    answers = dict[int, Any]()
    thread = echoing(wire, 1, answers)
    until(lambda: len(wire._queue) == 2)
    held.let_go()
    thread.join()
    assert answers == {1: b"1"}
    wire._queue.append(gone)
    assert wire.exchange([("ECHO", "a")]) == [b"a"]
    assert not wire._queue
    assert len(wire._free) == CONNECTIONS


def test_who_waits_for_a_server_that_is_away_need_not_find_out_itself() -> None:
    """One time-out for all of them."""
    with BlackHole() as hole:
        wire = Wire(hole.url, lambda _: None)
        held, answers = Held(wire), dict[int, Any]()
        threads = [echoing(wire, number, answers) for number in range(THREADS)]
        until(lambda: len(wire._queue) == THREADS)
        wire._hand_over(held._lines[0])
        for thread in threads:
            thread.join(4 * TIMEOUT_SECONDS)
        assert {type(answer) for answer in answers.values()} == {redis.TimeoutError}
        assert len({id(answer) for answer in answers.values()}) == THREADS, "a traceback would be of several threads"
        wire.close()


def test_a_server_that_is_not_there_is_told_once_for_each_attempt(unanswered: list[Wire]) -> None:
    wire = Wire(f"redis://127.0.0.1:{free_port()}/0", unanswered.append)
    with pytest.raises(redis.ConnectionError):
        wire.hold(asking("a"))
    assert unanswered == [wire]
    assert isinstance(wire.hold_all([asking("a"), asking("b")])[1], redis.ConnectionError)
    assert unanswered == [wire, wire]


def test_a_connection_can_be_lost_any_number_of_times(redis_server: RedisServer) -> None:
    """More often than redis-py's pool has connections."""
    loses = True
    with LosingProxy(redis_server.port, lambda: loses) as proxy:
        wire = Wire(proxy.url, lambda _: None)
        for _ in range(150):
            with pytest.raises(REDIS_ERRORS):
                wire.exchange([("ECHO", "a")])
        loses = False
        assert wire.exchange([("ECHO", "a")]) == [b"a"]
        wire.close()


def test_when_one_connection_was_cut_none_that_lies_idle_is_trusted(wire: Wire, redis_server: RedisServer) -> None:
    """So that one more attempt is enough: a restart, or a provider, cuts all of them."""
    first = wire._free.pop()
    wire.exchange([("ECHO", "a")])
    wire._free[:0] = [first]
    first.exchange([Call([("ECHO", "a")])])
    with redis_server.client() as client:
        mine = {line._connection._sock.getsockname()[1] for line in wire._lines}
        for known in client.client_list():
            if int(known["addr"].rpartition(":")[2]) in mine:
                client.client_kill_filter(_id=known["id"])
    with pytest.raises(redis.ConnectionError):
        wire.exchange([("ECHO", "a")])
    wire._free.reverse()
    assert wire.exchange([("ECHO", "a")]) == [b"a"]


def asking(*texts: str, pause: float = 0.0) -> Generator[Any, Any, list[Any]]:
    """A conversation: one thing after the other."""
    replies = []
    for text in texts:
        if pause:
            yield Pause(pause)
        replies.append((yield ("ECHO", text)))
    return replies


def failing() -> Generator[Any, Any, str]:
    """A conversation that has something to say to an error."""
    try:
        yield ("NONSENSE",)
    except redis.ResponseError:
        return "understood"
    return "not told"


def stopping() -> Generator[Any, Any, None]:
    yield ("NONSENSE",)


def test_conversations_of_different_lengths_are_held_together(wire: Wire) -> None:
    """Each ends when it does; an error is its own."""
    held = wire.hold_all([asking("a", "b", "c"), failing(), asking("d", pause=0.001), stopping(), asking()])
    assert held[:3] == [[b"a", b"b", b"c"], "understood", [b"d"]]
    assert isinstance(held[3], redis.ResponseError)
    assert held[4] == []
    assert wire.hold(asking("a", pause=0.001)) == [b"a"]


def test_a_signal_handler_asks_in_the_middle_of_its_thread_s_own_question(wire: Wire) -> None:
    """It has a connection of its own then, since nobody could hand it one."""
    wire._here.asking = True
    held = Held(wire)
    assert wire.hold(asking("a")) == [b"a"]
    wire._here.asking = False
    held.let_go()


def test_a_wire_whose_lines_are_gone_says_so(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised from outside can hit the very moment in which a line is taken."""
    wire._free.clear()
    assert not wire.is_stuck  # it may be a long question
    monkeypatch.setattr("gateway.publisher.wire._LONGEST_LEAD_SECONDS", -1.0)
    assert wire.is_stuck
