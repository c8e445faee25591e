"""What viewers ask for: how each way to ask becomes a wish. What is wrong is in tests/hardening."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from gateway.cursors import Cursor
from gateway.errors import BadMessage
from gateway.feed.view import MAX_LIMIT, View
from gateway.feeds import ALL_RUNS, FeedId
from gateway.transports.requests import (
    Authenticate,
    Subscribe,
    Unsubscribe,
    Wish,
    parse_message,
    parse_query,
    since_moment,
)

CURSOR = "64f3a1c0b2d41-1042"


def said(**fields: Any) -> Any:
    return parse_message(orjson.dumps(fields).decode())


@pytest.mark.parametrize(
    ("fields", "feed"),
    [
        ({"run": "run_1"}, FeedId.run("run_1")),
        ({"batch": "batch_1"}, FeedId.batch("batch_1")),
        ({"task": "resize an image"}, FeedId.task("resize an image")),
        ({"tags": ["customer:7", "export"]}, FeedId.tags("export", "customer:7")),
        ({"all": True}, ALL_RUNS),
    ],
)
def test_each_feed_can_be_subscribed_to(fields: dict[str, Any], feed: FeedId) -> None:
    """With nothing else said: everything of it, from the beginning."""
    assert said(type="subscribe", **fields) == Subscribe(Wish(feed))


def test_a_subscription_has_options() -> None:
    """Cursor, columns by either name, limit."""
    wanted = said(type="subscribe", run="r", cursor=CURSOR, skipColumns=["payload", "finishedAt", "status"], limit=5)

    wish = Wish(FeedId.run("r"), Cursor("64f3a1c0b2d41", 1042), frozenset({"payload", "completedAt"}), 0, 5)
    assert wanted == Subscribe(wish)


def test_absent_and_null_options_are_the_same() -> None:
    """A client may send what it has not."""
    assert said(type="subscribe", run="r", cursor=None, since=None) == said(type="subscribe", run="r")


def test_a_token_is_not_in_what_is_printed_of_it() -> None:
    """Whoever logs a command logs no token."""
    command = said(type="authenticate", token="secret")

    assert command == Authenticate("secret")
    assert "secret" not in repr(command)


def test_a_feed_is_left_by_its_name() -> None:
    """As messages carry it."""
    assert said(type="unsubscribe", feed="tag:a,b") == Unsubscribe("tag:a,b")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("skipcolumns", "skipColumns"),
        ("skipColumn", "skipColumns"),
        ("curser", "cursor"),
        ("runs", "run"),
        ("tag", "tags"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(wrong: str, near: str) -> None:
    """A slip of the pen is found at once."""
    with pytest.raises(BadMessage, match=f"unknown field '{wrong}'; did you mean '{near}'"):
        said(type="subscribe", **{wrong: "x"})


def test_windows_of_the_same_minute_begin_together() -> None:
    """So that viewers who come in the same minute share one view."""
    moment = since_moment("1h")

    assert moment % 60_000 == 0
    assert 0 <= time.time() * 1000 - 3_600_000 - moment < 120_000


@pytest.mark.parametrize("value", ["1h", "60m", 3600, 3600.0, "3600", " 1h "])
def test_an_age_is_a_span_or_seconds(value: object) -> None:
    """In a message it may be either."""
    assert abs(since_moment(value) - since_moment("1h")) <= 60_000


def test_an_age_that_is_older_than_time_shows_all_that_is_kept() -> None:
    """A century begins before 1970; a window that begins at nothing would mean none."""
    assert since_moment("36500d") == 1


def test_what_the_token_hides_replaces_what_the_viewer_skips() -> None:
    """The token decides, when it says something."""
    wish = Wish(FeedId.run("r"), hidden=frozenset({"payload"}), since=60_000, limit=7)

    assert wish.view(None) == View(FeedId.run("r"), frozenset({"payload"}), 60_000, 7)
    assert wish.view(frozenset({"output"})) == View(FeedId.run("r"), frozenset({"output"}), 60_000, 7)
    assert wish.view(frozenset()) == View(FeedId.run("r"), frozenset(), 60_000, 7)


def test_a_query_may_name_several_feeds_each_once() -> None:
    """In the order in which they are named first; options hold for all of them."""
    pairs = [("run", "a"), ("tags", "y,x"), ("run", "b"), ("run", "a"), ("tag", "x,y"), ("all", "true"), ("limit", "9")]

    wishes = parse_query(pairs, None)

    assert [str(wish.feed) for wish in wishes] == ["run:a", "tag:x,y", "run:b", "all"]
    assert {wish.limit for wish in wishes} == {9}


@pytest.mark.parametrize("value", ["true", "True", "1", "yes", ""])
def test_all_may_be_written_in_several_ways(value: str) -> None:
    """A bare `?all` is enough."""
    assert parse_query([("all", value)], None) == [Wish(ALL_RUNS)]


def test_the_header_of_a_reconnect_wins_over_the_parameter() -> None:
    """A browser repeats the URL, and with it the cursor it began with."""
    pairs = [("run", "r"), ("cursor", "1a-1")]

    assert parse_query(pairs, "1a-7")[0].cursor == Cursor("1a", 7)
    assert parse_query(pairs, "")[0].cursor == Cursor("1a", 1)
    assert parse_query(pairs, None)[0].cursor == Cursor("1a", 1)
    assert parse_query([("run", "r"), ("cursor", "")], None)[0].cursor is None


def test_a_token_in_a_query_is_no_feed_and_no_option() -> None:
    """It is for the admission, however often it is there."""
    assert parse_query([("token", "x"), ("run", "r"), ("token", "y")], None) == [Wish(FeedId.run("r"))]


def test_a_hundred_feeds_are_allowed_and_one_more_is_not() -> None:
    """The limit is named."""
    pairs = [("run", f"r{number}") for number in range(100)]
    assert len(parse_query(pairs, None)) == 100

    with pytest.raises(BadMessage, match="100 feeds, not 101"):
        parse_query([*pairs, ("all", "")], None)


def test_the_limit_has_a_limit() -> None:
    """From one to a thousand."""
    for limit in (1, MAX_LIMIT):
        assert parse_query([("run", "r"), ("limit", str(limit))], None)[0].limit == limit
    with pytest.raises(BadMessage, match="from 1 to 1000"):
        parse_query([("run", "r"), ("limit", "1001")], None)
