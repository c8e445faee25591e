"""
Every metric that the gateway shows: its name, what it means, its labels, and how the values of several processes become
one. Names follow Prometheus: base units in the name, counters end in `_total`.

A label's values are words of ours (a transport, an error's code, a route as it is written down), or of the
configuration (an environment that has limits). Never a run, a tag, a user, a token or anything else that a peer sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(Enum):
    """How a metric behaves over time (OpenMetrics 1.0, section 5)."""

    COUNTER = "counter"  # only goes up; of processes that ended, too
    GAUGE = "gauge"  # what is now; only of processes that live
    HISTOGRAM = "histogram"


class Merge(Enum):
    """How the gauges of several processes become one."""

    SUM = "sum"
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` of a counter is without its `_total`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.SUM

    @property
    def shown(self) -> str:
        """The name that a query uses; of a histogram, without `_bucket`, `_sum` or `_count`."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str, merge: Merge = Merge.SUM) -> Family:
    return Family(name, Kind.GAUGE, text, labels, merge)


def _histogram(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, text, labels)


_ALL: Final = (
    # Viewers.
    _gauge("runcast_viewers", "Viewers that are let in, by transport.", "transport"),
    _gauge("runcast_feeds_followed", "Feeds that somebody follows; in several processes each counts its own."),
    _gauge("runcast_streams_followed", "Streams that somebody follows; in several processes each counts its own."),
    _counter("runcast_connections", "Connections of viewers that came, by transport.", "transport"),
    _counter(
        "runcast_connections_closed", "Connections of viewers that ended, by transport and why.", "transport", "reason"
    ),
    _counter("runcast_refusals", "Connections, requests and messages that were refused, by the error's code.", "code"),
    _counter("runcast_reconnects_told", "Viewers that were told to come back in a moment, by why.", "reason"),
    _counter("runcast_fell_behind", "How often a viewer took too little and was not fed until it had."),
    _gauge("runcast_unsent_bytes", "Bytes that viewers have not taken yet."),
    _gauge("runcast_unsent_bytes_largest", "Of one viewer, the most of them.", merge=Merge.LARGEST),
    # From a change to the viewers.
    _counter("runcast_changes_heard", "Changes that Redis told us, each once."),
    _counter("runcast_bad_events", "Messages on our channels that are not changes: somebody else publishes there."),
    _counter("runcast_deliveries", "Messages of feeds that were written to viewers."),
    _histogram(
        "runcast_delivery_lag_seconds",
        "From when a change was stored, by Redis's clock, to when it was written to the sockets of its viewers. "
        "Once for each change and process, not for each viewer.",
    ),
    _counter("runcast_catch_ups", "Viewers' feeds that had to be brought up to date, by why.", "reason"),
    _counter("runcast_catch_up_waves", "Readings of a feed's state, each for all viewers who waited for it."),
    # Redis.
    _histogram("runcast_redis_round_trip_seconds", "How long Redis took to answer, by what was asked.", "question"),
    _counter("runcast_redis_failures", "Questions that Redis did not answer, by what was asked.", "question"),
    _gauge(
        "runcast_subscription_up",
        "1 while what happens is heard: the subscription is connected and its canaries come back.",
        merge=Merge.SMALLEST,
    ),
    _counter("runcast_subscriptions_lost", "How often the connection on which changes are heard broke."),
    _counter("runcast_subscriptions_deaf", "How often it heard nothing, not even a canary, and was made anew."),
    _gauge("runcast_redis_clock_offset_seconds", "Redis's clock minus ours, as canaries tell it.", merge=Merge.LARGEST),
    # Tokens and limits.
    _counter("runcast_tokens_ended", "Connections that ended with their token, by why.", "reason"),
    _histogram("runcast_token_end_lateness_seconds", "How long after its token's end a connection ended.", "reason"),
    _counter("runcast_limits_hit", "What a limit refused, by limit and environment.", "limit", "environment"),
    # HTTP.
    _counter("runcast_http_requests", "HTTP requests, by route and status class.", "method", "route", "status"),
    _histogram("runcast_http_request_seconds", "How long HTTP requests took that are no streams, by route.", "route"),
    _counter("runcast_changes_written", "Changes that came over HTTP, by what became of them.", "outcome"),
    _counter("runcast_chunks_written", "Chunks of streams that came over HTTP, by what became of them.", "outcome"),
    _counter("runcast_runs_ended_by_deadline", "Runs that this gateway ended because a time was over.", "deadline"),
    _counter("runcast_runs_swept", "Runs that this gateway removed because they were kept long enough."),
    # The processes.
    _gauge("runcast_workers", "Processes that serve viewers."),
    _counter("runcast_workers_started", "Processes that began to; more than there are means that some died."),
    _histogram("runcast_event_loop_lag_seconds", "How late the event loop was, asked ten times a second."),
    _gauge(
        "runcast_event_loop_lag_largest_seconds",
        "How late the event loop was at most, in the last half minute.",
        merge=Merge.LARGEST,
    ),
    _gauge("runcast_open_files", "Open files, sockets among them, of all processes."),
    _gauge(
        "runcast_open_files_ratio",
        "Open files of a process as a part of what it may have open, where that is largest.",
        merge=Merge.LARGEST,
    ),
    _gauge("runcast_resident_memory_bytes", "Memory that the processes use."),
    _counter("runcast_cpu_seconds", "Processor time that the processes used."),
    _gauge("runcast_start_time_seconds", "When the oldest process started (unix seconds).", merge=Merge.SMALLEST),
    _gauge("runcast_build_info", "1, with the version that runs.", "version", "python", merge=Merge.LARGEST),
)

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType({family.name: family for family in _ALL})
