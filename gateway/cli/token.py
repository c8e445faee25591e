"""`runcast token`: public tokens for viewers: made from the secret key that this place knows, shown, and taken back."""

from __future__ import annotations

import json
import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any, Final

import typer

from auth import AuthError, EnvironmentKeys, Keyring, NoSecretKey, TokenError, mint
from gateway.cli import describe
from gateway.cli.environment import environment, keyring_of_file
from gateway.cli.exits import ExitCode, say, stop
from gateway.cli.inspection import (
    Inspected,
    given_token,
    inspect,
    known_keys,
    moment_and_age,
    scope_in_words,
    token_as_json,
)
from gateway.errors import BadInput
from gateway.runs import hidden_columns

_NO_KEY = (
    "no secret key: set RUNCAST_SECRET_KEY (and RUNCAST_ENVIRONMENT, if it is not `default`), or "
    "RUNCAST_ENVIRONMENTS_FILE. Beside a `runcast dev`, start from its directory"
)

#: Of the JSON documents. Fields may be added within a version.
VERSION: Final = 1

tokens = typer.Typer(
    help="Make public tokens for viewers, look at them, take them back.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)


@tokens.callback()
def _tokens() -> None:
    pass


@tokens.command("mint")
def mint_token(
    run: Annotated[list[str] | None, typer.Option(help="This run. Repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Runs with this tag. Repeatable.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="The runs of this task. Repeatable.")] = None,
    batch: Annotated[list[str] | None, typer.Option(help="The runs of this batch. Repeatable.")] = None,
    all_runs: Annotated[bool, typer.Option("--all-runs", help="Every run of the environment.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Allow to change what is named, besides seeing it.")] = False,
    expires: Annotated[str, typer.Option(metavar="SPAN", help="When it ends: 15m, 1h, 7d.")] = "15m",
    one_time: Annotated[bool, typer.Option("--one-time", help="It can be used once.")] = False,
    skip_columns: Annotated[str | None, typer.Option(metavar="A,B", help="Columns that are never shown.")] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whom it is for: all of one subject can be revoked together.")
    ] = None,
    name: Annotated[str | None, typer.Option("--environment", help="Of several environments, which.")] = None,
) -> None:
    """
    Print a token that allows to see what is named, and nothing else.

    The secret key comes from RUNCAST_SECRET_KEY, RUNCAST_ENVIRONMENTS_FILE or `runcast dev`.
    """
    named = {"runs": run, "tags": tag, "tasks": task, "batch": batch}
    allowed: dict[str, bool | list[str]] = {kind: ids for kind, ids in named.items() if ids}
    if all_runs:
        allowed["runs"] = True
    if not allowed:
        stop(ExitCode.USAGE, "say what the token allows: --run, --tag, --task, --batch or --all-runs")
    keys = _keys(name)
    try:
        token = mint(
            {"read": allowed, "write": allowed} if write else {"read": allowed},
            keys,
            expires=expires,
            one_time=True if one_time else None,
            skip_columns=_columns(skip_columns),
            subject=subject,
        )
    except (BadInput, AuthError) as error:
        stop(ExitCode.USAGE, str(error))
    print(token)


def _columns(text: str | None) -> list[str] | None:
    if text is None:
        return None
    columns = [column.strip() for column in text.split(",") if column.strip()]
    hidden_columns(columns)  # a name that is mistyped would hide nothing
    return columns


def _keys(name: str | None) -> EnvironmentKeys:
    known = environment()
    if name is not None and "RUNCAST_ENVIRONMENTS_FILE" not in known:
        known["RUNCAST_ENVIRONMENT"] = name
    try:
        try:
            keyring = Keyring.from_environ(known)
        except NoSecretKey:
            keyring = keyring_of_file() or stop(ExitCode.AUTH, _NO_KEY)
        keys = keyring.keys_of(name or _only_environment(keyring))
    except AuthError as error:
        stop(ExitCode.AUTH, str(error))
    for warning in keys.warnings():
        say(f"warning: {warning}")
    return keys


def _only_environment(keyring: Keyring) -> str:
    if len(keyring.environments) > 1:
        stop(ExitCode.USAGE, f"there are several environments; choose one: {', '.join(keyring.environments)}")
    return keyring.environments[0]


@tokens.command("inspect")
def inspect_token(
    token: Annotated[str | None, typer.Argument(metavar="[TOKEN]", help="The token; - is stdin.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="A file with the token; else RUNCAST_TOKEN.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """
    Show what a token says: what it allows, until when, and whether it is good. Never its signature.

    Exit codes: 0 good, or not known (without the secret key), 2 usage, 4 no gateway would take it.
    """
    text = given_token(token, token_file)
    try:
        inspected = inspect(text, known_keys())
    except TokenError as error:
        stop(ExitCode.AUTH, str(error))
    if as_json:
        print(json.dumps({"v": VERSION, **token_as_json(inspected)}))
    else:
        print("\n".join(_lines(inspected, time.time())))
    raise typer.Exit(ExitCode.AUTH if inspected.refused else ExitCode.OK)


def _lines(inspected: Inspected, now: float) -> list[str]:
    claims = inspected.claims
    hidden = claims.grant.skip_columns
    named = {
        "environment": claims.subject,
        "subject": claims.user,
        "jti": claims.token_id,
        "issued": moment_and_age(claims.issued_at, now),
        "not before": None if claims.not_before is None else moment_and_age(claims.not_before, now),
        "expires": moment_and_age(claims.expires_at, now),
        "signature": inspected.signature,
        "one-time": "yes" if claims.one_time else None,
        "hidden columns": ", ".join(sorted(hidden)) if hidden else None,
    }
    lines = [f"{name + ':':15} {describe.clean(value)}" for name, value in named.items() if value is not None]
    scopes = [f"{describe.clean(scope)}   may {scope_in_words(scope)}" for scope in claims.grant.scopes]
    lines += [f"{'scope:':15} {scope}" for scope in scopes or ["none: it allows nothing"]]
    lines += [f"{'refused:':15} {describe.clean(inspected.refused)}"] if inspected.refused else []
    return lines + ([f"{'note:':15} {describe.clean(inspected.unknown)}"] if inspected.unknown else [])


@tokens.command("revoke")
def revoke_tokens(
    jti: Annotated[str | None, typer.Option(metavar="NAME", help="The token of this name.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="NAME", help="All for this subject, issued up to now.")] = None,
    tag: Annotated[str | None, typer.Option(help="All with a scope for this tag, issued up to now.")] = None,
    issued_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="All issued before 2026-01-31T10:00:00Z, or unix seconds.")
    ] = None,
    token: Annotated[str | None, typer.Option(metavar="TOKEN", help="This token; - is stdin.")] = None,
    url: Annotated[str | None, typer.Option(help="The gateway [RUNCAST_URL, http://127.0.0.1:8787].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """
    Take tokens back. What they opened ends within a second, on every gateway.

    It is asked with the secret key, RUNCAST_SECRET_KEY or that of `runcast dev`.

    Exit codes: 0, 2 usage, 4 not allowed, 6 no connection.
    """
    given: dict[str, str | int | None] = {"jti": jti, "subject": subject, "tag": tag, "token": token}
    given["issuedBefore"] = _moment(issued_before)
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        stop(ExitCode.USAGE, "say what to revoke, one of --jti, --subject, --tag, --issued-before and --token")
    if token is not None:
        named["token"] = given_token(token, None)
    answer = _ask_to_revoke(url, named)
    if as_json:
        print(json.dumps({"v": VERSION, **answer}))
        return
    (what,) = named
    print(f"revoked by {what}; remembered until {describe.clean(answer.get('keptUntil'))}")


def _moment(text: str | None) -> str | int | None:
    """As the gateway takes it: unix seconds are a number there."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else text


def _ask_to_revoke(url: str | None, body: dict[str, Any]) -> dict[str, Any]:
    # Imported here: to mint a token needs nothing that talks to anybody.
    from gateway.cli.http import refusals_end_the_command
    from gateway.viewer.requests import Requests
    from gateway.viewer.surroundings import gateway_url

    address = gateway_url(url)
    with refusals_end_the_command():
        answer = Requests(address, _secret_key(address)).post("/v1/tokens/revoke", body)
    return answer if isinstance(answer, dict) else {}


def _secret_key(url: str) -> str:
    """What the gateway is shown. The key that `runcast dev` left is only for a gateway on this machine."""
    import os

    from gateway.secret_files import read_variable
    from gateway.viewer.address import is_loopback

    known = environment() if is_loopback(url) else os.environ
    found = (read_variable(known, name) for name in ("RUNCAST_SECRET_KEY", "TRIGGER_SECRET_KEY"))
    secret = next(filter(None, found), None)
    if secret is None:
        stop(ExitCode.AUTH, "no secret key: set RUNCAST_SECRET_KEY. Beside a `runcast dev`, start from its directory")
    return secret
