"""Changes and appends that go out together: each is what it would have been alone, and Redis is not held up by any."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import NoScriptError, ResponseError

from gateway.changes import Change, Limits
from gateway.feeds import EnvironmentId
from gateway.store.appending import Append, AppendOutcome, append_command, read_append, whole_append
from gateway.store.joining import MOST_WORDS, joined, spread
from gateway.store.redis_keys import metadata_key, prefix
from gateway.store.writing import MOST_TOGETHER, Answer, Applied, ChangeWriter, read_answer
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.store.writing import Command
    from tests.redis_server import RedisServer

_numbers = itertools.count(1)
_RUNS = ("run_1", "run_2")
#: A document of a few dozen bytes is too large here.
_LIMITS = Limits(metadata_bytes=60)


@pytest.fixture
def changing(each_redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    with each_redis_server.client() as client:
        yield Changing(client, environment)


# The same, however they are sent

_key = st.sampled_from(["a", "b", 'q"ü'])
_triple = st.one_of(
    st.tuples(st.just("set"), _key, st.sampled_from([b"1", b"[]", b'"x"', b'{"e":[]}', b'"' + b"y" * 30 + b'"'])),
    st.tuples(st.just("delete"), _key, st.just(b"")),
    st.tuples(st.just("append"), _key, st.sampled_from([b"1", b'"z"'])),
    st.tuples(st.just("increment"), _key, st.sampled_from([b"1", b"-1", b"0.1", b"1e308"])),
    st.tuples(st.just("clear"), st.just(""), st.just(b"")),
)
_tick = st.fixed_dictionaries(
    {"run": st.sampled_from(_RUNS), "triples": st.lists(_triple, min_size=1, max_size=3)},
    optional={
        "attempt": st.integers(1, 2),
        "once": st.sampled_from(["00000001", "00000002"]),
        "version": st.integers(0, 4),
    },
)
_other = st.fixed_dictionaries(
    {"run": st.sampled_from(_RUNS)},
    optional={
        "create": st.just(True),
        "status": st.sampled_from(["QUEUED", "EXECUTING", "COMPLETED", "CANCELED"]),
        "attempt": st.integers(1, 2),
        "tags": st.lists(st.sampled_from(["t", "u", "v"]), min_size=1, max_size=2),
        "initial": st.just({"taskIdentifier": "resize", "batchId": "b", "payload": []}),
        "columns": st.just({"output": {"x": []}}),
        "triples": st.lists(_triple, min_size=1, max_size=2),
        "lease_seconds": st.just(60.0),
    },
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ticks=st.lists(_tick, min_size=6, max_size=12), changes=st.lists(st.one_of(_tick, _other), max_size=8))
def test_alone_together_and_in_full_are_the_same(
    changing: Changing, ticks: list[dict[str, Any]], changes: list[dict[str, Any]]
) -> None:
    """Answers, rows, indexes and events; also when a tick does not take its short way (lib/tick.lua)."""

    def alone(each: Changing, said: Sequence[Mapping[str, Any]]) -> list[Applied | Exception]:
        return [each.apply(**one) for one in said]

    def in_full(each: Changing, said: Sequence[Mapping[str, Any]]) -> list[Applied | Exception]:
        return [each.apply(**one, age=1) for one in said]  # that it happened earlier makes it more than a tick

    def together(each: Changing, said: Sequence[Mapping[str, Any]]) -> list[Applied | Exception]:
        return each.apply_together(said)

    begun = {"create": True, "status": "EXECUTING", "tags": ["t"], "triples": [("set", "a", b"1")]}
    created = [{"run": run, "attempt": attempt, **begun} for attempt, run in enumerate(_RUNS, 1)]
    expected, *others = [_outcome(changing, way, [*created, *ticks, *changes]) for way in (alone, in_full, together)]

    assert others == [expected, expected]


def _outcome(
    changing: Changing,
    way: Callable[[Changing, Sequence[Mapping[str, Any]]], list[Applied | Exception]],
    changes: Sequence[Mapping[str, Any]],
) -> Any:
    """What came of *changes* in an environment of their own, without what depends on the clock."""
    each = Changing(changing.client, EnvironmentId(f"{changing.environment}-{next(_numbers)}"), limits=_LIMITS)
    client: Any = each.client
    with each.listen() as listening:
        answers = way(each, changes)
        events = listening.heard()
    first = answers[0].sequence if isinstance(answers[0], Applied) else 0
    start = prefix(each.environment)
    kept = {key[len(start) :]: client.type(key) for key in each.all_keys()}
    return (
        [
            (one.outcome, one.sequence - first if one.sequence >= first else one.sequence, one.status, one.attempt)
            for one in answers
            if isinstance(one, Applied)
        ],
        {key: _timeless(client.hgetall(start + key)) for key in kept if key.startswith(("run:", "metadata:"))},
        {
            key: [(run, number - first) for run, number in client.zrange(start + key, 0, -1, withscores=True)]
            for key, kind in kept.items()
            if kind == "zset" and key.startswith(("feed:", "created:"))
        },
        set(kept),
        [
            (feed, event.sequence - first, _timeless(event.columns), event.metadata, sorted(event.deleted))
            for feed, event in events
        ],
        [(event.whole, event.tags, event.added, event.transition and event.transition.status) for _, event in events],
    )


def _timeless(columns: Any) -> dict[str, str]:
    """Columns without moments and numbers of the environment, which both have 13 digits."""
    return {name: re.sub(r"\d{13}", "#", str(text)) for name, text in columns.items() if name != "usageDurationMs"}


# Each for itself


def test_what_is_wrong_with_one_does_not_hurt_the_others(changing: Changing) -> None:
    """One whose metadata was overwritten by something else, say."""
    for run in ("run_1", "run_2", "run_3"):
        changing.create(run)
    changing.client.set(metadata_key(changing.environment, "run_2"), "no hash", px=60_000)
    triples = [("set", "k", b"1")]

    one, two, three = changing.apply_together([{"run": f"run_{n}", "triples": triples} for n in (1, 2, 3)])

    assert isinstance(two, ResponseError)
    assert "WRONGTYPE" in str(two)
    assert isinstance(one, Applied)
    assert isinstance(three, Applied)
    assert three.sequence > one.sequence
    assert changing.metadata("run_1") == changing.metadata("run_3") == {"k": 1}


def test_the_same_run_may_come_twice(changing: Changing) -> None:
    """In the order in which it was said, from its creation to its end."""
    answers = changing.apply_together(
        [
            {"run": "run_1", "create": True, "triples": [("set", "n", b"1")]},
            {"run": "run_1", "triples": [("increment", "n", b"1")]},
            {"run": "run_1", "status": "COMPLETED"},
            {"run": "run_1", "status": "EXECUTING"},
        ]
    )

    assert [one.outcome for one in answers if isinstance(one, Applied)] == [
        *(Answer.APPLIED, Answer.APPLIED, Answer.APPLIED, Answer.STALE)
    ]
    assert changing.metadata() == {"n": 2}


def test_appends_go_together_too(changing: Changing) -> None:
    """Each to its own stream, with the numbers of its own writer."""
    changing.create("run_1")
    appends = [
        Append("run_1", "a", [b"1", b"2"], "w", 0),
        Append("nobody", "a", [b"1"]),
        Append("run_1", "b", [b'"x"'], "w", 0),
        Append("run_1", "a", [b"2", b"3"], "w", 1),
        Append("run_1", "a", [b"9"], "w", 7),
    ]
    ((command, count),) = joined(append_command(append, changing.writer) for append in appends)
    client: Any = changing.client

    try:
        reply = client.execute_command(*command)
    except NoScriptError:
        reply = client.execute_command(*whole_append(command))

    answers = [read_append(one) for one in spread([(command, count)], [reply])]
    appended, missing, gap = AppendOutcome.APPENDED, AppendOutcome.MISSING, AppendOutcome.GAP
    assert [one.outcome for one in answers] == [appended, missing, appended, appended, gap]
    assert [one.next_index for one in answers] == [2, 0, 1, 3, 3]
    assert [one.writer_next for one in answers] == [2, 0, 1, 3, 3]


# What goes together


def _ticks(environment: str, count: int) -> list[Command]:
    writer = ChangeWriter(environment=EnvironmentId(environment))
    return [writer.by_digest(Change(run=f"run_{n}"), [("set", "k", b"1")]) for n in range(count)]


def test_only_neighbours_of_one_environment_are_joined() -> None:
    """And the order stays: what comes between them is sent between them."""
    one, other = _ticks("one", 2), _ticks("other", 1)
    question: Command = ("HGET", "key", "field")

    sent = joined([*one, *other, question, question, *one])

    assert [count for _, count in sent] == [2, 1, 1, 1, 2]
    assert [command[0] for command, _ in sent] == ["EVALSHA", "EVALSHA", "HGET", "HGET", "EVALSHA"]
    assert sent[2][0] == question


def test_no_command_holds_redis_up() -> None:
    """A bounded number of changes, and of chunks; but for what was one command before."""
    writer = ChangeWriter(environment=EnvironmentId("one"))
    appends = [append_command(Append("run_1", f"s{n}", [b"1"] * 400), writer) for n in range(5)]
    large = append_command(Append("run_1", "s", [b"1"] * 3 * MOST_WORDS), writer)

    ticks, chunks = joined(_ticks("one", 2 * MOST_TOGETHER + 1)), joined([*appends, large, large])

    assert [count for _, count in ticks] == [MOST_TOGETHER, MOST_TOGETHER, 1]
    assert [count for _, count in chunks] == [2, 2, 1, 1, 1]
    assert all(len(command) <= MOST_WORDS for command, _ in chunks[:3])


def test_an_error_is_told_to_each_that_it_concerns() -> None:
    """Redis answers a command that it does not take once; everyone who stands behind it hears it."""
    sent = joined(_ticks("one", 3) + _ticks("other", 1))
    error = NoScriptError("no matching script")

    assert spread(sent, [error, [["applied"]]]) == [error, error, error, [["applied"]]]


def test_an_answer_that_is_none_is_an_error() -> None:
    """Of a script that is not ours, say."""
    with pytest.raises(ValueError, match="not an answer"):
        read_answer([[b"perhaps", b"e", b"1", b"", b"0"]])
