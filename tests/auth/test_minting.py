"""What is minted, and for whom; what can't be a token is refused before there is one."""

import doctest
import warnings
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import auth
from auth import (
    BadScope,
    EnvironmentKeys,
    ExpiryPassed,
    Keyring,
    MalformedToken,
    Resource,
    TokenTooLong,
    looks_like_public_token,
    mint,
    verify,
)
from tests.auth.helpers import (
    GOOD_CLAIMS,
    KEYRING,
    KEYS,
    NOW,
    decode,
    sign,
)
from tests.auth.rotation import NOW_TEXT


class TestMint:
    def test_a_token_has_the_header_and_claims_of_the_protocol(self) -> None:
        """Exactly these, but for a random name that the protocol leaves room for."""
        token = mint(["read:runs:run_1"], KEYS, jti="name", now=NOW + 0.9)
        header, payload, _ = token.split(".")

        assert decode(header) == {"alg": "HS256"}
        assert decode(payload) == {**GOOD_CLAIMS, "jti": "name"}

    @pytest.mark.parametrize("nothing", [None, [], {}])
    def test_without_scopes_the_claim_is_absent(self, nothing: Any) -> None:
        """The token is good, and allows nothing."""
        token = mint(nothing, KEYS, now=NOW)

        assert "scopes" not in decode(token.split(".")[1])
        assert not verify(token, KEYRING, now=NOW).grant.allows("read", [Resource("runs", "run_1")])

    @pytest.mark.parametrize(("given_", "claim"), [(True, {"otu": True}), (False, {"otu": False}), (None, {})])
    def test_one_time_is_a_claim_only_when_given(self, given_: bool | None, claim: dict[str, bool]) -> None:
        """False is written down, as the SDK does for `multipleUse`."""
        token = mint("trigger:tasks:t", KEYS, one_time=given_, now=NOW)
        payload = decode(token.split(".")[1])

        assert {name: value for name, value in payload.items() if name == "otu"} == claim
        assert verify(token, KEYRING, now=NOW).one_time is (given_ is True)

    @pytest.mark.parametrize(
        ("columns", "hidden"),
        [
            (None, None),
            ([], frozenset()),
            (["payload", "output"], frozenset({"payload", "output"})),
            ("payload", frozenset({"payload"})),
        ],
    )
    def test_skipped_columns_reach_the_grant(self, columns: Any, hidden: frozenset[str] | None) -> None:
        """One name is one column."""
        token = mint("read:runs", KEYS, skip_columns=columns, now=NOW)

        assert ("realtime" in decode(token.split(".")[1])) is (columns is not None)
        assert verify(token, KEYRING, now=NOW).grant.skip_columns == hidden

    def test_each_token_has_its_own_name(self) -> None:
        """Two tokens for the same thing can be told apart, and revoked apart."""
        first, second = (verify(mint("read:runs", KEYS, now=NOW), KEYRING, now=NOW) for _ in range(2))

        assert first.jti != second.jti
        assert first.digest != second.digest

    @pytest.mark.parametrize("expires", ["0.4s", "5m ago", NOW, NOW - 1, timedelta(0)])
    def test_a_token_that_is_over_is_not_minted(self, expires: Any) -> None:
        """The error says when it would have ended."""
        with pytest.raises(ExpiryPassed, match=NOW_TEXT):
            mint("read:runs", KEYS, expires=expires, now=NOW)

    def test_a_blank_scope_is_not_minted(self) -> None:
        """It could never grant anything."""
        with pytest.raises(BadScope):
            mint({"read": {"runs": ""}}, KEYS, now=NOW)

    def test_a_token_that_would_be_refused_is_not_minted(self) -> None:
        """Too many scopes, or names that cannot be written, fail where they were asked for."""
        with pytest.raises(TokenTooLong):
            mint([f"read:runs:run_{number}" for number in range(2_000)], KEYS, now=NOW)
        with pytest.raises(MalformedToken):
            mint("read:runs", KEYS, jti="\ud800", now=NOW)

    def test_a_short_key_signs_without_a_warning_of_the_library(self) -> None:
        """Our own policy speaks once, at start; other warnings of the process stay as they are."""
        keys = EnvironmentKeys.of("env_1", "s" * 24)
        with warnings.catch_warnings():
            warnings.simplefilter("error")

            verify(mint("read:runs", keys), Keyring([keys]))

    @pytest.mark.parametrize(
        "secret", ["-----BEGIN-PUBLIC-KEY-----abcdefgh", "ssh-rsa" + "A" * 40, '{"kty":"oct","k":"AAAAAAAAAAAA"}']
    )
    def test_any_accepted_secret_signs(self, secret: str) -> None:
        """What the keyring lets in works, even when it looks like another kind of key."""
        keys = EnvironmentKeys.of("env_1", secret)

        assert verify(mint("read:runs", keys), Keyring([keys])).environment == "env_1"

    @given(
        st.lists(st.builds("{}:{}:{}".format, *[st.text("abz*:.é€😀", min_size=1)] * 3), max_size=5),
        st.none() | st.frozensets(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3),
        st.none() | st.booleans(),
        st.integers(1, 10**9),
    )
    def test_what_was_minted_is_what_is_verified(
        self, scopes: list[str], columns: frozenset[str] | None, one_time: bool | None, life: int
    ) -> None:
        """Nothing is lost or added between the two."""
        scopes = [scope for scope in scopes if not auth.Scope.parse(scope).has_empty_part]
        token = mint(scopes, KEYS, expires=NOW + life, one_time=one_time, skip_columns=columns, now=NOW)

        verified = verify(token, KEYRING, now=NOW)

        assert [str(scope) for scope in verified.grant.scopes] == scopes
        assert verified.grant.skip_columns == columns
        assert verified.one_time is (one_time is True)
        assert (verified.issued_at, verified.expires_at, verified.valid_until) == (NOW, NOW + life, NOW + life)
        assert looks_like_public_token(token)


class TestSubject:
    def test_a_token_says_whom_it_is_for(self) -> None:
        """As `act.sub` (RFC 8693, section 4.1), which the official SDK takes for attribution; `sub` stays as it is."""
        token = mint(["read"], KEYS, subject="user:7", now=NOW)
        assert decode(token.split(".")[1])["act"] == {"sub": "user:7"}
        verified = verify(token, KEYRING, now=NOW)
        assert (verified.user, verified.subject) == ("user:7", "env_1")

    def test_most_tokens_are_for_nobody_in_particular(self) -> None:
        """No claim then; and neither in one that says only what acts."""
        token = mint(["read"], KEYS, now=NOW)
        assert "act" not in decode(token.split(".")[1])
        assert verify(token, KEYRING, now=NOW).user is None
        assert verify(sign(act={"client": "web"}), KEYRING, now=NOW).user is None

    @pytest.mark.parametrize("act", ["user", ["user"], None, 7, {"sub": 7}, {"sub": None}, {"sub": ["a"]}])
    def test_a_subject_of_another_kind_is_malformed(self, act: object) -> None:
        """Passed over, it could not be revoked by its subject."""
        with pytest.raises(MalformedToken, match="act"):
            verify(sign(act=act), KEYRING, now=NOW)

    def test_half_a_character_is_no_subject(self) -> None:
        """What we sign we can read."""
        with pytest.raises(MalformedToken, match=r"act\.sub"):
            mint(["read"], KEYS, subject="\ud800", now=NOW)

    def test_a_token_can_say_by_the_millisecond_when_it_was_issued(self) -> None:
        """So that it is told from those which were issued before it in the same second; its end is as ever."""
        token = mint(["read"], KEYS, precise=True, expires="15m", now=NOW + 0.1239)
        verified = verify(token, KEYRING, now=NOW)
        assert (verified.issued_exactly, verified.issued_at, verified.expires_at) == (NOW + 0.124, NOW, NOW + 900)
        plain = verify(mint(["read"], KEYS, now=NOW + 0.9), KEYRING, now=NOW)
        assert (plain.issued_exactly, plain.issued_at) == (NOW, NOW)
        assert verify(sign(without="iat"), KEYRING, now=NOW).issued_exactly is None


def test_the_example_of_the_package_is_true() -> None:
    """What the docstring shows is what happens."""
    outcome = doctest.testmod(auth)

    assert outcome.attempted == 4
    assert outcome.failed == 0
