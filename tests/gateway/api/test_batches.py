"""`GET /v1/batches/{id}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api import batches

if TYPE_CHECKING:
    import pytest

    from tests.gateway.api.asking import Asking


async def test_a_batch_tells_how_its_runs_stand(api: Asking) -> None:
    """Until each of them has ended."""
    for number in range(3):
        await api.create(f"run_{number}", batchId="batch/1")
    await api.ask("PATCH", "/v1/runs/run_0", {"status": "COMPLETED"})

    batch = await api.ask("GET", "/v1/batches/batch%2F1")
    for number in (1, 2):
        await api.ask("PATCH", f"/v1/runs/run_{number}", {"status": "FAILED", "error": "no"})
    ended = await api.ask("GET", "/v1/batches/batch%2F1")

    assert (batch["id"], batch["runCount"], batch["runs"]) == ("batch/1", 3, ["run_2", "run_1", "run_0"])
    assert (batch["statuses"], batch["isCompleted"]) == ({"QUEUED": 2, "COMPLETED": 1}, False)
    assert (ended["statuses"], ended["isCompleted"]) == ({"FAILED": 2, "COMPLETED": 1}, True)
    assert batch["createdAt"] == ended["createdAt"] <= batch["updatedAt"] < ended["updatedAt"]
    assert not batch["truncated"]


async def test_a_batch_is_seen_by_who_may_follow_it(api: Asking) -> None:
    """And one without runs is not found."""
    await api.create(batchId="batch_1")
    async with api.with_token(["read:batch:batch_1"]) as viewer:
        assert (await viewer.ask("GET", "/v1/batches/batch_1"))["runCount"] == 1
        assert (await viewer.refused("GET", "/v1/batches/batch_2"))["code"] == "not_allowed"
    assert (await api.refused("GET", "/v1/batches/batch_2"))["code"] == "not_found"


async def test_of_a_huge_batch_the_newest_runs_are_counted(api: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has a bound, and says when there is more; what it can't see it does not call completed."""
    monkeypatch.setattr(batches, "MOST_RUNS", 4)
    monkeypatch.setattr(batches, "_STEP", 2)
    for number in range(5):
        await api.create(f"run_{number}", batchId="batch_1", status="COMPLETED")

    batch = await api.ask("GET", "/v1/batches/batch_1")

    assert (batch["runs"], batch["truncated"]) == (["run_4", "run_3", "run_2", "run_1"], True)
    assert not batch["isCompleted"]
