"""Metadata operations: the table of section 5.2, line by line, and that Redis and Python agree."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.changes import Operation, Operator
from gateway.codec import decode_json, encode_json
from gateway.errors import BadChange
from gateway.metadata import apply_operations, checked, computed, equal, merged, native
from tests.gateway.store.changing import Changing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

SET, DELETE, APPEND = Operator.SET, Operator.DELETE, Operator.APPEND
REMOVE, INCREMENT, UPDATE = Operator.REMOVE, Operator.INCREMENT, Operator.UPDATE

TABLE: list[tuple[str, dict[str, Any], tuple[Operator, str, Any], dict[str, Any]]] = [
    ("set literal", {"a": 1}, (SET, "a", [2]), {"a": [2]}),
    ("set literal with dots", {"a": {"b": 1}}, (SET, "a.b", 2), {"a": {"b": 1}, "a.b": 2}),
    ("set literal, brackets are plain", {}, (SET, "a[0]", 2), {"a[0]": 2}),
    ("set path", {"a": {"b": 1}}, (SET, "$.a.b", 2), {"a": {"b": 2}}),
    ("set path creates the last segment", {"a": {}}, (SET, "$.a.b", 2), {"a": {"b": 2}}),
    ("set path at the top", {}, (SET, "$.a", 2), {"a": 2}),
    ("set path, a parent is missing", {"a": {}}, (SET, "$.a.b.c", 2), {"a": {}}),
    ("set path, no parent at all", {}, (SET, "$.a.b", 2), {}),
    ("set path, the parent is no container", {"a": 1}, (SET, "$.a.b", 2), {"a": 1}),
    ("set path, brackets have no meaning", {"a": [1]}, (SET, "$.a[0]", 2), {"a": [1], "a[0]": 2}),
    ("set in an array", {"a": [1, 2]}, (SET, "$.a.1", 3), {"a": [1, 3]}),
    ("set past the end pads", {"a": [1]}, (SET, "$.a.3", 2), {"a": [1, None, None, 2]}),
    ("set in an array by name", {"a": [1]}, (SET, "$.a.b", 2), {"a": [1]}),
    ("set very far past the end", {"a": [1]}, (SET, "$.a.99999999999", 2), {"a": [1]}),
    ("set a number of an object", {"a": {}}, (SET, "$.a.0", 2), {"a": {"0": 2}}),
    ("set every property", {"a": {"x": 1, "y": 2}}, (SET, "$.a.*", 0), {"a": {"x": 0, "y": 0}}),
    ("set every element", {"a": [1, 2]}, (SET, "$.a.*", 0), {"a": [0, 0]}),
    ("set under every element", {"a": [{"x": 1}, {}, 3]}, (SET, "$.a.*.x", 0), {"a": [{"x": 0}, {"x": 0}, 3]}),
    ("append literal, missing", {}, (APPEND, "a", 1), {"a": [1]}),
    ("append literal, array", {"a": [1]}, (APPEND, "a", [2]), {"a": [1, [2]]}),
    ("append literal, empty array", {"a": []}, (APPEND, "a", 1), {"a": [1]}),
    ("append literal, other", {"a": {"x": 1}}, (APPEND, "a", 1), {"a": [{"x": 1}, 1]}),
    ("append literal, null", {"a": None}, (APPEND, "a", 1), {"a": [None, 1]}),
    ("append path, missing", {"a": {}}, (APPEND, "$.a.b", 1), {"a": {"b": [1]}}),
    ("append path, array", {"a": {"b": [1]}}, (APPEND, "$.a.b", 2), {"a": {"b": [1, 2]}}),
    ("append path, other", {"a": {"b": 1}}, (APPEND, "$.a.b", 2), {"a": {"b": [1, 2]}}),
    ("append path, null", {"a": {"b": None}}, (APPEND, "$.a.b", 1), {"a": {"b": None}}),
    ("append path, parent missing", {}, (APPEND, "$.a.b", 1), {}),
    ("remove", {"a": [1, {"x": [1]}, 1.0, {"x": [1]}]}, (REMOVE, "a", {"x": [1]}), {"a": [1, 1.0]}),
    ("remove compares as JSON does", {"a": [1, True, 1.0, "1"]}, (REMOVE, "a", 1), {"a": [True, "1"]}),
    ("remove, nothing equal", {"a": [1]}, (REMOVE, "a", 2), {"a": [1]}),
    ("remove, missing", {}, (REMOVE, "a", 2), {}),
    ("remove, no array", {"a": 2}, (REMOVE, "a", 2), {"a": 2}),
    ("remove path", {"a": {"b": [1, 2]}}, (REMOVE, "$.a.b", 2), {"a": {"b": [1]}}),
    ("increment", {"a": 1}, (INCREMENT, "a", 2), {"a": 3}),
    ("increment by a fraction", {"a": 1}, (INCREMENT, "a", 0.5), {"a": 1.5}),
    ("decrement", {"a": 1}, (INCREMENT, "a", -2), {"a": -1}),
    ("increment, missing", {}, (INCREMENT, "a", 2), {"a": 2}),
    ("increment, no number", {"a": "5"}, (INCREMENT, "a", 2), {"a": 2}),
    ("increment, a boolean is no number", {"a": True}, (INCREMENT, "a", 2), {"a": 2}),
    ("increment path", {"a": {"b": 1}}, (INCREMENT, "$.a.b", 2), {"a": {"b": 3}}),
    ("increment path, missing", {"a": {}}, (INCREMENT, "$.a.b", 2), {"a": {"b": 2}}),
    ("increment path, parent missing", {}, (INCREMENT, "$.a.b", 2), {}),
    ("delete literal", {"a": 1, "b": 2}, (DELETE, "a", None), {"b": 2}),
    ("delete literal, missing", {"b": 2}, (DELETE, "a", None), {"b": 2}),
    ("delete path", {"a": {"b": 1}}, (DELETE, "$.a.b", None), {"a": {"b": 1}}),
    ("delete path at the top", {"a": 1}, (DELETE, "$.a", None), {"a": 1}),
    ("update replaces", {"a": 1}, (UPDATE, "", {"b": {}}), {"b": {}}),
    ("update with nothing", {"a": 1}, (UPDATE, "", {}), {}),
    ("unsafe literal", {"a": 1}, (SET, "__proto__", 1), {"a": 1}),
    ("unsafe in an update", {"a": 1}, (UPDATE, "", {"__proto__": 1, "b": 1}), {"b": 1}),
    ("constructor is a literal like others", {}, (SET, "constructor", 1), {"constructor": 1}),
    ("unsafe segment", {"a": {}}, (SET, "$.a.__proto__", 1), {"a": {}}),
    ("unsafe segment", {"a": {}}, (SET, "$.constructor", 1), {"a": {}}),
    ("unsafe segment", {"a": {}}, (SET, "$.a.prototype.b", 1), {"a": {}}),
    ("bare path", {"a": {}}, (SET, "$.", 1), {"a": {}}),
    ("a dollar alone is literal", {}, (SET, "$", 1), {"$": 1}),
]


@pytest.mark.parametrize(("before", "operation", "after"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
class TestTable:
    def test_reference(self, before: dict[str, Any], operation: tuple[Operator, str, Any], after: Any) -> None:
        """The document after it is the table's, and the one before is untouched."""
        kept = decode_json(_json(before))
        assert _json(apply_operations(before, [Operation(*operation)])) == _json(after)
        assert before == kept

    def test_computed(self, before: dict[str, Any], operation: tuple[Operator, str, Any], after: Any) -> None:
        """Sets and deletes that lead to the same, and none when nothing changes."""
        triples = computed(before, [Operation(*operation)])
        assert _json(_carried_out(before, triples)) == _json(after)
        assert bool(triples) == (_json(before) != _json(after))

    def test_store(
        self, changing: Changing, before: dict[str, Any], operation: tuple[Operator, str, Any], after: Any
    ) -> None:
        """What the script makes of it, natively or computed, is the same document."""
        changing.create(metadata=before)
        triples = native([Operation(*operation)])
        changing.apply(triples=triples if triples is not None else computed(before, [Operation(*operation)]))
        assert _sorted(changing.metadata()) == _sorted(after)


@pytest.fixture
def changing(redis_server: RedisServer, environment: EnvironmentId) -> Iterator[Changing]:
    with redis_server.client() as client:
        yield Changing(client, environment)


_numbers = itertools.count()


@pytest.mark.parametrize(
    "operation",
    [
        (INCREMENT, "$.l.*.*", 1),
        (APPEND, "$.l.*", 1),
        (APPEND, "$.l.*", "x" * 100_000),
        (SET, "$.l.*.100000", None),
        (REMOVE, "l", [1]),
        (SET, "$.l.*.x.y", None),
    ],
    ids=lambda operation: f"{operation[0]} {operation[1]}",
)
def test_what_few_bytes_may_ask_for_has_a_bound(operation: tuple[Operator, str, Any]) -> None:
    """A thousand operations, each on all of ten thousand places, would take a minute, or all memory."""
    document = {"l": [[number] for number in range(10_000)]}

    with pytest.raises(BadChange, match="too many places"):
        apply_operations(document, [Operation(*operation)] * 1000, most=20_000)


def test_the_bound_is_not_felt_by_who_asks_for_little() -> None:
    """A thousand operations on single places, however long the lists are, and one on all of many."""
    document = {"l": [[number] for number in range(10_000)], "log": list(range(10_000))}
    single = [Operation(APPEND, "log", {"at": number}) for number in range(1000)]

    for operations in (single, [Operation(INCREMENT, "$.l.*.0", 1)]):
        assert apply_operations(document, operations, most=20_000) == apply_operations(document, operations)


_keys = st.sampled_from(["a", "b", "c/d", "ü"])
_numbers_in_json = st.one_of(
    st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0, -0.0, 0.1])
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers_in_json, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
_documents = st.dictionaries(_keys, _values, max_size=4)
_native = st.one_of(
    st.builds(Operation, st.sampled_from([SET, APPEND]), _keys, _values),
    st.builds(Operation, st.just(DELETE), _keys),
    st.builds(Operation, st.just(INCREMENT), _keys, _numbers_in_json),
    st.builds(Operation, st.just(UPDATE), st.just(""), _documents),
)
_any = st.one_of(
    _native,
    st.builds(Operation, st.just(REMOVE), _keys, _values),
    st.builds(Operation, st.sampled_from([SET, APPEND]), st.sampled_from(["$.a.b", "$.a.0", "$.a.*"]), _values),
    st.builds(Operation, st.just(INCREMENT), st.sampled_from(["$.a", "$.a.b", "$.b.1"]), _numbers_in_json),
)


@given(before=_documents, operations=st.lists(_native, max_size=6))
@settings(max_examples=300)
def test_redis_and_python_agree(changing: Changing, before: dict[str, Any], operations: list[Operation]) -> None:
    """Operations that the script applies itself end in the document of the reference."""
    run = f"run_{next(_numbers)}"
    changing.create(run, metadata=before)
    changing.apply(run, operations=operations)
    expected = apply_operations(before, operations)
    assert equal(changing.metadata(run), decode_json(_json(expected)))


@given(before=_documents, operations=st.lists(_native, max_size=6))
@settings(max_examples=100)
def test_the_size_of_a_document_is_kept_right(
    changing: Changing, before: dict[str, Any], operations: list[Operation]
) -> None:
    """What the limit is held against is what the document has, whatever happened to it."""
    run = f"run_{next(_numbers)}"
    changing.create(run, metadata=before)
    changing.apply(run, operations=operations)
    size = sum(len(key.encode()) + len(text.encode()) + 4 for key, text in changing.raw_metadata(run).items())
    assert int(changing.stored(run).get("_bytes", "0")) == size


@given(before=_documents, operations=st.lists(_any, max_size=8))
@settings(max_examples=300)
def test_merging_changes_nothing_but_the_number_of_operations(
    before: dict[str, Any], operations: list[Operation]
) -> None:
    """Merged operations lead to the same document, but for the last digit of a sum of fractions."""
    short = merged(operations)
    assert len(short) <= len(operations)
    assert _close(apply_operations(before, short), apply_operations(before, operations))


def test_consecutive_operations_merge() -> None:
    """The last set wins, increments are summed, and other keys in between don't matter."""
    assert merged(
        [
            Operation(SET, "p", 1),
            Operation(INCREMENT, "n", 1),
            Operation(SET, "p", 2),
            Operation(INCREMENT, "n", 2),
            Operation(APPEND, "log", "x"),
            Operation(APPEND, "log", "y"),
            Operation(DELETE, "p"),
        ]
    ) == (
        Operation(DELETE, "p"),
        Operation(INCREMENT, "n", 3),
        Operation(APPEND, "log", "x"),
        Operation(APPEND, "log", "y"),
    )


def test_nothing_is_merged_across_a_path() -> None:
    operations = [Operation(SET, "a", {}), Operation(SET, "$.a.b", 1), Operation(SET, "a", {})]
    assert merged(operations) == tuple(operations)


@pytest.mark.parametrize(
    "operation",
    [
        Operation(SET, "a", object()),
        Operation(SET, "a", 2**70),
        Operation(SET, "a", "\ud800"),
        Operation(SET, "\ud800", 1),
        Operation(INCREMENT, "a", "1"),
        Operation(INCREMENT, "a", True),
        Operation(INCREMENT, "a", math.nan),
        Operation(INCREMENT, "a", math.inf),
        Operation(INCREMENT, "a", 10**400),
        Operation(UPDATE, "", [1]),
    ],
)
def test_what_can_be_no_operation_is_refused(operation: Operation) -> None:
    with pytest.raises(BadChange):
        checked(operation)


def test_a_checked_operation_has_a_value_of_its_own() -> None:
    """What the caller does to its list afterwards does not reach it."""
    value = [1]
    operation = checked(Operation(SET, "a", value))
    value.append(2)
    assert operation.value == [1]


def _json(document: Any) -> Any:
    return encode_json(document, what="a document")


def _sorted(document: dict[str, Any]) -> Any:
    return _json(dict(sorted(document.items())))


def _carried_out(before: dict[str, Any], triples: list[tuple[str, str, bytes]]) -> dict[str, Any]:
    after = dict(before)
    for kind, key, text in triples:
        if kind == "delete":
            del after[key]
        else:
            after[key] = decode_json(text)
    return after


def _close(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_close(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_close, first, second))
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-9, abs_tol=math.inf if abs(first) > 1e14 else 1e-3)
    return equal(first, second)
