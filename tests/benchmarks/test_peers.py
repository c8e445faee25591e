"""Every peer of the benchmarks is installed, starts, and delivers. How fast it is, is no business of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.peers.targets import PEERS, Peer
from benchmarks.targets import Transport
from tests.benchmarks.running import run_benchmarks

if TYPE_CHECKING:
    from pathlib import Path

#: The run ends by itself before that.
pytestmark = pytest.mark.timeout(360)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The shortest form of the run that the docs show: one work, one rate, everybody."""
    file = tmp_path_factory.mktemp("peers") / "results.json"
    return run_benchmarks(file, "--peers", "--only", "dense", "--rate", "20")


def test_nothing_is_missing(measured: dict[str, Any]) -> None:
    """Whoever runs the tests has all of them, and the results say in which versions."""
    assert "missing" not in measured
    assert {peer.name for peer in PEERS} < set(measured["targets"])
    assert all(measured["targets"].values())


def test_nothing_is_nonsense(measured: dict[str, Any]) -> None:
    """Everybody was let in and heard something, and no server complained."""
    assert measured["problems"] == []


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_changes_reach_viewers(measured: dict[str, Any], peer: Peer, transport: Transport) -> None:
    """Of each peer, on each transport that it speaks, and none twice."""
    results = [
        result for result in measured["results"] if (result["target"], result["transport"]) == (peer.name, transport)
    ]

    assert len(results) == (transport in peer.transports)
    for result in results:
        assert 0 < result["deliveries"] <= result["expected"]
        assert result["lost"] == 0


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run without a peer goes on, and says how to get it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    node = next(peer for peer in PEERS if peer.name == "node")

    assert Peer(name="none", title="none", packages=("no-such-package",)).missing().startswith("no-such-package (")
    assert node.missing().startswith("node (")
