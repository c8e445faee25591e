"""Run metadata: lines 34 to 37 of the checklist in the Trigger.dev realtime protocol, section 11."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import httpx2

    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT: Final = 256 * 1024


async def put(world: World, run: str, **body: Any) -> httpx2.Response:
    return await world.ask(f"/api/v1/runs/{run}/metadata", "PUT", json=body)


async def metadata_of(world: World, run: str) -> Any:
    """As the SDK reads it: an object, never text."""
    answer = await world.ask(f"/api/v1/runs/{run}/metadata")
    assert answer.status_code == 200, answer.text
    found = answer.json()["metadata"]
    assert isinstance(found, dict)
    return found


def op(type: str, key: str | None = None, value: Any = ...) -> dict[str, Any]:
    """One operation as JSON."""
    return {"type": type, **({} if key is None else {"key": key}), **({} if value is ... else {"value": value})}


#: Section 5.2, row by row: the document before, the operation, the document after.
TABLE: Final[dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "set literal": ({"a": 1}, op("set", "a", [2]), {"a": [2]}),
    "set a literal with dots": ({}, op("set", "a.b[0]", 2), {"a.b[0]": 2}),
    "set null": ({"a": 1}, op("set", "a", None), {"a": None}),
    "set path": ({"a": {"b": 1}}, op("set", "$.a.c", 2), {"a": {"b": 1, "c": 2}}),
    "set path at the top": ({}, op("set", "$.a", 2), {"a": 2}),
    "set path without its parent": ({"x": 1}, op("set", "$.a.b.c", 2), {"x": 1}),
    "set path into an array": ({"a": [1, 2]}, op("set", "$.a.1", 3), {"a": [1, 3]}),
    "set path past the end": ({"a": [1]}, op("set", "$.a.3", 4), {"a": [1, None, None, 4]}),
    "set path to all": ({"a": {"x": 1, "y": 2}}, op("set", "$.a.*", 0), {"a": {"x": 0, "y": 0}}),
    "set path in each": ({"a": [{"n": 1}, {"n": 2}]}, op("set", "$.a.*.n", 0), {"a": [{"n": 0}, {"n": 0}]}),
    "append to what is missing": ({}, op("append", "a", 1), {"a": [1]}),
    "append to an array": ({"a": [1]}, op("append", "a", [2]), {"a": [1, [2]]}),
    "append to a value": ({"a": "x"}, op("append", "a", 1), {"a": ["x", 1]}),
    "append to null": ({"a": None}, op("append", "a", 1), {"a": [None, 1]}),
    "append path to what is missing": ({"a": {}}, op("append", "$.a.b", 1), {"a": {"b": [1]}}),
    "append path to an array": ({"a": {"b": [1]}}, op("append", "$.a.b", 2), {"a": {"b": [1, 2]}}),
    "append path to a value": ({"a": {"b": 1}}, op("append", "$.a.b", 2), {"a": {"b": [1, 2]}}),
    "append path to null": ({"a": {"b": None}}, op("append", "$.a.b", 2), {"a": {"b": None}}),
    "append path without its parent": ({"x": 1}, op("append", "$.a.b", 2), {"x": 1}),
    "remove": ({"a": [1, {"b": 2}, 1]}, op("remove", "a", 1), {"a": [{"b": 2}]}),
    "remove by deep equality": ({"a": [{"b": [2]}, 1]}, op("remove", "a", {"b": [2]}), {"a": [1]}),
    "remove what is not there": ({"a": [1]}, op("remove", "a", 2), {"a": [1]}),
    "remove from no array": ({"a": 1}, op("remove", "a", 1), {"a": 1}),
    "remove from what is missing": ({"x": 1}, op("remove", "a", 1), {"x": 1}),
    "remove path": ({"a": {"b": [1, 2]}}, op("remove", "$.a.b", 1), {"a": {"b": [2]}}),
    "increment": ({"a": 1}, op("increment", "a", 2), {"a": 3}),
    "decrement": ({"a": 1}, op("increment", "a", -2), {"a": -1}),
    "increment by a fraction": ({"a": 1}, op("increment", "a", 0.5), {"a": 1.5}),
    "increment what is missing": ({}, op("increment", "a", 2), {"a": 2}),
    "increment what is no number": ({"a": "x"}, op("increment", "a", 2), {"a": 2}),
    "increment path": ({"a": {"b": 1}}, op("increment", "$.a.b", 2), {"a": {"b": 3}}),
    "increment path without its parent": ({"x": 1}, op("increment", "$.a.b", 2), {"x": 1}),
    "delete": ({"a": 1, "b": 2}, op("delete", "a"), {"b": 2}),
    "delete what is missing": ({"b": 2}, op("delete", "a"), {"b": 2}),
    "delete path": ({"a": {"b": 1}}, op("delete", "$.a.b"), {"a": {"b": 1}}),
    "update": ({"a": 1}, op("update", value={"b": 2}), {"b": 2}),
    "update to nothing": ({"a": 1}, op("update", value={}), {}),
    "an unsafe key": ({"x": 1}, op("set", "__proto__", {"y": 1}), {"x": 1}),
    "an unsafe path": ({"x": {}}, op("set", "$.x.__proto__.y", 1), {"x": {}}),
    "another unsafe path": ({"x": {}}, op("set", "$.x.constructor", 1), {"x": {}}),
    "a path to nothing": ({"x": 1}, op("set", "$.", 1), {"x": 1}),
}


@pytest.mark.parametrize("name", TABLE)
async def test_t34_an_operation_gives_what_the_clients_expect(world: World, name: str) -> None:
    """In the answer, when it is read, and on the feed: the client takes over whatever comes."""
    before, operation, after = TABLE[name]
    run = world.run(metadata=before)

    answer = await put(world, run.id, operations=[operation])

    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"] == await metadata_of(world, run.id) == after
    row = (await world.feed(f"runs/{run.id}").catch_up()).row
    assert json.loads(row["metadata"] or "{}") == after


async def test_t34_operations_are_applied_in_order_and_an_object_replaces_all(world: World) -> None:
    """Without operations `metadata` is the new document; with them it counts for nothing."""
    run = world.run(metadata={"a": 1})
    operations = [op("set", "a", 5), op("increment", "a", 1), op("append", "a", 0), op("set", "$.a.0", 9)]

    answer = await put(world, run.id, operations=operations, metadata={"ignored": True})
    assert answer.json()["metadata"] == {"a": [9, 0]}

    answer = await put(world, run.id, metadata={"b": [None, 1.5, "ü"]})
    assert answer.json()["metadata"] == await metadata_of(world, run.id) == {"b": [None, 1.5, "ü"]}


async def test_t34_what_changes_nothing_is_told_to_nobody(world: World) -> None:
    """200 with the document as it is; a held poll stays held."""
    run = world.run(metadata={"a": [1]})
    feed = await world.feed(f"runs/{run.id}").catch_up()
    polling = asyncio.create_task(feed.poll())

    for operation in (op("remove", "a", 2), op("delete", "b"), op("set", "$.x.y", 1), op("set", "a", [1])):
        answer = await put(world, run.id, operations=[operation])
        assert answer.json()["metadata"] == {"a": [1]}
    done, _ = await asyncio.wait({polling}, timeout=0.3)

    assert not done
    run.set("end", 1)
    await polling


BAD_BODIES: Final[dict[str, Any]] = {
    "an unknown operation": {"operations": [op("explode", "a", 1)]},
    "no number": {"operations": [op("increment", "a", "1")]},
    "no object": {"operations": [op("update", value=[1])]},
    "no list": {"operations": {"type": "set"}},
    "no key": {"operations": [{"type": "set", "value": 1}]},
    "metadata that is no object": {"metadata": [1]},
    "a text": "metadata",
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_t34_a_body_that_can_t_be_right_is_refused_and_changes_nothing(world: World, name: str) -> None:
    """400, and nothing of it was done."""
    run = world.run(metadata={"a": 1})
    path = f"/api/v1/runs/{run.id}/metadata"

    answer = await world.ask(path, "PUT", json=BAD_BODIES[name])

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    assert await metadata_of(world, run.id) == {"a": 1}


async def test_t35_increments_from_two_sides_all_count(world: World) -> None:
    """The SDK over HTTP, and a worker through the publisher, both at once; paths as well as keys."""
    run = world.run(metadata={"a": {"n": 0}})

    async def increment() -> None:
        for _ in range(20):
            answer = await put(world, run.id, operations=[op("increment", "n", 1), op("increment", "$.a.n", 1)])
            assert answer.status_code == 200, answer.text

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(increment())
        for _ in range(50):
            run.increment("n")
            await asyncio.sleep(0)
    assert world.publisher.flush()

    assert await metadata_of(world, run.id) == {"a": {"n": 80}, "n": 130}


async def test_t35_operations_on_parent_and_root_arrive_in_order(world: World) -> None:
    """Those of many children, each in the order in which it asked; without relatives they are the run's own."""
    root = world.run()
    parent = world.run(parent=root.id, root=root.id)
    children = [world.run(parent=parent.id, root=root.id) for _ in range(3)]

    async def tell(number: int) -> None:
        for step in range(10):
            answer = await put(
                world,
                children[number].id,
                operations=[op("set", "step", step)],
                parentOperations=[op("append", f"child{number}", step), op("increment", "n", 1)],
                rootOperations=[op("append", f"child{number}", step), op("set", "last", step)],
            )
            assert answer.json()["metadata"] == {"step": step}

    await asyncio.gather(*map(tell, range(3)))

    steps = list(range(10))
    by_child = {f"child{number}": steps for number in range(3)}
    assert await metadata_of(world, parent.id) == {**by_child, "n": 30}
    assert await metadata_of(world, root.id) == {**by_child, "last": 9}

    alone = world.run()
    await put(world, alone.id, parentOperations=[op("set", "p", 1)], rootOperations=[op("set", "r", 2)])
    assert await metadata_of(world, alone.id) == {"p": 1, "r": 2}


async def test_t36_a_document_over_the_limit_is_refused_and_nothing_changes(world: World) -> None:
    """413 with the limit in its text, for a replacement and for operations that would add up to more."""
    run = world.run(metadata={"a": 1})
    half = "x" * (LIMIT * 6 // 10)
    bodies: list[dict[str, Any]] = [
        {"metadata": {"a": "x" * LIMIT}},
        {"operations": [op("set", "b", half), op("set", "c", half)]},
        {"operations": [op("set", "d", 1), op("append", "b", "ü" * (LIMIT // 2))]},
    ]
    for body in bodies:
        answer = await put(world, run.id, **body)
        assert answer.status_code == 413
        assert str(LIMIT) in answer.json()["error"]
        assert await metadata_of(world, run.id) == {"a": 1}

    assert (await put(world, run.id, metadata={"a": half})).status_code == 200


async def test_t36_a_run_that_has_ended_is_not_changed_and_an_unknown_one_not_found(world: World) -> None:
    """422 and 404, neither of them worth another try."""
    run = world.run(metadata={"a": 1})
    run.start()
    run.complete()

    answer = await put(world, run.id, operations=[op("set", "a", 2)])
    assert answer.status_code == 422
    assert isinstance(answer.json()["error"], str)
    assert await metadata_of(world, run.id) == {"a": 1}

    for method in ("PUT", "GET"):
        answer = await world.ask(f"/api/v1/runs/{world.new('run')}/metadata", method, json={"metadata": {}})
        assert (answer.status_code, isinstance(answer.json()["error"], str)) == (404, True)


async def test_t36_the_answer_is_an_object_even_if_there_is_nothing(world: World) -> None:
    """The client replaces its own copy with it."""
    run = world.run()

    assert await metadata_of(world, run.id) == {}
    assert (await put(world, run.id, operations=[op("delete", "a")])).json() == {"metadata": {}}


async def test_t37_a_burst_of_updates_makes_few_messages_and_ends_in_the_last_state(world: World) -> None:
    """What a worker says quickly is told in a few answers; the last word is among them."""
    run = world.run()
    run.start()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    for number in range(1000):
        run.set("number", number)
        run.increment("count")

    await feed.until(lambda feed: json.loads(feed.row["metadata"] or "{}") == {"number": 999, "count": 1000})

    assert len(feed.polls) < 20
