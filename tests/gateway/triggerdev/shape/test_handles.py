"""Handles: what a client gives back, what nobody can make up, and what is never given out twice."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from auth import Grant
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId
from gateway.revocations import TokenMarks
from gateway.transports.admission import Admitted
from gateway.triggerdev.shape.handles import SINCE_STEP_MS, Handle, definition_of

ENV = EnvironmentId("env_1")
NOTHING: frozenset[str] = frozenset()
TOKEN = Admitted(ENV, Grant(), 2e9, None, TokenMarks("digest_1", "jti", None, 0.0), secret="secret_1")
DEFINITION = definition_of(ENV, FeedId.run("run_1"), NOTHING)


def issued(admitted: Admitted = TOKEN) -> Handle:
    return Handle.issue(DEFINITION, admitted, epoch="660e5ff7079cc", since=29_921_743 * SINCE_STEP_MS, base=17)


def test_a_handle_is_read_back_as_it_was_issued() -> None:
    """With only those characters that every client and proxy leaves as they are."""
    handle = issued()

    assert Handle.parse(str(handle)) == handle
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", str(handle))


def test_no_two_handles_are_the_same() -> None:
    """One that was refused once never comes again, also not after a restart: nothing of it is counted."""
    assert len({str(issued()) for _ in range(1000)}) == 1000


def test_nobody_can_make_one_up() -> None:
    """It is sealed for its feed, for all whose tokens are of the same key."""
    handle = issued()

    assert handle.is_of(DEFINITION, TOKEN)
    assert handle.is_of(DEFINITION, replace(TOKEN, marks=None))
    assert not handle.is_of(definition_of(ENV, FeedId.run("run_2"), NOTHING), TOKEN)
    assert not handle.is_of(DEFINITION, replace(TOKEN, secret="secret_2"))
    for changed in (replace(handle, epoch="1"), replace(handle, since=0), replace(handle, base=0)):
        assert not changed.is_of(DEFINITION, TOKEN)


def test_a_handle_is_bound_to_its_token() -> None:
    """Neither another token, nor one that another key signed, has it."""
    handle = issued()

    assert handle.binds(TOKEN)
    assert not handle.binds(replace(TOKEN, marks=TokenMarks("digest_2", "jti", None, 0.0)))
    assert not handle.binds(replace(TOKEN, secret="secret_2"))
    assert not handle.binds(replace(TOKEN, marks=None))


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": "1"},
        {"since": 0},
        {"base": 18},
        {"nonce": "AAAAAAAA"},
        {"seal": "A" * 16},
        {"binding": "A" * 16},
    ],
    ids=str,
)
def test_a_handle_that_was_changed_binds_nobody(changed: dict[str, object]) -> None:
    """Each part is under the signature."""
    assert not replace(issued(), **changed).binds(TOKEN)  # type: ignore[arg-type]


GARBLED = [
    *("", "x", "undefined-next", "1.2.3", "660e5ff7079cc.0.0.AAAAAAAA.AAAAAAAAAAAAAAAA", f"{issued()}-next"),
    *(f"{issued()}\n", f"{issued()}.", "é" * 60, "." * 5, str(issued()).replace(".17.", ".-1.")),
]


@pytest.mark.parametrize("text", GARBLED, ids=range(len(GARBLED)))
def test_what_is_no_handle_is_none(text: str) -> None:
    """Whatever came in its place."""
    assert Handle.parse(text) is None


def test_a_definition_names_environment_feed_and_columns() -> None:
    """Another of any is another definition; the order of names is none."""
    others = {
        definition_of(ENV, FeedId.run("run_1"), NOTHING),
        definition_of(EnvironmentId("env_2"), FeedId.run("run_1"), NOTHING),
        definition_of(ENV, FeedId.run("run_2"), NOTHING),
        definition_of(ENV, FeedId.batch("run_1"), NOTHING),
        definition_of(ENV, FeedId.run("run_1"), frozenset({"payload"})),
        definition_of(ENV, FeedId.tags("a"), NOTHING),
        definition_of(ENV, FeedId.tags("a", "b"), NOTHING),
        definition_of(ENV, ALL_RUNS, NOTHING),
    }

    assert len(others) == 8
    assert definition_of(ENV, FeedId.tags("b", "a"), frozenset({"ttl", "payload"})) == definition_of(
        ENV, FeedId.tags("a", "b"), frozenset({"payload", "ttl"})
    )
