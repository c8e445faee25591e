"""`runcast token`: public tokens for viewers, made from the secret key that this place knows."""

from __future__ import annotations

from typing import Annotated

import typer

from auth import AuthError, EnvironmentKeys, Keyring, NoSecretKey, mint
from gateway.cli.environment import environment
from gateway.cli.exits import ExitCode, say, stop
from gateway.errors import BadInput
from gateway.runs import hidden_columns

_NO_KEY = (
    "no secret key: set RUNCAST_SECRET_KEY (and RUNCAST_ENVIRONMENT, if it is not `default`), or "
    "RUNCAST_ENVIRONMENTS_FILE. Beside a `runcast dev`, start from its directory"
)

tokens = typer.Typer(
    help="Make public tokens for viewers.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
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
        keyring = Keyring.from_environ(known)
        keys = keyring.keys_of(name or _only_environment(keyring))
    except NoSecretKey:
        stop(ExitCode.AUTH, _NO_KEY)
    except AuthError as error:
        stop(ExitCode.AUTH, str(error))
    for warning in keys.warnings():
        say(f"warning: {warning}")
    return keys


def _only_environment(keyring: Keyring) -> str:
    if len(keyring.environments) > 1:
        stop(ExitCode.USAGE, f"there are several environments; choose one: {', '.join(keyring.environments)}")
    return keyring.environments[0]
