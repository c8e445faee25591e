"""Lines, texts and values as chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import decode_foreign, decode_json
from gateway.triggerdev.stream_chunks import chunk_of_line, json_value, text_chunk, value_chunk

VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    # As JavaScript has them: with halves of pairs.
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_what_javascript_writes_is_kept_as_it_was_written(value: Any) -> None:
    """Escapes and all; and every reader can read it."""
    line = json.dumps(value).encode()
    assert chunk_of_line(line, "line 1") == line
    decode_foreign(line)


@given(st.binary().filter(lambda line: b"\n" not in line))
def test_every_line_is_json_without_line_ends(line: bytes) -> None:
    chunk = chunk_of_line(line, "line 1")
    assert b"\n" not in chunk
    assert b"\r" not in chunk
    decode_foreign(chunk)


@given(VALUES)
def test_values_go_and_come(value: Any) -> None:
    chunk = value_chunk(json_value(json.dumps(value).encode()))
    assert json.loads(chunk) == value
    assert b"\n" not in chunk


@pytest.mark.parametrize("line", [b"{'a':1}", b"undefined", b"NaN", b"-Infinity", b"1e999", b"{", b"01", b"\xff"])
def test_what_is_no_json_is_text(line: bytes) -> None:
    assert decode_json(chunk_of_line(line, "line 1")) == line.decode(errors="replace")


def test_text_is_never_taken_for_json() -> None:
    assert [text_chunk(text) for text in (b"7", b'"', b"", b"\r\n")] == [b'"7"', b'"\\""', b'""', b'"\\r\\n"']
