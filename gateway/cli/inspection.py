"""A public token in words: where commands take one from, what it says of itself, and whether that is true."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import auth
from gateway.cli import describe
from gateway.cli.environment import environment, keyring_of_file
from gateway.cli.exits import ExitCode, stop
from gateway.errors import Misconfigured
from gateway.secret_files import read_variable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auth import Claims, Keyring, Scope

_NO_TOKEN: Final = "no token: give it as an argument, `-` for stdin, with --token-file, or as RUNCAST_TOKEN"  # noqa: S105
_ACTIONS: Final[Mapping[str, str]] = {"read": "see", "write": "change", "*": "see and change"}
_THINGS: Final[Mapping[str, tuple[str, str]]] = {
    "runs": ("every run", "the run {}"),
    "tags": ("the runs of any one tag", "runs with the tag {}"),
    "tasks": ("the runs of any one task", "runs of the task {}"),
    "batch": ("the runs of any one batch", "the runs of the batch {}"),
    "all": ("everything", "everything"),
}


class Signature(StrEnum):
    """What is known of a token's signature here."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a token says, and what is wrong with it."""

    claims: Claims
    signature: Signature
    #: Why no gateway would take it now; empty when nothing speaks against it.
    refused: str
    #: What could not be found out.
    unknown: str = ""


def given_token(argument: str | None, file: Path | None, *, environ: Mapping[str, str] | None = None) -> str:
    """
    The token that a command was given. Ends the command when there is none.

    A token in the arguments can be seen by every user of the machine. It is public, and ends; a secret key is neither.
    """
    if argument is not None and file is not None:
        stop(ExitCode.USAGE, "a token as an argument, or --token-file; not both")
    if argument == "-":
        token = sys.stdin.read().strip()
    elif argument is not None:
        token = argument.strip()
    elif file is not None:
        token = _read(file)
    else:
        token = _from_environment(environment() if environ is None else environ)
    if not token:
        stop(ExitCode.USAGE, _NO_TOKEN)
    if not auth.looks_like_public_token(token):
        stop(ExitCode.AUTH, "this is no public token. (A secret key allows everything, and belongs in no argument)")
    return token


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        stop(ExitCode.USAGE, f"the token file can't be read: {file}: {reason}")


def _from_environment(environ: Mapping[str, str]) -> str:
    try:
        return read_variable(environ, "RUNCAST_TOKEN")
    except Misconfigured as error:
        stop(ExitCode.USAGE, str(error))


def known_keys() -> Keyring | None:
    """The secret keys of this place; None when there are none. Ends the command when they can't be used."""
    try:
        return auth.Keyring.from_environ(environment())
    except auth.NoSecretKey:
        return keyring_of_file()
    except auth.AuthError as error:
        stop(ExitCode.AUTH, str(error))


def inspect(token: str, keyring: Keyring | None, *, now: float | None = None) -> Inspected:
    """
    What *token* says, and whether a key of *keyring* signed it.

    Raises:
        auth.TokenError: When it is not one of our tokens at all.
    """
    now = time.time() if now is None else now
    claims = auth.read_unverified(token)
    if keyring is None:
        return _unverified(claims, now, "no secret key is known here, so whether the signature is good is not known")
    try:
        auth.verify(token, keyring, now=now)
    except auth.UnknownEnvironment:
        known = ", ".join(keyring.environments)
        return _unverified(
            claims, now, f"the keys here are those of {known}; whether the signature is good is not known"
        )
    except auth.BadSignature as error:
        return Inspected(claims, Signature.BAD, str(error))
    except auth.TokenError as error:
        return Inspected(claims, Signature.GOOD, _words(error))
    return Inspected(claims, Signature.GOOD, "")


def _unverified(claims: Claims, now: float, unknown: str) -> Inspected:
    try:
        claims.check_time(now)
    except auth.TokenError as error:
        return Inspected(claims, Signature.UNKNOWN, _words(error), unknown)
    return Inspected(claims, Signature.UNKNOWN, "", unknown)


def _words(error: auth.TokenError) -> str:
    if isinstance(error, auth.TokenExpired):
        return f"it expired at {moment(error.expired_at)}"
    if isinstance(error, auth.NotYetValid):
        return f"it is not valid before {moment(error.not_before)}"
    return str(error)


def moment(seconds: float) -> str:
    """Unix seconds as people and programs read them."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment_and_age(seconds: float | None, now: float) -> str:
    """With how long ago that was, or how long it is until then."""
    if seconds is None:
        return "not told"
    away = describe.duration(abs(seconds - now))
    return f"{moment(seconds)} ({f'in {away}' if seconds > now else f'{away} ago'})"


def scope_in_words(scope: Scope) -> str:
    """What a scope allows."""
    if scope.has_empty_part:
        return "nothing: a part of it is empty; was a variable unset?"
    if str(scope) == "admin":
        return "everything"
    if scope.action not in _ACTIONS or scope.type is None or scope.type not in _THINGS:
        return "nothing that a gateway asks for"
    whole, one = _THINGS[scope.type]
    return f"{_ACTIONS[scope.action]} {whole if scope.id is None else one.format(describe.clean(scope.id))}"


def token_as_json(inspected: Inspected) -> dict[str, Any]:
    """The claims, for programs. Never the token or a part of its signature."""
    claims = inspected.claims
    hidden = claims.grant.skip_columns
    return {
        "environment": claims.subject,
        "subject": claims.user,
        "jti": claims.token_id,
        "issued_at": None if claims.issued_at is None else moment(claims.issued_at),
        "not_before": None if claims.not_before is None else moment(claims.not_before),
        "expires_at": moment(claims.expires_at),
        "one_time": claims.one_time is True,
        "scopes": [str(scope) for scope in claims.grant.scopes],
        "hidden_columns": None if hidden is None else sorted(hidden),
        "signature": inspected.signature,
        "refused": inspected.refused or None,
    }
