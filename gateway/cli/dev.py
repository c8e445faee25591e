"""`runcast dev`: everything on this machine, with keys that are made here."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from auth import AuthError, EnvironmentKeys, Keyring, generate_secret_key, mint
from gateway.app import create_app
from gateway.cli.environment import DEV_FILE, dev_environment
from gateway.cli.exits import say
from gateway.cli.serve import address, check_redis, given, refuse, warn
from gateway.configuration.reading import read_configuration
from gateway.configuration.sources import Sources
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.server.run import listen, listen_privately, run
from gateway.store.embedded import embedded_server, state_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.configuration.reading import Configuration
    from gateway.settings import Settings

_TOKEN_LIFETIME = "24h"  # noqa: S105 - a span of time


def dev(
    host: Annotated[str | None, typer.Option(help="Address to listen on [RUNCAST_HOST, 127.0.0.1].")] = None,
    port: Annotated[str | None, typer.Option(help="Port to listen on [RUNCAST_PORT, 8787].")] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Settings in TOML [RUNCAST_CONFIG, runcast.toml].")
    ] = None,
) -> None:
    """
    Serve on this machine: an embedded Redis, a secret key in .runcast/, pages of any origin.

    Settings come from flags, the environment, .env and runcast.toml.
    """
    with ExitStack() as resources:
        try:
            prepared = prepare(resources, given(host=host, port=port, config=config))
            settings = prepared.settings
            configure_logging(settings.log_format, settings.log_level)
            listening = resources.enter_context(listen(settings))
            private = [resources.enter_context(found) for found in listen_privately(settings)]
        except (GatewayError, AuthError) as error:
            refuse(error)
        leave_keys(prepared)
        say(f"serving at {address(settings)}")
        token = mint({"read": {"runs": True}}, prepared.keys, expires=_TOKEN_LIFETIME)
        print(instructions(address(settings), token), flush=True)
        run(create_app(settings, prepared.keyring), settings, listening, *private, reloads=False)


class Prepared(NamedTuple):
    """What a gateway for development is started with."""

    settings: Settings
    keyring: Keyring
    #: Of the one environment, or the first of several.
    keys: EnvironmentKeys
    #: Whether commands in this directory find the key by themselves, in the environment.
    known: bool


def prepare(resources: ExitStack, flags: Mapping[str, str] | None = None) -> Prepared:
    """
    A Redis, settings and keys for development; what runs ends with *resources*.

    Raises:
        GatewayError, AuthError: Saying what to do.
    """
    sources = Sources(flags=flags or {}, development=True)
    configuration = read_configuration(sources, allow_weak=True)
    configuration.refuse_problems()
    warn(configuration)
    if "redis_url" in configuration.values:
        settings = configuration.settings()
    else:
        settings = configuration.settings(redis_url=resources.enter_context(embedded_server(state_directory())).url)
    check_redis(settings.redis_url, configuration.source_of("redis_url"))
    keyring = configuration.keys.keyring if configuration.keys.source else Keyring([_own_keys(configuration)])
    keys = keyring.keys_of(keyring.environments[0])
    named = configuration.keys.source.partition(" ")[0]
    return Prepared(settings, keyring, keys, known=bool(named) and named in os.environ)


def _own_keys(configuration: Configuration) -> EnvironmentKeys:
    """Those that an earlier start left in the state directory, else new ones."""
    environment = configuration.values.get("environment", "default")
    kept = dev_environment()
    secret = kept.get("RUNCAST_SECRET_KEY") if kept.get("RUNCAST_ENVIRONMENT") == environment else None
    return EnvironmentKeys.of(environment, secret or generate_secret_key(), allow_weak=True)


def leave_keys(prepared: Prepared) -> None:
    """Tell the commands that are run in this directory what they need. To be called when we do serve: not before."""
    if prepared.known:
        return
    state = state_directory()
    state.mkdir(mode=0o700, exist_ok=True)
    file = state / DEV_FILE
    file.touch(mode=0o600)
    keys = prepared.keys
    # The URL is another one with another --port.
    file.write_text(
        f"RUNCAST_SECRET_KEY={keys.current.secret}\nRUNCAST_ENVIRONMENT={keys.environment}\n"
        f"RUNCAST_URL={address(prepared.settings)}\n"
    )


def instructions(url: str, token: str) -> str:
    """What to do next, to be pasted."""
    runcast = command()
    return f"""
  Runs, live, in the dashboard:

    {url}/#token={token}

  A token that sees all runs here, for a day:

    TOKEN={token}

  Make a run move, in another terminal of this directory:

    {runcast} publish run_1 --task hello --status EXECUTING --progress 3/10

  See it move:

    {runcast} watch run_1
    curl -N -H "Authorization: Bearer $TOKEN" "{url}/v1/events?run=run_1"

  Or in a page of yours:

    <script src="{url}/run-status.js" defer></script>
    <run-status run="run_1" token="{token}"></run-status>
"""


def command() -> str:
    """How a shell in this directory starts `runcast`: by its name, or by where it is when it is not on the path."""
    program = Path(sys.executable).with_name("runcast")
    if not program.exists() or shutil.which("runcast") == str(program):
        return "runcast"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
