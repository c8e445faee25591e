"""Batches as the official clients read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.triggerdev import batches

if TYPE_CHECKING:
    import pytest

    from tests.gateway.triggerdev.asking import TheirAsking


async def test_a_batch_tells_how_it_stands(api: TheirAsking) -> None:
    """It waits until one of its runs has begun, and is complete when all have ended, however they did."""
    for number in range(3):
        await api.create(f"run_{number}", batchId="batch_1")
    path = "/api/v2/batches/batch_1"

    waiting = await api.ask("GET", path)
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "EXECUTING"})
    working = await api.ask("GET", path)
    for number, status in enumerate(("COMPLETED", "FAILED", "CANCELED")):
        await api.ask("PATCH", f"/v1/runs/run_{number}", {"status": status})
    ended = await api.ask("GET", path)
    last = await api.ask("GET", "/api/v3/runs/run_2")

    assert [batch["status"] for batch in (waiting, working, ended)] == ["PENDING", "PROCESSING", "COMPLETED"]
    assert waiting["runs"] == ["run_0", "run_1", "run_2"]
    assert (waiting["id"], waiting["runCount"], waiting["processing"]) == ("batch_1", 3, {"errors": []})
    assert waiting["createdAt"] <= working["updatedAt"] <= ended["updatedAt"]
    assert ended["processing"] == {"errors": [], "completedAt": last["finishedAt"]}


async def test_the_results_are_those_of_the_runs_that_have_ended(api: TheirAsking) -> None:
    """In the order in which they were created."""
    for number in range(3):
        await api.create(f"run_{number}", batchId="batch_1")
    await api.ask("PATCH", "/v1/runs/run_2", {"status": "COMPLETED", "output": [2]})
    await api.ask("PATCH", "/v1/runs/run_0", {"status": "FAILED", "error": "no"})

    results = await api.ask("GET", "/api/v1/batches/batch_1/results")

    assert results["id"] == "batch_1"
    assert [(one["id"], one["ok"]) for one in results["items"]] == [("run_0", False), ("run_2", True)]
    assert results["items"][1]["output"] == "[2]"
    await api.fails(404, "GET", "/api/v1/batches/none/results")


async def test_results_that_are_too_large_together_are_to_be_read_one_by_one(
    api: TheirAsking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """413, instead of an answer of gigabytes."""
    monkeypatch.setattr(batches, "_MOST_BYTES", 1000)
    await api.create("run_0", batchId="batch_1")
    await api.ask("PATCH", "/v1/runs/run_0", {"status": "COMPLETED", "output": "x" * 1000})

    await api.fails(413, "GET", "/api/v1/batches/batch_1/results")
