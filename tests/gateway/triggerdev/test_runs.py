"""One run as the official clients read it, tag it, and ask it to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.runs import FINAL, Status

if TYPE_CHECKING:
    from tests.gateway.triggerdev.asking import TheirAsking

REQUIRED = {
    *("id", "status", "taskIdentifier", "isQueued", "isExecuting", "isWaiting", "isCompleted", "isSuccess"),
    *("isFailed", "isCancelled", "isTest", "createdAt", "updatedAt", "tags", "costInCents", "baseCostInCents"),
    *("durationMs", "depth", "triggerFunction", "relatedRuns", "attemptCount"),
}


async def test_a_run_is_read_with_everything_that_is_known_of_it(api: TheirAsking) -> None:
    """By their names; what is between their server and client is not in its metadata."""
    said: dict[str, Any] = {
        "payload": {"rows": [1, 2.5, "ü", None]},
        "tags": ["customer:7"],
        "metadata": {"step": 1, "$$streams": ["a"], "$$streamsVersion": "v1"},
        "ttl": "2h",
        "isTest": True,
        "idempotencyKey": "key",
        "batchId": "batch_1",
    }
    await api.create(**said)
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "EXECUTING"})
    ended = {"status": "COMPLETED", "output": [1], "costInCents": 0.5, "baseCostInCents": 0.25, "durationMs": 12}
    await api.ask("PATCH", "/v1/runs/run_1", ended)

    run = await api.ask("GET", "/api/v3/runs/run_1")

    expected = {**said, **ended, "metadata": {"step": 1}, "depth": 0, "triggerFunction": "batchTrigger"}
    assert expected.items() <= run.items()
    assert run.keys() >= REQUIRED | {"startedAt", "finishedAt"}
    assert (run["id"], run["taskIdentifier"], run["attemptCount"], run["relatedRuns"]) == ("run_1", "export", 1, {})


async def test_what_is_not_known_is_absent(api: TheirAsking) -> None:
    """Their clients throw away an answer with a null where something is optional, or without what is required."""
    await api.create()

    run = await api.ask("GET", "/api/v3/runs/run_1")

    assert run.keys() == REQUIRED
    assert None not in run.values()
    assert (run["tags"], run["attemptCount"], run["triggerFunction"], run["isTest"]) == ([], 0, "trigger", False)
    assert (run["costInCents"], run["baseCostInCents"], run["durationMs"]) == (0, 0, 0)


#: Section 3.4, the column of REST; what is not named is false.
FLAGS = {
    "DELAYED": {"isQueued"},
    "PENDING_VERSION": {"isQueued"},
    "QUEUED": {"isQueued"},
    "DEQUEUED": {"isExecuting"},
    "EXECUTING": {"isExecuting"},
    "WAITING": {"isWaiting"},
    "COMPLETED": {"isCompleted", "isSuccess"},
    "CANCELED": {"isCompleted", "isFailed", "isCancelled"},
    "FAILED": {"isCompleted", "isFailed"},
    "CRASHED": {"isCompleted", "isFailed"},
    "SYSTEM_FAILURE": {"isCompleted", "isFailed"},
    "EXPIRED": {"isCompleted", "isFailed"},
    "TIMED_OUT": {"isCompleted", "isFailed"},
}


async def test_the_flags_of_every_status(api: TheirAsking) -> None:
    """Whoever polls until `isCompleted` comes to an end, however the run ended."""
    assert FLAGS.keys() == {status.value for status in Status}
    for status, flags in FLAGS.items():
        await api.create(f"run_{status}", status=status)
        run = await api.ask("GET", f"/api/v3/runs/run_{status}")
        assert run["status"] == status
        assert {name for name in run if name.startswith("is") and run[name] and name != "isTest"} == flags
        assert ("finishedAt" in run) == (status in FINAL)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("it broke", {"message": "it broke"}),
        (
            {"name": "ValueError", "message": "no", "stackTrace": "at 1"},
            {"name": "ValueError", "message": "no", "stackTrace": "at 1"},
        ),
        ({"message": "no"}, {"name": "Error", "message": "no", "stackTrace": ""}),
    ],
)
async def test_a_failure_has_its_reason_and_no_output(api: TheirAsking, said: Any, shown: dict[str, str]) -> None:
    """An output belongs to a run that succeeded."""
    await api.create()
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "FAILED", "error": said, "output": 1})

    run = await api.ask("GET", "/api/v3/runs/run_1")

    assert run["error"] == shown
    assert "output" not in run


async def test_a_run_shows_where_it_comes_from(api: TheirAsking) -> None:
    """Its parent and its root, as far as they are known, each with its depth, for whoever may read those."""
    await api.create("root", tags=["a"])
    await api.create("middle", parentRunId="root", rootRunId="root")
    await api.create("leaf", parentRunId="middle", rootRunId="root")
    await api.create("orphan", parentRunId="gone", rootRunId="gone")
    await api.create("grandchild", parentRunId="gone", rootRunId="root")
    await api.create("child", parentRunId="root")  # it names no root: its parent has none above it

    runs = [await api.ask("GET", f"/api/v3/runs/{run}") for run in ("leaf", "middle", "orphan", "grandchild")]
    leaf, middle, orphan, grandchild = runs
    child = await api.ask("GET", "/api/v3/runs/child")
    async with api.with_token(["read:runs:leaf", "read:tags:a"]) as viewer:
        seen = await viewer.ask("GET", "/api/v3/runs/leaf")

    assert [run["depth"] for run in runs] == [2, 1, 1, 1]
    related = leaf["relatedRuns"]
    assert {name: (run["id"], run["depth"]) for name, run in related.items()} == {
        "parent": ("middle", 1),
        "root": ("root", 0),
    }
    assert middle["relatedRuns"]["parent"] == middle["relatedRuns"]["root"] == related["root"]
    assert related["root"].keys() == REQUIRED - {"relatedRuns", "attemptCount"}
    assert (orphan["relatedRuns"], grandchild["relatedRuns"]) == ({}, {"root": related["root"]})
    assert child["relatedRuns"] == {"parent": related["root"], "root": related["root"]}
    assert seen["relatedRuns"] == {"root": related["root"]}


async def test_runs_that_come_from_each_other_are_read_all_the_same(api: TheirAsking) -> None:
    """Whoever wrote that down was wrong, and nobody waits for ever."""
    await api.create("a", parentRunId="b", rootRunId="b")
    await api.create("b", parentRunId="a", rootRunId="a")
    for number in range(40):
        await api.create(f"deep_{number}", parentRunId=f"deep_{number - 1}", rootRunId="deep_0")

    assert (await api.ask("GET", "/api/v3/runs/a"))["depth"] == 1
    assert (await api.ask("GET", "/api/v3/runs/deep_39"))["depth"] == 16


async def test_what_a_token_hides_is_not_sent(api: TheirAsking) -> None:
    """What is required is there as of an empty run."""
    await api.create(payload=1, metadata={"a": 1}, tags=["secret"], isTest=True, ttl="1h")
    hidden = ["payload", "metadata", "runTags", "isTest", "ttl"]

    async with api.with_token(["read:runs"], skip_columns=hidden) as viewer:
        run = await viewer.ask("GET", "/api/v3/runs/run_1")
        (listed,) = (await viewer.ask("GET", "/api/v1/runs"))["data"]

    assert run.keys() == REQUIRED
    assert (run["tags"], run["isTest"]) == (listed["tags"], listed["isTest"]) == ([], False)
    assert "secret" not in str(listed)


async def test_a_run_with_any_id_can_be_read(api: TheirAsking) -> None:
    """Ids are whatever the publisher chose, percent-encoded in the path."""
    for run, path in (("a/b", "a%2Fb"), ("ü?%#", "%C3%BC%3F%25%23"), ("x:y", "x:y")):
        await api.create(run)
        assert (await api.ask("GET", f"/api/v3/runs/{path}"))["id"] == run
        assert await api.ask("POST", f"/api/v2/runs/{path}/cancel") == {"id": run}
    await api.fails(400, "GET", "/api/v3/runs/%FF")
    await api.fails(400, "GET", "/api/v3/runs/a%22b")


async def test_tags_are_added(api: TheirAsking) -> None:
    """One or several; nothing new is no error, and eleven are too many: 422, and none is added."""
    await api.create(tags=["a"])
    path = "/api/v1/runs/run_1/tags"

    messages = [(await api.ask("POST", path, {"tags": tags}))["message"] for tags in ("b", ["c", "d"], ["a", "d"], [])]
    too_many = [await api.fails(422, "POST", path, {"tags": [str(i) for i in range(count)]}) for count in (7, 11)]

    assert (await api.ask("GET", "/api/v3/runs/run_1"))["tags"] == ["a", "b", "c", "d"]
    assert messages[0] == messages[1] != messages[2] == messages[3]
    assert {error["headers"]["x-should-retry"] for error in too_many} == {"false"}
    await api.fails(404, "POST", "/api/v1/runs/none/tags", {"tags": "a"})


async def test_cancelling_asks_the_job_once_and_for_all(api: TheirAsking) -> None:
    """The run sees that it was asked, as by our own interface; asking again, or too late, is no error."""
    await api.create()
    for _ in range(2):
        assert await api.ask("POST", "/api/v2/runs/run_1/cancel") == {"id": "run_1"}
    asked = (await api.ask("GET", "/v1/runs/run_1"))["cancelRequestedAt"]
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "CANCELED"})

    assert await api.ask("POST", "/api/v2/runs/run_1/cancel") == {"id": "run_1"}
    run = await api.ask("GET", "/v1/runs/run_1")
    assert (run["status"], run["cancelRequestedAt"]) == ("CANCELED", asked)


async def test_a_result_is_there_when_the_run_has_ended(api: TheirAsking) -> None:
    """Its output as text with its type, or why there is none; 404 before."""
    await api.create()
    await api.fails(404, "GET", "/api/v1/runs/none/result")
    await api.fails(404, "GET", "/api/v1/runs/run_1/result")
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "COMPLETED", "output": {"rows": 3}, "durationMs": 7})
    for status in FINAL - {Status.COMPLETED}:
        await api.create(f"run_{status}", status=status)
    await api.ask("PATCH", "/v1/runs/run_FAILED", {"error": "no"})

    result = await api.ask("GET", "/api/v1/runs/run_1/result")
    failed = {status: await api.ask("GET", f"/api/v1/runs/run_{status}/result") for status in FINAL - {"COMPLETED"}}

    assert result == {
        "ok": True,
        "id": "run_1",
        "taskIdentifier": "export",
        "usage": {"durationMs": 7},
        "output": '{"rows":3}',
        "outputType": "application/json",
    }
    assert failed[Status.CANCELED]["error"] == {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CANCELLED"}
    for one in failed.values():
        assert one["ok"] is False
        assert one["error"]["type"] in ("STRING_ERROR", "INTERNAL_ERROR")
