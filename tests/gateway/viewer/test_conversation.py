"""What a viewer says on a connection, and what it remembers for the next one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import BadMessage
from gateway.feeds import ALL_RUNS, FeedId
from gateway.viewer.conversation import Conversation, Heard, Refused, Subscription, Wanted, Welcomed
from gateway.viewer.mirror import CaughtUp, Mirror, RunChanged
from tests.gateway.viewer.model import ModelGateway

FEED = FeedId.tags("t")
WELCOME = {"type": "welcome", "environment": "acme", "heartbeatSeconds": 2, "expiresInSeconds": 900}


class Viewer:
    """One viewer, on one connection after the other."""

    def __init__(self, *feeds: FeedId) -> None:
        self.wanted: dict[str, Wanted] = {str(feed): Subscription(feed=feed) for feed in feeds or (FEED,)}
        self.mirror = Mirror(self.wanted)
        self.gateway = ModelGateway()
        self.connect()

    def connect(self) -> None:
        self.mirror.disconnected()
        self.talk = Conversation(self.mirror, self.wanted)

    def hears(self, *messages: dict[str, Any]) -> list[Heard]:
        return [heard for message in messages for heard in self.talk.receive(json.dumps(message))]

    def listens(self) -> list[Heard]:
        """Take what the gateway has said."""
        messages = list(self.gateway.said)
        self.gateway.said.clear()
        return self.hears(*messages)

    def says(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.talk.take_messages()]


@pytest.mark.parametrize(
    ("subscription", "message"),
    [
        (Subscription(feed=FeedId.run("run_1")), {"run": "run_1"}),
        (
            Subscription(feed=FeedId.tags("b", "a"), since="1h", limit=5),
            {"tags": ["a", "b"], "since": "1h", "limit": 5},
        ),
        (Subscription(feed=FeedId.batch("b"), skip_columns=("payload",)), {"batch": "b", "skipColumns": ["payload"]}),
        (Subscription(feed=FeedId.task("resize")), {"task": "resize"}),
        (Subscription(feed=ALL_RUNS), {"all": True}),
    ],
)
def test_a_subscription_is_asked_for_in_the_words_of_the_protocol(
    subscription: Subscription, message: dict[str, Any]
) -> None:
    from gateway.transports.requests import Subscribe, parse_message

    asked = json.loads(json.dumps(subscription.message("a-1")))
    understood = parse_message(json.dumps(asked))

    assert asked == {"type": "subscribe", "cursor": "a-1", **message}
    assert isinstance(understood, Subscribe)
    assert understood.wish.feed == subscription.feed


def test_it_says_nothing_before_it_was_welcomed_and_then_asks_for_everything() -> None:
    viewer = Viewer(FeedId.run("run_1"), FEED)
    assert viewer.says() == []

    assert viewer.hears(WELCOME) == [Welcomed("acme", 900)]
    assert viewer.says() == [{"type": "subscribe", "run": "run_1"}, {"type": "subscribe", "tags": ["t"]}]
    assert viewer.talk.heartbeat_seconds == 2


def test_on_the_next_connection_it_goes_on_where_it_was() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME)
    viewer.gateway.join(None)
    viewer.gateway.set("run_1", output=1)
    viewer.listens()
    viewer.connect()
    viewer.hears(WELCOME)

    assert viewer.says() == [{"type": "subscribe", "tags": ["t"], "cursor": viewer.gateway.cursor()}]


def test_out_of_step_it_subscribes_afresh_and_ignores_what_was_on_its_way() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME)
    viewer.gateway.join(None)
    viewer.listens()
    viewer.says()
    viewer.gateway.set("run_1", output=1)
    viewer.gateway.said.clear()  # never arrived
    viewer.gateway.set("run_1", output=2)

    assert viewer.listens() == []
    assert viewer.says() == [{"type": "unsubscribe", "feed": "tag:t"}, {"type": "subscribe", "tags": ["t"]}]

    viewer.gateway.set("run_1", output=3)
    assert viewer.listens() == []
    assert viewer.says() == []

    viewer.hears({"type": "unsubscribed", "feed": "tag:t"})
    viewer.gateway.join(None)
    changed, caught_up = viewer.listens()
    assert isinstance(changed, RunChanged)
    assert changed.run.fields["output"] == 3
    assert caught_up == CaughtUp("tag:t", truncated=False)


def test_a_feed_that_is_refused_is_left_for_good() -> None:
    viewer = Viewer(FeedId.run("run_1"), FEED)
    viewer.hears(WELCOME)
    refusal = {"type": "error", "code": "not_allowed", "message": "no", "retry": False, "feed": "run:run_1"}

    assert viewer.hears(refusal) == [Refused("run:run_1", "not_allowed", "no")]
    assert list(viewer.wanted) == list(viewer.mirror.feeds) == ["tag:t"]
    assert not viewer.talk.over


def test_with_no_feed_left_the_talk_is_over() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME, {"type": "error", "code": "not_allowed", "message": "no", "retry": False, "feed": "tag:t"})

    assert viewer.talk.over


def test_what_may_succeed_later_is_tried_on_another_connection() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME, {"type": "error", "code": "unavailable", "message": "later", "retry": True, "feed": "tag:t"})

    assert viewer.talk.over
    assert viewer.talk.broken == "later"
    assert "tag:t" in viewer.wanted


def test_sent_away_it_remembers_for_how_long() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME, {"type": "reconnect", "afterMilliseconds": 1500, "reason": "the server is stopping"})

    assert viewer.talk.over
    assert viewer.talk.come_back_seconds == 1.5


@pytest.mark.parametrize("feed", [{}, {"feed": "tag:t"}])
def test_what_is_refused_because_there_is_too_much_of_it_is_tried_after_the_time_that_was_said(
    feed: dict[str, str],
) -> None:
    """Not all at once, though all were told the same."""
    viewer = Viewer()
    refusal = {"type": "error", "code": "too_many_connections", "message": "too many", "retry": True}
    viewer.hears(WELCOME, {**refusal, **feed, "afterMilliseconds": 1500})

    assert viewer.talk.over
    assert viewer.talk.come_back_seconds is not None
    assert 1.5 <= viewer.talk.come_back_seconds <= 3


def test_feeds_come_and_go_on_a_connection() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME)
    viewer.says()
    other = FeedId.run("run_1")
    viewer.wanted[str(other)] = Subscription(feed=other)
    viewer.mirror.follow(str(other))
    viewer.talk.subscribe(str(other))
    viewer.talk.unsubscribe("tag:t")

    assert viewer.says() == [{"type": "subscribe", "run": "run_1"}, {"type": "unsubscribe", "feed": "tag:t"}]


def test_what_is_on_its_way_for_a_subscription_that_was_left_is_not_taken_for_the_next_one() -> None:
    """However often it was left in between: each leaving is answered once."""
    viewer = Viewer()
    viewer.hears(WELCOME)
    for _ in range(2):
        viewer.talk.unsubscribe("tag:t")
        viewer.talk.subscribe("tag:t")
    viewer.gateway.join(None)
    viewer.gateway.set("run_1", output="old")

    assert viewer.listens() == []
    viewer.hears({"type": "unsubscribed", "feed": "tag:t"})
    viewer.gateway.set("run_1", output="old, too")
    assert viewer.listens() == []
    viewer.hears({"type": "unsubscribed", "feed": "tag:t"})
    viewer.gateway.join(None)
    assert [change.run.fields["output"] for change in viewer.listens() if isinstance(change, RunChanged)] == [
        "old, too"
    ]


def test_a_refusal_of_what_was_left_meanwhile_concerns_nobody() -> None:
    """The gateway answers the leaving with another refusal: there is nothing to leave."""
    viewer = Viewer(FEED, FeedId.run("run_1"))
    viewer.hears(WELCOME)
    viewer.talk.unsubscribe("tag:t")
    viewer.talk.subscribe("tag:t")
    refusal = {"type": "error", "message": "no", "retry": False, "feed": "tag:t"}
    first = viewer.hears({**refusal, "code": "not_allowed"}, {**refusal, "code": "not_subscribed"})
    second = viewer.hears({**refusal, "code": "not_allowed"})

    assert first == []
    assert second == [Refused("tag:t", "not_allowed", "no")]


def test_another_token_is_shown_and_answered_with_another_welcome() -> None:
    """Nothing is subscribed to again."""
    viewer = Viewer()
    viewer.hears(WELCOME)
    viewer.says()
    viewer.talk.authenticate("fresh")
    said = viewer.says()
    heard = viewer.hears({**WELCOME, "expiresInSeconds": 3600})

    assert said == [{"type": "authenticate", "token": "fresh"}]
    assert heard == [Welcomed("acme", 3600)]
    assert viewer.says() == []


def test_only_what_a_working_gateway_sends_counts_as_data() -> None:
    viewer = Viewer()
    viewer.hears(WELCOME, {"type": "heartbeat", "state": "stale"})
    before = viewer.talk.got_data
    viewer.gateway.join(None)
    viewer.listens()

    assert (before, viewer.talk.got_data) == (False, True)


@pytest.mark.parametrize("text", [b"\x00", "what", "[]", '{"type": "heartbeat"}'])
def test_another_protocol_is_an_error(text: str | bytes) -> None:
    with pytest.raises(BadMessage):
        Viewer().talk.receive(text)
