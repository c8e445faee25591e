"""Keys and tokens that more than one test file needs."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from auth import EnvironmentKeys, Keyring

#: The moment at which the tests take place, in unix seconds.
NOW = 1_760_000_000

SECRET = "tr_dev_the_secret_of_environment_one_1234"
OTHER_SECRET = "tr_dev_the_secret_of_environment_two_5678"

KEYS = EnvironmentKeys.of("env_1", SECRET)
KEYRING = Keyring([KEYS, EnvironmentKeys.of("env_2", OTHER_SECRET)])

#: What the official SDK would write, with one scope.
GOOD_CLAIMS: Mapping[str, Any] = {
    "sub": "env_1",
    "pub": True,
    "scopes": ["read:runs:run_1"],
    "iss": "https://id.trigger.dev",
    "aud": "https://api.trigger.dev",
    "iat": NOW,
    "exp": NOW + 900,
}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def sign_raw(
    payload: bytes, *, secret: str = SECRET, header: bytes = b'{"alg":"HS256"}', digest: str = "sha256"
) -> str:
    """A token with any bytes in it, signed without the code under test."""
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(hmac.new(secret.encode(), signed.encode(), digest).digest())}"


def sign(secret: str = SECRET, *, without: str | None = None, **changes: Any) -> str:
    """A good token but for *changes*, signed without the code under test."""
    claims = {name: value for name, value in {**GOOD_CLAIMS, **changes}.items() if name != without}
    return sign_raw(json.dumps(claims).encode(), secret=secret)
