"""The benchmark itself works. How fast anything is, is no business of a test: machines differ, and have neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.running import run_benchmarks

if TYPE_CHECKING:
    from pathlib import Path

#: For what hangs: the short form has a bound of its own.
pytestmark = pytest.mark.timeout(360)

OURS_AND_PLAIN = {"plain", "runcast"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that the short form measured of the works that send changes to viewers, and of polls."""
    file: Path = tmp_path_factory.mktemp("benchmark") / "results.json"
    works = ("dense", "sparse", "mixed", "quiet", "overload", "polls")
    return run_benchmarks(file, *(word for work in works for word in ("--only", work)))


def of(measured: dict[str, Any], work: str) -> list[dict[str, Any]]:
    return [result for result in measured["results"] if result["work"] == work]


def test_nothing_that_was_measured_is_nonsense(measured: dict[str, Any]) -> None:
    """Every viewer was let in, heard something, held the last value at the end, and stayed connected; nobody erred."""
    assert measured["problems"] == []


@pytest.mark.parametrize("work", ["dense", "sparse", "mixed", "quiet"])
def test_both_deliver(measured: dict[str, Any], work: str) -> None:
    """Changes reach the viewers of both, in some time that is not negative, and ours all know the truth."""
    results = [result for result in of(measured, work) if "steps" not in result]

    assert {result["target"] for result in results} == OURS_AND_PLAIN
    for result in results:
        assert 0 < result["deliveries"] <= result["expected"]
        assert 0 < result["p50_ms"] <= result["p99_ms"]
    for result in results:
        if result["target"] == "runcast":
            assert (result["up_to_date"], result["wrong"], result["lost"]) == (result["viewers"], 0, 0)


def test_both_speak_both_transports(measured: dict[str, Any]) -> None:
    """A dense feed is measured on WebSocket and on Server-Sent Events."""
    spoken = {(result["target"], result["transport"]) for result in of(measured, "dense")}

    assert spoken == {(target, transport) for target in OURS_AND_PLAIN for transport in ("WebSocket", "SSE")}


def test_the_highest_rate_is_looked_for(measured: dict[str, Any]) -> None:
    """What was found is one of the rates that were tried, or none."""
    results = [result for result in of(measured, "dense") if "steps" in result]

    assert {result["target"] for result in results} == OURS_AND_PLAIN
    for result in results:
        sustained = [rate for rate, _, _, in_time in result["steps"] if in_time]
        assert result["highest_rate"] == max(sustained, default=0)


def test_too_much_hides_no_status(measured: dict[str, Any]) -> None:
    """Under a flood viewers may skip progress, but not a status, and hold the truth when it ends."""
    (result,) = (result for result in of(measured, "overload") if result["target"] == "runcast")

    assert result["saw_statuses"] == result["recorded"] > 0
    assert (result["up_to_date"], result["wrong"]) == (result["viewers"], 0)
    assert result["worst_age_ms"] > 0


def test_both_answer_polls(measured: dict[str, Any]) -> None:
    """In the official client's protocol: every viewer knows every run's last state, and was told nothing too late."""
    results = of(measured, "polls")

    assert {result["target"] for result in results} == OURS_AND_PLAIN
    for result in results:
        assert 0 < result["deliveries"] <= result["changes"] * result["viewers"]
        assert (result["up_to_date"], result["wrong"], result["late"]) == (result["viewers"], 0, 0)
        assert result["answers"] > 0
        assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_the_results_say_where_they_come_from(measured: dict[str, Any]) -> None:
    """Numbers without machine, versions, date and command are worth nothing."""
    assert all(measured[name] for name in ("machine", "versions", "date", "command", "placing", "targets"))
