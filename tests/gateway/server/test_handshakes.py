"""Handshakes to which there is nothing to object; all others are somebody else's to judge."""

from __future__ import annotations

import base64
import secrets

import pytest
from websockets.utils import accept_key

from gateway.server.handshakes import accepted, is_of_another_version, key_of

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = [
    (b"host", b"gateway"),
    (b"upgrade", b"websocket"),
    (b"connection", b"keep-alive, Upgrade"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"runcast.v1, token.a.b-c_d"),
    (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
    (b"origin", b"https://app.example.com"),
]


def without(name: bytes) -> list[tuple[bytes, bytes]]:
    return [header for header in GOOD if header[0] != name]


def test_the_answer_is_that_of_the_specification() -> None:
    """RFC 6455, section 1.3, has an example."""
    assert key_of(b"/v1/ws", GOOD) == KEY
    assert accepted(KEY, b"date: today\r\n") == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\ndate: today\r\n\r\n"
    )


def test_any_key_is_answered_as_the_websockets_library_does() -> None:
    """Sixteen bytes, however they look in base64."""
    for _ in range(200):
        key = base64.b64encode(secrets.token_bytes(16))

        assert key_of(b"/v1/ws", [*without(b"sec-websocket-key"), (b"sec-websocket-key", key)]) == key
        assert accept_key(key.decode()).encode() in accepted(key, b"")


@pytest.mark.parametrize("name", [b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version"])
def test_one_that_lacks_something_is_not_taken(name: bytes) -> None:
    """Nor one that has it twice."""
    assert key_of(b"/v1/ws", without(name)) is None
    assert key_of(b"/v1/ws", [*GOOD, next(header for header in GOOD if header[0] == name)]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"upgrade", b"h2c, websocket"),
        (b"connection", b"close"),
        (b"sec-websocket-key", b"AAAA"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZR=="),
        (b"sec-websocket-version", b"8"),
        (b"sec-websocket-protocol", b"runcast.v1,,"),
        (b"sec-websocket-protocol", b""),
        (b"sec-websocket-protocol", b'a"b'),
        (b"x-long", b"x" * 9000),
    ],
)
def test_one_that_is_spelled_in_another_way_is_not_taken(name: bytes, value: bytes) -> None:
    """Whether it is good after all is not decided here."""
    assert key_of(b"/v1/ws", [*without(name), (name, value)]) is None


@pytest.mark.parametrize(
    "more",
    [
        [(b"content-length", b"0")],
        [(b"transfer-encoding", b"chunked")],
        [(b"origin", b"https://evil.example.com")],
        [(b"x", b"y")] * 200,
    ],
    ids=["length", "chunks", "two origins", "many headers"],
)
def test_one_with_more_than_it_needs_is_not_taken(more: list[tuple[bytes, bytes]]) -> None:
    """A body, two origins, or more than the library would read."""
    assert key_of(b"/v1/ws", GOOD + more) is None


def test_a_long_target_is_not_taken() -> None:
    """The library says what is wrong with it."""
    assert key_of(b"/v1/ws?" + b"x" * 9000, GOOD) is None


def test_another_version_is_told_ours() -> None:
    """Section 4.4; and so is one that says none, or two."""
    assert not is_of_another_version(GOOD)
    for versions in ([], [b"8"], [b"13", b"8"], [b"13, 8"]):
        said = [(b"sec-websocket-version", version) for version in versions]
        assert is_of_another_version([*without(b"sec-websocket-version"), *said])
