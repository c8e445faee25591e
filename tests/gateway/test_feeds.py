"""Names are checked once; from then on they stand in keys, channels and JSON as they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadFeed
from gateway.feeds import (
    ALL_RUNS,
    MAX_ID_LENGTH,
    MAX_TAG_LENGTH,
    MAX_TAGS_PER_RUN,
    FeedId,
    check_id,
    check_tag,
    check_task,
)

anything = st.text(st.characters(exclude_categories=()), max_size=300)


def accepted(check: object, text: str) -> bool:
    try:
        assert check(text) == text  # type: ignore[operator]
    except BadFeed:
        return False
    return True


@given(anything)
def test_every_accepted_name_is_its_own_json(text: str) -> None:
    """In quotes it is a JSON string that means itself, and it has UTF-8: the scripts rely on that."""
    for check in (check_tag, check_task, lambda text: check_id("run", text)):
        if accepted(check, text):
            assert json.loads(f'"{text}"') == text
            assert json.loads(f'"{text}"'.encode()) == text
            assert "," not in text


@given(anything)
def test_an_id_has_no_white_space(text: str) -> None:
    """Not even that of other scripts; a canary's text is split at it."""
    if accepted(lambda text: check_id("environment", text), text):
        assert text.split() == [text]


@pytest.mark.parametrize(
    "name",
    [
        *("run_1", "a", "ä", "日本", "🎉", "customer:7", "a{b}", "a}", "*", "?", "[a-z]", "%00", "$.a", "../.."),
        "';DROP",
    ],
)
def test_odd_names_are_names(name: str) -> None:
    """What means something to a shell, SQL or Redis patterns means nothing here."""
    assert check_tag(name) == name
    assert check_task(name) == name


@pytest.mark.parametrize(
    "name",
    ['a"b', "a\\", "a,b", "a\nb", "a\x00", "a\x7f", "\u2028", "\u2029", "\ud800", "a\udfff", '","x":"', "\x1b[31m"],
)
def test_what_would_break_out_of_its_place_is_refused(name: str) -> None:
    """Quotes, backslashes, commas, control characters, half surrogates: none can be in a name of any kind."""
    for check in (check_tag, check_task, lambda text: check_id("batch", text)):
        with pytest.raises(BadFeed, match=r"can't contain|no white space"):
            check(name)


@pytest.mark.parametrize("name", ["a b", " a", "a ", "a\xa0b", "a\u3000b"])
def test_white_space_is_for_tags_and_tasks_only(name: str) -> None:
    """A task's name may be a sentence; an id is one word."""
    assert check_tag(name) == name
    assert check_task(name) == name
    with pytest.raises(BadFeed, match="no white space"):
        check_id("run", name)


def test_names_have_lengths() -> None:
    """From one character to as many as the protocol allows."""
    assert check_tag("x" * MAX_TAG_LENGTH)
    assert check_id("run", "x" * MAX_ID_LENGTH)
    for check, name in ((check_tag, "x" * (MAX_TAG_LENGTH + 1)), (check_task, "x" * (MAX_ID_LENGTH + 1))):
        with pytest.raises(BadFeed, match="characters"):
            check(name)
        with pytest.raises(BadFeed, match="1 to"):
            check("")


def test_tags_in_any_order_are_one_feed() -> None:
    """The same runs, the same name, the same channel; a tag named twice counts once."""
    feed = FeedId.tags("b", "a", "b")

    assert feed == FeedId.tags("a", "b")
    assert str(feed) == "tag:a,b"
    assert feed.channel == FeedId.tags("a").channel == "tag:a"


@pytest.mark.parametrize("count", [0, MAX_TAGS_PER_RUN + 1])
def test_tags_that_no_run_can_carry_are_refused(count: int) -> None:
    """None, or more than a run may have."""
    with pytest.raises(BadFeed, match="tags can be followed together"):
        FeedId.tags(*(f"t{number}" for number in range(count)))


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
feeds = st.one_of(
    st.builds(lambda name: ("run", name), names),
    st.builds(lambda name: ("batch", name), names),
    st.builds(lambda name: ("task", name), names),
    st.builds(lambda tags: ("tag", ",".join(tags)), st.lists(names, min_size=1, max_size=4)),
    st.just(("all", "")),
)


@given(feeds)
def test_the_name_of_a_feed_can_be_parsed(spoken: tuple[str, str]) -> None:
    """What a message carries as its feed comes back in `unsubscribe`, colons and all."""
    kind, name = spoken
    try:
        feed = FeedId.parse(f"{kind}:{name}" if name else kind)
    except BadFeed:
        return

    assert FeedId.parse(str(feed)) == feed
    assert feed.kind == kind


@pytest.mark.parametrize(
    "text", ["", ":", "run", "run:", "tag:", "tag:a,,b", "runs:1", "all:", "all:x", "RUN:1", "x" * 999]
)
def test_anything_else_is_no_feed(text: str) -> None:
    """And the message does not repeat more of it than helps."""
    with pytest.raises(BadFeed) as refused:
        FeedId.parse(text)
    assert len(str(refused.value)) < 300


def test_no_two_feeds_share_a_channel_but_those_of_several_tags() -> None:
    """Else viewers of one would hear the other."""
    feeds = [FeedId.run("a"), FeedId.batch("a"), FeedId.task("a"), FeedId.tags("a"), ALL_RUNS, FeedId.task("all")]

    assert len({feed.channel for feed in feeds}) == len(feeds)
