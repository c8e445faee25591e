"""Minting, verifying, and what happens to everything else."""

import contextlib
import hashlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import (
    BadSignature,
    MalformedToken,
    MissingClaim,
    NotPublic,
    NotYetValid,
    Resource,
    TokenError,
    TokenExpired,
    UnknownEnvironment,
    WrongAudience,
    WrongIssuer,
    looks_like_public_token,
    verify,
)
from tests.auth.helpers import (
    GOOD_CLAIMS,
    KEYRING,
    NOW,
    SECRET,
    sign,
)
from tests.auth.rotation import DAY, OLD_SECRET, json_values, rotated_keyring


class TestVerify:
    def test_a_good_token_says_what_it_allows(self) -> None:
        """Everything that the gateway needs to know about it."""
        token = sign(jti="name", otu=True, realtime={"skipColumns": ["payload"], "more": 1}, act={"sub": "u"})

        verified = verify(token, KEYRING, now=NOW)

        assert verified.environment == verified.subject == "env_1"
        assert verified.grant.allows("read", [Resource("runs", "run_1")])
        assert verified.grant.skip_columns == frozenset({"payload"})
        assert (verified.issued_at, verified.expires_at) == (NOW, NOW + 900)
        assert (verified.one_time, verified.jti) == (True, "name")
        assert verified.digest == hashlib.sha256(token.encode()).hexdigest()

    def test_it_is_good_until_the_second_it_ends(self) -> None:
        """There is no tolerance, and a client is told that a new token would help."""
        token = sign()

        verify(token, KEYRING, now=NOW + 899.9)
        with pytest.raises(TokenExpired, match="expired at 2025-10-09T09:08:20Z") as refused:
            verify(token, KEYRING, now=NOW + 900)
        assert refused.value.retry

    def test_what_it_opened_may_outlive_it(self) -> None:
        """For as long as whoever verifies it says, who sees in `valid_until` that it is over."""
        token = sign()

        assert verify(token, KEYRING, now=NOW + 959.9, overdue=60).valid_until == NOW + 900
        with pytest.raises(TokenExpired):
            verify(token, KEYRING, now=NOW + 960, overdue=60)

    def test_nothing_outlives_its_key(self) -> None:
        """A key that counts no more signs nothing, however patient somebody is."""
        keyring, token = rotated_keyring(), sign(OLD_SECRET, exp=NOW + 60)

        verify(token, keyring, now=NOW + DAY - 1, overdue=9 * DAY)
        with pytest.raises(BadSignature):
            verify(token, keyring, now=NOW + DAY, overdue=9 * DAY)

    def test_the_clock_is_asked_when_no_time_is_given(self) -> None:
        """A token of the past is over today."""
        with pytest.raises(TokenExpired):
            verify(sign(), KEYRING)

    @pytest.mark.parametrize("issued", [NOW + 3_600, -5, NOW + 0.5])
    def test_the_minting_clock_may_differ(self, issued: float) -> None:
        """A token from a backend whose clock is ahead is good."""
        assert verify(sign(iat=issued), KEYRING, now=NOW).issued_at == int(issued)

    def test_a_token_for_later_is_refused(self) -> None:
        """`nbf` is not ours, but whoever set it meant it."""
        assert verify(sign(nbf=NOW), KEYRING, now=NOW)
        with pytest.raises(NotYetValid, match="2025-10-09T08:53:21Z"):
            verify(sign(nbf=NOW + 1), KEYRING, now=NOW)

    def test_unknown_scopes_are_kept_and_grant_nothing(self) -> None:
        """A newer backend may mint what this version does not know."""
        scopes = ["", ":::", "dance:floor", "read:runs:"]
        grant = verify(sign(scopes=scopes), KEYRING, now=NOW).grant

        assert [str(scope) for scope in grant.scopes] == scopes
        assert not grant.allows("read", [Resource("runs", "run_1"), Resource("runs"), Resource("tags", "")])

    @pytest.mark.parametrize("claim", ["iss", "aud", "sub", "pub", "exp"])
    def test_each_claim_of_the_protocol_is_needed(self, claim: str) -> None:
        """A token without an end would be good until its key is rotated."""
        with pytest.raises((MissingClaim, WrongIssuer, WrongAudience, NotPublic)):
            verify(sign(without=claim), KEYRING, now=NOW)

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"iss": "https://id.example.com"}, WrongIssuer),
            ({"iss": None}, WrongIssuer),
            ({"iss": ["https://id.trigger.dev"]}, WrongIssuer),
            ({"aud": "https://api.example.com"}, WrongAudience),
            ({"aud": ["https://api.trigger.dev"]}, WrongAudience),
            ({"pub": False}, NotPublic),
            ({"pub": 1}, NotPublic),
            ({"pub": "true"}, NotPublic),
            ({"sub": "env_3"}, UnknownEnvironment),
            ({"sub": ""}, UnknownEnvironment),
            ({"sub": "x" * 5_000}, UnknownEnvironment),
            ({"sub": None}, MalformedToken),
            ({"sub": ["env_1"]}, MalformedToken),
            ({"sub": {}}, MalformedToken),
            ({"sub": "\ud800"}, MalformedToken),
            ({"exp": str(NOW + 900)}, MalformedToken),
            ({"exp": None}, MalformedToken),
            ({"exp": True}, MalformedToken),
            ({"exp": math.inf}, MalformedToken),
            ({"exp": math.nan}, MalformedToken),
            ({"exp": 10**400}, MalformedToken),
            ({"exp": (NOW + 900) * 1_000}, MalformedToken),
            ({"exp": -1}, TokenExpired),
            ({"iat": "now"}, MalformedToken),
            ({"iat": None}, MalformedToken),
            ({"nbf": []}, MalformedToken),
            ({"scopes": None}, MalformedToken),
            ({"scopes": "read:runs"}, MalformedToken),
            ({"scopes": {"read": "runs"}}, MalformedToken),
            ({"scopes": ["read:runs", 5]}, MalformedToken),
            ({"scopes": [["read:runs"]]}, MalformedToken),
            ({"scopes": ["read:runs:\udfff"]}, MalformedToken),
            ({"otu": "true"}, MalformedToken),
            ({"otu": 1}, MalformedToken),
            ({"otu": None}, MalformedToken),
            ({"realtime": None}, MalformedToken),
            ({"realtime": []}, MalformedToken),
            ({"realtime": {"skipColumns": None}}, MalformedToken),
            ({"realtime": {"skipColumns": "payload"}}, MalformedToken),
            ({"realtime": {"skipColumns": [1]}}, MalformedToken),
            ({"jti": 5}, MalformedToken),
            ({"jti": None}, MalformedToken),
        ],
    )
    def test_a_claim_that_is_wrong_is_refused(self, changes: dict[str, Any], kind: type[TokenError]) -> None:
        """Each with its own kind of error, whose text is short, plain, and holds no secret."""
        with pytest.raises(TokenError) as refused:
            verify(sign(**changes), KEYRING, now=NOW)

        assert type(refused.value) is kind
        assert len(str(refused.value)) < 300
        assert str(refused.value).isascii()
        assert SECRET not in str(refused.value)

    @given(st.sampled_from([*GOOD_CLAIMS, "otu", "realtime", "jti", "nbf"]), json_values)
    def test_whatever_a_claim_holds_the_error_is_ours(self, claim: str, value: Any) -> None:
        """Signed garbage is judged like any other; only a TokenError comes out."""
        with contextlib.suppress(TokenError):
            assert verify(sign(**{claim: value}), KEYRING, now=NOW).environment == "env_1"


class TestLooksLikePublicToken:
    def test_a_public_token_is_recognised_by_what_it_says(self) -> None:
        """Even one that no key of ours signed, or that is over: verifying says why it is refused."""
        assert looks_like_public_token(sign())
        assert looks_like_public_token(sign("whatever", exp=0))
        assert not looks_like_public_token(sign(pub=False))
        assert not looks_like_public_token(sign(pub=1))
        assert not looks_like_public_token(sign(without="pub"))

    @pytest.mark.parametrize("credential", [SECRET, "pk_dev_1234", "tr_dev_a.b.c", ""])
    def test_secret_keys_are_not_public_tokens(self, credential: str) -> None:
        """Dots in a secret do not make it one."""
        assert not looks_like_public_token(credential)
