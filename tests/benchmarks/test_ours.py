"""The works that only ours can do work themselves. As everywhere here, nothing is said of how fast anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.running import run_benchmarks

if TYPE_CHECKING:
    from pathlib import Path

#: With neighbours it takes a minute.
pytestmark = pytest.mark.timeout(360)

WORKS = ("idle", "storm", "streams", "publishing", "jobs", "workers", "ticks", "restart")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that the short form measured of these works."""
    file: Path = tmp_path_factory.mktemp("benchmark") / "results.json"
    return run_benchmarks(file, "--peer", "runcast", *(word for work in WORKS for word in ("--only", work)))


def of(measured: dict[str, Any], work: str) -> list[dict[str, Any]]:
    return [result for result in measured["results"] if result["work"] == work]


def test_nothing_that_was_measured_is_nonsense(measured: dict[str, Any]) -> None:
    """Nobody was refused, nothing was lost, dropped or told twice, and no server complained."""
    assert measured["problems"] == []
    assert {result["work"] for result in measured["results"]} == set(WORKS)


def test_idle_viewers_are_weighed(measured: dict[str, Any]) -> None:
    """They cost something, and none of them is lost meanwhile."""
    (result,) = of(measured, "idle")

    assert result["after_bytes"] > result["before_bytes"] > 0
    assert result["lost"] == 0


def test_a_storm_is_told_everything(measured: dict[str, Any]) -> None:
    """Each viewer gets every run, and Redis is read for fewer times than there are viewers."""
    (result,) = of(measured, "storm")

    assert (result["told"], result["refused"]) == (result["viewers"], 0)
    assert result["fewest_runs"] == result["most_runs"] == result["runs"]
    assert 0 < result["redis_calls"] < result["viewers"]


def test_streams_come_whole_and_in_order(measured: dict[str, Any]) -> None:
    """Every chunk reaches every reader, once; a reader who missed one or saw one twice would be wrong."""
    (result,) = of(measured, "streams")

    assert result["deliveries"] == result["expected"]
    assert (result["wrong"], result["lost"]) == (0, 0)


def test_changes_are_counted_as_redis_took_them(measured: dict[str, Any]) -> None:
    """A run's whole life is stored, of every run, by every kind."""
    (result,) = of(measured, "publishing")

    assert [taken["kind"] for taken in result["taken"]] == ["create", "start", "set", "increment", "complete"]
    assert {taken["changes"] % result["runs"] for taken in result["taken"]} == {0}
    assert result["redis_us"] > 0


def test_what_a_job_says_is_sent(measured: dict[str, Any]) -> None:
    """By both publishers, in either way."""
    results = of(measured, "jobs")

    spoken = {(result["publisher"], result["way"]) for result in results if "way" in result}
    assert spoken == {("Publisher", "alone"), ("AsyncPublisher", "together")}
    assert all(cost["sent"] > 0 and cost["job_us"] > 0 for result in results for cost in result.get("costs", ()))


def test_workers_share_the_viewers(measured: dict[str, Any]) -> None:
    """What two workers deliver is what one does, and each of them has its own processor time."""
    (result,) = of(measured, "workers")

    assert len(result["each_seconds"]) == 2
    assert result["deliveries"] > 0


def test_a_tick_does_not_bring_the_payload(measured: dict[str, Any]) -> None:
    """A change of metadata costs what the metadata is, and not the row."""
    (result,) = of(measured, "ticks")

    assert result["row_bytes"] > result["payload_bytes"] > 10 * result["tick_bytes"] > 0


def test_viewers_come_back_after_a_restart(measured: dict[str, Any]) -> None:
    """All of them, and they learn what they missed."""
    (result,) = of(measured, "restart")

    assert result["behind"] == 0
    assert result["told_seconds"] > 0


def test_goals_are_for_the_full_form(measured: dict[str, Any]) -> None:
    """Of a handful of viewers nobody can say whether a goal is met."""
    assert [goal for result in measured["results"] for goal in result["goals"]] == []
