"""Minting, verifying, and what happens to everything else."""

import base64
import contextlib
import doctest
import hashlib
import json
import math
import warnings
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import auth
from auth import (
    BadScope,
    BadSignature,
    EnvironmentId,
    EnvironmentKeys,
    ExpiryPassed,
    Keyring,
    MalformedToken,
    MissingClaim,
    NotPublic,
    NotYetValid,
    Resource,
    SigningKey,
    TokenError,
    TokenExpired,
    TokenTooLong,
    UnknownEnvironment,
    UnsupportedAlgorithm,
    WrongAudience,
    WrongIssuer,
    looks_like_public_token,
    mint,
    verify,
)
from tests.auth.helpers import (
    GOOD_CLAIMS,
    KEYRING,
    KEYS,
    NOW,
    OTHER_SECRET,
    SECRET,
    decode,
    encode,
    sign,
    sign_raw,
)

DAY = 86_400
#: NOW as errors show it.
NOW_TEXT = "2025-10-09T08:53:20Z"
OLD_SECRET = "tr_dev_an_older_secret_of_the_environment"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def rotated_keyring() -> Keyring:
    """One environment whose previous key was retired NOW."""
    return Keyring(
        [
            EnvironmentKeys(
                environment=EnvironmentId("env_1"),
                current=SigningKey(SECRET),
                previous=(SigningKey(OLD_SECRET, retired_at=NOW),),
            )
        ]
    )


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


class TestSignatures:
    def test_another_environments_key_is_no_use(self) -> None:
        """A token is checked with the keys of the environment that it names."""
        with pytest.raises(BadSignature) as refused:
            verify(sign(OTHER_SECRET), KEYRING, now=NOW)
        assert refused.value.environment == "env_1"
        assert verify(sign(OTHER_SECRET, sub="env_2"), KEYRING, now=NOW).environment == "env_2"

    def test_nothing_else_is_judged_before_the_signature(self) -> None:
        """A forger is not told what is wrong with the claims."""
        with pytest.raises(BadSignature):
            verify(sign("not the secret of anyone here", exp=NOW - 1, iss="x"), KEYRING, now=NOW)

    def test_a_retired_key_still_verifies_for_a_day(self) -> None:
        """After that the token is refused, and a new one would help."""
        token, keyring = sign(OLD_SECRET, exp=NOW + 9 * DAY), rotated_keyring()

        verify(token, keyring, now=NOW + DAY - 1)
        with pytest.raises(BadSignature) as refused:
            verify(token, keyring, now=NOW + DAY)
        assert refused.value.retry

    def test_an_answer_is_to_be_forgotten_when_its_key_ends(self) -> None:
        """`valid_until` is the earlier one of the token's end and its key's."""
        keyring = rotated_keyring()

        assert verify(sign(OLD_SECRET, exp=NOW + 9 * DAY), keyring, now=NOW).valid_until == NOW + DAY
        assert verify(sign(OLD_SECRET, exp=NOW + 60), keyring, now=NOW).valid_until == NOW + 60
        assert verify(sign(exp=NOW + 9 * DAY), keyring, now=NOW).valid_until == NOW + 9 * DAY

    def test_an_expired_token_of_a_retired_key_is_expired(self) -> None:
        """The previous key is tried for the signature, and its answer stands."""
        with pytest.raises(TokenExpired):
            verify(sign(OLD_SECRET, exp=NOW), rotated_keyring(), now=NOW)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_no_part_can_be_changed(self, place: int) -> None:
        """Header, payload and signature each make a token bad when a character differs."""
        parts = sign().split(".")
        parts[place] = parts[place][:-3] + ("A" if parts[place][-3] != "A" else "B") + parts[place][-2:]

        with pytest.raises(TokenError):
            verify(".".join(parts), KEYRING, now=NOW)

    def test_a_token_can_be_written_in_one_way_only(self) -> None:
        """Another spelling would have another digest, and let a one-time token be used again."""
        token = sign(otu=True)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        twin = alphabet[alphabet.index(token[-1]) + 1]
        same_bytes = base64.urlsafe_b64decode(token[-43:-1] + twin + "=")
        assert same_bytes == base64.urlsafe_b64decode(token[-43:] + "=")

        for spelling in (token[:-1] + twin, token + "=", token + "\n", " " + token, token + "."):
            with pytest.raises(MalformedToken):
                verify(spelling, KEYRING, now=NOW)


class TestAlgorithms:
    @pytest.mark.parametrize("algorithm", ["none", "None", "", "RS256", "HS384", "HS512", "hs256", "ES256"])
    def test_the_algorithm_is_ours_to_choose(self, algorithm: str) -> None:
        """Any other name is refused before a key is touched."""
        header = json.dumps({"alg": algorithm}).encode()
        payload = json.dumps(GOOD_CLAIMS).encode()

        for token in (sign_raw(payload, header=header), f"{encode(header)}.{encode(payload)}."):
            with pytest.raises(UnsupportedAlgorithm) as refused:
                verify(token, KEYRING, now=NOW)
            assert refused.value.algorithm == algorithm

    @pytest.mark.parametrize("digest", ["sha384", "sha512"])
    def test_a_signature_of_another_algorithm_is_no_signature(self, digest: str) -> None:
        """Not when it is honestly named, and not under our name."""
        payload, honest = json.dumps(GOOD_CLAIMS).encode(), json.dumps({"alg": f"HS{digest[3:]}"}).encode()

        with pytest.raises(UnsupportedAlgorithm):
            verify(sign_raw(payload, header=honest, digest=digest), KEYRING, now=NOW)
        with pytest.raises(MalformedToken):
            verify(sign_raw(payload, digest=digest), KEYRING, now=NOW)

    @pytest.mark.parametrize("header", [b"{}", b'{"alg":null}', b'{"alg":["HS256"]}', b'{"alg":{}}', b'{"alg":5}'])
    def test_a_header_without_a_usable_algorithm_is_refused(self, header: bytes) -> None:
        """Whatever stands where its name belongs."""
        with pytest.raises(UnsupportedAlgorithm):
            verify(sign_raw(json.dumps(GOOD_CLAIMS).encode(), header=header), KEYRING, now=NOW)

    @pytest.mark.parametrize("more", [{"crit": ["x"], "x": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}])
    def test_extensions_are_refused(self, more: dict[str, Any]) -> None:
        """What a token calls critical has to be understood, and we understand none."""
        header = json.dumps({"alg": "HS256", **more}).encode()

        with pytest.raises(MalformedToken, match="extensions"):
            verify(sign_raw(json.dumps(GOOD_CLAIMS).encode(), header=header), KEYRING, now=NOW)

    @pytest.mark.parametrize("more", [{"typ": "JWT"}, {"typ": "JWT", "kid": "1"}])
    def test_an_ordinary_header_is_accepted(self, more: dict[str, Any]) -> None:
        """Other libraries write `typ`; it changes nothing."""
        header = json.dumps({"alg": "HS256", **more}).encode()

        assert verify(sign_raw(json.dumps(GOOD_CLAIMS).encode(), header=header), KEYRING, now=NOW)

    def test_a_key_id_of_any_kind_gives_an_answer(self) -> None:
        """Whether it is objected to depends on the library's version; only a TokenError can come out."""
        token = sign_raw(json.dumps(GOOD_CLAIMS).encode(), header=b'{"alg":"HS256","kid":5}')

        with contextlib.suppress(TokenError):
            assert verify(token, KEYRING, now=NOW).environment == "env_1"


class TestGarbage:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            ".",
            "..",
            "...",
            "a.b",
            "a.b.c.d",
            "a.b.c",
            "é.b.c",
            "\ud800",
            SECRET,
            "eyJhbGciOiJIUzI1NiJ9..",
            "a b.c.d",
        ],
    )
    def test_what_is_no_token_is_malformed(self, text: str) -> None:
        """Nothing but a TokenError comes out."""
        with pytest.raises(MalformedToken):
            verify(text, KEYRING, now=NOW)
        assert not looks_like_public_token(text)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"{",
            b"[]",
            b'"text"',
            b"null",
            b"5",
            b"\xff\xfe{}",
            '{"pub":true}'.encode("utf-16"),
            b'{"pub":true,"x":NaN}',
            b'{"pub":true,"x":-Infinity}',
            b'{"pub":true,"exp":' + b"9" * 5_000 + b"}",
            b'{"pub":true,"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
            b"[" * 11_000,
            b'{"a":' * 2_000,
        ],
    )
    def test_a_payload_that_is_no_json_object_is_malformed(self, payload: bytes) -> None:
        """Deep nesting, huge numbers, other encodings: signed or not, as payload or as header."""
        for token in (sign_raw(payload), sign_raw(b"{}", header=payload)):
            with pytest.raises(MalformedToken) as refused:
                verify(token, KEYRING, now=NOW)
            assert refused.value.__cause__ is None
        assert not looks_like_public_token(sign_raw(payload))

    def test_a_long_token_is_not_read(self) -> None:
        """A megabyte is refused by its length alone."""
        token = sign(scopes=["read:runs:run_1"] * 60_000)

        with pytest.raises(TokenTooLong) as refused:
            verify(token, KEYRING, now=NOW)

        assert (refused.value.length, refused.value.limit) == (len(token), 16_384)
        assert not looks_like_public_token(token)

    @given(st.text(max_size=60) | st.from_regex(r"[\w=-]{0,40}\.[\w=-]{0,40}\.[\w=-]{0,50}", fullmatch=True))
    def test_any_text_gives_an_answer(self, text: str) -> None:
        """Guessing never surprises the server."""
        looks_like_public_token(text)
        with pytest.raises(TokenError):
            verify(text, KEYRING, now=NOW)

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_any_signed_bytes_give_an_answer(self, header: bytes, payload: bytes) -> None:
        """So do parts that are well encoded and hold nonsense."""
        for token in (sign_raw(payload), sign_raw(payload, header=header)):
            with pytest.raises(TokenError):
                verify(token, KEYRING, now=NOW)

    def test_no_error_holds_the_token(self) -> None:
        """Errors go to logs and to clients; a token in them would be one to use."""
        token = sign("not the secret of anyone here")
        with pytest.raises(BadSignature) as refused:
            verify(token, KEYRING, now=NOW)

        assert token[-43:] not in str(refused.value) + repr(refused.value)
        assert refused.value.__cause__ is None


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


# Minted with version 4.8.3 of the official SDK, its clock at NOW, by the functions in the comments.
SDK_SECRET = "tr_dev_vector_key_of_exactly_40_bytes_xyz"
SDK_SHORT_SECRET = "tr_dev_short_key_of_28_bytes"
SDK_PUBLIC = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwic2NvcGVzIjpbInJlYWQ6cnVuczpydW5fMSIsInJlYWQ6dGFnczphOmIiLCJy"
    "ZWFkOnRhc2tzIiwid3JpdGU6aW5wdXRTdHJlYW1zOnJ1bl8xIl0sImlzcyI6Imh0dHBzOi8vaWQudHJpZ2dlci5kZXYiLCJh"
    "dWQiOiJodHRwczovL2FwaS50cmlnZ2VyLmRldiIsImV4cCI6MTc2MDAwMDkwMCwiaWF0IjoxNzYwMDAwMDAwfQ."
    "2D7qNVnGm0aOwImj4ivMckZYWxkqyWStNYjykt48Uq4"
)
SDK_SKIPPING = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwic2NvcGVzIjpbInJlYWQ6cnVuczpydW5fMSIsInJlYWQ6cnVuczpydW5fMiJd"
    "LCJyZWFsdGltZSI6eyJza2lwQ29sdW1ucyI6WyJwYXlsb2FkIiwib3V0cHV0Il19LCJpc3MiOiJodHRwczovL2lkLnRyaWdn"
    "ZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAiOjE3NjAwMDU0MDAsImlhdCI6MTc2MDAwMDAw"
    "MH0."
    "L55Kd1vo8K1WLKjnyJnRA13gh8sTdsrsCZCTVuXQrXE"
)
SDK_TRIGGER = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwib3R1Ijp0cnVlLCJzY29wZXMiOlsidHJpZ2dlcjp0YXNrczpzZW5kLWVtYWls"
    "Il0sImlzcyI6Imh0dHBzOi8vaWQudHJpZ2dlci5kZXYiLCJhdWQiOiJodHRwczovL2FwaS50cmlnZ2VyLmRldiIsImV4cCI6"
    "MTc2MDAwMzYwMCwiaWF0IjoxNzYwMDAwMDAwfQ."
    "wu2PEYWFhM_ssiGpvHHHhNBB9g63kh0u3isUVM3cKGc"
)
SDK_MULTIPLE = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwib3R1IjpmYWxzZSwic2NvcGVzIjpbInRyaWdnZXI6dGFza3M6c2VuZC1lbWFp"
    "bCJdLCJpc3MiOiJodHRwczovL2lkLnRyaWdnZXIuZGV2IiwiYXVkIjoiaHR0cHM6Ly9hcGkudHJpZ2dlci5kZXYiLCJleHAi"
    "OjE3NjAwMDcyMDAsImlhdCI6MTc2MDAwMDAwMH0."
    "dB1LPoe3ksEOB9ko27v_o1nithudnukU9QaEqHrgVU0"
)
SDK_NOTHING = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwiaXNzIjoiaHR0cHM6Ly9pZC50cmlnZ2VyLmRldiIsImF1ZCI6Imh0dHBzOi8v"
    "YXBpLnRyaWdnZXIuZGV2IiwiZXhwIjoxNzYwMDAwOTAwLCJpYXQiOjE3NjAwMDAwMDB9."
    "2kXgaTmD8CE8NnvsfETaE-C1zo7qdUQwBiCMFP91VGs"
)
SDK_ADMIN = (
    "eyJhbGciOiJIUzI1NiJ9."
    "eyJzdWIiOiJlbnZfMSIsInB1YiI6dHJ1ZSwic2NvcGVzIjpbImFkbWluIl0sImlzcyI6Imh0dHBzOi8vaWQudHJpZ2dlci5k"
    "ZXYiLCJhdWQiOiJodHRwczovL2FwaS50cmlnZ2VyLmRldiIsImV4cCI6MTc2MDAwMDkwMCwiaWF0IjoxNzYwMDAwMDAwfQ."
    "x8DZc_4Uf8bZpkauZf5AJ2-70OUU_1d2AmciRseJwF8"
)


class TestTokensOfTheOfficialSdk:
    KEYRING = Keyring([EnvironmentKeys.of("env_1", SDK_SECRET)])

    def test_a_public_token(self) -> None:
        """createPublicToken: the documented example, ids with colons and whole types included."""
        verified = verify(SDK_PUBLIC, self.KEYRING, now=NOW)

        assert [str(scope) for scope in verified.grant.scopes] == [
            "read:runs:run_1",
            "read:tags:a:b",
            "read:tasks",
            "write:inputStreams:run_1",
        ]
        assert (verified.issued_at, verified.expires_at) == (NOW, NOW + 900)
        assert (verified.one_time, verified.jti, verified.grant.skip_columns) == (False, None, None)

    def test_a_public_token_that_hides_columns(self) -> None:
        """createPublicToken with realtime.skipColumns and an expirationTime of "1.5 hours"."""
        verified = verify(SDK_SKIPPING, self.KEYRING, now=NOW)

        assert verified.grant.skip_columns == frozenset({"payload", "output"})
        assert verified.expires_at == NOW + 5_400

    def test_a_token_to_trigger_once(self) -> None:
        """createTriggerPublicToken, with a Date as its end."""
        verified = verify(SDK_TRIGGER, self.KEYRING, now=NOW)

        assert verified.one_time
        assert verified.expires_at == NOW + 3_600
        assert verified.grant.allows("trigger", [Resource("tasks", "send-email")])

    def test_a_token_to_trigger_often(self) -> None:
        """createTriggerPublicToken with multipleUse, and unix seconds as its end."""
        verified = verify(SDK_MULTIPLE, self.KEYRING, now=NOW)

        assert not verified.one_time
        assert verified.expires_at == NOW + 7_200

    def test_a_token_without_scopes(self) -> None:
        """createPublicToken with nothing: good, and allows nothing."""
        assert verify(SDK_NOTHING, self.KEYRING, now=NOW).grant.scopes == ()

    def test_a_token_of_a_short_key(self) -> None:
        """createPublicToken({scopes: {admin: true}}) with a key of 28 bytes."""
        keyring = Keyring([EnvironmentKeys.of("env_1", SDK_SHORT_SECRET)])

        assert verify(SDK_ADMIN, keyring, now=NOW).grant.allows("cancel", [Resource("runs", "run_1")])

    def test_the_same_permissions_give_the_same_claims(self) -> None:
        """What we mint differs from the SDK's token in nothing but its name."""
        permissions = {
            "read": {"runs": ["run_1"], "tags": "a:b", "tasks": True},
            "write": {"inputStreams": "run_1"},
        }
        ours = mint(permissions, EnvironmentKeys.of("env_1", SDK_SECRET), jti="name", now=NOW)

        assert ours.split(".")[0] == SDK_PUBLIC.split(".")[0]
        assert decode(ours.split(".")[1]) == {**decode(SDK_PUBLIC.split(".")[1]), "jti": "name"}


def test_the_example_of_the_package_is_true() -> None:
    """What the docstring shows is what happens."""
    outcome = doctest.testmod(auth)

    assert outcome.attempted == 4
    assert outcome.failed == 0
