"""`GET /v1/gateway`: what a gateway is doing, for a page that shows it; a few numbers of those at `/metrics`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from gateway.api import access
from gateway.api.calls import Answer, Operation, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.codec import rfc3339
from gateway.errors import GatewayError, NotAllowed
from gateway.metrics.histogram import quantile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.api.calls import Call
    from gateway.api.endpoint import ApiRoute
    from gateway.api.forms import Schema
    from gateway.metrics.snapshot import Snapshot
    from gateway.transports.viewing import Services

#: Field → the metric whose sum it is.
_SUMS: Final = {
    "connectionsTotal": "runcast_connections",
    "feedsFollowed": "runcast_feeds_followed",
    "streamsFollowed": "runcast_streams_followed",
    "changesHeardTotal": "runcast_changes_heard",
    "deliveriesTotal": "runcast_deliveries",
    "catchUpsTotal": "runcast_catch_ups",
    "fellBehindTotal": "runcast_fell_behind",
    "refusalsTotal": "runcast_refusals",
    "unsentBytes": "runcast_unsent_bytes",
    "eventLoopLagLargestSeconds": "runcast_event_loop_lag_largest_seconds",
    "residentMemoryBytes": "runcast_resident_memory_bytes",
    "cpuSeconds": "runcast_cpu_seconds",
    "openFiles": "runcast_open_files",
}


class OfAllEnvironments(NotAllowed):
    """What is asked for is of all environments together, and a secret key is of one."""

    def __init__(self) -> None:
        GatewayError.__init__(
            self, "this is of all environments together, so no secret key opens it; set RUNCAST_METRICS_PORT instead"
        )


async def _may_look(call: Call) -> None:
    await access.secret_key_only(call)
    if len(call.services.admission.environments) > 1:
        raise OfAllEnvironments


def described(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """
    What is shown of *snapshot*. What is not known is None.

    Args:
        now: Unix seconds.
    """
    version, python = next(iter(snapshot.values.get("runcast_build_info", {})), (None, None))
    started = _sum(snapshot, "runcast_start_time_seconds")
    viewers = snapshot.values.get("runcast_viewers", {})
    return {
        "version": version,
        "python": python,
        "startedAt": None if started is None else rfc3339(int(started * 1000)),
        "uptimeSeconds": None if started is None else round(now - started, 3),
        "workers": _sum(snapshot, "runcast_workers"),
        "viewers": {labels[0]: count for labels, count in sorted(viewers.items())},
        **{field: _sum(snapshot, name) for field, name in _SUMS.items()},
        "deliveryLag": _times(snapshot, "runcast_delivery_lag_seconds"),
        "redis": {
            "up": bool(_sum(snapshot, "runcast_subscription_up")),
            "roundTripSeconds": _times(snapshot, "runcast_redis_round_trip_seconds"),
            "failuresTotal": _sum(snapshot, "runcast_redis_failures"),
            "clockOffsetSeconds": _sum(snapshot, "runcast_redis_clock_offset_seconds"),
            "subscriptionsLostTotal": _sum(snapshot, "runcast_subscriptions_lost"),
        },
    }


def _sum(snapshot: Snapshot, name: str) -> float | None:
    """A counter or gauge, over all its labels."""
    found = [value for value in snapshot.values.get(name, {}).values() if not isinstance(value, tuple)]
    return sum(found) if found else None


def _times(snapshot: Snapshot, name: str) -> dict[str, float | None]:
    """Of a histogram, over all its labels, what half and nearly all of it do not exceed, in seconds."""
    found = [value for value in snapshot.values.get(name, {}).values() if isinstance(value, tuple)]
    if not found:
        return {"p50": None, "p99": None, "count": 0}
    bounds = found[0][0]
    counts = tuple(sum(of_one) for of_one in zip(*(counts for _, counts, _ in found), strict=True))
    return {"p50": quantile(bounds, counts, 0.5), "p99": quantile(bounds, counts, 0.99), "count": sum(counts)}


def routes(services: Services, take: Callable[[], Awaitable[Snapshot]]) -> list[ApiRoute]:
    """
    Args:
        take: What was counted until now, by all processes.
    """

    async def read(call: Call) -> Answer:
        found = described(await take(), time.time())
        return json_answer(200, {**found, "environments": len(call.services.admission.environments)})

    operation = Operation(
        id="readGateway",
        method="GET",
        summary="Show what the gateway is doing",
        description="Of all its processes. Times are since they started, and in seconds; what is not known is null. "
        "With several environments it is refused, as `/metrics` is.",
        tag="service",
        allow=_may_look,
        handle=read,
        replies=(Reply(status=200, description="Some of what `/metrics` has.", schema=_SCHEMA),),
    )
    return mount(services, [("/v1/gateway", operation)])


_NUMBER: Final[Schema] = {"type": ["number", "null"]}
_TEXT: Final[Schema] = {"type": ["string", "null"]}
_TIMES: Final[Schema] = {
    "type": "object",
    "properties": {"p50": _NUMBER, "p99": _NUMBER, "count": {"type": "integer"}},
    "required": ["p50", "p99", "count"],
}
_SCHEMA: Final[Schema] = {
    "type": "object",
    "properties": {
        "version": _TEXT,
        "python": _TEXT,
        "startedAt": {"type": ["string", "null"], "format": "date-time"},
        "uptimeSeconds": _NUMBER,
        "workers": _NUMBER,
        "environments": {"type": "integer"},
        "viewers": {
            "type": "object",
            "description": "By transport.",
            "additionalProperties": {"type": "integer"},
        },
        **dict.fromkeys(_SUMS, _NUMBER),
        "deliveryLag": {**_TIMES, "description": "From when a change was stored to when it was written to viewers."},
        "redis": {
            "type": "object",
            "properties": {
                "up": {"type": "boolean", "description": "Whether what happens is heard."},
                "roundTripSeconds": _TIMES,
                "failuresTotal": _NUMBER,
                "clockOffsetSeconds": _NUMBER,
                "subscriptionsLostTotal": _NUMBER,
            },
        },
    },
}
