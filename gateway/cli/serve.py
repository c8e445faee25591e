"""`runcast serve`: the server for production."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, NoReturn

import redis
import typer

from auth import AuthError
from gateway.cli.exits import ExitCode, say, stop
from gateway.configuration.reading import BadConfiguration, read_configuration
from gateway.configuration.sources import Sources
from gateway.configured import ConfiguredApp, keys_and_origins
from gateway.errors import GatewayError, Misconfigured
from gateway.logs import configure_logging
from gateway.server.run import listen, listen_privately, run, run_workers
from gateway.store.embedded import embedded_server, state_directory

if TYPE_CHECKING:
    from gateway.configuration.reading import Configuration
    from gateway.settings import Settings

_OLDEST_REDIS = (6, 2)
_CONNECT_SECONDS = 5.0


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [RUNCAST_HOST, 127.0.0.1].")] = None,
    port: Annotated[str | None, typer.Option(help="Port to listen on [RUNCAST_PORT, 8787].")] = None,
    uds: Annotated[
        str | None, typer.Option(metavar="PATH", help="Unix socket to listen on instead [RUNCAST_UDS].")
    ] = None,
    workers: Annotated[str | None, typer.Option(help="Processes that serve viewers [RUNCAST_WORKERS, 1].")] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Start a Redis of our own, in .runcast/.")] = False,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Settings in TOML [RUNCAST_CONFIG, runcast.toml].")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, text or json [RUNCAST_LOG_FORMAT, auto].")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, … [RUNCAST_LOG_LEVEL, info].")] = None,
) -> None:
    """
    Serve viewers. Needs a secret key, and the URL of a Redis or --embedded.

    Settings come from flags, the environment and runcast.toml; docs/settings.md lists them. SIGHUP reads the keys and
    the allowed origins again.
    """
    sources = Sources(
        flags=given(
            host=host,
            port=port,
            uds=uds,
            workers=workers,
            embedded="true" if embedded else None,
            config=config,
            log_format=log_format,
            log_level=log_level,
        )
    )
    configuration = read_configuration(sources)
    with ExitStack() as resources:
        try:
            configuration.refuse_problems(and_missing=True)
            settings = _settings(configuration, resources)
            configure_logging(settings.log_format, settings.log_level)
            check_redis(settings.redis_url, configuration.source_of("redis_url"))
            listening = resources.enter_context(listen(settings))
            private = [resources.enter_context(found) for found in listen_privately(settings)]
        except (GatewayError, AuthError) as error:
            refuse(error)
        warn(configuration)
        for doubt in configuration.doubts:
            say(f"warning: {doubt}")
        say(f"serving at {address(settings)}, {settings.workers} worker(s)")
        app = ConfiguredApp(settings, keys_and_origins(configuration), sources)
        if settings.workers == 1:
            run(app(), settings, listening, *private)
        else:
            run_workers(app, settings, listening, *private)


def given(**flags: str | None) -> dict[str, str]:
    """The flags that were given, by key."""
    return {name: text for name, text in flags.items() if text is not None}


def _settings(configuration: Configuration, resources: ExitStack) -> Settings:
    if "redis_url" in configuration.values:
        return configuration.settings()
    # With the embedded server nobody wrote down a URL; that one of the two is there was looked at before.
    return configuration.settings(redis_url=resources.enter_context(embedded_server(state_directory())).url)


def check_redis(url: str, source: str = "RUNCAST_REDIS_URL") -> None:
    """
    Look whether Redis is there and new enough.

    Args:
        source: Who names it, for whoever must correct that.

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
            f"{source} is not a Redis URL: it is like redis://user:password@host:6379/0, with every character "
            "of the password that means something in a URL percent-encoded"
        ) from None
    except (redis.RedisError, OSError) as error:
        raise Misconfigured(
            f"Redis can't be reached at {without_password(url)}: {str(error).rstrip('.')}. "
            f"Start it, correct {source}, or start with --embedded"
        ) from error
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_REDIS:
        raise Misconfigured(f"Redis {version} is too old; 6.2 or newer is needed")


def without_password(url: str) -> str:
    """A Redis URL that can be shown. (Among its parameters there may be a password too.)"""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def address(settings: Settings) -> str:
    """Where it can be reached on this machine."""
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - shown, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def warn(configuration: Configuration) -> None:
    """Say what may be a mistake."""
    for warning in (*configuration.unknown, *configuration.warnings):
        say(f"warning: {warning}")


def refuse(error: Exception) -> NoReturn:
    """Say why we don't start, and all of it: it is how we were called that is wrong."""
    problems = error.problems if isinstance(error, BadConfiguration) else (str(error),)
    for problem in problems[:-1]:
        say(f"error: {problem}")
    stop(ExitCode.USAGE, f"error: {problems[-1]}")
