"""What waits for a reader: the newest of each run, every chunk, and never too much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.viewer import inboxes
from gateway.viewer.inboxes import ChunkInbox, RunInbox
from gateway.viewer.mirror import MirroredFeed, RunsGone
from gateway.viewer.streams import StreamChunk
from gateway.viewer.viewed import ViewedRun


def a_run(name: str, status: str = "EXECUTING", number: int = 0) -> ViewedRun:
    return ViewedRun(name, {"id": name, "status": status, "number": number})


def drained(inbox: RunInbox) -> list[ViewedRun]:
    taken = []
    while (run := inbox._take()) is not None:
        taken.append(run)
    return taken


STEPS = st.lists(st.one_of(st.sampled_from("abcd"), st.none()), max_size=60)


@given(steps=STEPS)
def test_whenever_a_reader_takes_it_is_shown_the_newest_and_in_the_end_the_truth(steps: list[str | None]) -> None:
    """Letters are runs that change; None is a reader that takes one."""
    inbox, truth, shown = RunInbox(ends=False), dict[str, ViewedRun](), dict[str, ViewedRun]()
    for number, step in enumerate(steps):
        if step is not None:
            truth[step] = a_run(step, number=number)
            inbox.put(truth[step])
        elif (taken := inbox._take()) is not None:
            assert taken == truth[taken.id]
            shown[taken.id] = taken
    for run in drained(inbox):
        assert run != shown.get(run.id)
        shown[run.id] = run

    assert shown == truth


async def test_what_was_waiting_is_taken_before_the_end() -> None:
    inbox = RunInbox(ends=True)
    inbox.put(a_run("a", "COMPLETED"))
    inbox.end()

    assert (await inbox.take()).status == "COMPLETED"
    with pytest.raises(StopAsyncIteration):
        await inbox.take()


async def test_what_was_waiting_is_taken_before_an_error() -> None:
    inbox = RunInbox(ends=True)
    inbox.put(a_run("a"))
    inbox.fail(LookupError())

    await inbox.take()
    with pytest.raises(LookupError):
        await inbox.take()
    with pytest.raises(LookupError):
        await inbox.until_caught_up()


async def test_a_run_that_is_reopened_before_anybody_looked_has_not_ended() -> None:
    inbox = RunInbox(ends=True)
    inbox.put(a_run("a", "FAILED"))
    inbox.end()
    inbox.put(a_run("a", "EXECUTING"))

    assert (await inbox.take()).status == "EXECUTING"
    waiting = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    inbox.put(a_run("a", "COMPLETED"))
    assert (await waiting).status == "COMPLETED"


def test_who_comes_later_begins_with_what_is_known() -> None:
    feed = MirroredFeed("run:a", runs={"a": a_run("a", "COMPLETED")}, caught_up=True, ended="COMPLETED")
    inbox = RunInbox(ends=True)
    inbox.put_all(feed)

    assert (inbox.caught_up, inbox.ended) == (True, True)
    assert drained(inbox) == [a_run("a", "COMPLETED")]


def test_runs_that_are_lost_are_not_shown_and_those_that_only_had_to_make_room_are() -> None:
    inbox = RunInbox(ends=False)
    for name in "ab":
        inbox.put(a_run(name))
    inbox.forget(RunsGone("all", ("a",), lost=True))
    inbox.forget(RunsGone("all", ("b",)))

    assert drained(inbox) == [a_run("b")]


async def test_an_inbox_that_was_full_says_when_it_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """When half of it was taken: not after each chunk."""
    monkeypatch.setattr(inboxes, "MAX_CHUNK_BYTES_WAITING", 100)
    inbox, calls = ChunkInbox(), list[Any]()
    for number in range(10):
        inbox.put(StreamChunk(number, number, "-"), 10)
    assert inbox.full
    inbox.drained = lambda: calls.append(inbox._bytes)
    for _ in range(6):
        await inbox.take()

    assert calls == [50, 40]


async def test_one_chunk_that_is_larger_than_all_that_may_wait_is_taken_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "MAX_CHUNK_BYTES_WAITING", 100)
    inbox = ChunkInbox()
    inbox.put(StreamChunk("large", 0, "-"), 1000)

    assert inbox.full
    assert (await inbox.take()).value == "large"
    assert inbox.has_room
