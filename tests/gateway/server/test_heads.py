"""The head of a request: what must not be taken, and how the others are spelled. All of it in use: tests/http."""

from __future__ import annotations

import pytest

from gateway.server.heads import origin_form, refusal, refused, without_upgrade

HOST = (b"host", b"localhost")


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"localhost:8000",
        b"a-b.example.com:",
        b"127.0.0.1:80",
        b"[::1]",
        b"[fe80::1%25en0]:80",
        b"a_b",
        b"",
    ],
)
def test_a_host_that_could_be_one(host: bytes) -> None:
    """Names as people give them, addresses, ports; and nothing, which is what a target without an authority has."""
    assert refusal("1.1", b"GET", [(b"host", host)]) is None


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a, b", b"a/b", b"me@a", b"a:b", b"a:80:81", b"[::1", b"::1", b"http://a", b"a?", b"\xe9", b"a\tb"],
)
def test_a_host_that_could_be_none(host: bytes) -> None:
    """Whoever believes it would go somewhere else than a proxy before it."""
    assert refusal("1.1", b"GET", [(b"host", host)]) == b"400 Bad Request"


def test_there_is_one_host() -> None:
    """HTTP/1.0 alone may do without (RFC 9112, section 3.2)."""
    assert refusal("1.1", b"GET", []) == b"400 Bad Request"
    assert refusal("1.1", b"GET", [HOST, HOST]) == b"400 Bad Request"
    assert refusal("1.0", b"GET", []) is None
    assert refusal("1.0", b"GET", [HOST, HOST]) == b"400 Bad Request"


@pytest.mark.parametrize(
    ("version", "method", "coding", "status"),
    [
        ("1.1", b"POST", b"chunked", None),
        ("1.1", b"POST", b" Chunked ", None),
        ("1.1", b"POST", b"gzip, chunked", b"501 Not Implemented"),
        ("1.1", b"POST", b"identity", b"501 Not Implemented"),
        ("1.1", b"CONNECT", b"chunked", b"400 Bad Request"),
        ("0.9", b"GET", b"chunked", b"400 Bad Request"),
        ("2.0", b"GET", b"chunked", b"505 HTTP Version Not Supported"),
    ],
)
def test_what_is_not_spoken_here(version: str, method: bytes, coding: bytes, status: bytes | None) -> None:
    """Each has the status that says what is wrong with it."""
    assert refusal(version, method, [HOST, (b"transfer-encoding", coding)]) == status


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b", b"/a?b"),
        (b"//a//b", b"//a//b"),
        (b"/a?x=http://b", b"/a?x=http://b"),
        (b"*", b"*"),
        (b"a", b"a"),
        (b"http://localhost/a?b", b"/a?b"),
        (b"http://localhost:80/a?", b"/a?"),
        (b"https://localhost", b"/"),
        (b"http://localhost?b=c", b"/?b=c"),
        (b"HTTP://LOCALHOST/a#b", b"/a"),
    ],
)
def test_a_target_with_its_host_is_a_path(target: bytes, path: bytes) -> None:
    """RFC 9112, section 3.2.2; what is a path stays as it is."""
    assert origin_form(target) in (path, path.rstrip(b"?"))


def test_a_request_without_its_wish_for_another_protocol() -> None:
    """Everything else stays, above all what says where its body ends."""
    headers = [HOST, (b"upgrade", b"h2c"), (b"connection", b"Upgrade, close"), (b"content-length", b"5")]
    assert without_upgrade(b"POST", b"/a?b", "1.1", headers) == (
        b"POST /a?b HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade, close\r\ncontent-length: 5\r\n\r\n"
    )


def test_a_refusal_is_the_last_answer() -> None:
    """And it has no body, for whatever was asked."""
    assert refused(b"400 Bad Request", b"date: today\r\n") == (
        b"HTTP/1.1 400 Bad Request\r\ndate: today\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
