"""Whatever text comes from outside: it is understood, or it is one of the documented errors. Nothing else ever."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cursors import Cursor
from gateway.errors import BadCursor, BadFeed, BadInput, BadMessage
from gateway.feed.view import MAX_LIMIT, View
from gateway.feeds import MAX_ID_LENGTH, MAX_TAG_LENGTH, MAX_TAGS_PER_RUN, FeedId
from gateway.transports import refusals
from gateway.transports.requests import Authenticate, Subscribe, Unsubscribe, Wish, parse_message, parse_query

DOCUMENTED = {"bad_message", "bad_feed", "bad_cursor"}

#: Everything that Python calls text, lone surrogates too.
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=300)
#: Text that is nearly right.
WORDS = st.sampled_from(
    [
        "run_1",
        "a,b",
        "all",
        "",
        "1h",
        "2d12h",
        "64f3a1c0b2d41-1042",
        "payload",
        "true",
        "10",
        "*",
        "{}",
        "x" * 129,
        "\0",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | WORDS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(ANY_TEXT, inner, max_size=4), max_leaves=20
)
FIELDS = [
    *("type", "run", "batch", "task", "tags", "all", "cursor", "skipColumns", "since", "limit", "token", "feed"),
    *("tag", "Run", "runs"),
]
TYPES = st.sampled_from(["authenticate", "subscribe", "unsubscribe"])
MESSAGES = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    TYPES | VALUES,
    st.dictionaries(st.sampled_from(FIELDS) | ANY_TEXT, VALUES, max_size=4),
)


def check_error(error: BadInput) -> None:
    """It has a documented code, fits on a screen, and can be sent."""
    assert error.code in DOCUMENTED
    assert 0 < len(str(error)) < 800
    assert json.loads(refusals.error_message(error))["message"] == str(error)


def check_wish(wish: Wish) -> None:
    """It is one that the store can be asked for."""
    assert wish.feed.kind in ("run", "batch", "task", "tag", "all")
    for name in wish.feed.names:
        assert 1 <= len(name) <= (MAX_TAG_LENGTH if wish.feed.kind == "tag" else MAX_ID_LENGTH)
        assert json.dumps(name, ensure_ascii=False) == f'"{name}"'
    assert len(wish.feed.names) <= MAX_TAGS_PER_RUN
    str(wish.feed).encode()
    assert FeedId.parse(str(wish.feed)) == wish.feed
    assert 1 <= wish.limit <= MAX_LIMIT
    assert 0 <= wish.since < 1 << 53
    assert isinstance(wish.view(None), View)


def _understood(text: str) -> bool:
    try:
        command = parse_message(text)
    except BadInput as error:
        check_error(error)
        return False
    match command:
        case Authenticate(token=token):
            assert token
            assert repr(command) == "Authenticate(token=…)"
        case Subscribe(wish=wish):
            check_wish(wish)
        case Unsubscribe(feed=feed):
            assert feed
    return True


@given(st.text(max_size=200))
def test_any_text_is_a_message_or_a_documented_error(text: str) -> None:
    """As it comes from a socket: valid UTF-8, and nothing more is known of it."""
    _understood(text)


@settings(max_examples=400)
@given(MESSAGES | VALUES)
def test_any_json_is_a_message_or_a_documented_error(message: Any) -> None:
    """Right fields with wrong values, wrong fields with right values, and everything nested."""
    _understood(json.dumps(message))
    _understood(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace").decode())


@given(st.integers(1, 1500), st.sampled_from(FIELDS), st.sampled_from([("[", "]"), ('{"a":', "}")]))
def test_nothing_is_too_deep(depth: int, field: str, brackets: tuple[str, str]) -> None:
    """However deep what stands in a field is nested, it is an error and not the end of us."""
    left, right = brackets

    assert not _understood(f'{{"type": "subscribe", "{field}": {left * depth}1{right * depth}}}')


@given(TYPES, st.data())
def test_right_messages_are_understood(kind: str, data: st.DataObject) -> None:
    """The fuzzing is no use if nothing that is right gets through."""
    name = data.draw(st.text("abc*{}:$%é😀.-", min_size=1, max_size=50))
    feeds: list[dict[str, Any]] = [{"run": name}, {"tags": [name]}, {"batch": name}, {"task": name}, {"all": True}]
    messages: dict[str, dict[str, Any]] = {
        "authenticate": {"token": name},
        "unsubscribe": {"feed": name},
        "subscribe": {**data.draw(st.sampled_from(feeds)), "limit": 5, "since": "1h", "cursor": "1a-5"},
    }

    assert _understood(json.dumps({"type": kind, **messages[kind]}))


PARAMETERS = st.sampled_from(
    ["run", "batch", "task", "tags", "tag", "all", "cursor", "skipColumns", "since", "limit", "token", "x"]
)


def _query_understood(pairs: list[tuple[str, str]], last_event_id: str | None) -> None:
    try:
        wishes = parse_query(pairs, last_event_id)
    except BadInput as error:
        check_error(error)
        return
    assert len({wish.feed for wish in wishes}) == len(wishes) > 0
    for wish in wishes:
        check_wish(wish)


@settings(max_examples=400)
@given(st.lists(st.tuples(PARAMETERS, WORDS | ANY_TEXT), max_size=6), st.none() | WORDS | st.text())
def test_any_query_is_wishes_or_a_documented_error(pairs: list[tuple[str, str]], last_event_id: str | None) -> None:
    """Any parameters, any number of times, with any values."""
    _query_understood(pairs, last_event_id)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_any_query_string_is_pairs_or_an_error_of_values(query: str) -> None:
    """Escapes are decoded strictly: bytes that are no text never become names."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        return
    _query_understood(pairs, None)


@given(ANY_TEXT | st.from_regex(r"[0-9a-f]{0,18}-[0-9]{0,18}\n?", fullmatch=True))
def test_any_text_is_a_cursor_that_prints_as_it_was_or_none(text: str) -> None:
    """What is read comes back as it was, but for zeros before the number."""
    try:
        cursor = Cursor.parse(text)
    except BadCursor as error:
        check_error(error)
        return
    epoch, _, number = text.partition("-")
    assert (cursor.epoch, str(cursor.sequence)) == (epoch, number.lstrip("0") or "0")
    assert 0 <= cursor.sequence < 10**16


@given(ANY_TEXT | st.builds("{}:{}".format, st.sampled_from(["run", "tag", "batch", "task", "all", "x"]), ANY_TEXT))
def test_any_text_is_a_feed_that_prints_as_it_was_or_none(text: str) -> None:
    """A feed has one name; several tags have it in order."""
    try:
        feed = FeedId.parse(text)
    except BadFeed as error:
        check_error(error)
        return
    assert FeedId.parse(str(feed)) == feed
    assert feed.kind == "tag" or str(feed) == text
    assert feed.kind != "tag" or feed.names == tuple(sorted(set(text.removeprefix("tag:").split(","))))
    assert not any(character in str(feed) for character in '\r\n\0"\\')


@given(ANY_TEXT)
def test_errors_can_be_sent_when_what_they_quote_can_t(text: str) -> None:
    """What is quoted is escaped, so that not even half a character spoils the answer."""
    for error in (BadCursor(text), *_errors_of(text)):
        assert json.loads(refusals.error_message(error))["code"] in DOCUMENTED


def _errors_of(text: str) -> list[BadInput]:
    found = []
    for attempt in (
        lambda: FeedId.parse(f"run:{text}"),
        lambda: FeedId.tags(text),
        lambda: FeedId.task(text),
        lambda: parse_query([("skipColumns", text), ("run", "r")], None),
        lambda: parse_query([("since", text), ("run", "r")], None),
        lambda: parse_query([("limit", text), ("run", "r")], None),
        lambda: parse_query([(text, "x")], None),
    ):
        try:
            attempt()
        except BadInput as error:
            found.append(error)
    assert all(isinstance(error, BadMessage | BadFeed | BadCursor) or error.code in DOCUMENTED for error in found)
    return found
