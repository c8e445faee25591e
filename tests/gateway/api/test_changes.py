"""What is said of a run over HTTP: its state, metadata, tags, and that it shall stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.gateway.api.asking import Asking

RUN = "/v1/runs/run_1"


async def test_a_run_is_told_of_from_its_start_to_its_end(api: Asking) -> None:
    """Each answer says what became of the word, and how the run is now."""
    await api.create()

    started = await api.ask("PATCH", RUN, {"status": "EXECUTING", "context": {"machine": {"name": "m1"}}})
    going = await api.ask("PATCH", RUN, {"progress": {"current": 1, "total": 4, "text": "half"}, "tags": ["slow"]})
    ended = await api.ask("PATCH", RUN, {"status": "COMPLETED", "output": {"rows": []}, "costInCents": 0.5})

    assert [said["outcome"] for said in (started, going, ended)] == ["applied"] * 3
    assert started["run"]["context"] == {"machine": {"name": "m1"}}
    assert going["run"]["metadata"] == {"progress": {"current": 1, "total": 4, "percent": 25.0, "text": "half"}}
    assert going["run"]["tags"] == ["slow"]
    assert (ended["run"]["status"], ended["run"]["output"], ended["run"]["costInCents"]) == (
        *("COMPLETED", {"rows": []}),
        0.5,
    )
    assert [entry["status"] for entry in ended["run"]["transitions"]] == ["QUEUED", "EXECUTING", "COMPLETED"]
    assert ended["run"] == await api.ask("GET", RUN)


async def test_a_word_that_comes_late_or_again_is_no_error(api: Asking) -> None:
    """`stale` and `unchanged`, and the run stays as it is."""
    await api.create(status="EXECUTING")

    late = await api.ask("PATCH", RUN, {"status": "QUEUED"})
    again = await api.ask("PATCH", RUN, {"status": "EXECUTING"})

    assert (late["outcome"], again["outcome"]) == ("stale", "unchanged")
    assert late["run"] == again["run"]


async def test_an_error_is_a_text_or_has_parts(api: Asking) -> None:
    """A run that completes after all has none any more."""
    await api.create(status="EXECUTING")
    told = {"name": "ValueError", "message": "no", "stackTrace": "in x"}

    as_text = await api.ask("PATCH", RUN, {"status": "RETRYING_AFTER_FAILURE", "error": "no"})
    in_parts = await api.ask("PATCH", RUN, {"error": told})
    completed = await api.ask("PATCH", RUN, {"status": "COMPLETED"})

    assert as_text["run"]["error"] == {"message": "no"}
    assert in_parts["run"]["error"] == told
    assert "error" not in completed["run"]


async def test_another_attempt_opens_a_run_again(api: Asking) -> None:
    """As the publisher's `start(attempt=2)` does."""
    await api.create(status="FAILED")

    opened = await api.ask("PATCH", RUN, {"status": "EXECUTING", "attempt": 2})

    assert (opened["run"]["status"], opened["run"]["attempt"]) == ("EXECUTING", 2)


async def test_metadata_is_merged_by_its_top_level_keys(api: Asking) -> None:
    """Null deletes a key; what is not named stays."""
    await api.create(metadata={"a": {"x": 1}, "b": 2, "c": 3})

    merged = await api.ask("PATCH", RUN, {"metadata": {"a": {"y": 1}, "b": None, "d": 4}})

    assert merged["run"]["metadata"] == {"a": {"y": 1}, "c": 3, "d": 4}


async def test_a_run_that_is_not_there_is_created_only_when_its_task_is_known(api: Asking) -> None:
    """A worker may be faster than whoever creates the run."""
    problem = await api.refused("PATCH", RUN, {"status": "EXECUTING"})
    created = await api.ask("PATCH", RUN, {"status": "EXECUTING", "taskIdentifier": "export"})

    assert problem["code"] == "not_found"
    assert (created["outcome"], created["run"]["taskIdentifier"]) == ("applied", "export")


async def test_metadata_operations_are_applied_in_order(api: Asking) -> None:
    """On keys and on paths; what the answer tells is the document after all of them."""
    await api.create(metadata={"old": 1, "list": [1, 2, 1]})
    operations = [
        {"type": "set", "key": "rows", "value": 10},
        {"type": "increment", "key": "rows", "value": 2.5},
        {"type": "append", "key": "log", "value": {"at": 1}},
        {"type": "set", "key": "$.log.0.at", "value": 2},
        {"type": "remove", "key": "list", "value": 1},
        {"type": "delete", "key": "old"},
    ]

    answer = await api.ask("POST", f"{RUN}/metadata", {"operations": operations})
    replaced = await api.ask("POST", f"{RUN}/metadata", {"operations": [{"type": "update", "value": {"only": 1}}]})

    assert answer == {"outcome": "applied", "metadata": {"rows": 12.5, "log": [{"at": 2}], "list": [2]}}
    assert replaced["metadata"] == {"only": 1}


async def test_a_request_that_would_take_long_is_refused_before_anybody_waits_for_it(api: Asking) -> None:
    """Wildcards over many places, and more keys than metadata may have; and nothing of the request is done."""
    many = {f"k{number}": 1 for number in range(50_000)}
    await api.create(metadata={"list": [[1]] * 10_000})
    stars = {"operations": [{"type": "increment", "key": "$.list.*.*", "value": 1}] * 1000}

    reaching = await api.refused("POST", f"{RUN}/metadata", stars)
    setting = await api.refused("POST", f"{RUN}/metadata", {"operations": [{"type": "update", "value": many}]})
    merging = await api.refused("PATCH", RUN, {"metadata": many, "status": "EXECUTING"})
    creating = await api.refused("POST", "/v1/runs", {"taskIdentifier": "export", "metadata": many})
    knowing = await api.refused("PATCH", RUN, {"context": many})

    assert "too many places" in reaching["detail"]
    problems = (setting, merging, creating, knowing)
    assert [problem["code"] for problem in problems] == ["too_large"] * 4
    assert [problem["field"] for problem in problems] == ["/operations", "/metadata", "/metadata", "/context"]
    now = await api.ask("GET", RUN)
    assert (now["metadata"], now["status"]) == ({"list": [[1]] * 10_000}, "QUEUED")


async def test_writers_at_the_same_time_lose_nothing(api: Asking) -> None:
    """Increments and appends of many, on keys and on paths, all count."""
    await api.create(metadata={"deep": {"n": 0}})
    operations = [
        {"type": "increment", "key": "n", "value": 1},
        {"type": "increment", "key": "$.deep.n", "value": 1},
    ]

    await asyncio.gather(*(api.ask("POST", f"{RUN}/metadata", {"operations": operations}) for _ in range(30)))

    assert (await api.ask("GET", RUN))["metadata"] == {"n": 30, "deep": {"n": 30}}


async def test_operations_reach_the_parent_and_the_root(api: Asking) -> None:
    """A run that has none is its own; a token needs to be allowed to write there, too."""
    for run, related in {"run_r": {}, "run_p": {}, "run_1": {"parentRunId": "run_p", "rootRunId": "run_r"}}.items():
        await api.create(run, **related)
    one = [{"type": "increment", "key": "n", "value": 1}]
    everywhere = {"operations": one, "parentOperations": one, "rootOperations": one}

    await api.ask("POST", f"{RUN}/metadata", everywhere)
    alone = await api.ask("POST", "/v1/runs/run_p/metadata", everywhere)
    async with api.with_token(["write:runs:run_1", "read:runs"]) as worker:
        problem = await worker.refused("POST", f"{RUN}/metadata", {"parentOperations": one})

    assert alone["metadata"] == {"n": 4}
    assert (await api.ask("GET", "/v1/runs/run_r"))["metadata"] == {"n": 1}
    assert (await api.ask("GET", RUN))["metadata"] == {"n": 1}
    assert "run:run_p" in problem["detail"]


async def test_what_would_be_too_large_is_refused_whole(api: Asking) -> None:
    """413 that names the field; and nothing of the request was applied."""
    before = await api.create(status="EXECUTING")
    large = "x" * (256 * 1024)

    problems = [
        await api.refused("PATCH", RUN, {"status": "COMPLETED", "metadata": {"a": large}}),
        await api.refused("POST", f"{RUN}/metadata", {"operations": [{"type": "set", "key": "a", "value": large}]}),
        await api.refused("PATCH", RUN, {"status": "COMPLETED", "output": "x" * 11_000_000}),
        await api.refused("POST", "/v1/runs", {"taskIdentifier": "t", "payload": "x" * 3_200_000}),
        await api.refused("POST", "/v1/runs", {"taskIdentifier": "t", "metadata": {"a": large}}),
    ]

    assert {(problem["status"], problem["code"]) for problem in problems} == {(413, "too_large")}
    assert [problem["field"] for problem in problems] == [
        *("/metadata", "/operations", "/output", "/payload", "/metadata")
    ]
    assert await api.ask("GET", RUN) == before


async def test_a_run_carries_ten_tags(api: Asking) -> None:
    """More are refused, in one request or over several, and none of them is added."""
    await api.create(tags=["a"])

    added = await api.ask("POST", f"{RUN}/tags", {"tags": ["b", "a", "b"]})
    too_many = await api.refused("POST", f"{RUN}/tags", {"tags": [str(number) for number in range(9)]})
    at_once = await api.refused("POST", f"{RUN}/tags", {"tags": [str(number) for number in range(11)]})

    assert added == {"tags": ["a", "b"]}
    for problem in (too_many, at_once):
        assert (problem["status"], problem["code"], problem["field"]) == (422, "too_many_tags", "/tags")
        assert "at most 10" in problem["detail"]
    assert (await api.ask("GET", RUN))["tags"] == ["a", "b"]


async def test_a_job_is_asked_to_stop(api: Asking) -> None:
    """Who asks first is remembered; who asks for the end of what has ended is told so."""
    await api.create(status="EXECUTING")

    asked = await api.ask("POST", f"{RUN}/cancel", {"reason": "too late"}, status=202)
    again = await api.ask("POST", f"{RUN}/cancel", status=202)
    await api.ask("PATCH", RUN, {"status": "CANCELED"})
    ended = await api.ask("POST", f"{RUN}/cancel")

    assert asked["cancelReason"] == again["cancelReason"] == "too late"
    assert asked["cancelRequestedAt"] == again["cancelRequestedAt"] == ended["cancelRequestedAt"]
    assert (asked["status"], ended["status"]) == ("EXECUTING", "CANCELED")
    assert (await api.refused("POST", "/v1/runs/nope/cancel"))["code"] == "not_found"


#: Scope → what it may write of runs of task `export` with tag `a` in batch `b`.
WRITERS: dict[str, bool] = {
    "write:runs": True,
    "write:runs:run_1": True,
    "write:tasks:export": True,
    "write:tags:a": True,
    "write:batch:b": True,
    "write:all": True,
    "read:runs": False,
    "write:runs:run_2": False,
    "write:tasks:import": False,
}


async def test_a_token_writes_what_its_scopes_allow(api: Asking) -> None:
    """A run, or those of a task, a tag or a batch. Reading is not enough; and writing is not reading."""
    await api.create(tags=["a"], batchId="b", payload="secret")
    requests: list[tuple[str, str, Any]] = [
        ("PATCH", RUN, {"progress": {"current": 1}}),
        ("POST", f"{RUN}/metadata", {"operations": []}),
        ("POST", f"{RUN}/tags", {"tags": ["a"]}),
        ("POST", f"{RUN}/cancel", {}),
        ("POST", "/v1/runs", {"taskIdentifier": "export", "id": "run_1"}),
    ]
    for scope, may in WRITERS.items():
        async with api.with_token([scope]) as writer:
            for method, path, body in requests:
                answer = await writer.client.request(method, path, json=body)
                assert answer.status_code in ((200, 202) if may else (403,)), (scope, method, path, answer.text)
                assert "secret" not in answer.text


async def test_whoever_may_not_see_the_tags_is_not_told_them(api: Asking) -> None:
    """Neither who may only write, nor whose token hides them; nor is the parent's id told by a refusal."""
    await api.create("run_parent")
    await api.create(tags=["theirs"], parentRunId="run_parent")
    everywhere = {"parentOperations": [{"type": "set", "key": "n", "value": 1}]}
    seeing, writing = ["write:runs:run_1", "read:runs:run_1"], ["write:runs:run_1"]

    async with api.with_token(seeing) as one, api.with_token(seeing, skip_columns=["tags"]) as two:
        shown = [await asking.ask("POST", f"{RUN}/tags", {"tags": ["mine"]}) for asking in (one, two)]
    async with api.with_token(writing) as three:
        shown.append(await three.ask("POST", f"{RUN}/tags", {"tags": ["mine"]}))
        problem = await three.refused("POST", f"{RUN}/metadata", everywhere)

    assert shown == [{"tags": ["theirs", "mine"]}, {}, {}]
    assert problem["code"] == "not_allowed"
    assert "run_parent" not in problem["detail"]


async def test_a_token_creates_runs_of_its_task_only(api: Asking) -> None:
    """And does not reach another task's run by saying that it were of its own."""
    await api.create("run_other", taskIdentifier="import")
    async with api.with_token(["write:tasks:export"]) as writer:
        await writer.ask("POST", "/v1/runs", {"taskIdentifier": "export"}, status=201)
        refused = [
            await writer.refused("POST", "/v1/runs", {"taskIdentifier": "import"}),
            await writer.refused("POST", "/v1/runs", {"taskIdentifier": "export", "id": "run_other", "tags": ["x"]}),
            await writer.refused("PATCH", "/v1/runs/run_other", {"taskIdentifier": "export", "tags": ["x"]}),
        ]

    assert {problem["code"] for problem in refused} == {"not_allowed"}
    assert "tags" not in await api.ask("GET", "/v1/runs/run_other")
