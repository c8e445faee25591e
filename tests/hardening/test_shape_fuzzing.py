"""Whatever text a feed of the official clients is asked for with: it is understood, or it is a documented error."""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadInput
from gateway.feeds import MAX_TAGS_PER_RUN
from gateway.runs import ALWAYS_SHOWN
from gateway.triggerdev.shape.handles import Handle
from gateway.triggerdev.shape.requests import hidden_by, parse_request, read_query, tags_of, window_of

ANY_TEXT: Final = st.text(st.characters(exclude_categories=[]), max_size=300)
NAMES: Final = st.sampled_from(
    ["offset", "handle", "live", "cursor", "log", "tags", "createdAt", "skipColumns", "live_sse", "subset__where"]
)
WORDS: Final = st.sampled_from(
    [
        *("-1", "now", "1_0", "0_inf", "9" * 18 + "_0", "9" * 19 + "_0", "-2_0", "true", "full", "changes_only"),
        *("1h", "2d12h", "9" * 99 + "h", "payload", "id,status", "a,b", ",", "", "x" * 300, "\0", "\ud800"),
    ]
)
QUERIES: Final = st.dictionaries(NAMES, ANY_TEXT | WORDS, max_size=6)


def _documented(error: BadInput) -> None:
    assert 0 < len(str(error)) < 800


@settings(max_examples=300)
@given(QUERIES)
def test_any_parameters_are_understood_or_a_documented_error(query: dict[str, str]) -> None:
    """And what is understood is within what the store can be asked for."""
    assert 0 <= window_of(query) < 1 << 53
    assert not hidden_by(query, None) & ALWAYS_SHOWN
    for understood in (_request, _tags):
        try:
            understood(query)
        except BadInput as error:
            _documented(error)


def _request(query: dict[str, str]) -> None:
    asked = parse_request(query)
    assert -2 <= asked.offset < 10**18
    assert asked.begins or asked.handle
    assert not (asked.live and asked.begins)


def _tags(query: dict[str, str]) -> None:
    assert len(tags_of(query).names) <= MAX_TAGS_PER_RUN


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_query_or_a_documented_error(raw: bytes) -> None:
    """As they come from the network."""
    try:
        query = read_query(raw)
    except BadInput as error:
        _documented(error)
        return
    assert all(isinstance(text, str) for pair in query.items() for text in pair)


@settings(max_examples=100)
@given(ANY_TEXT | st.from_regex(r"\A[0-9a-f]{1,17}\.[0-9]{1,10}\.[0-9]{1,17}\.[\w-]{8}\.[\w-]{16}\.[\w-]{16}\Z"))
def test_any_text_is_a_handle_or_it_is_not(text: str) -> None:
    """What one says is only what the store can be asked for."""
    handle = Handle.parse(text)

    if handle is not None:
        assert Handle.parse(str(handle)) == handle
        assert 0 <= handle.since < 1 << 53
        assert 0 <= handle.base < 10**16
