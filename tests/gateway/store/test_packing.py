"""Commands on the wire."""

from __future__ import annotations

from gateway.store.packing import packed


def test_words_are_packed_with_their_lengths() -> None:
    """Text as UTF-8, numbers as their digits, bytes as they are."""
    assert packed(("SET", "k", b"\x00\r\n", 12)) == b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\x00\r\n\r\n$2\r\n12\r\n"
    assert packed(("ECHO", "ü")) == "*2\r\n$4\r\nECHO\r\n$2\r\nü\r\n".encode()
