"""Reads the counters of every room, at the moment when somebody asks for them."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway import errors
from gateway.feed.follower import Reason
from gateway.metrics.snapshot import Snapshot

if TYPE_CHECKING:
    from gateway.transports.viewing import Services

#: Labels that are shown from the start, so that the first of something is seen to come.
_TRANSPORTS: Final = ("websocket", "sse", "poll")
_CATCH_UPS: Final = tuple(reason.value for reason in Reason)
#: By the raw status that a run has when it is over.
_DEADLINES: Final = {"CRASHED": "lease", "TIMED_OUT": "max_duration", "EXPIRED": "ttl"}
_TOKEN_ENDS: Final = ("expired", "revoked")
_OUTCOMES: Final = ("applied", "unchanged", "stale", "missing")
_APPENDS: Final = ("appended", "gap", "missing", "too_many_streams")

_PROC: Final = Path("/proc/self")
_STARTED: Final = time.time()


async def sample(services: Services) -> Snapshot:
    """What this process has counted, and what it holds now."""
    snapshot = Snapshot()
    _viewers(snapshot, services)
    _changes(snapshot, services)
    _redis(snapshot, services)
    _http(snapshot, services)
    _process(snapshot, services)
    await _unsent(snapshot, services)
    return snapshot


def _viewers(snapshot: Snapshot, services: Services) -> None:
    counters, followed = services.counters, services.hub.followed()
    snapshot.set_all("runcast_viewers", counters.viewers, known=(*_TRANSPORTS, "shape"))
    snapshot.set_all("runcast_connections", counters.connections, known=_TRANSPORTS)
    for transport in _TRANSPORTS:
        snapshot.set("runcast_connections_closed", 0, transport, "viewer_left")
    snapshot.set_all("runcast_connections_closed", counters.closed)
    snapshot.set("runcast_streams_followed", followed["stream"])
    snapshot.set("runcast_feeds_followed", followed.total() - followed["stream"])
    snapshot.set_all("runcast_refusals", counters.refusals, known=_codes())
    snapshot.set_all("runcast_reconnects_told", counters.reconnects_told, known=("stopping",))
    snapshot.set_all("runcast_tokens_ended", counters.tokens_ended, known=_TOKEN_ENDS)
    for reason, lateness in counters.token_lateness.items():
        snapshot.observe("runcast_token_end_lateness_seconds", lateness, reason)
    snapshot.set_all("runcast_limits_hit", counters.limits_hit)


def _codes() -> list[str]:
    """Of every error that there is."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return sorted({kind.code for kind in kinds if issubclass(kind, errors.GatewayError)})


def _changes(snapshot: Snapshot, services: Services) -> None:
    hub, counters = services.hub, services.counters
    statistics = hub.statistics
    snapshot.set("runcast_changes_heard", statistics.events)
    snapshot.set("runcast_bad_events", statistics.bad_events)
    snapshot.set("runcast_deliveries", hub.deliveries)
    snapshot.observe("runcast_delivery_lag_seconds", statistics.delivery_lag)
    snapshot.set_all("runcast_catch_ups", statistics.catch_ups, known=_CATCH_UPS)
    snapshot.set("runcast_catch_up_waves", statistics.waves)
    snapshot.set("runcast_fell_behind", statistics.fell_behind)
    snapshot.set_all("runcast_changes_written", counters.changes_written, known=_OUTCOMES)
    snapshot.set_all("runcast_chunks_written", counters.chunks_written, known=_APPENDS)
    for status, deadline in _DEADLINES.items():
        snapshot.set("runcast_runs_ended_by_deadline", services.deadlines.ended[status], deadline)
    snapshot.set("runcast_runs_swept", services.store.swept)


def _redis(snapshot: Snapshot, services: Services) -> None:
    hub = services.hub
    for round_trips in (services.store.round_trips, services.writer.round_trips):
        for question, seconds in round_trips.seconds.items():
            snapshot.observe("runcast_redis_round_trip_seconds", seconds, question)
        snapshot.set_all("runcast_redis_failures", round_trips.failures)
    snapshot.set("runcast_subscription_up", int(hub.hears))
    snapshot.set("runcast_subscriptions_lost", hub.statistics.lost_subscriptions)
    snapshot.set("runcast_subscriptions_deaf", hub.statistics.deaf_subscriptions)
    snapshot.set("runcast_redis_clock_offset_seconds", hub.clock.offset)


def _http(snapshot: Snapshot, services: Services) -> None:
    snapshot.set_all("runcast_http_requests", services.counters.requests)
    for route, seconds in services.counters.request_seconds.items():
        snapshot.observe("runcast_http_request_seconds", seconds, route)


def _process(snapshot: Snapshot, services: Services) -> None:
    lag = services.counters.loop_lag
    snapshot.set("runcast_workers", 1)
    snapshot.set("runcast_workers_started", 1)
    snapshot.observe("runcast_event_loop_lag_seconds", lag.histogram)
    snapshot.set("runcast_event_loop_lag_largest_seconds", lag.largest())
    snapshot.set("runcast_start_time_seconds", _STARTED)
    snapshot.set("runcast_build_info", 1, _version(), platform.python_version())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    snapshot.set("runcast_cpu_seconds", usage.ru_utime + usage.ru_stime)
    snapshot.set("runcast_resident_memory_bytes", _resident(usage.ru_maxrss))
    open_files = _open_files()
    if open_files is not None:
        snapshot.set("runcast_open_files", open_files)
        snapshot.set("runcast_open_files_ratio", open_files / resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _version() -> str:
    try:
        return version("runcast")
    except PackageNotFoundError:
        return "unknown"


def _resident(most: int) -> int:
    """Bytes now; where the system does not say (macOS), the most that it ever was."""
    try:
        pages = int((_PROC / "statm").read_text().split()[1])
    except OSError:
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGESIZE")


def _open_files() -> int | None:
    for directory in (_PROC / "fd", Path("/dev/fd")):
        try:
            return len(os.listdir(directory)) - 1  # without the one that this takes
        except OSError:
            pass
    return None


async def _unsent(snapshot: Snapshot, services: Services) -> None:
    """In parts, because ten thousand viewers take some milliseconds, in which nobody else would be served."""
    together = largest = 0
    for connections in services.hub.connections():
        for connection in connections:
            unsent = getattr(connection.sink, "unsent", 0)
            together += unsent
            largest = max(largest, unsent)
        await asyncio.sleep(0)
    snapshot.set("runcast_unsent_bytes", together)
    snapshot.set("runcast_unsent_bytes_largest", largest)
