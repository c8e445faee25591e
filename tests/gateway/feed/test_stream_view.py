"""How a stream is shown: chunks with their indexes, where it begins, and its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.codec import AppendEvent, Chunk, Event, Transition
from gateway.feed.stream_view import StreamView
from gateway.feeds import FeedId, RunId
from gateway.runs import Status
from gateway.store.pages import StreamPage

if TYPE_CHECKING:
    from gateway.feed.view import Message

EPOCH = "e1"
VIEW = StreamView(FeedId.stream("run_1", "llm"))


def appended(*chunks: Chunk, stream: str = "llm", left_out: bool = False) -> AppendEvent:
    return AppendEvent(chunks[-1].sequence if chunks else 9, EPOCH, RunId("run_1"), stream, chunks, left_out, 1000)


def changed(status: str | None) -> Event:
    transition = None if status is None else Transition(12, status, 1000, 2)
    return Event(12, EPOCH, RunId("run_1"), 1, (), {}, False, {}, (), {}, transition, frozenset())


def page(*chunks: Chunk, status: Status | None = Status.EXECUTING, first: int = 0, end: int = 20) -> StreamPage:
    return StreamPage(EPOCH, end, True, [], list(chunks), first, first + len(chunks), status, 1, 0)


def told(messages: list[Message]) -> list[dict[str, Any]]:
    """The messages, each with the same cursor in and around it."""
    bodies: list[dict[str, Any]] = [json.loads(message.body) for message in messages]
    assert [(body["type"], body["cursor"]) for body in bodies] == [(m.kind, m.cursor) for m in messages]
    return bodies


def test_each_chunk_is_a_message_with_a_place_of_its_own() -> None:
    """Whoever is cut off between two of them goes on with the second one."""
    event = appended(Chunk(10, 4, b'{"a":1.0}'), Chunk(11, 5, b"[]"))

    messages = VIEW.messages(event, "e1-11")

    feed = "stream:run_1,llm"
    assert told(messages) == [
        {"type": "chunk", "feed": feed, "index": 4, "chunk": {"a": 1.0}, "cursor": "e1-10"},
        {"type": "chunk", "feed": feed, "index": 5, "chunk": [], "cursor": "e1-11"},
    ]
    assert b'"chunk":{"a":1.0}' in messages[0].body


def test_chunks_of_another_stream_of_the_run_are_not_shown() -> None:
    assert VIEW.admits(appended(Chunk(1, 0, b"1")))
    assert not VIEW.admits(appended(Chunk(1, 0, b"1"), stream="log"))


def test_chunks_that_were_too_large_to_be_told_are_read() -> None:
    assert VIEW.lacks(appended(left_out=True))
    assert not VIEW.lacks(appended(Chunk(1, 0, b"1")))
    assert not VIEW.lacks(changed("EXECUTING"))


def test_only_the_end_of_the_run_is_told() -> None:
    assert VIEW.messages(changed(None), "e1-12") == []
    assert VIEW.messages(changed("EXECUTING"), "e1-12") == []
    (message,) = VIEW.messages(changed("COMPLETED_SUCCESSFULLY"), "e1-12")

    assert told([message]) == [{"type": "end", "feed": "stream:run_1,llm", "status": "COMPLETED", "cursor": "e1-12"}]
    assert message.ends == 2


def test_who_goes_on_is_told_nothing_of_a_begin() -> None:
    shown = [VIEW.show(chunk) for chunk in (Chunk(10, 4, b"1"),)]

    assert [body["type"] for body in told(VIEW.page(page(), shown, replaces=False, truncated=False))] == ["chunk"]
    assert VIEW.page(page(), [], replaces=False, truncated=False) == []


def test_who_begins_is_told_where() -> None:
    """With a cursor before the first chunk: cut off there, it has missed nothing."""
    whole = page(Chunk(10, 7, b"1"), first=7)

    begin, chunk = told(VIEW.page(whole, [VIEW.show(entry) for entry in whole.chunks], replaces=True, truncated=False))
    (nothing,) = told(VIEW.page(page(), [], replaces=True, truncated=False))

    assert (begin["type"], begin["firstIndex"], begin["cursor"]) == ("begin", 7, "e1-9")
    assert chunk["index"] == 7
    assert (nothing["type"], nothing["firstIndex"], nothing["cursor"]) == ("begin", 0, "e1-20")


def test_what_was_read_says_whether_that_was_the_end() -> None:
    ended = VIEW.end_at(page(status=Status.FAILED))

    assert ended is not None
    assert told([ended])[0]["status"] == "FAILED"
    assert VIEW.end_at(page()) is None
    assert VIEW.end_at(page(status=None)) is None


def test_all_who_follow_a_stream_share_a_view() -> None:
    assert StreamView(FeedId.parse("stream:run_1,llm")) == VIEW
    assert VIEW.hiding(frozenset({"output"})) == VIEW
