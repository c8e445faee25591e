"""Bytes become values once, and what users wrote passes through as it is."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import (
    Event,
    Row,
    Transition,
    decode_event,
    decode_foreign,
    decode_message,
    encode_json,
    encode_message,
    public_changes,
    public_run,
    public_status,
    rfc3339,
)
from gateway.errors import BadChange, BadMessage
from gateway.feeds import RunId
from gateway.runs import ALWAYS_SHOWN, COLUMNS, METADATA, PUBLIC_STATUS, Kind, Status

NOTHING: frozenset[str] = frozenset()
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)

# JSON of users


@given(json_values)
def test_what_a_user_wrote_can_be_read_back(value: Any) -> None:
    """Empty lists stay lists, numbers keep their digits."""
    assert json.loads(encode_json(value, what="output")) == value


def test_values_that_json_lacks_become_what_people_expect() -> None:
    """Dates and ids are text, keys are text, not-a-number is nothing."""
    moment = datetime(2026, 1, 31, 10, tzinfo=UTC)
    name = uuid.UUID(int=7)

    written = json.loads(encode_json({"at": moment, "id": name, 1: math.nan, "inf": math.inf}, what="output"))

    assert written == {"at": "2026-01-31T10:00:00+00:00", "id": str(name), "1": None, "inf": None}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", "\ud800", 2**70, {"a": [object()]}])
def test_what_has_no_json_is_refused_by_name(value: object) -> None:
    """The error says which column it was."""
    with pytest.raises(BadChange, match="output can't be written as JSON"):
        encode_json(value, what="output")


def test_what_is_endless_is_refused() -> None:
    """A list that holds itself."""
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(BadChange, match="can't be written as JSON"):
        encode_json(endless, what="payload")


# Messages of viewers


@given(st.binary() | st.text())
def test_any_message_is_an_object_or_refused(text: bytes | str) -> None:
    """Nothing that a viewer sends fails in another way."""
    try:
        message = decode_message(text)
    except BadMessage:
        return
    assert isinstance(message, dict)


@pytest.mark.parametrize("text", ["", "[]", "1", '"a"', "null", "{", "{'a': 1}", "[" * 100_000, '{"a":NaN}', b"\xff"])
def test_what_is_no_object_is_refused(text: bytes | str) -> None:
    """However deep, broken or foreign."""
    with pytest.raises(BadMessage):
        decode_message(text)


# Events

GOOD: dict[str, Any] = {"s": 7, "e": "e1", "r": "run_1", "b": 5, "g": ["a"], "c": {"number": 1}}


def test_an_event_has_what_was_published() -> None:
    """Each letter is the field that its name says."""
    more = {
        "w": True,
        "m": {"k": [1]},
        "d": ["gone"],
        "l": {"output": 5000},
        "t": [7, "PENDING", 5, 1],
        "n": ["a"],
    }

    assert decode_event(encode_message(GOOD | more)) == Event(
        sequence=7,
        epoch="e1",
        run=RunId("run_1"),
        created=5,
        tags=("a",),
        columns={"number": 1},
        whole=True,
        metadata={"k": [1]},
        deleted=("gone",),
        left_out={"output": 5000},
        transition=Transition(7, "PENDING", 5, 1),
        added=frozenset({"a"}),
    )


def test_an_event_without_the_rare_parts_has_none() -> None:
    """Most changes are no transition, delete nothing and leave nothing out."""
    event = decode_event(encode_message(GOOD))
    assert isinstance(event, Event)

    assert (event.whole, event.metadata, event.deleted, event.left_out) == (False, {}, (), {})
    assert (event.transition, event.added) == (None, frozenset())


@pytest.mark.parametrize("missing", GOOD)
def test_an_event_that_lacks_something_is_none(missing: str) -> None:
    """Somebody else has written it."""
    with pytest.raises(ValueError, match="not an event"):
        decode_event(encode_message({name: value for name, value in GOOD.items() if name != missing}))


@pytest.mark.parametrize(
    ("letter", "value"),
    [
        *(("s", value) for value in ("7", True, 7.0, None)),
        *(("b", "5"), ("e", 1), ("r", None), ("c", []), ("c", None), ("m", []), ("l", ["output"])),
        *(("t", [1]), ("t", 5), ("g", 5), ("d", 5), ("n", [{}])),
    ],
)
def test_an_event_of_wrong_types_is_none(letter: str, value: object) -> None:
    """What is compared and looked into must be what it seems to be."""
    with pytest.raises(ValueError, match="not an event"):
        decode_event(encode_message({**GOOD, letter: value}))


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_message_on_a_channel_is_an_event_or_a_value_error(raw: bytes) -> None:
    """Whoever can reach Redis can publish anything."""
    try:
        decode_event(raw)
    except ValueError:
        return


# The public object


@pytest.mark.parametrize(("raw", "public"), PUBLIC_STATUS.items())
def test_statuses_have_public_names_and_flags(raw: str, public: Status) -> None:
    """Exactly one of the flags tells in which part of its life the run is."""
    shown = public_changes({"status": raw}, NOTHING)

    assert shown["status"] == public
    parts = ("isQueued", "isExecuting", "isWaiting", "isCompleted", "isCancelled")
    assert sum(shown[part] for part in parts) == 1
    assert shown["isCompleted"] == (shown["isSuccess"] or shown["isFailed"])


def test_a_status_of_tomorrow_is_shown_as_queued() -> None:
    """Section 3.3 of the protocol that the official clients speak."""
    assert public_status("TELEPORTING") == Status.QUEUED


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_769_853_600_123, "2026-01-31T10:00:00.123Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_moments_are_rfc_3339_in_utc(milliseconds: int, text: str) -> None:
    """As JavaScript prints them; Python and JavaScript read them back as the same moment."""
    assert rfc3339(milliseconds) == text
    assert datetime.fromisoformat(text).timestamp() * 1000 == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    ("stored", "public"),
    [
        (
            {"type": "BUILT_IN_ERROR", "name": "E", "message": "m", "stackTrace": "s"},
            {"name": "E", "message": "m", "stackTrace": "s"},
        ),
        ({"type": "INTERNAL_ERROR", "code": "TASK_CRASHED"}, {"message": "internal error (TASK_CRASHED)"}),
        ({"type": "STRING_ERROR", "raw": "oops"}, {"message": "oops"}),
        ({"type": "CUSTOM_ERROR", "raw": "{}"}, {"message": "{}"}),
        ({}, {"message": ""}),
    ],
)
def test_errors_of_all_kinds_have_one_public_form(stored: dict[str, Any], public: dict[str, Any]) -> None:
    """Section 3.5."""
    assert public_changes({"error": stored}, NOTHING)["error"] == public


def test_what_was_emptied_is_null() -> None:
    """Whatever kind of column it is, but for those that are nobody's business."""
    emptied = dict.fromkeys(COLUMNS)

    shown = public_changes(emptied, NOTHING)

    internal = {column.public for column in COLUMNS.values() if column.kind is Kind.INTERNAL}
    assert set(shown) == {column.public for column in COLUMNS.values()} - internal
    assert set(shown.values()) == {None}


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_columns_that_do_not_exist_are_not_shown(columns: dict[str, Any]) -> None:
    """Fields that a later version stores don't leak from this one."""
    foreign = {name: value for name, value in columns.items() if name not in COLUMNS}

    assert public_changes(foreign, NOTHING) == {}


SAMPLES: dict[Kind, Any] = {
    Kind.PLAIN: {"a": [1, {}]},
    Kind.TIME: 5,
    Kind.STATUS: "PENDING",
    Kind.ERROR: {"type": "STRING_ERROR", "raw": "x"},
    Kind.TRANSITIONS: [[1, "PENDING", 5, 1]],
    Kind.INTERNAL: "application/json",
}


@given(st.sets(st.sampled_from(sorted(set(COLUMNS) - ALWAYS_SHOWN | {METADATA}))))
def test_a_row_and_a_change_of_everything_show_the_same(hidden: set[str]) -> None:
    """Whoever is told a whole run by a snapshot or by an update has the same object, without what is hidden."""
    columns = {name: SAMPLES[column.kind] for name, column in COLUMNS.items()}
    texts = {name: json.dumps(value).encode() for name, value in columns.items()}
    row = Row(RunId("run_1"), 7, texts, {b"k": b"[]"})

    public = json.loads(public_run(row, frozenset(hidden)))
    changed = json.loads(encode_message(public_changes(columns, frozenset(hidden))))

    assert public == {"id": "run_1", **changed} | ({} if METADATA in hidden else {"metadata": {"k": []}})
    assert not {COLUMNS[name].public for name in hidden - {METADATA}} & public.keys()


def test_stored_json_passes_through_untouched() -> None:
    """Digits beyond a double, spaces, duplicate keys: what the user wrote is what the viewer gets."""
    text = b'{"n":12345678901234567890,"f":1.10,"s":"\\u00e4"}'

    row = Row(RunId("run_1"), 7, {"payload": text}, {"ä".encode(): text})

    assert public_run(row, NOTHING).count(text) == 2


def test_a_row_knows_its_status_and_attempt() -> None:
    """By the public name."""
    row = Row(RunId("run_1"), 7, {"status": b'"COMPLETED_WITH_ERRORS"', "attempt": b"3"})

    assert (row.status, row.attempt) == (Status.FAILED, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d"', "\ufffd"),
        (r'"\ude00\uD83D\uDE00\uD83D"', "\ufffd\U0001f600\ufffd"),
        (r'"\\ud83d"', r"\ud83d"),
        (r'"\\\ud83d\n"', "\\\ufffd\n"),
        (r'{"\udfff":[1]}', {"\ufffd": [1]}),
        ('"é"', "é"),
    ],
)
def test_halves_of_pairs_that_javascript_wrote_are_read(text: str, value: Any) -> None:
    """They have no UTF-8, so they are replaced; whatever else looks like one stays."""
    assert decode_foreign(text) == decode_foreign(text.encode()) == value
    assert decode_message(f'{{"chunk":{text}}}', foreign=True) == {"chunk": value}


@pytest.mark.parametrize("text", [r'{"\ud83d"', "", r'"\ud83"', r'"\ud83d', b'"\xff\\ud83d"'])
def test_what_is_no_json_is_none_by_that(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_foreign(text)
