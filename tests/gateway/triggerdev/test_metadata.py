"""Metadata as the official SDK flushes it (Trigger.dev realtime protocol, section 5). The operations themselves:
tests/gateway/test_metadata.py."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.gateway.triggerdev.asking import TheirAsking

PATH = "/api/v1/runs/run_1/metadata"


def increment(key: str, value: float = 1) -> dict[str, Any]:
    return {"type": "increment", "key": key, "value": value}


def append(key: str, value: Any) -> dict[str, Any]:
    return {"type": "append", "key": key, "value": value}


async def test_metadata_is_an_object(api: TheirAsking) -> None:
    """Also without anything in it; what is read is what the answer of the last change was."""
    await api.create()
    empty = await api.ask("GET", PATH)
    operations = [
        {"type": "set", "key": "a", "value": {"b": [1]}},
        {"type": "set", "key": "$.a.c", "value": None},
        append("log", "x"),
        append("log", "y"),
        increment("n", 1.5),
        {"type": "remove", "key": "log", "value": "x"},
        {"type": "delete", "key": "none"},
    ]

    answer = await api.ask("PUT", PATH, {"operations": operations})

    assert empty == {"metadata": {}}
    assert answer == {"metadata": {"a": {"b": [1], "c": None}, "log": ["y"], "n": 1.5}}
    assert await api.ask("GET", PATH) == answer
    assert (await api.ask("GET", "/api/v3/runs/run_1"))["metadata"] == answer["metadata"]


async def test_the_whole_can_be_replaced(api: TheirAsking) -> None:
    """By `metadata`, which counts only without `operations`; or by an operation."""
    await api.create(metadata={"a": 1})

    assert await api.ask("PUT", PATH, {"metadata": {"b": 1}}) == {"metadata": {"b": 1}}
    assert await api.ask("PUT", PATH, {"metadata": {"c": 1}, "operations": []}) == {"metadata": {"b": 1}}
    update = {"operations": [{"type": "update", "value": {"d": 1}}]}
    assert await api.ask("PUT", PATH, update) == {"metadata": {"d": 1}}
    assert await api.ask("PUT", PATH, {}) == {"metadata": {"d": 1}}


async def test_parent_and_root_hear_of_it(api: TheirAsking) -> None:
    """Each in the order of arrival; a parent that is the root hears of both."""
    await api.create("root")
    await api.create("middle", parentRunId="root", rootRunId="root")
    await api.create("run_1", parentRunId="middle", rootRunId="root")
    flush = {
        "operations": [append("log", 1)],
        "parentOperations": [append("log", 2)],
        "rootOperations": [append("log", 3)],
    }

    own = await api.ask("PUT", PATH, flush)
    await api.ask("PUT", "/api/v1/runs/middle/metadata", flush)

    assert own == {"metadata": {"log": [1]}}
    for run, log in (("middle", [2, 1]), ("root", [3, 2, 3])):
        assert await api.ask("GET", f"/api/v1/runs/{run}/metadata") == {"metadata": {"log": log}}


async def test_a_run_without_parent_is_its_own(api: TheirAsking) -> None:
    """Its own operations come first, then those for its parent and its root."""
    await api.create()
    flush = {"rootOperations": [append("log", 3)], "parentOperations": [append("log", 2)]}

    answer = await api.ask("PUT", PATH, {**flush, "operations": [append("log", 1)]})

    assert answer == {"metadata": {"log": [1, 2, 3]}}


async def test_a_relative_that_takes_no_more_spoils_nothing(api: TheirAsking) -> None:
    """One that is gone, or full: else the worker would send its own operations again."""
    await api.create("run_p", metadata={"large": "x" * 262_000})
    await api.create("run_1", parentRunId="run_p", rootRunId="gone")
    flush = {
        "operations": [increment("n")],
        "parentOperations": [append("log", "y" * 1000)],
        "rootOperations": [increment("n")],
    }

    assert await api.ask("PUT", PATH, flush) == {"metadata": {"n": 1}}
    assert (await api.ask("GET", "/api/v1/runs/run_p/metadata"))["metadata"].keys() == {"large"}


async def test_a_request_that_is_sent_again_is_done_once(api: TheirAsking) -> None:
    """By its key, for the run and its relatives; the same operations with another key are others."""
    await api.create("run_p")
    await api.create("run_1", parentRunId="run_p", rootRunId="run_p")
    flush = {"operations": [increment("n")], "parentOperations": [increment("n")]}
    headers = {"x-trigger-request-idempotency-key": str(uuid.uuid4())}

    for _ in range(3):
        answer = await api.ask("PUT", PATH, flush, headers=headers)
        assert answer == {"metadata": {"n": 1}}
    again = await api.ask("PUT", PATH, flush, headers={"x-trigger-request-idempotency-key": str(uuid.uuid4())})

    assert again == {"metadata": {"n": 2}}
    assert await api.ask("GET", "/api/v1/runs/run_p/metadata") == {"metadata": {"n": 2}}


async def test_changes_at_the_same_time_are_all_kept(api: TheirAsking) -> None:
    """On literal keys and on paths, from several workers and for a common parent."""
    await api.create("run_p", metadata={"sum": {"n": 0}})
    for number in range(10):
        await api.create(f"run_{number}", parentRunId="run_p", rootRunId="run_p")
    flush = {"parentOperations": [increment("n"), increment("$.sum.n")], "operations": [append("log", "x")]}

    await asyncio.gather(
        *(api.ask("PUT", f"/api/v1/runs/run_{number}/metadata", flush) for number in range(10) for _ in range(3))
    )

    assert await api.ask("GET", "/api/v1/runs/run_p/metadata") == {"metadata": {"n": 30, "sum": {"n": 30}}}


async def test_what_is_too_large_changes_nothing(api: TheirAsking) -> None:
    """413, and of several operations none is applied."""
    await api.create(metadata={"a": 1})
    operations = [increment("a"), {"type": "set", "key": "large", "value": "x" * 263_000}]

    error = await api.fails(413, "PUT", PATH, {"operations": operations})

    assert "262144" in error["error"]
    await api.fails(413, "PUT", PATH, {"metadata": {"large": "x" * 263_000}})
    assert await api.ask("GET", PATH) == {"metadata": {"a": 1}}


async def test_what_passes_through_may_be_more_than_what_stays(api: TheirAsking) -> None:
    """A worker's second: thousands of lines, or a large value that is gone again."""
    await api.create()
    lines = [append("log", {"line": number}) for number in range(5_000)]
    passing = [{"type": "set", "key": f"large_{number % 2}", "value": "x" * 200_000} for number in range(4)]
    passing += [{"type": "delete", "key": "large_0"}, {"type": "delete", "key": "large_1"}]

    await api.ask("PUT", PATH, {"operations": lines})
    answer = await api.ask("PUT", PATH, {"operations": passing})

    assert answer == {"metadata": {"log": [{"line": number} for number in range(5_000)]}}


async def test_a_run_that_has_ended_keeps_its_metadata(api: TheirAsking) -> None:
    """422, not to be repeated; it can still be read."""
    await api.create(metadata={"a": 1})
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "COMPLETED"})

    error = await api.fails(422, "PUT", PATH, {"operations": [increment("a")]})

    assert error["headers"]["x-should-retry"] == "false"
    assert await api.ask("GET", PATH) == {"metadata": {"a": 1}}


async def test_a_parent_that_has_ended_hears_of_its_children(api: TheirAsking) -> None:
    """As with their server: a child may outlive it."""
    await api.create("run_p")
    await api.create("run_1", parentRunId="run_p", rootRunId="run_p")
    await api.ask("PATCH", "/v1/runs/run_p", {"status": "COMPLETED"})

    await api.ask("PUT", PATH, {"parentOperations": [increment("n")]})

    assert await api.ask("GET", "/api/v1/runs/run_p/metadata") == {"metadata": {"n": 1}}


REFUSED: list[dict[str, Any]] = [
    {"operations": [{"type": "replace", "key": "a", "value": 1}]},
    {"operations": [{"type": "set", "key": "a"}]},
    {"operations": [{"type": "increment", "key": "a", "value": "1"}]},
    {"operations": [{"type": "update", "value": []}]},
    {"operations": {}},
    {"metadata": []},
    {"parentOperations": [1]},
]


async def test_what_is_no_operation_is_refused(api: TheirAsking) -> None:
    """400; a field that an operation does not have is passed over."""
    await api.create()

    for said in REFUSED:
        await api.fails(400, "PUT", PATH, said)
    extra = {"operations": [{**increment("n"), "news": 1}]}
    assert await api.ask("PUT", PATH, extra) == {"metadata": {"n": 1}}


async def test_keys_that_reach_an_object_s_prototype_are_passed_over(api: TheirAsking) -> None:
    """And an operation that does not fit what it finds: 200 with what was there."""
    await api.create(metadata={"a": 1})
    keys = ("__proto__", "$.__proto__.x", "$.constructor.x", "$.a.prototype", "$.")
    operations = [{"type": "set", "key": key, "value": 1} for key in keys]

    assert await api.ask("PUT", PATH, {"operations": operations}) == {"metadata": {"a": 1}}


async def test_a_run_that_does_not_exist_has_none(api: TheirAsking) -> None:
    """404, for reading and for changing."""
    await api.fails(404, "GET", "/api/v1/runs/none/metadata")
    await api.fails(404, "PUT", "/api/v1/runs/none/metadata", {"operations": [increment("a")]})
