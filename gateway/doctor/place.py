"""What this place knows: its secret keys, the origins that it allows, the libraries it has."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from auth import AuthError, Keyring, NoSecretKey
from gateway.doctor.findings import Finding, error, note, ok, warning
from gateway.errors import BadInput
from gateway.transports.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Mapping

#: As pyproject.toml has it; a worker's environment may have been put together without looking at that.
_REDIS_PY: Final = ((5, 0), (9, 0))
_NEW_KEY: Final = "RUNCAST_SECRET_KEY=$(python -c \"import auth; print(auth.generate_secret_key('prod'))\")"


def check_place(environ: Mapping[str, str], of_file: Keyring | None = None) -> list[Finding]:
    """Everything that needs no connection; *of_file* are the keys that runcast.toml has."""
    return [*check_keys(environ, of_file), *check_origins(environ), *check_redis_py(_installed("redis"))]


def check_keys(environ: Mapping[str, str], of_file: Keyring | None = None) -> list[Finding]:
    """Whether there are secret keys, and whether they can be guessed."""
    try:
        keyring = keys_of_place(environ, of_file)
    except NoSecretKey:
        return [note("place.keys", "no secret key is set here", "only gateways, and who mints tokens, need one")]
    except AuthError as wrong:
        return [error("place.keys", str(wrong), "a gateway does not start with it", _NEW_KEY)]
    found = [
        warning("place.keys", text, "whoever has one token can try keys on it, unseen and without limit", _NEW_KEY)
        for text in keyring.warnings()
    ]
    names = ", ".join(keyring.environments)
    return found or [ok("place.keys", f"there are secret keys for {names}, long enough")]


def keys_of_place(environ: Mapping[str, str], of_file: Keyring | None) -> Keyring:
    """
    Those of the environment, else those *of_file*.

    Raises:
        AuthError: NoSecretKey when there are none, others when they can't be used.
    """
    try:
        return Keyring.from_environ(environ)
    except NoSecretKey:
        if of_file is None:
            raise
        return of_file


def check_origins(environ: Mapping[str, str]) -> list[Finding]:
    """Which pages are let in."""
    try:
        origins = Origins.parse(environ.get("RUNCAST_ALLOWED_ORIGINS", ""))
    except BadInput as wrong:
        line = "RUNCAST_ALLOWED_ORIGINS=https://app.example.com"
        return [error("place.origins", f"RUNCAST_ALLOWED_ORIGINS: {wrong}", "a gateway does not start with it", line)]
    if origins.any:
        why = "a page anywhere that got hold of a token can use it; in production name the origins of your pages"
        return [note("place.origins", "pages of any origin are allowed", why)]
    if not (origins.exact or origins.patterns):
        why = "pages are let in only from the gateway's own address; a gateway elsewhere may be set otherwise"
        return [note("place.origins", "no origin is allowed here", why)]
    return [ok("place.origins", f"allowed origins: {environ['RUNCAST_ALLOWED_ORIGINS'].strip()}")]


def check_redis_py(installed: str | None) -> list[Finding]:
    """*installed* is its version; None when there is none."""
    found = re.match(r"(\d+)\.(\d+)", installed or "")
    if found is None:
        return [error("place.libraries", "redis-py is not installed", "nothing can be published", "pip install redis")]
    oldest, first_unknown = _REDIS_PY
    if oldest <= (int(found[1]), int(found[2])) < first_unknown:
        return [ok("place.libraries", f"redis-py {installed}")]
    why = "it is tried with 5.0.1 up to 8"
    return [warning("place.libraries", f"redis-py is {installed}", why, 'pip install "redis>=5.0.1,<9"')]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
