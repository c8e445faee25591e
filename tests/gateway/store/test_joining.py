"""Changes and appends that go out together: each is what it would have been alone, and Redis is not held up by any."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import NoScriptError, ResponseError

from gateway.changes import Change, Limits
from gateway.feeds import EnvironmentId
from gateway.store.appending import Append, AppendOutcome, append_command, read_append, whole_append
from gateway.store.joining import MOST_WORDS, joined, spread
from gateway.store.redis_keys import metadata_key, prefix
from gateway.store.writing import MOST_TOGETHER, Answer, Applied, ChangeWriter, read_answer
from tests.doubles import PATIENCE_SECONDS
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.codec import Event
    from gateway.store.writing import Command

_numbers = itertools.count(1)
_RUNS = ("run_1", "run_2")
#: A document of a few dozen bytes is too large here.
_LIMITS = Limits(metadata_bytes=60)


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


@settings(max_examples=30)
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
        _by_feed(events, first),
    )


def _by_feed(events: Sequence[tuple[str, Event]], first: int) -> dict[str, list[Any]]:
    """What each feed was told, in order, and with the bare facts of each event."""
    told: dict[str, list[Any]] = {}
    for feed, event in events:
        transition = event.transition and event.transition.status
        delta = (event.sequence - first, _timeless(event.columns), event.metadata, sorted(event.deleted))
        told.setdefault(feed, []).append((*delta, event.whole, event.tags, event.added, transition))
    return told


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


def test_an_index_that_is_broken_is_an_error_of_those_alone_that_stand_in_it(changing: Changing) -> None:
    """What all changes bring to an index is brought there at once; the others keep their places."""
    start = prefix(changing.environment)
    for run, tag in (("run_1", "good"), ("run_2", "bad"), ("run_3", "good")):
        changing.create(run, tags=[tag])
    changing.client.set(f"{start}feed:tag:bad", "no sorted set", px=60_000)

    one, two, three = changing.apply_together([{"run": f"run_{n}", "status": "EXECUTING"} for n in (1, 2, 3)])

    assert isinstance(two, ResponseError)
    assert isinstance(one, Applied)
    assert isinstance(three, Applied)
    client: Any = changing.client
    assert client.zrange(f"{start}feed:tag:good", 0, -1, withscores=True) == [
        ("run_1", one.sequence),
        ("run_3", three.sequence),
    ]


def test_numbers_that_nobody_needed_are_given_back(changing: Changing) -> None:
    """The history says which change is the newest, however many went together that changed nothing."""
    newest = changing.create("run_1", status="EXECUTING").sequence
    ended: dict[str, Any] = {"run": "run_1", "status": "COMPLETED"}

    answers = changing.apply_together([ended, ended, {"run": "nobody", "status": "EXECUTING"}, ended])

    assert [one.sequence - newest for one in answers if isinstance(one, Applied)] == [1, 1, 1, 1]
    assert int(changing.history()["sequence"]) == newest + 1
    assert changing.create("run_2").sequence == newest + 2


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


# What is told


def test_what_changes_together_is_told_together(changing: Changing) -> None:
    """One message of each feed, with the events in order, be they ticks or not; each run's own channel has its own."""
    with changing.listen() as listening:
        answers = changing.apply_together(
            [
                {"run": "run_1", "create": True, "tags": ["t"], "triples": [("set", "n", b"1")]},
                {"run": "run_2", "create": True, "tags": ["t", "u"]},
                {"run": "run_1", "triples": [("increment", "n", b"1")]},
                {"run": "run_2", "status": "EXECUTING"},
                {"run": "run_1", "triples": [("increment", "n", b"1")]},
            ]
        )
        messages = listening.messages()

    numbers = [one.sequence for one in answers if isinstance(one, Applied)]
    assert numbers == sorted(set(numbers))
    told = [(feed, [event.sequence - numbers[0] for event in events]) for feed, events in messages]
    assert told == [
        *(("run:run_1", [0]), ("run:run_2", [1]), ("run:run_1", [2]), ("run:run_2", [3]), ("run:run_1", [4])),
        *(("all", [0, 1, 2, 3, 4]), ("tag:t", [0, 1, 2, 3, 4]), ("tag:u", [1, 3])),
    ]


def test_large_events_do_not_wait_for_others(changing: Changing) -> None:
    """They go out with those before them, so that no message is many times as large as a change may be."""
    texts = [b'"s"', b'"' + b"x" * 20_000 + b'"', b'"t"', b'"u"']
    runs = [f"run_{number}" for number in range(len(texts))]
    changing.apply_together([{"run": run, "create": True} for run in runs])
    with changing.listen() as listening:
        changing.apply_together(
            [{"run": run, "triples": [("set", "k", text)]} for run, text in zip(runs, texts, strict=True)]
        )
        of_all = [[event.run for event in events] for feed, events in listening.messages() if feed == "all"]

    assert of_all == [["run_0", "run_1"], ["run_2", "run_3"]]


@pytest.mark.parametrize("byte", [b"\n", b"\r\n\t", b" "])
def test_json_may_be_written_in_several_lines(changing: Changing, byte: bytes) -> None:
    """What stands between events is in no JSON, however it was written."""
    text = b"[1," + byte + b'"a"]'
    with changing.listen() as listening:
        changing.apply_together([{"run": run, "create": True, "triples": [("set", "k", text)]} for run in _RUNS])
        told = [(event.run, event.metadata) for feed, event in listening.heard() if feed == "all"]

    assert told == [(run, {"k": [1, "a"]}) for run in _RUNS]


# How long it lives


def test_keys_live_as_long_as_if_each_change_had_come_alone(changing: Changing) -> None:
    """Those of runs, and those that they share; each also when it is new in the middle of a call."""
    life: list[dict[str, Any]] = [
        {"run": "run_1", "create": True, "initial": {"taskIdentifier": "resize", "batchId": "b"}, "tags": ["t"]},
        {"run": "run_2", "create": True, "lease_ms": 60_000, "status": "EXECUTING"},
        {"run": "run_1", "triples": [("set", "k", b"1")]},
        {"run": "run_2", "tags": ["late"]},
        {"run": "run_1", "status": "COMPLETED"},
        {"run": "run_2", "triples": [("set", "k", b"1"), ("delete", "k", b"")]},
        {"run": "run_2", "triples": [("set", "k", b"2")]},
    ]

    def lifetimes(way: Callable[[Changing], object]) -> dict[str, int]:
        each = Changing(changing.client, EnvironmentId(f"{changing.environment}-{next(_numbers)}"))
        way(each)
        start = prefix(each.environment)
        client: Any = each.client
        return {key[len(start) :]: client.pttl(key) for key in each.all_keys()}

    alone = lifetimes(lambda each: [each.apply(**said) for said in life])
    together = lifetimes(lambda each: each.apply_together(life))

    def of_runs(lifetimes: dict[str, int]) -> dict[str, int]:
        return {key: left for key, left in lifetimes.items() if key.startswith(("run:", "metadata:"))}

    assert together.keys() == alone.keys()
    slack = PATIENCE_SECONDS * 1000
    assert of_runs(together) == pytest.approx(of_runs(alone), abs=slack)
    # What runs share lives at least as long as they were once promised to; when that was said again, somewhat longer.
    shared = together.keys() - of_runs(together).keys()
    assert min(together[key] for key in shared) > changing.writer.retention.history_ms - slack


def test_ids_of_runs_that_are_gone_leave_the_indexes(changing: Changing) -> None:
    """As many as come together, at least: an index does not grow by more than lives in it."""
    client: Any = changing.client
    start = prefix(changing.environment)
    for number in range(6):
        changing.create(f"gone_{number}", tags=["t"])
        client.delete(f"{start}run:gone_{number}")

    changing.apply_together([{"run": f"run_{number}", "create": True, "tags": ["t"]} for number in range(6)])

    for index in ("feed:all", "created:all", "feed:tag:t", "created:tag:t"):
        assert client.zrange(start + index, 0, -1) == [f"run_{number}" for number in range(6)]


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
