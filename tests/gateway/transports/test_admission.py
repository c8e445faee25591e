"""Who is let in and to what: a credential becomes what it grants, a feed is covered by it or is not."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import EnvironmentKeys, Grant, Keyring, SigningKey, mint
from gateway.codec import Row
from gateway.errors import (
    NotAllowed,
    NotAuthenticated,
    OriginNotAllowed,
    TokenExpired,
    TokenInvalid,
    Unavailable,
)
from gateway.feeds import ALL_RUNS, EnvironmentId, FeedId, RunId
from gateway.transports import admission as module
from gateway.transports.admission import Admission, Admitted, bearer, headers_of
from gateway.transports.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = EnvironmentKeys.of("env_1", "tr_test_the_secret_of_the_first_one_0001")
OTHERS = EnvironmentKeys.of("env_2", "tr_test_the_secret_of_the_second_one_0002")


class Rows:
    """Knows one run; counts who asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.away = False

    async def read_row(self, environment: EnvironmentId, run: str, columns: Sequence[str]) -> Row | None:
        self.asked.append((environment, run))
        if self.away:
            raise Unavailable
        if (environment, run) != ("env_1", "run_1"):
            return None
        kept = {"taskIdentifier": b'"resize"', "runTags": b'["red","blue"]', "batchId": b'"batch_1"', "status": b'"X"'}
        return Row(RunId("run_1"), 1, {name: kept[name] for name in columns if name in kept})


def admission(rows: Rows | None = None, origins: str = "") -> Admission:
    return Admission(Keyring([KEYS, OTHERS]), Origins.parse(origins), rows or Rows())


def granted(*scopes: str) -> Admitted:
    return Admitted(EnvironmentId("env_1"), Grant.parse(scopes), None, None)


# docs/protocol.md, "Tokens": the feeds, and every scope that opens them.
OPENED_BY: list[tuple[FeedId, list[str]]] = [
    (
        FeedId.run("run_1"),
        ["read:runs", "read:runs:run_1", "read:tasks:resize", "read:tags:red", "read:tags:blue", "read:batch:batch_1"],
    ),
    (FeedId.tags("red"), ["read:runs", "read:tags", "read:tags:red"]),
    (FeedId.tags("red", "green"), ["read:runs", "read:tags", "read:tags:red", "read:tags:green"]),
    (FeedId.batch("batch_1"), ["read:runs", "read:batch", "read:batch:batch_1"]),
    (FeedId.task("resize"), ["read:runs", "read:tasks", "read:tasks:resize"]),
    (ALL_RUNS, ["read:runs"]),
]
SCOPES = sorted({scope for _, scopes in OPENED_BY for scope in scopes})


@pytest.mark.parametrize(("feed", "scopes"), OPENED_BY, ids=[str(feed) for feed, _ in OPENED_BY])
async def test_a_feed_is_opened_by_the_scopes_of_the_protocol_and_by_no_others(feed: FeedId, scopes: list[str]) -> None:
    """Any one of them is enough; each of the others alone is not."""
    narrow = {"read:tags", "read:tasks", "read:batch"} if feed.kind == "run" else set()
    for scope in SCOPES:
        if scope in scopes:
            await admission().check_feed(granted(scope), feed)
        elif scope not in narrow:
            with pytest.raises(NotAllowed):
                await admission().check_feed(granted(scope), feed)
    for scope in ("admin", "read:all", "*:runs"):
        await admission().check_feed(granted(scope), feed)
    for scope in ("", "read:runs:", "read::run_1", "admin:", "write:runs", "read:runs:*", "READ:RUNS"):
        with pytest.raises(NotAllowed):
            await admission().check_feed(granted(scope), feed)


@pytest.mark.parametrize("known", [True, False])
def test_what_a_token_opened_may_outlive_it(known: bool) -> None:
    """Whether it was seen before or not; and for nobody who did not say so."""
    now = time.time()
    token = mint("read:runs:run_1", KEYS, expires=int(now) - 60, now=now - 900)
    asked = admission()
    if known:
        asked.admit(token, overdue=1000)

    admitted = asked.admit(token, overdue=100)
    assert admitted.expires_at == int(now) - 60
    for overdue in (0.0, 59.0):
        with pytest.raises(TokenExpired):
            asked.admit(token, overdue=overdue)


@pytest.mark.parametrize("known", [True, False])
def test_what_a_token_opened_does_not_outlive_its_key(known: bool) -> None:
    """A key that was retired a day ago counts no more, and one that is gone never did."""
    now = time.time()
    token = mint("read:runs:run_1", KEYS, expires=int(now) - 60, now=now - 900)
    retired = SigningKey(KEYS.current.secret, now - 25 * 3600, "test")
    current = SigningKey("tr_test_the_secret_that_came_after_it_0003", None, "test")
    asked = admission()
    if known:
        asked.admit(token, overdue=1000)
        # As it is remembered, for as long as nothing is read again.
        asked._keyring = Keyring([replace(KEYS, current=current, previous=(retired,))])
    else:
        asked.reload(Keyring([replace(KEYS, current=current, previous=(retired,))]), Origins())

    with pytest.raises((TokenExpired, TokenInvalid)):
        asked.admit(token, overdue=1000)


async def test_a_refusal_names_the_feed_and_what_would_open_it() -> None:
    """Whoever minted the token sees what to add."""
    with pytest.raises(NotAllowed) as refused:
        await admission().check_feed(granted("read:runs:other"), FeedId.tags("a", "b"))

    assert "tag:a,b" in str(refused.value)
    assert "read:runs, read:tags, read:tags:a, read:tags:b" in str(refused.value)


async def test_a_refusal_tells_nothing_of_the_run() -> None:
    """Whoever may not see it learns neither its tags nor whether there is one."""
    told = []
    for run in ("run_1", "run_2"):
        with pytest.raises(NotAllowed) as refused:
            await admission().check_feed(granted("read:tags:green"), FeedId.run(run))
        told.append(str(refused.value).replace(run, "it"))

    assert told[0] == told[1]


async def test_a_run_is_looked_at_only_when_its_own_scopes_do_not_decide() -> None:
    """Redis is not asked for what the token says."""
    rows = Rows()
    await admission(rows).check_feed(granted("read:runs:run_1"), FeedId.run("run_1"))
    assert rows.asked == []

    await admission(rows).check_feed(granted("read:tags:blue"), FeedId.run("run_1"))
    assert rows.asked == [("env_1", "run_1")]


async def test_a_run_that_does_not_exist_is_opened_by_its_own_scopes_only() -> None:
    """A token for a tag opens the runs that have it, once they exist."""
    await admission().check_feed(granted("read:runs:run_2"), FeedId.run("run_2"))
    with pytest.raises(NotAllowed):
        await admission().check_feed(granted("read:tags:red"), FeedId.run("run_2"))


async def test_when_a_run_can_t_be_looked_at_nobody_is_refused_for_good() -> None:
    """Unavailable invites to come back; a refusal would not."""
    rows = Rows()
    rows.away = True

    with pytest.raises(Unavailable):
        await admission(rows).check_feed(granted("read:tags:red"), FeedId.run("run_1"))


def test_a_token_grants_what_it_says_until_it_ends() -> None:
    """Environment, scopes, columns, and the second of its end."""
    ends = int(time.time()) + 900
    token = mint(["read:runs:run_1"], KEYS, expires=ends, skip_columns=["payload", "unknown", "status"])

    admitted = admission().admit(token)

    assert (admitted.environment, admitted.expires_at) == ("env_1", ends)
    assert admitted.hidden == frozenset({"payload"})
    assert [str(scope) for scope in admitted.grant.scopes] == ["read:runs:run_1"]


def test_a_secret_key_grants_everything_for_ever() -> None:
    """In its own environment."""
    for keys in (KEYS, OTHERS):
        admitted = admission().admit(keys.current.secret)
        assert admitted == Admitted(EnvironmentId(keys.environment), Grant.everything(), None, None)


def test_a_token_that_was_good_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it was verified once does not make it live longer."""
    gate, token = admission(), mint(["read:runs"], KEYS, expires=int(time.time()) + 100)
    assert gate.admit(token) is gate.admit(token)

    later = time.time() + 101
    monkeypatch.setattr(time, "time", lambda: later)

    with pytest.raises(TokenExpired):
        gate.admit(token)


def test_what_is_remembered_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many different good tokens come; and a bad one is never remembered."""
    monkeypatch.setattr(module, "_CACHED_TOKENS", 10)
    gate = admission()

    for number in range(50):
        gate.admit(mint(["read:runs"], KEYS, jti=str(number)))
        with pytest.raises(TokenInvalid):
            gate.admit(mint(["read:runs"], EnvironmentKeys.of("env_1", f"another_secret_of_many_{number:020}")))

        assert len(gate._verified) <= 10


@pytest.mark.parametrize("credential", [None, ""])
def test_no_credential_is_told_apart_from_a_bad_one(credential: str | None) -> None:
    """The answer asks for one."""
    with pytest.raises(NotAuthenticated):
        admission().admit(credential)


@given(st.text(st.characters(exclude_categories=[])) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_any_text_is_a_credential_or_a_documented_error(text: str) -> None:
    """Half a character too; and no error repeats it."""
    with pytest.raises(NotAuthenticated if text == "" else TokenInvalid) as refused:
        admission().admit(text)

    assert len(text) < 12 or text not in str(refused.value)


def test_pages_from_elsewhere_are_refused_and_requests_of_no_page_are_not() -> None:
    """Only browsers send an origin."""
    gate = admission(origins="https://app.example.com")
    gate.check_origin(None)
    gate.check_origin("https://app.example.com")

    with pytest.raises(OriginNotAllowed, match="RUNCAST_ALLOWED_ORIGINS"):
        gate.check_origin("https://evil.example")


@pytest.mark.parametrize(
    ("header", "credential"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc ", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_bearer_is_read_from_its_header(header: str | None, credential: str | None) -> None:
    """Whatever its case and spaces (RFC 6750, section 2.1); other schemes are none."""
    assert bearer(header) == credential


def test_a_header_that_came_twice_is_one_list() -> None:
    """So a good one does not vouch for another, in either order."""
    fields = [(b"origin", b"https://a"), (b"x", b"\xff"), (b"origin", b"https://b")]

    assert headers_of({"headers": fields}) == {"origin": "https://a, https://b", "x": "\xff"}


def test_other_keys_and_origins_count_from_one_moment_to_the_next() -> None:
    """What was verified before is verified again, so nothing of a key that is gone is remembered."""
    gate = admission(origins="https://a.example")
    ours, theirs = mint("read:runs", KEYS), mint("read:runs", OTHERS)
    gate.admit(ours)
    before = gate.admit(theirs)

    gate.reload(Keyring([OTHERS]), Origins.parse("https://b.example"))

    with pytest.raises(TokenInvalid):
        gate.admit(ours)
    with pytest.raises(TokenInvalid):
        gate.admit(KEYS.current.secret)
    assert gate.admit(theirs) == before
    gate.check_origin("https://b.example")
    with pytest.raises(OriginNotAllowed):
        gate.check_origin("https://a.example")


def test_what_was_admitted_before_ends_with_its_key() -> None:
    """At once when it is gone, with its grace when it was retired, and else at its own time."""
    now = float(int(time.time()))
    gate = admission()
    token, secret = gate.admit(mint("read:runs", KEYS, expires="7d", now=now)), gate.admit(KEYS.current.secret)
    assert (gate.end_of(token), gate.end_of(secret)) == (now + 7 * 86400, math.inf)

    retired = SigningKey(KEYS.current.secret, retired_at=now)
    gate.reload(
        Keyring([EnvironmentKeys(environment=KEYS.environment, current=OTHERS.current, previous=(retired,))]), Origins()
    )
    assert gate.end_of(token) == gate.end_of(secret) == now + 86400
    gate.check_revoked(token)
    assert gate.admit(KEYS.current.secret).expires_at == now + 86400

    gate.reload(Keyring([OTHERS]), Origins())
    assert gate.end_of(token) == gate.end_of(secret) == 0
    for admitted in (token, secret):
        with pytest.raises(TokenExpired, match="key"):
            gate.check_revoked(admitted)
