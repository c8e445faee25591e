"""
Every counter of a process that is not kept where it is counted (the hub and the store keep their own).

Plain integers: whoever counts writes `counters.refusals["not_allowed"] += 1`, on the event loop's thread. Keys are
words of ours and never what a peer sent, so that their number is bounded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.metrics.histogram import LATENESS_SECONDS, REQUEST_SECONDS, Histogram
from gateway.metrics.loop_lag import LoopLag


@dataclass(slots=True)
class Counters:
    """What one process has counted since it started; `gateway/metrics/families.py` says how each is shown."""

    #: Connections that are let in now, by transport: the only ones here that also go down.
    viewers: Counter[str] = field(default_factory=Counter)
    #: Connections that came, by transport.
    connections: Counter[str] = field(default_factory=Counter)
    #: Connections that ended, by (transport, reason).
    closed: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: What was refused, by the error's code: connections, requests, and messages on a socket.
    refusals: Counter[str] = field(default_factory=Counter)
    #: Viewers that were sent away for a moment, by why: the server stops, a limit, a rebalance.
    reconnects_told: Counter[str] = field(default_factory=Counter)
    #: HTTP requests, by (method, route, status class such as "2xx").
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: How long they took, by route; streams, which end with their viewer, are not in it.
    request_seconds: dict[str, Histogram] = field(default_factory=dict)
    #: Changes that came over HTTP, by what became of them (gateway/changes.py: Outcome).
    changes_written: Counter[str] = field(default_factory=Counter)
    #: Chunks that came over HTTP, by what became of them (gateway/store/appending.py: AppendOutcome).
    chunks_written: Counter[str] = field(default_factory=Counter)
    #: What a limit refused, by (limit, environment).
    limits_hit: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Connections that ended with their token, by why: expired, revoked.
    tokens_ended: Counter[str] = field(default_factory=Counter)
    #: How long after the token's end they ended, by the same.
    token_lateness: dict[str, Histogram] = field(default_factory=dict)
    loop_lag: LoopLag = field(default_factory=LoopLag)

    def request_took(self, route: str, seconds: float) -> None:
        """An HTTP request that is no stream is over."""
        histogram = self.request_seconds.get(route)
        if histogram is None:
            histogram = self.request_seconds[route] = Histogram(REQUEST_SECONDS)
        histogram.observe(seconds)

    def token_ended(self, why: str, late_seconds: float) -> None:
        """A connection ended because its token did, so long ago: *why* is `expired` or `revoked`."""
        self.tokens_ended[why] += 1
        histogram = self.token_lateness.get(why)
        if histogram is None:
            histogram = self.token_lateness[why] = Histogram(LATENESS_SECONDS)
        histogram.observe(max(0.0, late_seconds))
