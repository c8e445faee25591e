"""
Every setting there is. docs/settings.md shows the same table, and a test compares them.

A setting has one name in three spellings: RUNCAST_LOG_FORMAT in the environment, log_format in runcast.toml,
--log-format as a flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.configuration.kinds import (
    ANCESTORS,
    ENVIRONMENT,
    NUMBER,
    ORIGINS,
    REDIS_URL,
    SIZE,
    SPAN,
    SPAN_OR_NONE,
    SWITCH,
    TEXT,
    WHOLE,
    WORD,
    Kind,
)
from gateway.secret_files import FILE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "RUNCAST_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a gateway."""

    variable: str
    meaning: str
    kind: Kind = TEXT
    #: The field of Settings, with a dot for one of its parts; "" for what is not a part of Settings.
    field: str = ""
    #: What holds when nobody says anything, as one would write it; "" for nothing.
    default: str = ""
    #: Variables of everybody's that count when ours is not set.
    others: tuple[str, ...] = ()
    flag: bool = False
    #: May hold a secret: never shown, and `_FILE` behind its variables names a file with it.
    secret: bool = False
    #: Whether runcast.toml may hold it.
    in_file: bool = True

    @property
    def key(self) -> str:
        """Its name in runcast.toml, and among the flags."""
        return self.variable.removeprefix(PREFIX).lower()

    @property
    def option(self) -> str:
        return f"--{self.key.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """All that name it, ours first; not those of files."""
        return (self.variable, *self.others)

    @property
    def file_variables(self) -> tuple[str, ...]:
        return tuple(name + FILE_SUFFIX for name in self.variables) if self.secret else ()


#: Who may do what; they make a Keyring, not Settings.
KEYS: Final = (
    Setting(
        variable="RUNCAST_SECRET_KEY",
        others=("TRIGGER_SECRET_KEY",),
        secret=True,
        meaning="signs the tokens of the one environment; at least 24 bytes, better 32",
    ),
    Setting(
        variable="RUNCAST_PREVIOUS_SECRET_KEYS",
        secret=True,
        meaning="comma list of earlier keys that still hold: `key`, or `key@2026-01-31T10:00:00Z` for one that was"
        " retired then and holds for 24 hours more",
    ),
    Setting(
        variable="RUNCAST_ENVIRONMENT",
        kind=ENVIRONMENT,
        default="default",
        meaning="the id of that environment. Publishers read it too",
    ),
    Setting(
        variable="RUNCAST_ENVIRONMENTS_FILE",
        meaning="a TOML or JSON file with several environments, instead of the three above",
    ),
)

GATEWAY: Final = (
    Setting(
        variable="RUNCAST_CONFIG",
        flag=True,
        in_file=False,
        default="runcast.toml",
        meaning="the TOML file that settings are read from",
    ),
    Setting(
        variable="RUNCAST_REDIS_URL",
        others=("REDIS_URL",),
        field="redis_url",
        kind=REDIS_URL,
        secret=True,
        meaning="`redis://`, `rediss://` or `unix://`. Publishers read it too",
    ),
    Setting(
        variable="RUNCAST_EMBEDDED",
        kind=SWITCH,
        flag=True,
        default="false",
        meaning="with no URL: start a Redis of our own in `.runcast/`. `runcast dev` always does",
    ),
    Setting(
        variable="RUNCAST_HOST",
        others=("HOST",),
        field="host",
        flag=True,
        default="127.0.0.1",
        meaning="address to listen on",
    ),
    Setting(
        variable="RUNCAST_PORT",
        others=("PORT",),
        field="port",
        kind=WHOLE,
        flag=True,
        default="8787",
        meaning="port to listen on",
    ),
    Setting(
        variable="RUNCAST_UDS",
        field="uds",
        flag=True,
        meaning="path of a unix socket to listen on, instead of host and port",
    ),
    Setting(
        variable="RUNCAST_WORKERS",
        others=("WEB_CONCURRENCY",),
        field="workers",
        kind=WHOLE,
        flag=True,
        default="1",
        meaning="processes that serve viewers, each with its own subscription",
    ),
    Setting(
        variable="RUNCAST_ALLOWED_ORIGINS",
        field="origins",
        kind=ORIGINS,
        meaning="list of origins whose pages may talk to us, `https://*.example.com` included; `*` for all."
        " `runcast dev` allows all",
    ),
    Setting(
        variable="RUNCAST_EMBED_ORIGINS",
        field="embed_origins",
        kind=ANCESTORS,
        default="self",
        meaning="list of origins whose pages may show `/embed/…` in a frame: as above, or `self`, or `none`",
    ),
    Setting(
        variable="RUNCAST_PUBLIC_BADGES",
        field="public_badges",
        kind=SWITCH,
        default="false",
        meaning="whether badges are shown to everybody, without a token: status, progress and counts of any run",
    ),
    Setting(
        variable="RUNCAST_RETENTION",
        field="retention.finished_seconds",
        kind=SPAN,
        default="24h",
        meaning="how long a run is kept after it finished. Publishers read it too: they set the lifetimes",
    ),
    Setting(
        variable="RUNCAST_METADATA_BYTES",
        field="limits.metadata_bytes",
        kind=SIZE,
        default="256KiB",
        meaning="the most metadata of a run, and its largest `context`. Publishers read this and the next five as well",
    ),
    Setting(
        variable="RUNCAST_PAYLOAD_BYTES",
        field="limits.payload_bytes",
        kind=SIZE,
        default="3MiB",
        meaning="the largest payload",
    ),
    Setting(
        variable="RUNCAST_OUTPUT_BYTES",
        field="limits.output_bytes",
        kind=SIZE,
        default="10MiB",
        meaning="the largest output",
    ),
    Setting(
        variable="RUNCAST_STREAM_BYTES",
        field="limits.stream_bytes",
        kind=SIZE,
        default="300MiB",
        meaning="the most that one stream holds; its oldest chunks go first",
    ),
    Setting(
        variable="RUNCAST_STREAM_CHUNK_BYTES",
        field="limits.chunk_bytes",
        kind=SIZE,
        default="1MiB",
        meaning="the largest chunk of a stream",
    ),
    Setting(
        variable="RUNCAST_STREAM_RETENTION",
        field="retention.streams_seconds",
        kind=SPAN,
        default="28d",
        meaning="how long a stream is kept after its last chunk, at most; never longer than its run",
    ),
    Setting(
        variable="RUNCAST_BODY_BYTES",
        field="body_bytes",
        kind=SIZE,
        default="16MiB",
        meaning="the largest body of an HTTP request",
    ),
    Setting(
        variable="RUNCAST_CONNECTIONS_PER_ENVIRONMENT",
        field="connections_per_environment",
        kind=WHOLE,
        default="20000",
        meaning="open connections of one environment. This and the next four hold for each process",
    ),
    Setting(
        variable="RUNCAST_CONNECTIONS_PER_TOKEN",
        field="connections_per_token",
        kind=WHOLE,
        default="1000",
        meaning="open connections with one token",
    ),
    Setting(
        variable="RUNCAST_REQUESTS_PER_SECOND",
        field="requests_per_second",
        kind=NUMBER,
        default="1000",
        meaning="HTTP requests of one environment, long polls among them",
    ),
    Setting(
        variable="RUNCAST_TOKEN_REQUESTS_PER_SECOND",
        field="token_requests_per_second",
        kind=NUMBER,
        default="100",
        meaning="HTTP requests with one token",
    ),
    Setting(
        variable="RUNCAST_CHANGES_PER_SECOND",
        field="changes_per_second",
        kind=NUMBER,
        default="20000",
        meaning="changes that one environment writes over HTTP",
    ),
    Setting(
        variable="RUNCAST_FEEDS_PER_CONNECTION",
        field="feeds_per_connection",
        kind=WHOLE,
        default="500",
        meaning="feeds that one connection may follow",
    ),
    Setting(
        variable="RUNCAST_MESSAGE_BYTES",
        field="message_bytes",
        kind=SIZE,
        default="64KiB",
        meaning="the longest message of a viewer; a longer one closes its socket",
    ),
    Setting(
        variable="RUNCAST_UNSENT_BYTES",
        field="unsent_limit_bytes",
        kind=SIZE,
        default="256KiB",
        meaning="unsent bytes at which a viewer is marked behind, and caught up when it has taken them",
    ),
    Setting(
        variable="RUNCAST_HEARTBEAT",
        field="heartbeat_seconds",
        kind=SPAN,
        default="15s",
        meaning="time between heartbeats; below half of the time after which a proxy cuts what is silent",
    ),
    Setting(
        variable="RUNCAST_STUCK",
        field="stuck_seconds",
        kind=SPAN,
        default="60s",
        meaning="a viewer that takes nothing at all for so long is let go",
    ),
    Setting(
        variable="RUNCAST_HANDSHAKE",
        field="handshake_seconds",
        kind=SPAN,
        default="10s",
        meaning="how long a WebSocket may take to show a token",
    ),
    Setting(
        variable="RUNCAST_DRAIN",
        field="drain_seconds",
        kind=SPAN,
        default="10s",
        meaning="how long a stop may take; viewers are sent away spread over it",
    ),
    Setting(
        variable="RUNCAST_SHAPE_HANDLE_GRACE",
        field="shape_handle_grace_seconds",
        kind=SPAN_OR_NONE,
        default="24h",
        meaning="how long a feed of the official clients outlives its token, which they can't renew; `0`: not at all",
    ),
    Setting(
        variable="RUNCAST_METRICS_PORT",
        field="metrics_port",
        kind=WHOLE,
        meaning="a port of its own for `/metrics`",
    ),
    Setting(
        variable="RUNCAST_LOG_FORMAT",
        field="log_format",
        kind=WORD,
        flag=True,
        default="auto",
        meaning="`text`, `json`, or `auto`: text on a terminal, JSON elsewhere",
    ),
    Setting(
        variable="RUNCAST_LOG_LEVEL",
        others=("LOG_LEVEL",),
        field="log_level",
        kind=WORD,
        flag=True,
        default="info",
        meaning="`debug`, `info`, `warning`, `error` or `critical`",
    ),
)

#: Read by others than the gateway, from the environment alone: commands, publishers, the embedded Redis.
ELSEWHERE: Final = (
    Setting(
        variable="RUNCAST_LEASE",
        in_file=False,
        meaning="how long a publisher's runs live on without word of it (`30s`; 0: for ever), when it does not say",
    ),
    Setting(
        variable="RUNCAST_URL",
        in_file=False,
        default="http://127.0.0.1:8787",
        meaning="the gateway that the commands talk to (`--url`)",
    ),
    Setting(variable="RUNCAST_TOKEN", in_file=False, secret=True, meaning="the token that they show it"),
    Setting(
        variable="RUNCAST_RUN_ID",
        in_file=False,
        meaning="the run that `runcast publish` speaks of when none is named; `runcast exec` sets it for its command",
    ),
    Setting(
        variable="RUNCAST_STATE_DIR",
        in_file=False,
        default=".runcast",
        meaning="where the embedded Redis keeps its data, and the URL file that publishers find",
    ),
    Setting(
        variable="RUNCAST_REDIS_SERVER_BIN",
        in_file=False,
        meaning="the binary of the embedded Redis",
    ),
)

#: What a gateway is configured with, by key.
SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({one.key: one for one in (*KEYS, *GATEWAY)})
#: Every variable of ours that means something.
KNOWN_VARIABLES: Final = frozenset(
    chain.from_iterable((*one.variables, *one.file_variables) for one in (*KEYS, *GATEWAY, *ELSEWHERE))
)
