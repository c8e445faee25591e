"""What a value may look like: checked, told, and written down as a schema that says the same."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.forms import Document, Either, Field, Flag, Form, Json, ListOf, Moment, Number, Object, Tagged, Text
from gateway.api.parts import ERROR, OPERATION, PROGRESS, RUN_ID, SPAN_OR_SECONDS, STATUS, TAG, TASK, Since
from gateway.errors import BadInput

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text(
    alphabet=st.sampled_from(["a", "Z", "7", ":", "/", "ü", " ", "\u00a0", "\u2028", ",", '"', "\\", "\x7f", "😀"])
)
OBJECT = Object({"a": Field(Number(least=1, most=9), "A."), "b": Field(Text(), "B.", required=True)})
FORMS: dict[str, Form] = {
    "id": RUN_ID,
    "tag": TAG,
    "task": TASK,
    "status": STATUS,
    "number": Number(least=-3, most=7),
    "fraction": Number(least=-3, most=7, fraction=True),
    "flag": Flag(),
    "json": Json(),
    "document": Document(),
    "list": ListOf(Number(), least=1, most=2),
    "object": OBJECT,
    "open object": Object(OBJECT.fields, open=True),
    "tagged": Tagged("kind", {"x": Object({"kind": Field(Text(choices=("x",)), "Kind.", required=True)})}),
    "either": Either((Flag(), Number(least=0, most=1)), "true, false or a share"),
    "error": ERROR,
    "progress": PROGRESS,
    "operation": OPERATION,
    "span": SPAN_OR_SECONDS,
}
OBJECTS = st.one_of(
    st.fixed_dictionaries({}, optional={"a": JSON, "b": JSON, "kind": st.sampled_from(["x", "y"]), "message": JSON}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["set", "delete", "increment", "update", "other"])},
        optional={"key": NAMES, "value": JSON, "current": JSON},
    ),
)
SPANS = st.from_regex(r"[0-9]{0,3}[wdhms]?[0-9]{0,2}(h|hr|m|s)?", fullmatch=True)


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=50)
@given(value=JSON | NAMES | OBJECTS | SPANS | st.sampled_from(["EXECUTING", "PENDING", "DONE"]))
def test_a_form_takes_exactly_what_its_schema_allows(name: str, value: Any) -> None:
    """One description, two readers: whoever follows the schema is let in, and nobody else."""
    form = FORMS[name]
    allowed = jsonschema_rs.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **form.schema}, value)
    error = refusal(form, value)

    assert allowed == (error is None), error
    assert error is None or str(error.field).startswith("/x")


def refusal(form: Form, value: Any) -> BadInput | None:
    try:
        form.read(value, "/x")
    except BadInput as error:
        return error
    return None


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T10:00:00Z", 1769853600000),
        ("2026-01-31t10:00:00.123456z", 1769853600123),
        ("2026-01-31T12:30:00.5+02:30", 1769853600500),
        ("2016-12-31T23:59:60Z", 1483228799000),
        (1769853600000, 1769853600000),
    ],
)
def test_a_moment_is_text_or_a_number(text: Any, milliseconds: int) -> None:
    """Both mean milliseconds since 1970."""
    assert Moment().read(text, "") == milliseconds


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "",
            "now",
            "2026-01-31",
            "2026-01-31T10:00:00",
            "2026-02-30T10:00:00Z",
            "2026-01-31T25:00:00Z",
            "1969-12-31T23:59:59Z",
        ),
        *("2026-01-31 10:00:00Z", "٢٠٢٦-01-31T10:00:00Z", "9999-12-31T23:59:59-23:59", -1, 1.5, True, None, [], 2**60),
    ],
)
def test_what_is_no_moment_is_refused(wrong: Any) -> None:
    """Dates that are none, without a zone, or before the time of computers."""
    with pytest.raises(BadInput, match="2026-01-31T10:00:00Z"):
        Moment().read(wrong, "/when")


@pytest.mark.parametrize("wrong", ["", "1", "yesterday", "0h", "-1h", "1x", "1h 2m", "2026-01-31"[:9]])
def test_an_age_or_a_moment(wrong: str) -> None:
    """Anything else is told what would be right."""
    if wrong == "1":
        assert Since().parse(wrong, "createdAfter") == 1  # a moment just after the beginning of 1970
        return
    with pytest.raises(BadInput, match="1h"):
        Since().parse(wrong, "createdAfter")


def test_an_open_object_passes_over_what_it_does_not_know() -> None:
    """It does not hand it on."""
    assert Object(OBJECT.fields, open=True).read({"b": "x", "c": [1]}, "") == {"b": "x"}


def test_the_field_of_an_error_is_a_json_pointer() -> None:
    """However deep it is, and whatever its name has in it."""
    form = Object({"list": Field(ListOf(OBJECT), "Things.")})

    for value, field in (
        ({"list": [{"b": ""}, {"b": "", "a": 10}]}, "/list/1/a"),
        ({"list": [{}]}, "/list/0/b"),
        ({"list": [{"b": "", "x/~": 1}]}, "/list/0/x~1~0"),
        ({"list": 1}, "/list"),
    ):
        with pytest.raises(BadInput) as caught:
            form.read(value, "")
        assert caught.value.field == field
        assert str(caught.value).startswith(field)
