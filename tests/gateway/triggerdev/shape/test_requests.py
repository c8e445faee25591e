"""What a client asks a shape for: every parameter that means something, and those that are refused."""

from __future__ import annotations

import time

import pytest

from gateway.errors import BadFeed, BadMessage
from gateway.feeds import ALL_RUNS, FeedId
from gateway.triggerdev.shape.requests import (
    FROM_NOW,
    FROM_START,
    ShapeRequest,
    hidden_by,
    parse_request,
    read_query,
    tags_of,
    window_of,
)


def test_the_requests_of_a_stream() -> None:
    """Snapshot, the next page, a live poll."""
    assert parse_request(read_query(b"log=full&offset=-1")) == ShapeRequest(FROM_START, False, False, "", "", False)
    assert parse_request(read_query(b"handle=h&log=full&offset=12_0")) == ShapeRequest(12, False, False, "h", "", False)
    assert parse_request(read_query(b"handle=h&offset=12_1")) == ShapeRequest(
        12, False, False, "h", "", False, partial=True
    )
    assert parse_request(read_query(b"cursor=7&handle=h&live=true&log=full&offset=12_0")) == ShapeRequest(
        12, True, False, "h", "7", False
    )


@pytest.mark.parametrize("name", ["live_sse", "experimental_live_sse"])
def test_events_are_for_live_requests(name: str) -> None:
    """By either name that clients have for them."""
    assert parse_request({"offset": "1_0", "handle": "h", "live": "true", name: "true"}).events
    assert not parse_request({"offset": "1_0", "handle": "h", name: "true"}).events


def test_unknown_parameters_disturb_nobody() -> None:
    """Nor do those that are for caches."""
    query = read_query(b"offset=-1&expired_handle=old&cache-buster=1-x&cursor=&where=id%3D1&replica=full&handle=new")

    assert parse_request(query).begins
    assert parse_request({"offset": "now"}).offset == FROM_NOW
    assert parse_request({"offset": "0_inf", "handle": "h"}).offset == 0
    assert parse_request({"offset": "-1", "log": "changes_only"}).changes_only


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({}, "offset"),
        ({"offset": ""}, "offset"),
        ({"offset": "5"}, "offset"),
        ({"offset": "-2"}, "offset"),
        ({"offset": "1_0x"}, "offset"),
        ({"offset": "1_0\n"}, "offset"),
        ({"offset": "٣_0"}, "offset"),
        ({"offset": "9" * 19 + "_0"}, "offset"),
        ({"offset": "5_0"}, "handle"),
        ({"offset": "-1", "live": "true"}, "live"),
        ({"offset": "now", "live": "true"}, "live"),
        ({"offset": "-1", "subset__where": "true"}, "subset"),
        ({"offset": "1_0", "handle": "h", "subset__params[1]": "x"}, "subset"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(query: dict[str, str], says: str) -> None:
    """With a word about what would."""
    with pytest.raises(BadMessage, match=says):
        parse_request(query)


def test_a_query_that_is_none() -> None:
    """Bytes that no client sends."""
    with pytest.raises(BadMessage):
        read_query(b"tags=\xff")
    with pytest.raises(BadMessage):
        read_query(b"tags=%ff")
    assert read_query(b"a=1&a=2&b=") == {"a": "1", "b": ""}


def test_a_token_hides_instead_of_the_client() -> None:
    """Also when it hides nothing."""
    asked = {"skipColumns": "payload, output,nothing,id"}

    assert hidden_by(asked, None) == {"payload", "output"}
    assert hidden_by(asked, frozenset({"metadata"})) == {"metadata"}
    assert hidden_by(asked, frozenset()) == frozenset()
    assert hidden_by({}, None) == frozenset()


def test_tags_mean_all_of_them() -> None:
    """And none of them, all runs. What can't be a tag is no tag."""
    assert tags_of({"tags": "b,a"}) == FeedId.tags("a", "b")
    assert tags_of({"tags": "user:4'2"}) == FeedId.tags("user:4'2")
    assert tags_of({}) == ALL_RUNS
    for wrong in ("", ",", "a,", 'a"', "a\\", "a\n", "\x7f"):
        with pytest.raises(BadFeed):
            tags_of({"tags": wrong})


@pytest.mark.parametrize(
    ("text", "hours"),
    [("1h", 1), ("2d12h", 24), ("30m", 0.5), ("", 24), ("soon", 24), ("0s", 24), ("1h" * 60, 24), ("90", 0.025)],
)
def test_the_window_begins_on_a_minute(text: str, hours: float) -> None:
    """A day at most, which is also what holds when nobody can read it. Those of a long one share their beginning."""
    moment = window_of({"createdAt": text})

    assert moment % 60_000 == 0
    assert 0 <= time.time() - hours * 3600 - moment / 1000 < max(60, hours * 3600 / 48) + 1
