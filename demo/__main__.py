"""
The whole demo with one command: `python -m demo`. An embedded Redis, the gateway with its dashboard, a Celery worker,
and a feeder that keeps asking it for things. Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import redis

from auth import AuthError, mint
from demo.processes import Ended, Programs
from demo.tasks import CONCURRENCY, QUEUE
from gateway.cli.dev import command, leave_keys, prepare
from gateway.cli.serve import address
from gateway.errors import GatewayError
from gateway.store.embedded import state_directory

if TYPE_CHECKING:
    from types import FrameType

    from auth import EnvironmentKeys
    from gateway.cli.dev import Prepared
    from gateway.settings import Settings

START_SECONDS = 20.0
TOKEN_LIFETIME = "24h"
BROKER_DATABASE = 1


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    arguments.add_argument("--port", help="port to listen on [RUNCAST_PORT, 8787]")
    port = arguments.parse_args().port
    if port:
        os.environ["RUNCAST_PORT"] = port
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _setter(stop))
    with ExitStack() as resources:
        try:
            run(prepare(resources), stop)
        except (GatewayError, AuthError, Ended, redis.RedisError) as error:
            sys.exit(f"demo: {error}")


def run(prepared: Prepared, stop: threading.Event) -> None:
    """
    Everything, until *stop* is set.

    Raises:
        Ended: When one of the programs did.
        RedisError: When Redis did.
    """
    settings, keys = prepared.settings, prepared.keys
    with Programs(_environ(settings, keys), state_directory()) as programs:
        programs.start("gateway", [sys.executable, "-m", "demo.gateway"], patience_seconds=15)
        if not programs.wait_until(lambda: stop.is_set() or _is_ready(settings), seconds=START_SECONDS):
            sys.exit(f"demo: the gateway is not ready after {START_SECONDS:.0f} s")
        leave_keys(prepared)
        # The worker ends what it is at, unless the feeder has called it back, so it is asked after that.
        programs.start("worker", _worker_command(), patience_seconds=15)
        programs.start("feeder", [sys.executable, "-m", "demo.feeder"])
        token = mint({"read": {"runs": True}}, keys, expires=TOKEN_LIFETIME)
        print(instructions(address(settings), token), flush=True)
        _watch(programs, settings, stop)
        print("\ndemo: ending", flush=True)


def _watch(programs: Programs, settings: Settings, stop: threading.Event) -> None:
    with redis.Redis.from_url(settings.redis_url, socket_timeout=5) as client:
        while not stop.wait(1):
            programs.check()
            client.ping()


def _worker_command() -> list[str]:
    options = ("--queues", QUEUE, "--concurrency", str(CONCURRENCY), "--purge", "--loglevel", "INFO")
    return [sys.executable, "-m", "celery", "--app", "demo.tasks", "worker", *options]


def _environ(settings: Settings, keys: EnvironmentKeys) -> dict[str, str]:
    parts = urlsplit(settings.redis_url)
    return os.environ | {
        "RUNCAST_REDIS_URL": settings.redis_url,
        "RUNCAST_SECRET_KEY": keys.current.secret,
        "RUNCAST_ENVIRONMENT": keys.environment,
        "RUNCAST_PORT": str(settings.port),
        # Whatever page the snippet is pasted into; tokens are what protects the data.
        "RUNCAST_ALLOWED_ORIGINS": os.environ.get("RUNCAST_ALLOWED_ORIGINS", "*"),
        "RUNCAST_DEMO_BROKER": urlunsplit(parts._replace(path=f"/{BROKER_DATABASE}")),
        "RUNCAST_DEMO_DIRECTORY": str(state_directory().resolve()),
    }


def _is_ready(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"{address(settings)}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:  # not listening yet, or not ready: the text of a refusal is in its log
        return False


def _setter(stop: threading.Event) -> signal._HANDLER:
    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    return handle


def instructions(url: str, token: str) -> str:
    """What to look at, and what to paste."""
    return f"""
  Runs, live, in the dashboard:

    {url}/#token={token}

  Without a token in its address it asks for one, or for the secret key, which sees the gateway itself, too: that is in
  .runcast/dev.env, if not in your environment. This token sees all runs here, for a day:

    {token}

  In a page of yours:

    <script src="{url}/run-list.js" defer></script>
    <run-list tag="team:search" since="1h" token="{token}"></run-list>

  In a terminal:

    curl -N -H "Authorization: Bearer {token}" "{url}/v1/events?all=true&since=1h"
    {command()} watch --tag team:search

  Ctrl-C ends everything.
"""


if __name__ == "__main__":
    main()
