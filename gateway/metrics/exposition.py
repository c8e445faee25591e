"""Counts as Prometheus reads them: its text format, or OpenMetrics for whoever asks for that."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.metrics.families import FAMILIES, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from gateway.metrics.families import Family
    from gateway.metrics.snapshot import Labels, Snapshot, Value


def expose(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The document and its content type, in the form that an Accept header asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshots(snapshot))
    encode, content_type = choose_encoder(accept)
    document: bytes = encode(registry)
    return document, content_type


class _Snapshots(Collector):
    """Hands a snapshot to the library, which only spells it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        for family in FAMILIES.values():
            metric = _metric(family)
            for labels, value in sorted(self._snapshot.values.get(family.name, {}).items()):
                _add(metric, labels, value)
            yield metric


def _metric(family: Family) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    match family.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(family.name, family.help, labels=family.labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(family.name, family.help, labels=family.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(family.name, family.help, labels=family.labels)


def _add(metric: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily, labels: Labels, value: Value) -> None:
    if isinstance(metric, HistogramMetricFamily):
        if isinstance(value, tuple):
            bounds, counts, total = value
            names = [*map(floatToGoString, bounds), "+Inf"]
            metric.add_metric(list(labels), list(zip(names, accumulate(counts), strict=True)), total)
    elif not isinstance(value, tuple):
        metric.add_metric(list(labels), value)
