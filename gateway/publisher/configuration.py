"""
Where a publisher finds its Redis, and what holds for all it says: from arguments, then from the environment.

Not from runcast.toml, which is the gateway's: a job must not fail because of a file that lies in its directory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.changes import Limits
from gateway.durations import parse_duration
from gateway.errors import BadChange, BadInput, Misconfigured
from gateway.feeds import EnvironmentId, check_id
from gateway.publisher.identity import lease_seconds
from gateway.secret_files import read_variable
from gateway.sizes import parse_size
from gateway.store.redis_keys import Retention
from gateway.store.writing import ChangeWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ENVIRONMENT: Final = "default"
_URL_VARIABLES: Final = ("RUNCAST_REDIS_URL", "REDIS_URL")
_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_LIMITS: Final = {
    "metadata_bytes": "RUNCAST_METADATA_BYTES",
    "payload_bytes": "RUNCAST_PAYLOAD_BYTES",
    "output_bytes": "RUNCAST_OUTPUT_BYTES",
    "stream_bytes": "RUNCAST_STREAM_BYTES",
    "chunk_bytes": "RUNCAST_STREAM_CHUNK_BYTES",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is. The embedded server of this machine may come back at another place; others stay."""

    url: str
    embedded: bool = False

    def again(self) -> Address:
        """Where it is now; the same as before when nothing newer is known."""
        url = _embedded_url() if self.embedded else None
        return Address(url, embedded=True) if url and url != self.url else self


def find_redis(url: str | None, environ: Mapping[str, str] = os.environ) -> Address:
    """
    The address from the argument, the environment, or a gateway of this machine that started its own server.

    Raises:
        Misconfigured: When there is none, or it can't be one; the text says what to do.
    """
    if url is not None:
        return Address(_checked(url, "url"))
    for name in _URL_VARIABLES:
        if found := read_variable(environ, name):  # or RUNCAST_REDIS_URL_FILE, REDIS_URL_FILE
            return Address(_checked(found, name))
    embedded = _embedded_url(environ)
    if embedded is None:
        raise Misconfigured(
            "no Redis: set RUNCAST_REDIS_URL (or REDIS_URL) to one, for example redis://localhost:6379/0, or start a "
            "gateway in this directory first, which brings its own"
        )
    return Address(embedded, embedded=True)


def _embedded_url(environ: Mapping[str, str] = os.environ) -> str | None:
    from gateway.store.embedded import read_url_file, state_directory  # only who has no URL needs it

    return read_url_file(state_directory(environ))


def _checked(url: str, name: str) -> str:
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        raise Misconfigured(f"{name} begins with redis://, rediss:// or unix://")  # it may have a password in it
    return url


def make_writer(
    environment: str | None,
    retention: Retention | str | float | None,
    limits: Limits | None,
    environ: Mapping[str, str] = os.environ,
) -> ChangeWriter:
    """
    What packs the changes of one environment.

    Raises:
        Misconfigured: When something in the environment can't be right.
        BadFeed: When *environment* can't be the name of one.
    """
    name = environment or environ.get("RUNCAST_ENVIRONMENT", "").strip() or DEFAULT_ENVIRONMENT
    return ChangeWriter(
        environment=EnvironmentId(check_id("environment", name)),
        retention=_retention(retention, environ),
        limits=limits or _limits(environ),
    )


def _retention(given: Retention | str | float | None, environ: Mapping[str, str]) -> Retention:
    if isinstance(given, Retention):
        return given
    parts = {"finished_seconds": ("RUNCAST_RETENTION", environ.get("RUNCAST_RETENTION", ""))}
    if given is not None:
        parts["finished_seconds"] = ("retention", str(given))
    parts["streams_seconds"] = ("RUNCAST_STREAM_RETENTION", environ.get("RUNCAST_STREAM_RETENTION", ""))
    seconds = {}
    for part, (name, text) in parts.items():
        if not text.strip():
            continue
        try:
            seconds[part] = parse_duration(text)
        except BadInput as error:
            raise Misconfigured(f"{name}: {error}") from error
    return Retention(**seconds)


def find_lease(given: str | float | None, environ: Mapping[str, str] = os.environ) -> float | None:
    """
    How long the leases of a publisher last, in seconds, for runs that don't say; None for no lease.

    Raises:
        Misconfigured: When it can't be one.
    """
    text = environ.get("RUNCAST_LEASE", "").strip()
    try:
        if given is not None:
            return lease_seconds(given)
        return lease_seconds(0 if text == "0" else text) if text else None
    except BadChange as error:
        raise Misconfigured(f"{'RUNCAST_LEASE' if given is None else 'lease'}: {error.detail}") from error


def _limits(environ: Mapping[str, str]) -> Limits:
    given = {}
    for field, name in _LIMITS.items():
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            given[field] = parse_size(text)
        except BadInput as error:
            raise Misconfigured(f"{name}: {error}") from error
        if not given[field]:
            raise Misconfigured(f"{name} is at least 1 byte, not {text!r}: nothing would be kept")
    return Limits(**given)
