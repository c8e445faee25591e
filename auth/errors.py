"""
What can go wrong with keys, scopes and tokens.

    AuthError
    ├── UnusableSecret          a secret key that must not, or cannot, be used
    │   └── WeakSecret          it is too short
    ├── DuplicateSecret         two environments share a secret key
    ├── BadKeyring              the settings that name the keys cannot be understood
    │   └── NoSecretKey         there are none
    ├── BadScope                a scope or permission that no token should be minted with
    ├── BadExpiry               not a moment or a span of time
    ├── ExpiryPassed            a token would be over before it began
    └── TokenError              a token, or what it asks for, is refused
        ├── TokenTooLong
        ├── MalformedToken      not a token, or a claim of the wrong kind
        ├── UnsupportedAlgorithm
        ├── UnknownEnvironment
        ├── BadSignature
        ├── MissingClaim
        ├── NotPublic           signed by us, but not a public token
        ├── WrongIssuer
        ├── WrongAudience
        ├── NotYetValid
        ├── TokenExpired
        ├── TokenRevoked
        └── NotAllowed          a good token that does not allow this

Each has a `code` for machines, its facts as attributes, and a sentence as its text. `retry` answers one
question: does it help to come back with a new token? No text ever holds a token or a secret.
"""

import time
from collections.abc import Sequence
from typing import ClassVar

#: Text that a stranger chose is shown shortened, so that it cannot flood a log.
SHOWN_CHARACTERS = 80


def shown(text: str) -> str:
    """*text* in quotes, shortened, with everything but plain ASCII escaped."""
    return ascii(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")


def _moment(seconds: float) -> str:
    """A moment in unix seconds, none beyond the year 9999, as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class AuthError(Exception):
    """Something about a key, a scope or a token is wrong."""

    code: ClassVar[str] = "auth_error"
    retry: ClassVar[bool] = False


class UnusableSecret(AuthError):
    """A secret key that must not be used, or that a client could not use as it is."""

    code = "unusable_secret"

    def __init__(self, *, environment: str, reason: str, source: str = "") -> None:
        self.environment, self.reason, self.source = environment, reason, source

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return f"{where}a secret key of environment {shown(self.environment)} cannot be used: {self.reason}"


class WeakSecret(UnusableSecret):
    """A secret key so short that it could be guessed from one of its tokens."""

    code = "weak_secret"

    def __init__(self, *, environment: str, size_bytes: int, minimum_bytes: int, source: str = "") -> None:
        self.size_bytes, self.minimum_bytes = size_bytes, minimum_bytes
        super().__init__(
            environment=environment,
            reason=f"it has {size_bytes} bytes, at least {minimum_bytes} are needed",
            source=source,
        )


class DuplicateSecret(AuthError):
    """Two environments share a secret key, so the key does not tell which one is meant."""

    code = "duplicate_secret"

    def __init__(self, *, environments: tuple[str, str]) -> None:
        self.environments = environments

    def __str__(self) -> str:
        first, second = self.environments
        return f"environments {shown(first)} and {shown(second)} have a secret key in common"


class BadKeyring(AuthError):
    """The file or the variables that name the environments' keys cannot be understood."""

    code = "bad_keyring"

    def __init__(self, *, source: str, reason: str) -> None:
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class NoSecretKey(BadKeyring):
    """No secret key is set at all."""

    code = "no_secret_key"


class BadScope(AuthError):
    """A scope or permission that would not do what whoever wrote it meant."""

    code = "bad_scope"

    def __init__(self, *, scope: str, reason: str) -> None:
        self.scope, self.reason = scope, reason

    def __str__(self) -> str:
        return f"{shown(self.scope)} cannot be put into a token: {self.reason}"


class BadExpiry(AuthError):
    """Something that should say when a token ends does not."""

    code = "bad_expiry"

    def __init__(self, *, given: object, reason: str) -> None:
        self.given, self.reason = given, reason

    def __str__(self) -> str:
        try:
            given = shown(str(self.given))
        except ValueError:  # Python does not print integers of more than 4,300 digits
            given = f"a huge {type(self.given).__name__}"
        return f"{given} does not say when a token ends: {self.reason}"


class ExpiryPassed(AuthError):
    """The end asked for a new token is not in the future."""

    code = "expiry_passed"

    def __init__(self, *, expires_at: int, now: float) -> None:
        self.expires_at, self.now = expires_at, now

    def __str__(self) -> str:
        return f"the token would end at {_moment(self.expires_at)}, but it is {_moment(self.now)} already"


class TokenError(AuthError):
    """A token is refused, or what it asks for is."""

    code = "token_error"


class TokenTooLong(TokenError):
    """A token with more characters than we read."""

    code = "token_too_long"

    def __init__(self, *, length: int, limit: int) -> None:
        self.length, self.limit = length, limit

    def __str__(self) -> str:
        return f"the token has {self.length} characters, the limit is {self.limit}"


class MalformedToken(TokenError):
    """Not three parts of base64url and JSON, or a claim of the wrong kind."""

    code = "malformed_token"

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        return f"the token is malformed: {self.reason}"


class UnsupportedAlgorithm(TokenError):
    """The token asks to be checked with an algorithm that we do not use."""

    code = "unsupported_algorithm"

    def __init__(self, *, algorithm: str) -> None:
        self.algorithm = algorithm

    def __str__(self) -> str:
        return f"the token's algorithm is {shown(self.algorithm)}, which is not the one we use"


class UnknownEnvironment(TokenError):
    """There are no keys for the environment that was named."""

    code = "unknown_environment"

    def __init__(self, *, environment: str) -> None:
        self.environment = environment

    def __str__(self) -> str:
        return f"there is no environment {shown(self.environment)}"


class BadSignature(TokenError):
    """None of the environment's keys signed this."""

    code = "bad_signature"
    # The key may have been rotated since: then a token minted today is good.
    retry = True

    def __init__(self, *, environment: str) -> None:
        self.environment = environment

    def __str__(self) -> str:
        return f"the token was not signed with a key of environment {shown(self.environment)}"


class MissingClaim(TokenError):
    """A claim that every public token needs is absent."""

    code = "missing_claim"

    def __init__(self, *, claim: str) -> None:
        self.claim = claim

    def __str__(self) -> str:
        return f"the token has no {self.claim!r} claim"


class NotPublic(TokenError):
    """The signature is good, but `pub` does not say that this token may be shown to a browser."""

    code = "not_public"

    def __str__(self) -> str:
        return "the token is not a public token: its 'pub' claim is not true"


class WrongIssuer(TokenError):
    """The token says that someone else issued it."""

    code = "wrong_issuer"

    def __init__(self, *, expected: str) -> None:
        self.expected = expected

    def __str__(self) -> str:
        return f"the token's issuer is not {self.expected}"


class WrongAudience(TokenError):
    """The token is meant for someone else."""

    code = "wrong_audience"

    def __init__(self, *, expected: str) -> None:
        self.expected = expected

    def __str__(self) -> str:
        return f"the token's audience is not {self.expected}"


class NotYetValid(TokenError):
    """The token itself says that it is for later."""

    code = "not_yet_valid"

    def __init__(self, *, not_before: int) -> None:
        self.not_before = not_before

    def __str__(self) -> str:
        return f"the token is not valid before {_moment(self.not_before)}"


class TokenExpired(TokenError):
    """The token was good, and is over."""

    code = "token_expired"
    retry = True

    def __init__(self, *, expired_at: int) -> None:
        self.expired_at = expired_at

    def __str__(self) -> str:
        return f"the token expired at {_moment(self.expired_at)}"


class TokenRevoked(TokenError):
    """
    The token was good, and was taken back.

    Raised by whoever keeps the list of revoked tokens; `verify` knows none.
    """

    code = "token_revoked"  # no retry: someone meant this to end, a page should not undo it unasked

    def __str__(self) -> str:
        return "the token was revoked"


class NotAllowed(TokenError):
    """The token is good, but none of its scopes allows what was asked."""

    code = "not_allowed"

    def __init__(self, *, action: str, resources: Sequence[str], scopes: Sequence[str]) -> None:
        self.action, self.resources, self.scopes = action, tuple(resources), tuple(scopes)

    def __str__(self) -> str:
        held = ", ".join(map(shown, self.scopes)) or "none"
        asked = ", ".join(map(shown, self.resources)) or "nothing"
        return f"{self.action} on any of ({asked}) is not allowed; the token's scopes: {held}"
