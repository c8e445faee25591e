"""What a run is on the shape feeds: text or null, in the forms that the official clients check each row against."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.codec import Event, Row, Transition
from gateway.feeds import RunId
from gateway.triggerdev.shape.columns import TYPES, document_text, event_values, hidden_of, row_values, schema_of

NOTHING: frozenset[str] = frozenset()
#: 2026-01-31T10:00:00.123Z
MOMENT = 1_769_853_600_123

MINIMAL: dict[str, Any] = {
    "taskIdentifier": "resize",
    "status": "PENDING",
    "attempt": 1,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
}


def row(metadata: dict[str, Any] | None = None, **columns: Any) -> Row:
    stored = {name: json.dumps(value).encode() for name, value in {**MINIMAL, **columns}.items()}
    document = {key.encode(): json.dumps(value).encode() for key, value in (metadata or {}).items()}
    return Row(RunId("run_1"), 7, stored, document)


def event(*, whole: bool = False, metadata: dict[str, Any] | None = None, **columns: Any) -> Event:
    return Event(
        sequence=7,
        epoch="e",
        run=RunId("run_1"),
        created=MOMENT,
        tags=(),
        columns={**MINIMAL, **columns} if whole else columns,
        whole=whole,
        metadata=metadata or {},
        deleted=(),
        left_out={},
        transition=Transition(7, "EXECUTING", MOMENT, 1),
        added=frozenset(),
    )


def test_a_row_has_every_column_of_the_schema() -> None:
    """What nobody said is there too, with what the clients take for nothing."""
    values = row_values(row(), NOTHING)

    assert values.keys() == TYPES.keys() == json.loads(schema_of(NOTHING)).keys()
    assert values == {
        **dict.fromkeys(TYPES),
        "id": "run_1",
        "friendlyId": "run_1",
        "taskIdentifier": "resize",
        "status": "PENDING",
        "createdAt": "2026-01-31T10:00:00.123",
        "updatedAt": "2026-01-31T10:00:00.123",
        "number": "0",
        "isTest": "f",
        "usageDurationMs": "0",
        "costInCents": "0",
        "baseCostInCents": "0",
        "payloadType": "application/json",
        "outputType": "application/json",
        "metadataType": "application/json",
        "realtimeStreams": "{}",
    }


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("completedAt", 0, "1970-01-01T00:00:00.000"),
        ("completedAt", None, None),
        ("completedAt", 10**18, None),
        ("number", 12, "12"),
        ("number", 12.9, "12"),
        ("number", "12", "0"),
        ("number", True, "0"),
        ("isTest", True, "t"),
        ("isTest", "true", "f"),
        ("usageDurationMs", None, "0"),
        ("costInCents", 1.5, "1.5"),
        ("costInCents", 2, "2"),
        ("baseCostInCents", None, "0"),
        ("ttl", "10m", "10m"),
        ("payloadType", 3, "application/json"),
        ("runTags", ["a", "b c"], '{"a","b c"}'),
        ("runTags", [], None),
        ("realtimeStreams", ["out"], '{"out"}'),
        ("realtimeStreams", ['a"b\\c', "{,}"], '{"a\\"b\\\\c","{,}"}'),
        ("payload", {"n": [1, None]}, '{"n": [1, null]}'),
        ("payload", "text", '"text"'),
        ("payload", None, "null"),
        ("output", 0, "0"),
        ("status", "COMPLETED_SUCCESSFULLY", "COMPLETED_SUCCESSFULLY"),
    ],
)
def test_a_value_is_spelled_as_its_type_wants_it(column: str, value: Any, text: str | None) -> None:
    """Whatever a publisher wrote: a single wrong value would end a whole subscription."""
    if value is None and column == "payload":
        assert row_values(row(), NOTHING)[column] is None
    else:
        assert row_values(row(**{column: value}), NOTHING)[column] == text


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("application/json", '"plain"'),
        ("application/super+json", '"plain"'),
        ("text/plain", "plain"),
        ("application/store", "plain"),
    ],
)
def test_text_is_text_where_its_type_says_so(kind: str, shown: str) -> None:
    """JSON keeps its quotes, in a row and in a change."""
    assert row_values(row(output="plain", outputType=kind), NOTHING)["output"] == shown
    assert event_values(event(output="plain", outputType=kind), NOTHING)["output"] == shown


def test_large_numbers_of_a_row_stay_as_they_were_written() -> None:
    """JSON of a payload passes through."""
    stored = row()
    columns = {**stored.columns, "payload": b'{"n":123456789012345678901234567890}'}

    assert row_values(Row(stored.run, 7, columns), NOTHING)["payload"] == '{"n":123456789012345678901234567890}'


def test_a_change_has_what_changed_and_whose_it_is() -> None:
    """A column that was emptied is null, or what stands for nothing where null may not be."""
    values = event_values(
        event(status="EXECUTING", startedAt=MOMENT, output=None, usageDurationMs=None, transitions=[], attempt=2),
        NOTHING,
    )

    assert values == {
        "id": "run_1",
        "status": "EXECUTING",
        "startedAt": "2026-01-31T10:00:00.123",
        "output": None,
        "usageDurationMs": "0",
    }


def test_a_whole_change_is_a_row_but_for_its_metadata() -> None:
    """What enters a feed comes complete."""
    values = event_values(event(whole=True, payload={"n": 1}), NOTHING)

    assert {**values, "metadata": None} == {**row_values(row(), NOTHING), "payload": '{"n":1}'}


def test_hidden_columns_are_nowhere() -> None:
    """Neither in rows nor in changes nor in the schema."""
    hidden = hidden_of(["payload", "metadata", "completedAt", "metadataType"])

    for values in (
        row_values(row({"x": 1}, payload=1, completedAt=MOMENT), hidden),
        event_values(event(whole=True, payload=1, completedAt=MOMENT), hidden),
        json.loads(schema_of(hidden)),
    ):
        assert not values.keys() & hidden


def test_what_the_clients_need_cannot_be_hidden() -> None:
    """And names of nothing hide nothing."""
    assert hidden_of(["id", "friendlyId", "taskIdentifier", "status", "createdAt", "updatedAt", "x", ""]) == NOTHING
    assert hidden_of(["payload", "id"]) == {"payload"}


def test_a_document_is_the_text_of_its_parts() -> None:
    """Values as they were stored, keys as JSON."""
    assert document_text({b'a"b': b"[1, 2]", "ü".encode(): b"1.10"}) == '{"a\\"b":[1, 2],"ü":1.10}'
    assert document_text({}) is None


def test_the_schema_has_the_types_that_the_clients_want() -> None:
    """int4 becomes a number, int8 would not; arrays have a dimension."""
    schema = json.loads(schema_of(NOTHING))

    assert schema["number"] == schema["usageDurationMs"] == {"type": "int4"}
    assert schema["costInCents"] == {"type": "float8"}
    assert schema["runTags"] == schema["realtimeStreams"] == {"type": "text", "dims": 1}
    assert schema["error"] == {"type": "jsonb"}
    assert schema["metadata"] == schema["payload"] == {"type": "text"}
    assert schema["isTest"] == {"type": "bool"}
    assert schema["createdAt"] == {"type": "timestamp"}
