"""Metadata documents: changed by keys, sent as a whole, and kept up to a bound."""

from __future__ import annotations

import json

from gateway.triggerdev.shape.documents import Document, Documents


def text_of(document: Document) -> object:
    return None if document.text is None else json.loads(document.text)


def test_a_document_follows_its_changes() -> None:
    """Keys are set and deleted; without any there is none."""
    document = Document(5, text='{"a":1,"b":[1,2]}')
    document.apply(6, {"a": 2, "c": {"x": None}}, ["b", "nothing"])
    assert text_of(document) == {"a": 2, "c": {"x": None}}

    document.apply(7, {}, ["a", "c"])
    assert text_of(document) is None
    document.apply(8, {"again": True}, [])
    assert text_of(document) == {"again": True}


def test_what_is_in_it_already_changes_nothing() -> None:
    """It may have been read later than the change was made: it never gets older."""
    document = Document(9, parts={b"a": b"9"})
    document.apply(8, {"a": 8}, [])
    document.apply(9, {"a": 8}, [])

    assert text_of(document) == {"a": 9}


def test_parts_stay_as_they_were_written() -> None:
    """What nobody changes is not read."""
    document = Document(1, parts={b"big": b"123456789012345678901234567890", b"x": b"1"})
    document.apply(2, {"x": 2}, [])

    assert document.text == '{"big":123456789012345678901234567890,"x":2}'


def test_what_was_not_needed_for_long_is_forgotten_first() -> None:
    """And the newest is kept, however large."""
    kept = Documents(most_bytes=1000)
    for number in range(3):
        kept.keep((1, f"run_{number}"), Document(1, text="x" * 100))
    kept.find((1, "run_0"))
    kept.keep((1, "run_3"), Document(1, text="x" * 100))

    assert [kept.find((1, f"run_{number}")) is not None for number in range(4)] == [True, False, True, True]
    kept.keep((2, "run_9"), Document(1, text="x" * 5000))
    assert kept.find((2, "run_9")) is not None
    assert kept.find((1, "run_0")) is None


def test_a_document_that_grew_counts_as_it_is() -> None:
    """Not as it was when it came."""
    kept = Documents(most_bytes=1000)
    small, grows = Document(1, text='{"a":1}'), Document(1, text='{"a":1}')
    kept.keep((1, "small"), small)
    kept.keep((1, "grows"), grows)
    grows.apply(2, {"a": "x" * 2000}, [])
    kept.keep((1, "grows"), grows)

    assert kept.find((1, "small")) is None
    assert kept.find((1, "grows")) is grows
    kept.forget((1, "grows"))
    kept.forget((1, "grows"))
    kept.keep((1, "small"), small)
    kept.keep((1, "other"), Document(1, text='{"a":1}'))
    assert kept.find((1, "small")) is small
