"""With which token a gateway is looked at, and at which feed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from auth import AuthError, NoSecretKey, TokenError, looks_like_public_token, mint, read_unverified
from gateway.doctor.findings import Finding, error, note
from gateway.doctor.place import keys_of_place
from gateway.errors import Misconfigured
from gateway.secret_files import read_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auth import Keyring, Scope

#: Longer than anybody looks; a day later it is worth nothing.
_LIFETIME: Final = "24h"


@dataclass(frozen=True, slots=True)
class Probe:
    """A public token, and a feed that it opens."""

    token: str = field(repr=False)
    environment: str
    #: The feed, as the query of `/v1/events` names it.
    query: str
    #: The run of that feed, which nobody else has; None when the token opens something else.
    run: str | None
    #: A tag whose runs it opens; None when it opens none.
    tag: str | None


def find_probe(environ: Mapping[str, str], of_file: Keyring | None = None) -> Probe | Finding:
    """
    RUNCAST_TOKEN as it is, or a token that the secret key here signs for a run that does not exist.

    A secret key itself is never sent anywhere.
    """
    run = f"doctor_{secrets.token_hex(8)}"
    try:
        given = read_variable(environ, "RUNCAST_TOKEN")
    except Misconfigured as wrong:
        return error("gateway.token", str(wrong), "streams and WebSockets were not looked at", "RUNCAST_TOKEN=…")
    if given:
        return _given(given, run)
    try:
        keyring = keys_of_place(environ, of_file)
        keys = keyring.keys_of(environ.get("RUNCAST_ENVIRONMENT") or keyring.environments[0])
    except NoSecretKey:
        why = "streams, WebSockets and tokens were not looked at"
        return note("gateway.token", "there is neither a token nor a secret key here", why, "RUNCAST_TOKEN=…")
    except AuthError as wrong:
        return error("gateway.token", str(wrong), "no token can be minted here", "RUNCAST_SECRET_KEY=…")
    token = mint({"read": {"runs": run, "tags": run}}, keys, expires=_LIFETIME)
    return Probe(token, keys.environment, urlencode({"run": run}), run, tag=run)


def _given(token: str, run: str) -> Probe | Finding:
    why = "streams and WebSockets were not looked at"
    line = "RUNCAST_TOKEN=$(runcast token mint --all-runs)"
    if not looks_like_public_token(token):
        return error("gateway.token", "RUNCAST_TOKEN is no public token", why, line)
    try:
        claims = read_unverified(token)
    except TokenError as wrong:
        return error("gateway.token", f"RUNCAST_TOKEN: {wrong}", why, line)
    feeds = (_feed(scope, run) for scope in claims.grant.scopes)
    pair = next((feed for feed in feeds if feed is not None), None)
    if pair is None:
        return error("gateway.token", "RUNCAST_TOKEN allows to see no feed", why, line)
    tag = next((name for scope in claims.grant.scopes if (name := _tag(scope, run)) is not None), None)
    return Probe(token, claims.subject, urlencode([pair]), pair[1] if pair == ("run", run) else None, tag)


def _feed(scope: Scope, run: str) -> tuple[str, str] | None:
    """A feed that *scope* opens, if it opens one."""
    if scope.has_empty_part:
        return None
    if scope.type is None:
        return ("run", run) if str(scope) == "admin" else None
    if scope.action not in ("read", "*"):
        return None
    name = {"runs": "run", "all": "run", "tags": "tags", "tasks": "task", "batch": "batch"}.get(scope.type)
    return None if name is None else (name, scope.id if scope.id and scope.type != "all" else run)


def _tag(scope: Scope, tag: str) -> str | None:
    """A tag that *scope* opens, if it opens one."""
    if scope.has_empty_part:
        return None
    if scope.type is None:
        return tag if str(scope) == "admin" else None
    return scope.id or tag if scope.action in ("read", "*") and scope.type == "tags" else None
