"""Errors of runs as the official clients take them: whatever a publisher wrote, it is of one of four kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.triggerdev.shape.failures import INTERNAL_CODES, failure_text

NOTHING = {"type": "BUILT_IN_ERROR", "name": "Error", "message": "", "stackTrace": ""}


def shown(error: Any) -> Any:
    text = failure_text(error)
    return None if text is None else json.loads(text)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        (
            {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "at x"},
            {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "at x"},
        ),
        ({"type": "BUILT_IN_ERROR"}, NOTHING),
        ({"type": "BUILT_IN_ERROR", "message": 3, "stackTrace": None}, {**NOTHING, "message": "3"}),
        (
            {"type": "BUILT_IN_ERROR", "causes": [{"message": "c", "name": "E"}, 3, {"stackTrace": "s"}]},
            {**NOTHING, "causes": [{"message": "c", "name": "E"}, {"message": "", "stackTrace": "s"}]},
        ),
        ({"type": "BUILT_IN_ERROR", "causes": 3}, NOTHING),
        ({"type": "CUSTOM_ERROR", "raw": "{}"}, {"type": "CUSTOM_ERROR", "raw": "{}"}),
        ({"type": "STRING_ERROR", "raw": {"a": 1}}, {"type": "STRING_ERROR", "raw": '{"a":1}'}),
        ({"type": "STRING_ERROR"}, {"type": "STRING_ERROR", "raw": ""}),
        (
            {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CRASHED", "message": "m", "other": 1},
            {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CRASHED", "message": "m"},
        ),
        (
            {"type": "INTERNAL_ERROR", "code": "OURS", "message": "lost"},
            {**NOTHING, "name": "OURS", "message": "lost"},
        ),
        ({"message": "no type"}, {**NOTHING, "message": "no type"}),
        ({"a": 1}, {"type": "STRING_ERROR", "raw": '{"a":1}'}),
        ("boom", {"type": "STRING_ERROR", "raw": "boom"}),
        (3, {"type": "STRING_ERROR", "raw": "3"}),
        ([], {"type": "STRING_ERROR", "raw": "[]"}),
    ],
)
def test_each_error_is_of_a_kind_that_is_known(error: Any, expected: Any) -> None:
    """With all the fields of its kind, and none of a wrong type."""
    assert shown(error) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
errors = st.dictionaries(
    st.sampled_from(["type", "name", "message", "stackTrace", "raw", "code", "causes", "x"]),
    json_values | st.sampled_from(["BUILT_IN_ERROR", "STRING_ERROR", "CUSTOM_ERROR", "INTERNAL_ERROR", "POD_EVICTED"]),
)


@given(error=errors | json_values)
def test_nothing_makes_a_row_that_is_refused(error: Any) -> None:
    """Any JSON at all."""
    found = shown(error)

    if error is None:
        assert found is None
        return
    texts = {name: value for name, value in found.items() if name != "causes"}
    assert all(isinstance(value, str) for value in texts.values())
    match found["type"]:
        case "BUILT_IN_ERROR":
            assert {"name", "message", "stackTrace"} <= texts.keys()
        case "CUSTOM_ERROR" | "STRING_ERROR":
            assert "raw" in found
        case "INTERNAL_ERROR":
            assert found["code"] in INTERNAL_CODES
        case kind:
            raise AssertionError(kind)
    for cause in found.get("causes", ()):
        assert all(isinstance(value, str) for value in cause.values())
        assert "message" in cause
