"""
Which files take longest: they begin first, so that no core waits for one of them at the end.

A file's tests stay together in one process. By itself xdist begins with the files that have most tests, and so ends
with those that start servers, browsers and Node for a few, which take longest. Places below need not be exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parent
#: Some twenty seconds and more, the longest first; what mostly waits among what mostly works.
LONGEST: Final = (
    "clients/test_sdk.py",
    "client/test_tokens.py",
    "clients/test_sdk_outages.py",
    "journeys/test_react.py",
    "conformance/test_holds.py",
    "clients/test_sdk_deployments.py",
    "journeys/test_faults.py",
    "dashboard/test_states.py",
    "elements/test_variants.py",
    "dashboard/test_accessibility.py",
    "benchmarks/test_short.py",
    "journeys/test_draining.py",
    "dashboard/test_list.py",
    "examples/test_frameworks.py",
    "client/test_tabs.py",
    "client/test_transports.py",
    "dashboard/test_pages.py",
    "journeys/test_serve.py",
    "benchmarks/test_peers.py",
    "gateway/doctor/test_gateway.py",
    "journeys/test_triggerdev_page.py",
    "gateway/api/test_schemathesis.py",
    "gateway/cli/test_watch.py",
    "benchmarks/test_ours.py",
    "journeys/test_dev.py",
    "journeys/test_configuration.py",
    "journeys/test_proxies.py",
    "journeys/test_streams.py",
    "hardening/test_shape_places.py",
    "gateway/feed/test_stream_properties.py",
    "gateway/feed/test_properties.py",
    "client/test_sleep.py",
    "client/test_runtimes.py",
    "client/test_restarts.py",
    "gateway/triggerdev/shape/test_properties.py",
    "gateway/triggerdev/test_stream_readers.py",
    "gateway/cli/test_publish.py",
    "gateway/server/test_workers.py",
    "journeys/test_token_lifecycle.py",
    "journeys/test_browser.py",
    "journeys/test_plain_asgi.py",
    "journeys/test_celery.py",
    "journeys/test_workers.py",
    "journeys/test_deadlines.py",
    "conformance/test_faults.py",
    "hardening/test_slowness.py",
    "journeys/test_slow_viewers.py",
    "journeys/test_idle_connections.py",
    "journeys/test_metrics.py",
    "journeys/test_viewer.py",
    "gateway/cli/test_main.py",
    "gateway/cli/test_exec.py",
)


def in_order(files: Iterable[Path]) -> list[Path]:
    """The same files, in the order in which they are to begin."""
    places = {ROOT / name: place for place, name in enumerate(LONGEST)}
    assert all(file.exists() for file in places), "a file that is named here was renamed or removed"
    return sorted(files, key=lambda file: places.get(file, len(places)))
