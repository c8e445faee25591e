"""`runcast serve`: the server for production."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, NoReturn

import redis
import typer

from auth import AuthError, Keyring
from gateway.app import create_app
from gateway.cli.exits import ExitCode, say, stop
from gateway.errors import GatewayError, Misconfigured
from gateway.logs import configure_logging
from gateway.server.run import listen, run, run_workers
from gateway.settings import from_environ
from gateway.store.embedded import embedded_server, state_directory

if TYPE_CHECKING:
    from gateway.settings import Settings

_OLDEST_REDIS = (6, 2)
_CONNECT_SECONDS = 5.0


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [RUNCAST_HOST, 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [RUNCAST_PORT, 8787].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve viewers [RUNCAST_WORKERS, 1].")] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Start a Redis of our own, in .runcast/.")] = False,
) -> None:
    """
    Serve viewers. Needs RUNCAST_SECRET_KEY, and RUNCAST_REDIS_URL or --embedded.

    Settings come from flags and the environment; docs/settings.md lists them.
    """
    configure_logging()
    for name, value in (("RUNCAST_HOST", host), ("RUNCAST_PORT", port), ("RUNCAST_WORKERS", workers)):
        if value is not None:
            os.environ[name] = str(value)  # worker processes read the environment, not our flags
    with ExitStack() as resources:
        try:
            keyring = Keyring.from_environ(os.environ)
            os.environ["RUNCAST_REDIS_URL"] = _redis_url(embedded=embedded, resources=resources)
            settings = from_environ(os.environ, redis_url=os.environ["RUNCAST_REDIS_URL"])
            check_redis(settings.redis_url)
            listening = resources.enter_context(listen(settings))
        except (GatewayError, AuthError) as error:
            refuse(error)
        for warning in keyring.warnings():
            say(f"warning: {warning}")
        say(f"serving at {address(settings)}, {settings.workers} worker(s)")
        if settings.workers == 1:
            run(create_app(settings, keyring), settings, listening)
        else:
            run_workers(settings, listening)


def _redis_url(*, embedded: bool, resources: ExitStack) -> str:
    url = os.environ.get("RUNCAST_REDIS_URL") or os.environ.get("REDIS_URL")
    if url:
        return url
    if embedded:
        return resources.enter_context(embedded_server(state_directory())).url
    raise Misconfigured("no Redis is named: set RUNCAST_REDIS_URL=redis://…, or start with --embedded")


def check_redis(url: str) -> None:
    """
    Look whether Redis is there and new enough.

    Raises:
        Misconfigured: Saying what is wrong with it and what to do. Never with the URL's password.
    """
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_CONNECT_SECONDS
        ) as client:
            version = str(client.info("server")["redis_version"])
    except ValueError:
        # Not with the error's text: of a password that is not percent-encoded it quotes a part.
        raise Misconfigured(
            "RUNCAST_REDIS_URL is not a Redis URL: it is like redis://user:password@host:6379/0, with every character "
            "of the password that means something in a URL percent-encoded"
        ) from None
    except (redis.RedisError, OSError) as error:
        raise Misconfigured(
            f"Redis can't be reached at {without_password(url)}: {error}. "
            "Start it, correct RUNCAST_REDIS_URL, or start with --embedded"
        ) from error
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
        raise Misconfigured(f"Redis {version} is too old; 6.2 or newer is needed")


def without_password(url: str) -> str:
    """A Redis URL that can be shown. (Among its parameters there may be a password too.)"""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - shown, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def refuse(error: Exception) -> NoReturn:
    """Say why we don't start: it is how we were called that is wrong."""
    stop(ExitCode.USAGE, f"error: {error}")
