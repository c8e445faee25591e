"""Signatures, algorithms and garbage: what is no token of ours is never taken for one."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import (
    BadSignature,
    MalformedToken,
    TokenError,
    TokenExpired,
    TokenTooLong,
    UnsupportedAlgorithm,
    looks_like_public_token,
    verify,
)
from tests.auth.helpers import (
    GOOD_CLAIMS,
    KEYRING,
    NOW,
    OTHER_SECRET,
    SECRET,
    encode,
    sign,
    sign_raw,
)
from tests.auth.rotation import DAY, OLD_SECRET, rotated_keyring


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
