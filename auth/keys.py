"""
The secret keys of environments: the current one of each, and those that are still honoured.

A secret key does two things: its owner may do everything in its environment, and it signs public tokens.
After a rotation the previous key keeps doing both for a day, so that nothing that is open has to end. See
the Trigger.dev realtime protocol, sections 2.1 and 2.2.

Nothing here shows a secret: no `repr`, no error, no warning.
"""

import hashlib
import hmac
import math
import re
import secrets
import string
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NewType, Self

from auth.errors import (
    BadKeyring,
    DuplicateSecret,
    UnknownEnvironment,
    UnusableSecret,
    WeakSecret,
    shown,
)
from auth.key_sources import EnvironmentEntry, KeyEntry, read_environ, read_file

EnvironmentId = NewType("EnvironmentId", str)

#: How long a key is honoured after it was retired (protocol, section 2.2).
GRACE = timedelta(hours=24)

#: Below this a secret is refused: whoever holds one token can try secrets on it, unseen and without limit.
MINIMUM_SECRET_BYTES = 24
#: HMAC-SHA256 wants a key as long as its output (RFC 7518, section 3.2). Below this we warn.
RECOMMENDED_SECRET_BYTES = 32

# The official SDK takes keys of this form for restricted ones, which cannot sign: it would ask the server
# for every public token instead (protocol, section 2.1).
_RESTRICTED_KEY = re.compile(r"tr_(?:dev|stg|prod|preview)_sk_[0-9a-zA-Z]{24}")

# An id becomes part of tokens, of storage keys and of log lines; none of these should have to escape it.
_ENVIRONMENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

# Secrets are looked up by a keyed hash. How long that takes then says nothing about the secrets, however
# many there are: what it compares is unknown to whoever guesses, and different in each process.
_LOOKUP_KEY = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One secret key. With *retired_at* (unix seconds) it is honoured only for a while after that."""

    secret: str = field(repr=False)
    retired_at: float | None = None
    #: Where it is written down, for whoever must correct it; "" when a program made it.
    source: str = field(default="", compare=False)

    @property
    def size_bytes(self) -> int:
        return len(self.secret.encode())

    def honoured_until(self, grace: timedelta) -> float | None:
        """The unix second at which this key stops to count; None when it counts as long as it is listed."""
        return None if self.retired_at is None else self.retired_at + grace.total_seconds()

    def is_honoured(self, now: float, grace: timedelta) -> bool:
        until = self.honoured_until(grace)
        return until is None or now < until


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentKeys:
    """
    The secret keys of one environment.

    Raises:
        WeakSecret: When a secret is too short, unless *allow_weak* says that this is not for the public.
        UnusableSecret: When a secret has a form that clients could not use.
        BadKeyring: When the environment's id is not a plain word.
    """

    environment: EnvironmentId
    #: Signs new tokens.
    current: SigningKey
    #: No longer sign, but what they signed is still honoured; so are they themselves.
    previous: tuple[SigningKey, ...] = ()
    grace: timedelta = GRACE
    allow_weak: bool = False

    def __post_init__(self) -> None:
        if not _ENVIRONMENT_ID.fullmatch(self.environment):
            reason = "an environment's id has up to 128 letters, digits, and '_', '.' or '-' after the first"
            raise BadKeyring(source=f"environment {shown(self.environment)}", reason=reason)
        if self.current.retired_at is not None:
            raise BadKeyring(source=f"environment {shown(self.environment)}", reason="its current key is retired")
        for key in (self.current, *self.previous):
            _check_secret(key, self.environment, allow_weak=self.allow_weak)

    @classmethod
    def of(cls, environment: str, secret: str, *, allow_weak: bool = False) -> Self:
        """The keys of an environment that has only one."""
        return cls(environment=EnvironmentId(environment), current=SigningKey(secret), allow_weak=allow_weak)

    def honoured(self, now: float) -> Iterator[SigningKey]:
        """The keys that count at *now* (unix seconds), the current one first."""
        yield self.current
        yield from (key for key in self.previous if key.is_honoured(now, self.grace))

    def warnings(self) -> list[str]:
        """A sentence for each secret that is accepted, but shorter than it should be."""
        named = [("secret key", self.current), *(("previous secret key", key) for key in self.previous)]
        return [
            f"{key.source and key.source + ': '}a {name} of environment {shown(self.environment)} has"
            f" {key.size_bytes} bytes;"
            f" use at least {RECOMMENDED_SECRET_BYTES} (RFC 7518, section 3.2)."
            for name, key in named
            if key.size_bytes < RECOMMENDED_SECRET_BYTES
        ]


class Keyring:
    """
    The keys of all environments. Does not change: to rotate, build another.

    Raises:
        DuplicateSecret: When two environments have a secret in common.
        BadKeyring: When an environment is listed twice.
    """

    __slots__ = ("_by_environment", "_by_secret")

    def __init__(self, environments: Iterable[EnvironmentKeys]) -> None:
        self._by_environment: dict[str, EnvironmentKeys] = {}
        self._by_secret: dict[bytes, tuple[EnvironmentKeys, SigningKey]] = {}
        for keys in environments:
            self._add(keys)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, allow_weak: bool = False, grace: timedelta = GRACE) -> Self:
        """
        The keys that the process environment names; give it `os.environ`.

        RUNCAST_SECRET_KEY, or else TRIGGER_SECRET_KEY
            The secret key of one environment, whose id is RUNCAST_ENVIRONMENT (or "default").
        RUNCAST_PREVIOUS_SECRET_KEYS
            Keys that are still honoured, separated by commas: `key`, as long as it is listed, or
            `key@2026-01-31T10:00:00Z`, for *grace* after it was retired.
        RUNCAST_ENVIRONMENTS_FILE
            Instead: the path of a file with several environments, see `from_file`.

        Instead of a variable with secrets, its name and `_FILE` may name a file that holds the same:
        RUNCAST_SECRET_KEY_FILE, TRIGGER_SECRET_KEY_FILE, RUNCAST_PREVIOUS_SECRET_KEYS_FILE.

        Raises:
            NoSecretKey: When none of them is set.
            BadKeyring: When they contradict each other, or cannot be understood.
            WeakSecret, UnusableSecret, DuplicateSecret: When a secret cannot be used.
        """
        return cls.from_entries(read_environ(environ), allow_weak=allow_weak, grace=grace)

    @classmethod
    def from_file(cls, path: str | Path, *, allow_weak: bool = False, grace: timedelta = GRACE) -> Self:
        """
        The keys of several environments, from a TOML file or the same as JSON:

            [environments.acme]
            secret_key = "tr_prod_…"
            previous_secret_keys = [
                "tr_prod_…",
                { secret_key = "tr_prod_…", retired_at = 2026-01-31T10:00:00Z },
            ]

        Raises:
            BadKeyring: When the file cannot be read or understood.
            WeakSecret, UnusableSecret, DuplicateSecret: When a secret cannot be used.
        """
        return cls.from_entries(read_file(Path(path)), allow_weak=allow_weak, grace=grace)

    @classmethod
    def from_entries(
        cls, entries: Iterable[EnvironmentEntry], *, allow_weak: bool = False, grace: timedelta = GRACE
    ) -> Self:
        """
        The keys that were read already (`auth.key_sources`).

        Raises:
            BadKeyring, WeakSecret, UnusableSecret, DuplicateSecret: When a secret cannot be used.
        """
        return cls(
            EnvironmentKeys(
                environment=EnvironmentId(entry.environment),
                current=_signing_key(entry.current),
                previous=tuple(map(_signing_key, entry.previous)),
                grace=grace,
                allow_weak=allow_weak,
            )
            for entry in entries
        )

    def __reduce__(self) -> tuple[type[Self], tuple[list[EnvironmentKeys]]]:
        # In another process secrets are looked up by other hashes.
        return type(self), (list(self._by_environment.values()),)

    def __repr__(self) -> str:
        return f"Keyring(environments={list(self._by_environment)})"

    @property
    def environments(self) -> tuple[EnvironmentId, ...]:
        return tuple(keys.environment for keys in self._by_environment.values())

    def keys_of(self, environment: str) -> EnvironmentKeys:
        """
        The keys of *environment*.

        Raises:
            UnknownEnvironment: When there are none.
        """
        keys = self._by_environment.get(environment)
        if keys is None:
            raise UnknownEnvironment(environment=environment)
        return keys

    def environment_of(self, secret: str, *, now: float | None = None) -> EnvironmentId | None:
        """
        The environment that *secret* opens at *now* (unix seconds), or None when it opens none.

        How long it takes says nothing about the secrets that are known.
        """
        found = self._by_secret.get(_fingerprint(secret))
        if found is None:
            return None
        keys, key = found
        # The hash decided already. This keeps the answer right even if two texts ever shared one.
        same = hmac.compare_digest(_bytes(secret), _bytes(key.secret))
        honoured = key.is_honoured(time.time() if now is None else now, keys.grace)
        return keys.environment if same and honoured else None

    def end_of(self, environment: str, secret: str) -> float:
        """
        The unix second at which *secret* stops to count for *environment*.

        Infinite when it counts as long as it is listed; 0 when it isn't, or not for that environment.
        """
        found = self._by_secret.get(_fingerprint(secret))
        if found is None or found[0].environment != environment:
            return 0.0
        keys, key = found
        until = key.honoured_until(keys.grace)
        return math.inf if until is None else until

    def warnings(self) -> list[str]:
        """Sentences to print at start, about secrets that are accepted but short. None holds a secret."""
        return [sentence for keys in self._by_environment.values() for sentence in keys.warnings()]

    def _add(self, keys: EnvironmentKeys) -> None:
        if keys.environment in self._by_environment:
            raise BadKeyring(source=f"environment {shown(keys.environment)}", reason="it is listed twice")
        self._by_environment[keys.environment] = keys
        for key in (keys.current, *keys.previous):
            # Listed twice in one environment is harmless: a rotation begins that way. The first one wins,
            # so the current key stays without an end.
            owner, _ = self._by_secret.setdefault(_fingerprint(key.secret), (keys, key))
            if owner is not keys:
                raise DuplicateSecret(environments=(owner.environment, keys.environment))


def generate_secret_key(kind: str = "dev") -> str:
    """
    A new random secret key, `tr_dev_…`, of the form that signs tokens itself.

    *kind* is what follows `tr_`: the official SDK knows dev, stg, prod and preview.
    """
    # Letters and digits only: the key is selected by a double click, and cannot look restricted, which
    # takes an underscore.
    alphabet = string.ascii_letters + string.digits
    return f"tr_{kind}_" + "".join(secrets.choice(alphabet) for _ in range(40))


def _check_secret(key: SigningKey, environment: str, *, allow_weak: bool) -> None:
    reason = _why_unusable(key.secret)
    if reason is not None:
        raise UnusableSecret(environment=environment, reason=reason, source=key.source)
    if key.size_bytes < MINIMUM_SECRET_BYTES and not allow_weak:
        raise WeakSecret(
            environment=environment,
            size_bytes=key.size_bytes,
            minimum_bytes=MINIMUM_SECRET_BYTES,
            source=key.source,
        )


def _why_unusable(secret: str) -> str | None:
    if not secret:
        return "it is empty"
    # It travels in an Authorization header. A line break at its end, as a file leaves it, is the likely case.
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        return "it must be printable ASCII without spaces or line breaks"
    if _RESTRICTED_KEY.fullmatch(secret):
        return (
            "it looks like a restricted key ('tr_…_sk_' and 24 letters or digits), with which the official"
            " SDK refuses to sign tokens; choose another form"
        )
    return None


def _signing_key(entry: KeyEntry) -> SigningKey:
    return SigningKey(entry.secret, entry.retired_at.timestamp() if entry.retired_at else None, entry.source)


def _bytes(secret: str) -> bytes:
    # A credential can be any text that a request held; a lone surrogate must not be an error here.
    return secret.encode("utf-8", "surrogatepass")


def _fingerprint(secret: str) -> bytes:
    return hashlib.blake2b(_bytes(secret), key=_LOOKUP_KEY, digest_size=32).digest()
