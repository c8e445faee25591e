"""What the hub counts (metrics/ and monitoring/ show it)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.metrics.histogram import DELIVERY_SECONDS, Histogram


@dataclass(slots=True)
class Statistics:
    """Plain counters; they are read by whoever shows them."""

    events: int = 0
    bad_events: int = 0
    waves: int = 0
    fell_behind: int = 0
    lost_subscriptions: int = 0
    deaf_subscriptions: int = 0
    #: Deliveries of groups that are gone; those that are not count their own.
    deliveries: int = 0
    #: Followers that had to be brought up to date, by feed/follower.py's `Reason`.
    catch_ups: Counter[str] = field(default_factory=Counter)
    #: From when a change was stored to when it was written, once for each change that was heard.
    delivery_lag: Histogram = field(default_factory=lambda: Histogram(DELIVERY_SECONDS))
