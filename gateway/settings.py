"""
Settings: one frozen object, checked when it is built.

Where they come from (flags, the environment, files) is the business of `gateway.configuration`; here is only what they
are and what each may be.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Limits
from gateway.durations import MAX_SECONDS
from gateway.errors import BadInput, Misconfigured
from gateway.store.redis_keys import Retention
from gateway.transports.origins import Ancestors, Origins
from gateway.transports.sinks import SocketLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT: Final = 8787
LOG_FORMATS: Final = ("auto", "text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

#: More is a mistake in a unit, and sums with it would leave what numbers can hold exactly.
_MOST: Final = 1_000_000_000_000
_MAX_PORT: Final = 65535
#: A path of a unix socket: what the system call takes (Linux: 107 bytes, macOS: 103).
_MAX_SOCKET_PATH: Final = 103
_NO_ADDRESS: Final = re.compile(r"[\s/]")

#: Whole numbers by field: the least and the most.
_WHOLE: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "port": (0, _MAX_PORT),
        "metrics_port": (1, _MAX_PORT),
        "workers": (1, 1024),
        "unsent_limit_bytes": (1, _MOST),
        "message_bytes": (1, _MOST),
        "body_bytes": (1, _MOST),
        "feeds_per_connection": (1, _MOST),
        "connections_per_environment": (1, _MOST),
        "connections_per_token": (1, _MOST),
        "limits.metadata_bytes": (1, _MOST),
        "limits.payload_bytes": (1, _MOST),
        "limits.output_bytes": (1, _MOST),
        "limits.chunk_bytes": (1, _MOST),
        "limits.stream_bytes": (1, _MOST),
    }
)
#: Rates: any number above nothing. One in two seconds is a rate, too.
_RATES: Final = frozenset({"requests_per_second", "token_requests_per_second", "changes_per_second"})
#: Spans of time, in seconds: more than nothing, at most a century.
_SPANS: Final = frozenset(
    {"heartbeat_seconds", "stuck_seconds", "handshake_seconds", "drain_seconds"}
    | {"retention.finished_seconds", "retention.unfinished_seconds", "retention.streams_seconds"}
)
#: The same, but none at all is an answer, too.
_SPANS_OR_NONE: Final = frozenset({"shape_handle_grace_seconds"})
_CHOICES: Final = MappingProxyType({"log_format": LOG_FORMATS, "log_level": LOG_LEVELS})
#: What may be left out altogether.
_OPTIONAL: Final = frozenset({"metrics_port", "uds"})


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
    #: The path of a unix socket to listen on, instead of host and port.
    uds: str | None = None
    #: Processes that accept connections, each with its own subscription.
    workers: int = 1
    #: Which pages' scripts may come from other origins (CORS and WebSocket).
    origins: Origins = field(default_factory=Origins)
    #: Which pages may show ours in a frame. By default our own, of which there are none that do.
    embed_origins: Ancestors = field(default_factory=Ancestors)
    #: Whether everybody who knows a run's name may see its badge.
    public_badges: bool = False
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
    #: From SIGTERM to the end: viewers are told to come back, spread over this. Docker kills after ten seconds.
    drain_seconds: float = 10.0
    #: A shape feed outlives its token by so long: the official hooks take no new one, and freeze on a 401.
    shape_handle_grace_seconds: float = 24 * 3600.0
    feeds_per_connection: int = 500
    #: Longer messages of a viewer close its socket.
    message_bytes: int = 64 * 1024
    #: The largest body of an HTTP request: a payload and an output of full size, and what is around them.
    body_bytes: int = 16 * 1024 * 1024
    #: Open connections of one environment in one process; a file each, and each process may have 65,536 of these.
    connections_per_environment: int = 20_000
    connections_per_token: int = 1_000
    #: HTTP requests of one environment, as a steady rate in one process.
    requests_per_second: float = 1_000.0
    token_requests_per_second: float = 100.0
    #: Changes that one environment may write over HTTP.
    changes_per_second: float = 20_000.0
    #: Serves /metrics alone, on loopback or wherever `host` says; None: beside the rest.
    metrics_port: int | None = None
    #: auto: text on a terminal, JSON elsewhere.
    log_format: str = "auto"
    log_level: str = "info"

    @property
    def socket_limits(self) -> SocketLimits:
        return SocketLimits(self.unsent_limit_bytes, self.message_bytes)

    def __post_init__(self) -> None:
        for name in CHECKED:
            try:
                check(name, _value(self, name))
            except BadInput as error:
                raise Misconfigured(f"{name} {error}") from None


def check(name: str, value: Any) -> None:
    """
    Look whether *value* can be the setting *name*, a field of Settings or, with a dot, of one of its parts.

    Raises:
        BadInput: Saying what it is to be, and what it is: `is a whole number from 1 to 1024, not 0`.
    """
    if value is None and name in _OPTIONAL:
        return
    if name in _WHOLE:
        least, most = _WHOLE[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadInput(f"is a whole number from {least} to {most}, not {value!r}")
    elif name in _RATES:
        if not _is_number(value) or not 0 < value <= _MOST:
            raise BadInput(f"is a number above 0, at most {_MOST}, not {value!r}")
    elif name in _SPANS:
        if not _is_number(value) or not 0 < value <= MAX_SECONDS:
            raise BadInput(f"is a span of time, more than nothing and at most a century, not {value!r}")
    elif name in _SPANS_OR_NONE:
        if not _is_number(value) or not 0 <= value <= MAX_SECONDS:
            raise BadInput(f"is a span of time, at most a century, or 0, not {value!r}")
    elif name in _CHOICES:
        if value not in _CHOICES[name]:
            raise BadInput(f"is one of {', '.join(_CHOICES[name])}, not {value!r}")
    elif name == "host":
        if not isinstance(value, str) or not value or _NO_ADDRESS.search(value) or not value.isprintable():
            raise BadInput(f"is an address such as 0.0.0.0, ::1 or a host's name, not {value!r}")
    elif name == "uds" and not (
        isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= _MAX_SOCKET_PATH
    ):
        raise BadInput(f"is the path of a socket of at most {_MAX_SOCKET_PATH} bytes, not {value!r}")


#: Every field that `check` knows something of.
CHECKED: Final = ("host", "uds", *_WHOLE, *sorted(_RATES), *sorted(_SPANS), *sorted(_SPANS_OR_NONE), *_CHOICES)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _value(settings: object, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
