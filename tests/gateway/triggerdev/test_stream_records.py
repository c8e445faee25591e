"""Chunks as the official clients are told them, down to the bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.codec import AppendEvent, Chunk, Event, Transition
from gateway.feeds import FeedId, RunId
from gateway.runs import Status
from gateway.store.pages import StreamPage
from gateway.triggerdev.stream_records import RECORDS, Anew, RecordsView, Spelling

FEED = FeedId.stream("run_1", "tokens")
CHUNKS = (Chunk(10, 4, b'{"a":1.0}', 1760000000123), Chunk(12, 5, b'"\\ud83d"', 1760000000124))


def appended(*chunks: Chunk, stream: str = "tokens", left_out: bool = False) -> AppendEvent:
    return AppendEvent(chunks[-1].sequence, "e1", RunId("run_1"), stream, chunks, left_out, 1760000000123)


def said(status: str, attempt: int = 1) -> Event:
    transition = Transition(20, status, 1, attempt)
    return Event(20, "e1", RunId("run_1"), 1, (), {}, False, {}, (), {}, transition, frozenset())


def page(*chunks: Chunk, status: Status | None = None) -> StreamPage:
    return StreamPage("e2", 30, True, [], list(chunks), 0, 6, status, 2, 0)


def spelled(view: RecordsView, *chunks: Chunk) -> bytes:
    return b"".join(RECORDS[False].frame(m.kind, m.body, m.cursor) for m in view.messages(appended(*chunks), "c"))


def test_records() -> None:
    """What was written stands in the envelope as it was written."""
    assert spelled(RecordsView(FEED, Spelling.V2), *CHUNKS) == (
        b"event: batch\n"
        b'data: {"records":[{"seq_num":4,"timestamp":1760000000123,'
        b'"body":"{\\"data\\":{\\"a\\":1.0},\\"id\\":\\"a\\"}"},'
        b'{"seq_num":5,"timestamp":1760000000124,"body":"{\\"data\\":\\"\\\\ud83d\\",\\"id\\":\\"c\\"}"}]}\n\n'
    )


def test_events() -> None:
    assert spelled(RecordsView(FEED, Spelling.V1), *CHUNKS) == (
        b'id: 1760000000123-4\ndata: {"a":1.0}\n\nid: 1760000000124-5\ndata: "\\ud83d"\n\n'
    )


def test_inputs() -> None:
    """JSON text in a string, as these clients want it."""
    (line,) = [text for text in spelled(RecordsView(FEED, Spelling.INPUT), CHUNKS[0]).split(b"\n") if b"data" in text]
    (record,) = json.loads(line[6:])["records"]
    assert json.loads(record["body"]) == {"data": '{"a":1.0}', "id": "inp_00000000000a"}


def test_an_event_carries_so_much() -> None:
    """Who is cut off within one gets it again: so none is large, unless its one record is."""
    chunks = [Chunk(number, number, b'"%s"' % (b"x" * 3000)) for number in range(1, 200)]
    for some, most in ((chunks, 22), ([Chunk(n, n, b"1") for n in range(1, 251)], 100)):
        events = spelled(RecordsView(FEED, Spelling.V2), *some).split(b"\n\n")[:-1]
        counts = [len(json.loads(event.partition(b"data: ")[2])["records"]) for event in events]
        assert sum(counts) == len(some)
        assert max(counts) <= most
    large = Chunk(1, 1, b'"%s"' % (b"x" * 1_000_000))
    assert spelled(RecordsView(FEED, Spelling.V2), large, large).count(b"event: batch") == 2


@pytest.mark.parametrize("chunked", [False, True])
def test_all_else_is_a_comment(chunked: bool) -> None:
    """For these clients each event is a chunk."""
    framing = RECORDS[chunked]
    for kind in ("welcome", "heartbeat", "error", "reconnect", "end"):
        frame = framing.frame(kind, b'{"type":"x"}', "c")
        assert frame.startswith(b":")
        assert frame.endswith(b"\n\n")
        assert frame.count(b"\n") == 2
        assert not isinstance(framing.wrap(frame), Anew)
    assert (framing.wrap(b": ping\n\n") == b"8\r\n: ping\n\n\r\n") is chunked


def test_chunks_before_where_the_reader_begins_are_not_told() -> None:
    view: Any = RecordsView(FEED, Spelling.V2, first=5)
    assert b'"seq_num":4' not in spelled(view, *CHUNKS)
    assert view.messages(appended(CHUNKS[0]), "c") == []
    assert view.entries(page(*CHUNKS)) == [CHUNKS[1]]


def test_only_its_own_stream() -> None:
    view = RecordsView(FEED, Spelling.V2)
    assert view.admits(appended(*CHUNKS))
    assert not view.admits(appended(*CHUNKS, stream="log"))
    assert view.lacks(appended(*CHUNKS, left_out=True))
    assert not view.lacks(said("EXECUTING"))


def test_the_end_and_that_it_was_none() -> None:
    """A run that goes on in another attempt has not ended."""
    view = RecordsView(FEED, Spelling.V2)
    assert [message.ends for message in view.messages(said("COMPLETED_SUCCESSFULLY", 3), "c")] == [3]
    assert [message.ends for message in view.messages(said("PENDING", 4), "c")] == [0]
    end = view.end_at(page(status=Status.FAILED))
    assert end is not None
    assert end.ends == 2
    assert view.end_at(page(status=Status.EXECUTING)) is None
    assert view.end_at(page()) is None


def test_a_place_that_does_not_hold_is_marked() -> None:
    """With the epoch of what is told instead, for the reader to see whether something was lost."""
    view = RecordsView(FEED, Spelling.V2)
    for chunked, framing in RECORDS.items():
        messages = view.page(page(*CHUNKS), [view.show(chunk) for chunk in CHUNKS], replaces=True, truncated=False)
        anew = framing.wrap(b"".join(framing.frame(m.kind, m.body, m.cursor) for m in messages))
        assert isinstance(anew, Anew)
        assert anew.epoch == "e2"
        assert anew.startswith(b": anew e2\n\nevent: batch") is not chunked
    assert view.page(page(), [], replaces=False, truncated=False) == []


def test_those_who_ask_the_same_are_told_the_same() -> None:
    assert RecordsView(FEED, Spelling.V2) == RecordsView(FEED, Spelling.V2).hiding(frozenset({"payload"}))
    assert len({RecordsView(FEED, Spelling.V2), RecordsView(FEED, Spelling.V1)}) == 2
