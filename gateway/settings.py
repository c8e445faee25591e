"""
Settings: one frozen object, checked when it is built. `from_environ` is the one place that reads the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.changes import Limits
from gateway.durations import parse_duration
from gateway.errors import BadInput, Misconfigured
from gateway.store.redis_keys import Retention
from gateway.transports.origins import Origins
from gateway.transports.sinks import SocketLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT: Final = 8787
_MAX_PORT: Final = 65535

# Longer ones mean nothing here. No signs, underscores or digits of other scripts, which `int` would take.
_NUMBER: Final = re.compile(r"\d{1,15}", re.ASCII)
_POSITIVE: Final = (
    *("workers", "heartbeat_seconds", "unsent_limit_bytes", "stuck_seconds", "handshake_seconds"),
    *("feeds_per_connection", "message_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How a gateway runs.

    Raises:
        Misconfigured: When a value can't be right; the text names the setting and what would be.
    """

    redis_url: str
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    #: Processes that accept connections, each with its own subscription.
    workers: int = 1
    #: Which pages' scripts may come from other origins (CORS and WebSocket).
    origins: Origins = field(default_factory=Origins)
    retention: Retention = field(default_factory=Retention)
    limits: Limits = field(default_factory=Limits)
    #: Proxies cut what is silent for a minute, some for half of that; two of these fit in.
    heartbeat_seconds: float = 15.0
    #: Unsent bytes at which a viewer is not fed any more, until it has taken what there is.
    unsent_limit_bytes: int = 256 * 1024
    #: A viewer that takes nothing at all for so long has gone without saying so.
    stuck_seconds: float = 60.0
    #: How long a WebSocket may take to say who it is.
    handshake_seconds: float = 10.0
    feeds_per_connection: int = 500
    #: Longer messages of a viewer close its socket.
    message_bytes: int = 64 * 1024

    @property
    def socket_limits(self) -> SocketLimits:
        return SocketLimits(self.unsent_limit_bytes, self.message_bytes)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _MAX_PORT:
            raise Misconfigured(f"port is a number from 0 to {_MAX_PORT}, not {self.port}")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise Misconfigured(f"{name} must be positive, not {getattr(self, name)}")


def from_environ(environ: Mapping[str, str], *, redis_url: str) -> Settings:
    """
    Settings as the environment has them; what it does not name keeps its default.

    Raises:
        Misconfigured: Naming the variable, what it says, and what would be right.
    """
    return Settings(
        redis_url=redis_url,
        host=_host(environ),
        port=_integer(environ, "RUNCAST_PORT", "PORT", default=DEFAULT_PORT, least=0, most=_MAX_PORT),
        workers=_integer(environ, "RUNCAST_WORKERS", "WEB_CONCURRENCY", default=1),
        origins=_origins(environ.get("RUNCAST_ALLOWED_ORIGINS", "")),
        retention=_retention(environ.get("RUNCAST_RETENTION", "")),
        limits=_limits(environ),
    )


def _host(environ: Mapping[str, str]) -> str:
    for name in ("RUNCAST_HOST", "HOST"):
        host = environ.get(name, "").strip()
        if re.search(r"[\s/]", host):
            raise Misconfigured(f"{name} is an address such as 0.0.0.0, ::1 or a host's name, not {host!r}")
        if host:
            return host
    return "127.0.0.1"


def _integer(
    environ: Mapping[str, str], *names: str, default: int, least: int = 1, most: int = 1_000_000_000_000
) -> int:
    for name in names:
        text = environ.get(name, "").strip()
        if text:
            if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
                raise Misconfigured(f"{name} is a whole number from {least} to {most}, not {text[:40]!r}")
            return int(text)
    return default


def _origins(text: str) -> Origins:
    try:
        return Origins.parse(text)
    except BadInput as error:
        raise Misconfigured(f"RUNCAST_ALLOWED_ORIGINS: {error}") from error


def _retention(text: str) -> Retention:
    if not text.strip():
        return Retention()
    try:
        return Retention(finished_seconds=parse_duration(text))
    except BadInput as error:
        raise Misconfigured(f"RUNCAST_RETENTION: {error}") from error


def _limits(environ: Mapping[str, str]) -> Limits:
    standard = Limits()
    return Limits(
        metadata_bytes=_integer(environ, "RUNCAST_METADATA_BYTES", default=standard.metadata_bytes),
        payload_bytes=_integer(environ, "RUNCAST_PAYLOAD_BYTES", default=standard.payload_bytes),
        output_bytes=_integer(environ, "RUNCAST_OUTPUT_BYTES", default=standard.output_bytes),
    )
