"""
Public tokens for run feeds: mint them, verify them, and ask what they allow. No server, no network.

    >>> from auth import EnvironmentKeys, Keyring, Resource, generate_secret_key, mint, verify
    >>> keys = EnvironmentKeys.of("default", generate_secret_key())
    >>> token = mint({"read": {"runs": "run_1"}}, keys, expires="15m")
    >>> verify(token, Keyring([keys])).grant.allows("read", [Resource("runs", "run_1")])
    True

The tokens are those of the official Trigger.dev SDK (realtime protocol, section 2): each reads the other's.
"""

from auth.claims import Claims
from auth.errors import (
    AuthError,
    BadExpiry,
    BadKeyring,
    BadScope,
    BadSignature,
    DuplicateSecret,
    ExpiryPassed,
    MalformedToken,
    MissingClaim,
    NoSecretKey,
    NotAllowed,
    NotPublic,
    NotYetValid,
    TokenError,
    TokenExpired,
    TokenRevoked,
    TokenTooLong,
    UnknownEnvironment,
    UnsupportedAlgorithm,
    UnusableSecret,
    WeakSecret,
    WrongAudience,
    WrongIssuer,
)
from auth.keys import GRACE, EnvironmentId, EnvironmentKeys, Keyring, SigningKey, generate_secret_key
from auth.lifetimes import Expires, expires_at
from auth.scopes import Grant, Permissions, Resource, Scope, scopes_to_mint
from auth.tokens import DEFAULT_EXPIRES, VerifiedToken, looks_like_public_token, mint, read_unverified, verify

__all__ = [
    "DEFAULT_EXPIRES",
    "GRACE",
    "AuthError",
    "BadExpiry",
    "BadKeyring",
    "BadScope",
    "BadSignature",
    "Claims",
    "DuplicateSecret",
    "EnvironmentId",
    "EnvironmentKeys",
    "Expires",
    "ExpiryPassed",
    "Grant",
    "Keyring",
    "MalformedToken",
    "MissingClaim",
    "NoSecretKey",
    "NotAllowed",
    "NotPublic",
    "NotYetValid",
    "Permissions",
    "Resource",
    "Scope",
    "SigningKey",
    "TokenError",
    "TokenExpired",
    "TokenRevoked",
    "TokenTooLong",
    "UnknownEnvironment",
    "UnsupportedAlgorithm",
    "UnusableSecret",
    "VerifiedToken",
    "WeakSecret",
    "WrongAudience",
    "WrongIssuer",
    "expires_at",
    "generate_secret_key",
    "looks_like_public_token",
    "mint",
    "read_unverified",
    "scopes_to_mint",
    "verify",
]
