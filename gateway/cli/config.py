"""`runcast config`: what the gateway would be started with here, where that is written, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple
from urllib.parse import urlsplit

import typer

from gateway.cli.describe import clean
from gateway.cli.exits import ExitCode, say
from gateway.configuration.reading import read_configuration
from gateway.configuration.sources import Sources
from gateway.configuration.table import SETTINGS

if TYPE_CHECKING:
    from gateway.configuration.reading import Configuration

#: Of the JSON document. Fields may be added within a version.
VERSION: Final = 1
_MASK: Final = "***"
_DEFAULT: Final = "default"

config = typer.Typer(
    help="Show and check the settings of a gateway.", add_completion=False, rich_markup_mode=None, no_args_is_help=True
)

_File = Annotated[str | None, typer.Option("--config", metavar="FILE", help="Settings in TOML [RUNCAST_CONFIG].")]
_Development = Annotated[bool, typer.Option("--dev", help="As `runcast dev` would start, with .env.")]


@config.callback()
def _config() -> None:
    pass


class _Row(NamedTuple):
    """A setting, as it is shown."""

    name: str
    value: str | None
    source: str


@config.command()
def show(
    file: _File = None,
    development: _Development = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """
    Print each setting, its value, and where that is written. Secrets are masked.

    What is wrong is told on standard error; `runcast config check` is for that.
    """
    configuration = _read(file, development=development)
    rows = _rows(configuration)
    if as_json:
        print(json.dumps({"v": VERSION, "settings": [row._asdict() for row in rows]}, ensure_ascii=False, indent=2))
    else:
        names, values = max(len(row.name) for row in rows), max(len(row.value or "-") for row in rows)
        for row in rows:
            print(f"{row.name:{names}}  {row.value or '-':{values}}  {row.source}")
    for problem in configuration.problems:
        say(f"error: {clean(problem)}")
    for warning in (*configuration.unknown, *configuration.warnings):
        say(f"warning: {clean(warning)}")


@config.command()
def check(file: _File = None, development: _Development = False) -> None:
    """
    Say whether a gateway would start with these settings; nothing is started, nor Redis asked (`runcast doctor` does).

    Prints every problem, not only the first, and exits with 2 when there is one.
    """
    configuration = _read(file, development=development)
    problems = [*configuration.problems, *configuration.unknown]
    warnings = list(configuration.warnings)
    if not development:
        problems += configuration.missing
        warnings += configuration.doubts
    for text in _fine(configuration):
        print(f"ok       {clean(text)}")
    for text in warnings:
        print(f"warning  {clean(text)}")
    for text in problems:
        print(f"error    {clean(text)}")
    if problems:
        raise typer.Exit(ExitCode.USAGE)


def _read(file: str | None, *, development: bool) -> Configuration:
    sources = Sources(flags={} if file is None else {"config": file}, development=development)
    return read_configuration(sources, allow_weak=development)


def _rows(configuration: Configuration) -> list[_Row]:
    rows = []
    for key, setting in SETTINGS.items():
        written = configuration.written.get(key)
        if written is None:
            rows.append(_Row(key, setting.default or None, _DEFAULT))
        else:
            rows.append(_Row(key, clean(_shown(key, written.value)), clean(written.source)))
    environments = configuration.keys.keyring.environments
    rows.append(_Row("environments", ", ".join(environments) or None, clean(configuration.keys.source) or _DEFAULT))
    return rows


def _shown(key: str, value: object) -> str:
    if key == "redis_url":
        return _without_secrets(str(value))
    return _MASK if SETTINGS[key].secret else str(value)


def _without_secrets(url: str) -> str:
    """A Redis URL that can be shown. Whatever can't be understood might be a password altogether."""
    try:
        parts = urlsplit(url)
        host, secret = parts.hostname, parts.password or parts.username or parts.query
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return _MASK
    if not parts.scheme or "@" in parts.path or not (host or parts.scheme == "unix"):
        return _MASK
    shown_host = f"[{host}]" if host and ":" in host else host or ""
    credentials = f"{_MASK}@" if secret else ""
    return f"{parts.scheme}://{credentials}{shown_host}{port}{parts.path}"


def _fine(configuration: Configuration) -> list[str]:
    """What is right, in words."""
    fine = [
        f"{key} is {_shown(key, written.value)}: {written.source}"
        for key, written in configuration.written.items()
        if key in configuration.values and not (SETTINGS[key].secret and key != "redis_url")
    ]
    environments = configuration.keys.keyring.environments
    if environments:
        fine.append(f"the secret keys of {', '.join(environments)} can be used: {configuration.keys.source}")
    return fine
