"""What a view knows of its runs: never more than it can be sure of, and no more of them than it has room for."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gateway.codec import Event, Row, Transition
from gateway.feed.channel import Channel
from gateway.feed.follower import Reason
from gateway.feed.remembering import RememberingGroup
from gateway.feeds import ALL_RUNS, RunId
from gateway.web import cards
from gateway.web.cards import Cards
from gateway.web.fragment_view import FragmentView
from tests.gateway.feed.memory import ENVIRONMENT
from tests.gateway.feed.room import EPOCH, event

WHOLE: dict[str, Any] = {"taskIdentifier": "export", "status": "PENDING", "attempt": 1}


def row(sequence: int, run: str = "run_1", **columns: str) -> Row:
    """As it is read; columns are JSON."""
    texts = {"taskIdentifier": '"export"', "status": '"PENDING"', "attempt": "1", **columns}
    return Row(RunId(run), sequence, {name: text.encode() for name, text in texts.items()})


def started(sequence: int, run: str = "run_1") -> Event:
    """A change that has a part of the run, and its new status."""
    transition = Transition(sequence, "EXECUTING", 0, 1)
    return event(sequence, run, columns={"status": "EXECUTING"}, transition=transition)


def sure(hidden: frozenset[str] = frozenset()) -> Cards:
    """Cards that hear every change."""
    found = Cards(hidden)
    found.begin()
    return found


def test_a_part_of_a_known_run_makes_another_whole() -> None:
    """With what it was before, where the change says nothing."""
    known = sure()
    known.read(row(1), EPOCH)

    card = known.hear(started(2))

    assert card is not None
    assert card.values["taskIdentifier"] == "export"
    assert card.values["status"] == "EXECUTING"
    assert [entry[1] for entry in card.values["transitions"]] == ["EXECUTING"]


def test_a_part_of_an_unknown_run_says_that_it_must_be_read() -> None:
    """And what is read must be at least as new as what could not be told."""
    known = sure()

    assert known.hear(started(5)) is None
    known.read(row(4), EPOCH)
    assert known.find("run_1") is None
    known.read(row(5), EPOCH)
    assert known.find("run_1") is not None


def test_what_was_read_late_takes_nothing_back() -> None:
    """Reading takes a while, and meanwhile something newer is heard."""
    known = sure()
    known.hear(event(7, columns=WHOLE, whole=True))

    known.read(row(3, status='"DELAYED"'), EPOCH)

    card = known.find("run_1")
    assert card is not None
    assert (card.sequence, card.values["status"]) == (7, "PENDING")


def test_what_was_heard_late_takes_nothing_back() -> None:
    """A change that what was read has in it already."""
    known = sure()
    known.read(row(9), EPOCH)

    card = known.hear(started(8))

    assert card is not None
    assert (card.sequence, card.values["status"]) == (9, "PENDING")


def test_after_something_was_missed_what_is_being_read_is_not_gone_on_from() -> None:
    """It may be older than what was missed."""
    known = sure()
    known.forget()
    known.read(row(1), EPOCH)

    assert known.hear(started(3)) is None

    known.begin()
    known.read(row(3), EPOCH)
    assert known.hear(event(4, metadata={"progress": {"percent": 1}})) is not None


def test_numbers_of_another_epoch_mean_nothing() -> None:
    """A run of it is not known."""
    known = sure()
    known.read(row(9), EPOCH)

    assert known.hear(event(2, epoch="e2")) is None
    known.read(row(2), "e2")
    card = known.find("run_1")
    assert card is not None
    assert (card.epoch, card.sequence) == ("e2", 2)


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that changed last."""
    monkeypatch.setattr(cards, "MOST_CARDS", 2)
    known = sure()
    for number in range(3):
        known.read(row(number + 1, f"run_{number}"), EPOCH)

    assert known.find("run_0") is None
    assert known.find("run_2") is not None


def test_too_many_that_wait_to_be_read_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all the rest, since of none of them it is known any more what would be new enough."""
    monkeypatch.setattr(cards, "_MOST_AWAITED", 2)
    known = sure()
    known.read(row(1, "run_x"), EPOCH)
    for number in range(3):
        known.hear(started(number + 2, f"run_{number}"))

    assert known.find("run_x") is None
    known.read(row(9, "run_x"), EPOCH)
    assert known.find("run_x") is None


def test_hidden_columns_are_never_kept() -> None:
    """So nothing that is made of a card can have them."""
    known = sure(frozenset({"error", "runTags", "metadata"}))
    known.read(row(1, runTags='["secret"]', error='{"message": "secret"}'), EPOCH)

    card = known.hear(
        event(2, columns={"error": {"message": "secret"}}, metadata={"progress": {"text": "secret"}}),
    )

    assert card is not None
    assert b"secret" not in card.html
    assert "secret" not in str(card.values)
    assert card.progress is None


def test_a_change_of_which_nothing_is_shown_costs_no_html() -> None:
    """A job may say much that is not for people."""
    known = sure()
    before = known.read(row(1), EPOCH)

    card = known.hear(event(2, metadata={"rows": 1}))

    assert card is not None
    assert card.sequence == 2
    assert card.html is before.html


def test_what_cannot_be_understood_is_not_told_but_read(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can reach Redis can publish on our channels, and must not end the hearing of everybody."""
    view = FragmentView(ALL_RUNS)
    channel = Channel(b"c", ENVIRONMENT, lambda _: None)
    channel.joined.set()
    group = RememberingGroup(channel, view, lambda _: None).remember(view)
    group.begin(EPOCH)
    strange = event(1, columns={"status": ["no", "text"]}, whole=True)

    with caplog.at_level(logging.ERROR, "runcast.feed"):
        group.hear(strange)

    assert "can't be noted" in caplog.text
    assert view.lacks(strange)


@pytest.mark.parametrize(
    ("reason", "knows"),
    [
        (Reason.RESUBSCRIBED, False),
        (Reason.OVER_LIMIT, False),
        (Reason.EPOCH, False),
        (Reason.LARGE_VALUE, True),
        (Reason.CUT_OFF, True),
    ],
)
def test_what_is_known_holds_until_something_is_missed(reason: Reason, knows: bool) -> None:
    """That somebody has to read something does not mean that it was not heard."""
    view = FragmentView(ALL_RUNS)
    channel = Channel(b"c", ENVIRONMENT, lambda _: None)
    channel.joined.set()
    group = RememberingGroup(channel, view, lambda _: None).remember(view)
    group.begin(EPOCH)
    group.hear(event(1, columns=WHOLE, whole=True))

    group.broke(reason)

    assert (view._cards.find("run_1") is not None) is knows


def test_while_the_channel_is_not_heard_nothing_is_gone_on_from() -> None:
    """What is read then may be old when hearing begins."""
    view = FragmentView(ALL_RUNS)
    channel = Channel(b"c", ENVIRONMENT, lambda _: None)
    group = RememberingGroup(channel, view, lambda _: None).remember(view)
    group.begin(EPOCH)
    view._cards.read(row(1), EPOCH)

    assert view._cards.find("run_1") is None
