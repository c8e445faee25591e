"""
Minting and verifying public tokens.

A public token is a JWT that a backend signs with its secret key and gives to a browser. It needs no server
to be made, and none to be checked. The tokens are those of the official SDK: each side reads the other's.
See the Trigger.dev realtime protocol, section 2.2.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import jwt
from jwt.algorithms import HMACAlgorithm

from auth.claims import Claims, JsonObject, read_claims, read_subject, write_claims
from auth.errors import BadSignature, ExpiryPassed, MalformedToken, TokenTooLong, UnsupportedAlgorithm
from auth.keys import EnvironmentId, EnvironmentKeys, Keyring, SigningKey
from auth.lifetimes import Expires, expires_at
from auth.scopes import Grant, Permissions, Scope, scopes_to_mint

ALGORITHM = "HS256"  # ours to choose, never the token's (RFC 8725, section 3.1)

#: About 300 scopes with ids of the usual length. A proxy in front of us stops longer headers anyway, with a
#: worse explanation.
TOKEN_LIMIT_CHARACTERS = 16 * 1024

#: The life of a token when none is asked for, as in the official SDK (protocol, section 2.3).
DEFAULT_EXPIRES = "15m"

_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")

# 32 bytes take 43 characters, and the last of these has two bits to spare, which must be zero. Elsewhere
# such bits are under the signature; here they, or a '=' at the end, would let anyone write one token in
# several ways. A one-time token is known by the digest of its text, so each of them could be used once.
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class _OurSecrets(HMACAlgorithm):
    """
    HMAC with keys that a Keyring let in, whatever the library thinks of them.

    The library warns of keys under 32 bytes at every use. We refuse or warn once, at start (`auth.keys`),
    and filtering warnings here would change them for the whole process. It also refuses keys that look
    like a public key, lest the token's choice of algorithm make them a secret; the token has no choice here.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: object) -> None:
        return None


# Knows this one algorithm; "none" and the rest are not merely disallowed, they are not there.
_signer = jwt.PyJWS(algorithms=[])
_signer.register_algorithm(ALGORITHM, _OurSecrets(HMACAlgorithm.SHA256))


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A public token that was good when it was verified. Times are unix seconds."""

    environment: EnvironmentId
    grant: Grant
    expires_at: int
    #: Until when the answer may be remembered: `expires_at`, or earlier when a retired key signed the token
    #: and stops to count before that.
    valid_until: int
    issued_at: int | None
    #: The same with its fraction, if it has one.
    issued_exactly: float | None
    #: To be used once; whoever acts on it keeps count, by `digest`.
    one_time: bool
    #: A random name that a list of revoked tokens can hold; None when the token has none.
    jti: str | None
    #: The end user that it was minted for (`mint`'s *subject*, the claim `act.sub`); None when it does not say.
    user: str | None
    #: The `sub` claim as it stands in the token: the environment's id.
    subject: str
    #: SHA-256 of the whole token, in hex: names it without being it.
    digest: str
    #: The key that signed it, to be asked later whether it still counts (`Keyring.end_of`).
    key: SigningKey


def mint(
    scopes: Permissions | Iterable[str | Scope] | str | None,
    keys: EnvironmentKeys,
    *,
    expires: Expires = DEFAULT_EXPIRES,
    one_time: bool | None = None,
    skip_columns: Iterable[str] | None = None,
    jti: str | None = None,
    subject: str | None = None,
    precise: bool = False,
    now: float | None = None,
) -> str:
    """
    Sign a public token that allows what *scopes* say in the environment of *keys*, and nothing else.

    Args:
        scopes: Texts such as "read:runs:run_1", or permissions as the official SDK takes them:
            {"read": {"runs": ["run_1"], "tags": "a:b", "tasks": True}}. None or empty: it allows nothing.
        expires: When it ends; see `auth.lifetimes`. A number is a moment, a text a span.
        one_time: Whether it may be used only once. None leaves the claim out.
        skip_columns: Columns that its viewers are never sent.
        jti: A name for it; random when not given.
        subject: The end user it is for, by any name of yours: all tokens of one subject can be revoked together.
        precise: Say by the millisecond when it was issued, not by the second as the official SDK does: then it is told
            from those that were issued in the same second, but before they were revoked together.
        now: The current time in unix seconds. Tests mint in the past instead of patching clocks.

    Raises:
        BadScope: When a scope has a blank part: it could never grant anything.
        BadExpiry, ExpiryPassed: When *expires* says nothing, or names the past.
        TokenTooLong: When there are so many scopes that `verify` would refuse the token.
        MalformedToken: When *jti*, *subject* or a column is not valid Unicode, for the same reason.
    """
    now = time.time() if now is None else now
    ends = expires_at(expires, now=now)
    if ends <= now:
        raise ExpiryPassed(expires_at=ends, now=now)
    # One name is text, and text is a sequence of letters; nobody means that.
    columns = [skip_columns] if isinstance(skip_columns, str) else skip_columns
    hidden = None if columns is None else frozenset(columns)
    claims = Claims(
        subject=keys.environment,
        grant=Grant(scopes_to_mint(scopes), hidden),
        expires_at=ends,
        issued_at=round(now, 3) if precise else int(now),
        one_time=one_time,
        token_id=secrets.token_urlsafe(12) if jti is None else jti,
        user=subject,
    )
    written = write_claims(claims)
    # Whatever we sign we can read: a name that is not valid Unicode fails here, not at the viewer's.
    read_claims(written)
    token = _sign(written, keys.current)
    _check_length(token)
    return token


def verify(token: str, keyring: Keyring, *, now: float | None = None, overdue: float = 0.0) -> VerifiedToken:
    """
    What *token* allows, if one of the keys in *keyring* signed it and it is good *now* (unix seconds).

    Whether it was revoked, or used before, is not known here.

    Args:
        overdue: A token that ended at most so many seconds ago is not refused for that: for what it opened and may
            outlive it. Whoever says so looks at `valid_until`. A key that counts no more ends it all the same.

    Raises:
        TokenError: Its kind says why the token is refused. No other error comes out, whatever the text.
    """
    now = time.time() if now is None else now
    payload = _read_unverified(token)
    keys = keyring.keys_of(read_subject(payload))
    key = _key_that_signed(token, keys, now)
    claims = read_claims(payload)
    claims.check_time(now, overdue=overdue)
    key_ends = key.honoured_until(keys.grace)
    return VerifiedToken(
        environment=keys.environment,
        grant=claims.grant,
        expires_at=claims.expires_at,
        valid_until=claims.expires_at if key_ends is None else min(claims.expires_at, int(key_ends)),
        issued_at=None if claims.issued_at is None else int(claims.issued_at),
        issued_exactly=claims.issued_at,
        one_time=claims.one_time is True,
        jti=claims.token_id,
        user=claims.user,
        subject=claims.subject,
        digest=hashlib.sha256(token.encode()).hexdigest(),
        key=key,
    )


def read_unverified(token: str) -> Claims:
    """
    What *token* says of itself, for people who look at one. Nothing says that it is true: nobody may be let in by it.

    Raises:
        TokenError: When it is not one of our tokens at all.
    """
    return read_claims(_read_unverified(token))


def looks_like_public_token(credential: str) -> bool:
    """
    Whether *credential* is to be verified as a token, rather than looked up as a secret key.

    It decides nothing else: the signature is not checked. Longer than a token may be, it is none.
    """
    found = _TOKEN.fullmatch(credential) if len(credential) <= TOKEN_LIMIT_CHARACTERS else None
    if found is None:
        return False
    try:
        return _json_object(found[2], "payload").get("pub") is True
    except MalformedToken:
        return False


def _sign(claims: JsonObject, key: SigningKey) -> str:
    payload = json.dumps(claims, separators=(",", ":")).encode()
    # The SDK's header has no `typ`; None takes out the one that the library would add.
    return _signer.encode(payload, key.secret, ALGORITHM, headers={"typ": None})


def _read_unverified(token: str) -> JsonObject:
    """The payload of something that has the form of our tokens; nothing says yet that it is true."""
    _check_length(token)
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise MalformedToken("it does not have three parts of base64url")
    header = _json_object(found[1], "header")
    algorithm = header.get("alg")
    if algorithm != ALGORITHM:
        raise UnsupportedAlgorithm(algorithm=algorithm if isinstance(algorithm, str) else "not a name")
    # RFC 7515, section 4.1.11: an extension that must be understood, and is not, makes a token invalid.
    if "crit" in header or "b64" in header:
        raise MalformedToken("its header asks for extensions")
    if not _SIGNATURE.fullmatch(found[3]):
        raise MalformedToken(f"its signature is not one of {ALGORITHM}")
    return _json_object(found[2], "payload")


def _check_length(token: str) -> None:
    if len(token) > TOKEN_LIMIT_CHARACTERS:
        raise TokenTooLong(length=len(token), limit=TOKEN_LIMIT_CHARACTERS)


def _key_that_signed(token: str, keys: EnvironmentKeys, now: float) -> SigningKey:
    # Only a bad signature leads to the next key; nothing else about the token is judged in between.
    for key in keys.honoured(now):
        try:
            _signer.decode_complete(token, key.secret, algorithms=[ALGORITHM])
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, RecursionError):
            # The form was checked above, but versions of the library differ in what else they object to.
            raise MalformedToken("its header cannot be used") from None
        return key
    raise BadSignature(environment=keys.environment)


def _json_object(part: str, name: str) -> dict[str, Any]:
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        # JSON has no NaN or Infinity; Python's reader would let them in.
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # Not chained: the parser's error carries the text that it read.
        raise MalformedToken(f"its {name} is not JSON in base64url") from None
    if not isinstance(value, dict):
        raise MalformedToken(f"its {name} is not a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
