"""The benchmark itself works. How fast anything is, is no business of a test: machines differ, and have neighbours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: It ends by itself before that; what hangs is asked to end, so that it ends what it started.
BOUND_SECONDS = 120

BOTH = {"plain", "runcast"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that the short form of the benchmark measured."""
    file = tmp_path_factory.mktemp("benchmark") / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--short", "--json", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate(timeout=BOUND_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, _ = process.communicate()
    assert file.exists(), output
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def of(measured: dict[str, Any], field: str) -> list[dict[str, Any]]:
    """The results that have a field."""
    return [result for result in measured["results"] if field in result]


def test_nothing_that_was_measured_is_nonsense(measured: dict[str, Any]) -> None:
    """Every viewer was let in, heard something, held the last value at the end, and stayed connected; nobody erred."""
    assert measured["problems"] == []


def test_both_gateways_deliver(measured: dict[str, Any]) -> None:
    """On both transports changes reach the viewers of both, in some time that is not negative."""
    results = [result for result in of(measured, "deliveries") if "answers" not in result]

    assert len(results) == 4
    assert {result["of"] for result in results} == BOTH
    for result in results:
        assert 0 < result["deliveries"] <= result["changes"] * result["viewers"]
        assert result["up_to_date"] == result["viewers"]
        assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_both_gateways_answer_polls(measured: dict[str, Any]) -> None:
    """In the official client's protocol: every viewer knows every run's last state, and was told nothing too late."""
    results = [result for result in of(measured, "answers") if "viewers" in result]

    assert {result["of"] for result in results} == BOTH
    for result in results:
        assert 0 < result["deliveries"] <= result["changes"] * result["viewers"]
        assert (result["up_to_date"], result["wrong"], result["late"]) == (result["viewers"], 0, 0)
        assert result["answers"] > 0
        assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_a_tick_does_not_bring_the_payload(measured: dict[str, Any]) -> None:
    """A change of metadata costs what the metadata is, and not the row."""
    (result,) = of(measured, "tick_bytes")

    assert result["row_bytes"] > result["payload_bytes"] > 10 * result["tick_bytes"] > 0


def test_both_gateways_are_weighed_and_restarted(measured: dict[str, Any]) -> None:
    """Idle viewers cost memory, and viewers come back after a restart, of both."""
    assert {result["of"] for result in of(measured, "after_bytes")} == BOTH
    assert {result["of"] for result in of(measured, "told_seconds")} == BOTH


def test_a_publisher_is_measured(measured: dict[str, Any]) -> None:
    """Status changes and progress go into Redis, beside what bare publishing does."""
    (result,) = of(measured, "statuses")

    assert result["statuses"] > 0
    assert result["progress_sent"] > 0
    assert result["dropped"] == 0


def test_the_results_say_where_they_come_from(measured: dict[str, Any]) -> None:
    """Numbers without machine, versions, date and command are worth nothing."""
    assert all(measured[name] for name in ("machine", "versions", "date", "command", "placing"))
