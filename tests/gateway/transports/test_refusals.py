"""What an error is called on each transport, and that docs/protocol.md says so."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from gateway import errors
from gateway.errors import (
    AlreadySubscribed,
    BadChange,
    BadCursor,
    BadFeed,
    BadMessage,
    GatewayError,
    InProgress,
    KeyReused,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotSubscribed,
    OriginNotAllowed,
    TokenExpired,
    TokenInvalid,
    TooLarge,
    TooManyFeeds,
    TooManyTags,
    TooSlow,
    Unavailable,
    UnsupportedMedia,
)
from gateway.transports import refusals

PROTOCOL = (Path(__file__).parents[3] / "docs/protocol.md").read_text(encoding="utf-8")

ERRORS: list[tuple[GatewayError, str, int, int | None, bool]] = [
    (BadMessage("x"), "bad_message", 400, None, False),
    (BadFeed("x"), "bad_feed", 400, None, False),
    (BadCursor("x"), "bad_cursor", 400, None, False),
    (AlreadySubscribed("run:r"), "already_subscribed", 400, None, False),
    (NotSubscribed("run:r"), "not_subscribed", 400, None, False),
    (TooManyFeeds(limit=5), "too_many_feeds", 400, None, False),
    (NotAuthenticated(), "not_authenticated", 401, 4401, False),
    (TokenInvalid("x"), "token_invalid", 401, 4401, False),
    (TokenExpired(), "token_expired", 401, 4410, False),
    (NotAllowed("run:r", "read:runs"), "not_allowed", 403, None, False),
    (OriginNotAllowed("https://evil"), "origin_not_allowed", 403, 4403, False),
    (NotFound("x"), "not_found", 404, None, False),
    (TooSlow(seconds=1), "too_slow", 408, None, True),
    (InProgress(), "in_progress", 409, None, True),
    (BadChange("x"), "bad_change", 400, None, False),
    (TooLarge("x", size=2, limit=1), "too_large", 413, None, False),
    (UnsupportedMedia("x"), "unsupported_media_type", 415, None, False),
    (TooManyTags(limit=10), "too_many_tags", 422, None, False),
    (KeyReused(), "idempotency_key_reused", 422, None, False),
    (Unavailable(), "unavailable", 503, None, True),
]


#: What a refusal may be answered with.
STATUSES = {400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503}


@pytest.mark.parametrize(("error", "code", "status", "close", "retry"), ERRORS, ids=[row[1] for row in ERRORS])
def test_an_error_is_the_same_on_every_transport(
    error: GatewayError, code: str, status: int, close: int | None, retry: bool
) -> None:
    """One code and one text; a status for HTTP, a close code where a socket can't go on."""
    answered, body = refusals.problem(error)
    problem, message = json.loads(body), json.loads(refusals.error_message(error, feed="run:r"))

    assert answered == problem["status"] == status
    assert refusals.close_code(error) == close
    assert problem["code"] == message["code"] == code
    assert problem["detail"] == message["message"] == str(error)
    assert problem["retry"] is message["retry"] is retry
    assert problem["title"]
    assert (message["type"], message["feed"]) == ("error", "run:r")


@pytest.mark.parametrize(("code", "status"), [(row[1], row[2]) for row in ERRORS])
def test_the_protocol_names_each_code_with_its_status(code: str, status: int) -> None:
    """The table of docs/protocol.md has a line for it."""
    lines = [line for line in PROTOCOL.splitlines() if line.startswith("|") and f"`{code}`" in line]

    assert any(f"| {status} |" in line for line in lines), lines


@pytest.mark.parametrize("close", [1000, 1002, 1003, 1007, 1009, 1011, 1012, 4400, 4401, 4403, 4410, 4413])
def test_the_protocol_names_each_close_code(close: int) -> None:
    """Whoever writes a client finds what each means."""
    codes = PROTOCOL.partition("### Close codes")[2].partition("##")[0]

    assert any(str(close) in line.split("|")[1] for line in codes.splitlines() if line.startswith("| "))


def test_every_error_has_a_status() -> None:
    """None that is added to the tree can be forgotten here."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GatewayError)]

    assert len(kinds) > 12
    for kind in kinds:
        assert refusals.http_status(kind.__new__(kind))[0] in STATUSES


def test_a_problem_says_how_to_go_on() -> None:
    """Who is not known is told how to authenticate; who may come back, when; and what field was wrong is named."""
    assert (b"www-authenticate", b"Bearer") in refusals.problem_headers(TokenExpired())
    assert (b"retry-after", b"1") in refusals.problem_headers(Unavailable())
    assert {name for name, _ in refusals.problem_headers(BadMessage("x"))} == {b"content-type", b"cache-control"}
    assert json.loads(refusals.problem(KeyReused())[1])["field"] == "Idempotency-Key"
    assert "field" not in json.loads(refusals.problem(Unavailable())[1])


def test_an_error_of_no_feed_names_none() -> None:
    """The field is absent, not null."""
    assert "feed" not in json.loads(refusals.error_message(BadMessage("x")))


def test_paths_and_methods_that_are_not_ours_are_problems_too() -> None:
    """And what was asked for comes back shortened."""
    for status, body in (refusals.not_found("/" + "x" * 5000), refusals.method_not_allowed("X" * 5000)):
        problem = json.loads(body)
        assert (problem["status"], problem["retry"]) == (status, False)
        assert problem["code"] in ("not_found", "method_not_allowed")
        assert len(body) < 400
