"""`runcast dev`: everything on this machine, with keys that are made here."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from auth import AuthError, EnvironmentKeys, Keyring, generate_secret_key, mint
from gateway.app import create_app
from gateway.cli.exits import say
from gateway.cli.serve import address, check_redis, refuse
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.server.run import listen, run
from gateway.settings import from_environ
from gateway.store.embedded import embedded_server, state_directory

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings

_TOKEN_LIFETIME = "24h"  # noqa: S105 - a span of time


def dev(
    host: Annotated[str | None, typer.Option(help="Address to listen on [RUNCAST_HOST, 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [RUNCAST_PORT, 8787].")] = None,
) -> None:
    """Serve on this machine: an embedded Redis, a secret key in .runcast/, pages of any origin."""
    configure_logging()
    for name, value in (("RUNCAST_HOST", host), ("RUNCAST_PORT", port)):
        if value is not None:
            os.environ[name] = str(value)
    with ExitStack() as resources:
        try:
            settings, keys = prepare(resources)
            listening = resources.enter_context(listen(settings))
        except (GatewayError, AuthError) as error:
            refuse(error)
        say(f"serving at {address(settings)}")
        print(
            instructions(address(settings), mint({"read": {"runs": True}}, keys, expires=_TOKEN_LIFETIME)), flush=True
        )
        run(create_app(settings, Keyring([keys])), settings, listening)


def prepare(resources: ExitStack) -> tuple[Settings, EnvironmentKeys]:
    """
    A Redis, settings and keys for development; what runs ends with *resources*.

    Raises:
        GatewayError, AuthError: Saying what to do.
    """
    state = state_directory()
    url = os.environ.get("RUNCAST_REDIS_URL") or os.environ.get("REDIS_URL")
    if not url:
        url = resources.enter_context(embedded_server(state)).url
    check_redis(url)
    settings = from_environ({"RUNCAST_ALLOWED_ORIGINS": "*", **os.environ}, redis_url=url)
    return settings, _keys(state, address(settings))


def _keys(state: Path, url: str) -> EnvironmentKeys:
    """Those of the process environment, else the ones that an earlier start left in the state directory, else new."""
    environment = os.environ.get("RUNCAST_ENVIRONMENT", "default")
    secret = os.environ.get("RUNCAST_SECRET_KEY")
    if secret:
        return EnvironmentKeys.of(environment, secret, allow_weak=True)
    file = state / "dev.env"
    secret = _kept_secret(file, environment) or generate_secret_key()
    state.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    # The URL is for the commands that are run in this directory; it is another one with another --port.
    file.write_text(f"RUNCAST_SECRET_KEY={secret}\nRUNCAST_ENVIRONMENT={environment}\nRUNCAST_URL={url}\n")
    return EnvironmentKeys.of(environment, secret, allow_weak=True)


def _kept_secret(file: Path, environment: str) -> str | None:
    if not file.exists():
        return None
    kept = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    return kept.get("RUNCAST_SECRET_KEY") if kept.get("RUNCAST_ENVIRONMENT") == environment else None


def instructions(url: str, token: str) -> str:
    """What to do next, to be pasted."""
    return f"""
  A token that sees all runs here, for a day:

    {token}

  Make a run move, in another terminal of this directory:

    runcast publish run_1 --task hello --status EXECUTING --progress 3/10

  See it move:

    runcast watch run_1
    curl -N -H "Authorization: Bearer $TOKEN" "{url}/v1/events?run=run_1"

  Or in a page:

    <progress id="bar" max="100"></progress>
    <script>
      const events = new EventSource("{url}/v1/events?run=run_1&token={token}");
      const show = (metadata) => {{ if (metadata?.progress) bar.value = metadata.progress.percent; }};
      events.addEventListener("snapshot", (e) => JSON.parse(e.data).runs.forEach((run) => show(run.metadata)));
      events.addEventListener("update", (e) => {{
        const {{ run, metadata }} = JSON.parse(e.data);
        show(metadata ? metadata.changed : run.metadata);
      }});
      events.addEventListener("end", () => events.close());
    </script>
"""
