"""What `apply_changes.lua` promises, on every kind of server."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.changes import Limits, Operation, Operator
from gateway.codec import decode_json
from gateway.runs import FINAL, PUBLIC_STATUS, Status
from gateway.store.redis_keys import LARGE_COLUMN_BYTES
from gateway.store.writing import Answer
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

_numbers = itertools.count(1)


@pytest.fixture
def changing(each_redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    with each_redis_server.client() as client:
        yield Changing(client, environment)


def set_to(key: str, value: object) -> Operation:
    return Operation(Operator.SET, key, value)


# Outcomes


def test_a_change_to_no_run_is_missing_and_leaves_nothing(changing: Changing) -> None:
    """A change that may not create its run says so, and stores no row."""
    assert changing.apply(status="EXECUTING").outcome is Answer.MISSING
    assert changing.stored() == {}


def test_a_first_change_creates_the_run_whole(changing: Changing) -> None:
    """The columns that every reader relies on are there from the first change on."""
    applied = changing.create(tags=["a", "b"], initial={"payload": {"x": 1}, "batchId": "b1"})

    row = changing.row()
    assert (applied.outcome, applied.status, applied.attempt) == (Answer.APPLIED, "PENDING", 1)
    assert row["taskIdentifier"] == "resize"
    assert (row["status"], row["attempt"], row["runTags"]) == ("PENDING", 1, ["a", "b"])
    assert (row["payload"], row["batchId"]) == ({"x": 1}, "b1")
    assert row["createdAt"] == row["queuedAt"] <= row["updatedAt"]
    assert row["transitions"] == [[applied.sequence, "PENDING", row["createdAt"], 1]]


def test_a_run_that_is_created_without_a_status_is_queued(changing: Changing) -> None:
    changing.apply(create=True, initial={"taskIdentifier": "t"})
    assert changing.row()["status"] == "PENDING"


def test_the_same_change_again_is_unchanged_and_costs_no_number(changing: Changing) -> None:
    """Repeating what is so already publishes nothing."""
    first = changing.create()
    again = changing.create()
    assert again.outcome is Answer.UNCHANGED
    assert again.sequence == first.sequence


def test_times_follow_the_status(changing: Changing) -> None:
    """startedAt, completedAt and the duration come with the statuses that mean them."""
    changing.create()
    changing.apply(status="EXECUTING")
    assert "completedAt" not in changing.row()
    changing.apply(status="COMPLETED", columns={"output": 1})
    row = changing.row()
    assert row["completedAt"] >= row["startedAt"]
    assert row["usageDurationMs"] == row["completedAt"] - row["startedAt"]


@pytest.mark.parametrize("status", sorted(FINAL))
def test_every_final_status_sets_its_end(changing: Changing, status: Status) -> None:
    """The official client knows the end by completedAt, whatever the status."""
    changing.create()
    changing.apply(status=status)
    row = changing.row()
    assert row["completedAt"]
    assert ("expiredAt" in row) == (status is Status.EXPIRED)


def test_a_change_that_was_kept_for_a_while_says_when_it_happened(changing: Changing) -> None:
    changing.create()
    changing.apply(status="EXECUTING", age=60_000)
    row = changing.row()
    assert 59_000 < row["updatedAt"] - row["startedAt"] < 61_000
    assert row["transitions"][-1][2] == row["startedAt"]


# Order

_RANKED = [
    {"DELAYED"},
    {"PENDING_VERSION", "WAITING_FOR_DEPLOY"},
    {"PENDING"},
    {"DEQUEUED"},
    {"EXECUTING", "PAUSED", "WAITING_TO_RESUME"},
    {"RETRYING_AFTER_FAILURE"},
    {raw for raw, public in PUBLIC_STATUS.items() if public in FINAL},
]
_RANK = {raw: rank for rank, raws in enumerate(_RANKED) for raw in raws}


def test_every_status_has_a_rank_here() -> None:
    assert _RANK.keys() == PUBLIC_STATUS.keys()


@pytest.mark.parametrize("before", sorted(_RANK))
def test_within_an_attempt_a_status_only_rises(changing: Changing, before: str) -> None:
    """Of any two statuses the higher one holds; a final one holds against every other."""
    last = max(_RANK.values())
    for after in sorted(_RANK):
        run = f"run_{next(_numbers)}"
        changing.create(run, status=before)
        outcome = changing.apply(run, status=after).outcome
        if after == before:
            expected = Answer.UNCHANGED
        elif _RANK[before] == last or _RANK[after] < _RANK[before]:
            expected = Answer.STALE
        else:
            expected = Answer.APPLIED
        assert (after, outcome) == (after, expected)
        assert changing.row(run)["status"] == (after if expected is Answer.APPLIED else before)


def test_a_late_status_changes_nothing_of_its_columns(changing: Changing) -> None:
    """What comes with a status that is refused (an error, an output) is refused with it."""
    changing.create()
    changing.apply(status="COMPLETED", columns={"output": 1})
    late = changing.apply(status="FAILED", columns={"error": {"type": "STRING_ERROR", "raw": "x"}})
    assert late.outcome is Answer.STALE
    assert late.status == "COMPLETED_SUCCESSFULLY"
    assert "error" not in changing.row()
    again = changing.apply(status="COMPLETED", columns={"output": 2})
    assert again.outcome is Answer.UNCHANGED
    assert changing.row()["output"] == 1


def test_an_earlier_attempt_is_stale(changing: Changing) -> None:
    changing.create()
    changing.apply(status="EXECUTING", attempt=2)
    late = changing.apply(status="FAILED", attempt=1, operations=[set_to("a", 1)])
    assert (late.outcome, late.attempt) == (Answer.STALE, 2)
    assert changing.row()["status"] == "EXECUTING"
    assert changing.metadata() == {}


def test_a_new_attempt_reopens_a_run_and_clears_its_end(changing: Changing) -> None:
    """Nothing of how the last attempt ended is left, and the columns are told as emptied."""
    changing.create()
    changing.apply(status="EXECUTING")
    changing.apply(status="FAILED", columns={"error": {"type": "STRING_ERROR", "raw": "x"}, "output": 1})
    with changing.listen() as listening:
        assert changing.apply(status="QUEUED", attempt=2).outcome is Answer.APPLIED
        event = listening.heard()[0][1]
    row = changing.row()
    assert (row["status"], row["attempt"]) == ("PENDING", 2)
    assert not row.keys() & {"completedAt", "error", "output", "usageDurationMs"}
    assert {name for name, value in event.columns.items() if value is None} == {
        "completedAt",
        "error",
        "output",
        "usageDurationMs",
    }


def test_the_transitions_are_every_status_in_order(changing: Changing) -> None:
    changing.create()
    for attempt, status in [(1, "EXECUTING"), (1, "WAITING"), (1, "EXECUTING"), (1, "FAILED"), (2, "EXECUTING")]:
        changing.apply(status=status, attempt=attempt)
    changing.apply(status="COMPLETED")
    transitions = changing.row()["transitions"]
    assert [(status, attempt) for _, status, _, attempt in transitions] == [
        ("PENDING", 1),
        ("EXECUTING", 1),
        ("WAITING_TO_RESUME", 1),
        ("EXECUTING", 1),
        ("COMPLETED_WITH_ERRORS", 1),
        ("EXECUTING", 2),
        ("COMPLETED_SUCCESSFULLY", 2),
    ]
    assert transitions == sorted(transitions)


def test_transitions_are_bounded(changing: Changing) -> None:
    """A run that waits a thousand times keeps the last hundred."""
    changing.create()
    for _ in range(60):
        changing.apply(status="EXECUTING")
        applied = changing.apply(status="WAITING")
    transitions = changing.row()["transitions"]
    assert len(transitions) == 100
    assert transitions[-1][0] == applied.sequence


def test_sequence_numbers_strictly_rise_across_runs(changing: Changing) -> None:
    numbers = [changing.create(f"run_{number}").sequence for number in range(5)]
    numbers += [changing.apply(f"run_{number}", status="EXECUTING").sequence for number in range(5)]
    assert numbers == sorted(set(numbers))
    assert changing.history()["sequence"] == str(numbers[-1])


# A worker that is faster than whoever created the run


def test_creation_fills_the_gaps_when_the_worker_was_faster(changing: Changing) -> None:
    """What only the creator knows arrives late, and takes nothing back."""
    changing.create(status="EXECUTING", operations=[set_to("both", "worker")])
    late = changing.create(
        tags=["t"],
        initial={"payload": 1, "batchId": "b", "taskIdentifier": "other"},
        metadata={"both": "creator", "mine": []},
    )
    row = changing.row()
    assert late.outcome is Answer.STALE
    assert (row["status"], row["taskIdentifier"], row["payload"], row["batchId"]) == ("EXECUTING", "resize", 1, "b")
    assert row["runTags"] == ["t"]
    assert changing.metadata() == {"both": "worker", "mine": []}


def test_gaps_are_filled_even_when_the_run_has_ended(changing: Changing) -> None:
    changing.create(status="COMPLETED")
    with changing.listen() as listening:
        changing.create(tags=["t"], initial={"payload": 1})
        feeds = [feed for feed, _ in listening.heard()]
    assert changing.row()["payload"] == 1
    assert feeds == ["run:run_1", "all", "task:resize", "tag:t"]


def test_operations_do_not_depend_on_the_status_they_came_with(changing: Changing) -> None:
    """Whether a publisher sent them a moment before a late status or together with it makes no difference."""
    changing.create(status="CANCELED")
    late = changing.apply(status="COMPLETED", operations=[set_to("a", 1)])
    assert late.outcome is Answer.STALE
    assert changing.metadata() == {"a": 1}


# Publishing


def test_a_change_is_published_once_per_feed_that_holds_the_run(changing: Changing) -> None:
    changing.create(tags=["a", "b"], initial={"batchId": "b1"})
    with changing.listen() as listening:
        changing.apply(status="EXECUTING")
        heard = listening.heard()
    assert sorted(feed for feed, _ in heard) == ["all", "batch:b1", "run:run_1", "tag:a", "tag:b", "task:resize"]
    assert all(event == heard[0][1] for _, event in heard)


def test_what_changes_nothing_is_not_published(changing: Changing) -> None:
    changing.create(tags=["a"])
    changing.apply(status="COMPLETED", operations=[set_to("a", 1)])
    with changing.listen() as listening:
        changing.apply(status="EXECUTING")
        changing.apply(status="COMPLETED")
        changing.apply(tags=["a"])
        changing.apply(columns={"output": None})
        changing.apply(operations=[set_to("a", 1), Operation(Operator.DELETE, "none")])
        changing.apply(operations=[set_to("a", 2), set_to("a", 1)])
        changing.apply(operations=[Operation(Operator.UPDATE, value={"a": 1})])
        changing.apply("other", status="EXECUTING")
        assert listening.heard() == []


def test_an_event_is_the_delta(changing: Changing) -> None:
    """Only what changed travels: columns, metadata by key, names of deleted keys, the transition."""
    created = changing.create(tags=["a"], metadata={"gone": 1, "stays": 2})
    with changing.listen() as listening:
        applied = changing.apply(
            status="EXECUTING", operations=[set_to("new", [1]), Operation(Operator.DELETE, "gone")]
        )
        event = listening.heard()[0][1]
    row = changing.row()
    assert (event.sequence, event.epoch, event.run) == (applied.sequence, created.epoch, "run_1")
    assert (event.created, event.tags, event.whole, event.added) == (row["createdAt"], ("a",), False, frozenset())
    assert event.columns == {
        "status": "EXECUTING",
        "startedAt": row["startedAt"],
        "updatedAt": row["updatedAt"],
    }
    assert (event.metadata, event.deleted) == ({"new": [1]}, ("gone",))
    assert event.transition is not None
    assert event.transition.status == "EXECUTING"
    assert event.transition.sequence == applied.sequence


def test_a_run_that_enters_a_feed_comes_whole(changing: Changing) -> None:
    """Created, or tagged later: whoever follows that feed knows nothing of the run yet."""
    changing.create(initial={"payload": {"x": []}}, metadata={"k": {}})
    with changing.listen() as listening:
        changing.apply(tags=["late"])
        heard = dict(listening.heard())
    event = heard["tag:late"]
    assert event.whole
    assert event.added == {"late"}
    assert event.columns == changing.row()
    assert event.metadata == {"k": {}}
    assert "tag:late" in heard


def test_large_columns_are_left_out_with_their_size(changing: Changing) -> None:
    """A change with a large output is published without it; the row has it."""
    text = "x" * LARGE_COLUMN_BYTES
    changing.create(initial={"payload": text})
    with changing.listen() as listening:
        changing.apply(status="COMPLETED", columns={"output": text})
        changing.apply(tags=["t"])
        delta, *_, whole = (event for _, event in listening.heard())
    assert "output" not in delta.columns
    assert delta.left_out == {"output": len(text) + 2}
    assert whole.left_out == {"output": len(text) + 2, "payload": len(text) + 2}
    assert changing.row()["output"] == text


# Tags


def test_a_run_carries_ten_tags(changing: Changing) -> None:
    """The eleventh is refused with the whole change, which can be said again without it."""
    changing.create(tags=[f"t{number}" for number in range(9)])
    assert changing.apply(tags=["t9", "t1"]).outcome is Answer.APPLIED
    assert changing.apply(status="EXECUTING", tags=["t10"]).outcome is Answer.TOO_MANY_TAGS
    assert changing.row()["status"] == "PENDING"
    assert changing.row()["runTags"] == [f"t{number}" for number in range(10)]


def test_tags_that_look_alike_are_different(changing: Changing) -> None:
    """A tag is never taken for a part of another, nor for a pattern."""
    tags = ["a", "aa", "%a", ".", "a:b", "ü{}", "a b"]
    changing.create(tags=tags[:3])
    changing.apply(tags=tags)
    assert changing.row()["runTags"] == tags


# Metadata


def test_a_document_over_its_limit_is_refused_with_its_size(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    with each_redis_server.client() as client:
        changing = Changing(client, environment, limits=Limits(metadata_bytes=100))
        changing.create(operations=[set_to("a", "x" * 80)])
        refused = changing.apply(status="EXECUTING", operations=[set_to("b", "x" * 80)])
        assert refused.outcome is Answer.TOO_LARGE
        assert refused.sequence == 2 * (80 + 2 + 1 + 4)
        assert changing.row()["status"] == "PENDING"
        assert changing.metadata().keys() == {"a"}


def test_a_document_that_is_too_large_already_may_shrink(
    each_redis_server: RedisServer, environment: EnvironmentId
) -> None:
    with each_redis_server.client() as client:
        Changing(client, environment).create(operations=[set_to("a", "x" * 200), set_to("b", "x" * 200)])
        changing = Changing(client, environment, limits=Limits(metadata_bytes=100))
        assert changing.apply(operations=[Operation(Operator.DELETE, "a")]).outcome is Answer.APPLIED
        assert changing.apply(operations=[set_to("c", 1)]).outcome is Answer.TOO_LARGE


def test_operations_computed_from_another_version_conflict(changing: Changing) -> None:
    changing.create(operations=[set_to("a", 1)])
    version = int(changing.stored()["_version"])
    changing.apply(operations=[set_to("a", 2)])
    refused = changing.apply(triples=[("set", "a", b"3")], version=version)
    assert refused.outcome is Answer.CONFLICT
    assert changing.metadata() == {"a": 2}
    assert changing.apply(triples=[("set", "a", b"3")], version=version + 1).outcome is Answer.APPLIED


def test_named_operations_are_applied_once(changing: Changing) -> None:
    """Whoever had no answer asks again under the same name, and nothing counts twice; the status still arrives."""
    changing.create()
    operations = [Operation(Operator.INCREMENT, "n", 1), Operation(Operator.APPEND, "log", "x")]
    changing.apply(operations=operations, once="aaaaaaaa")
    again = changing.apply(operations=operations, once="aaaaaaaa")
    changing.apply(status="EXECUTING", operations=operations, once="aaaaaaaa")
    changing.apply(operations=operations, once="bbbbbbbb")
    assert again.outcome is Answer.UNCHANGED
    assert changing.metadata() == {"n": 2, "log": ["x", "x"]}
    assert changing.row()["status"] == "EXECUTING"


def test_a_sum_that_json_has_no_number_for_is_not_stored(changing: Changing) -> None:
    changing.create(metadata={"n": 1e308})
    changing.apply(operations=[Operation(Operator.INCREMENT, "n", 1e308)])
    assert changing.metadata() == {"n": 1e308}


_TEXTS = [
    '{"empty":[],"object":{},"nested":[[],{}]}',
    "12345678901234567",
    "-9223372036854775808",
    "1.0",
    '"ü 日本 \U0001f600 \\u2028 \\" \\\\ / %s %1 \\u0000"',
    "[]",
    "{}",
    "null",
    "false",
]


@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("key", ["k", "a/b", 'qu"ote', "ba\\ck", "ü", "", "12", "$x", "new\nline", "%d"])
def test_what_users_wrote_survives_byte_for_byte(changing: Changing, key: str, text: str) -> None:
    """In the row, in metadata, through appending, and in the event."""
    changing.create()
    with changing.listen() as listening:
        changing.apply(triples=[("set", key, text.encode()), ("append", "list", text.encode())])
        changing.apply(triples=[("append", "list", text.encode())])
        events = dict(listening.heard()[::2])
    assert changing.raw_metadata() == {key: text, "list": f"[{text},{text}]"}
    assert events["run:run_1"].metadata in (
        {"list": [decode_json(text)] * 2},
        {key: decode_json(text), "list": [decode_json(text)]},
    )


def test_columns_survive_byte_for_byte(changing: Changing) -> None:
    value = {"list": [], "object": {}, "number": 12345678901234567, "text": 'ü"\\/\n'}
    changing.create(initial={"payload": value})
    changing.apply(columns={"output": value})
    assert changing.stored()["payload"] == changing.stored()["output"]
    assert changing.row()["output"] == value


# Any order


_SAID = st.sampled_from(
    [
        (attempt, status)
        for attempt in (None, 1, 2, 3)
        for status in ("QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "RETRYING_AFTER_FAILURE", "FAILED", "COMPLETED")
    ]
)


@given(said=st.lists(_SAID, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_row_only_moves_forward(changing: Changing, said: list[tuple[int | None, str]]) -> None:
    """Whatever is said in whatever order, attempt and rank never fall, and every number is greater than the last."""
    run = f"run_{next(_numbers)}"
    last, ended, sequence = (0, 0), False, 0
    for attempt, status in said:
        applied = changing.create(run, status=status, attempt=attempt)
        now = (applied.attempt, _RANK[applied.status])
        assert now >= last
        if ended and applied.attempt == last[0]:
            assert applied.outcome is not Answer.APPLIED
        if applied.outcome is Answer.APPLIED:
            assert applied.sequence > sequence
            sequence = applied.sequence
        last, ended = now, PUBLIC_STATUS[applied.status] in FINAL
    attempts = [attempt for *_, attempt in changing.row(run)["transitions"]]
    assert attempts == sorted(attempts)


_LIFE = [
    ("create", None, "QUEUED"),
    ("apply", 1, "EXECUTING"),
    ("apply", 1, "RETRYING_AFTER_FAILURE"),
    ("create", 2, "QUEUED"),
    ("apply", 2, "EXECUTING"),
    ("apply", 2, "COMPLETED"),
]


@given(order=st.permutations(range(len(_LIFE))), again=st.lists(st.integers(0, len(_LIFE) - 1), max_size=4))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_and_repetition_ends_in_the_same_place(
    changing: Changing, order: list[int], again: list[int]
) -> None:
    """Every change of a life, shuffled and some of them twice: the run ends as it would have in order."""
    run = f"run_{next(_numbers)}"
    for index in [*order, *again]:
        _, attempt, status = _LIFE[index]
        columns = {"output": attempt} if status == "COMPLETED" else {}
        changing.create(run, status=status, attempt=attempt, columns=columns, initial={"payload": 7}, tags=["t"])
    row = changing.row(run)
    assert (row["status"], row["attempt"], row["output"]) == ("COMPLETED_SUCCESSFULLY", 2, 2)
    assert (row["payload"], row["runTags"], row["taskIdentifier"]) == (7, ["t"], "resize")
