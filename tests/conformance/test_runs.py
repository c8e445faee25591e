"""Plain requests about runs: lines 27 to 32 of the checklist in the Trigger.dev realtime protocol, section 11."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.errors import Cancelled
from tests.conformance.rows import PUBLIC
from tests.conformance.world import ORIGIN

if TYPE_CHECKING:
    import httpx2

    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: So slow that a token is over its limit soon.
SETTINGS: Final = {"RUNCAST_TOKEN_REQUESTS_PER_SECOND": "20"}

FLAGS: Final = ("isQueued", "isExecuting", "isWaiting", "isCompleted", "isSuccess", "isFailed", "isCancelled", "isTest")
TEXTS: Final = ("id", "status", "taskIdentifier")
MOMENTS: Final = ("createdAt", "updatedAt")
OPTIONAL_MOMENTS: Final = ("startedAt", "finishedAt", "delayedUntil", "expiredAt")
OPTIONAL_TEXTS: Final = ("idempotencyKey", "version", "ttl", "batchId", "taskKind", "region")
NUMBERS: Final = ("costInCents", "baseCostInCents", "durationMs")
#: Those of every status, by section 3.4; a gateway should count EXPIRED and TIMED_OUT among the completed.
COMPLETED: Final = {"COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"}


def check_listed(run: dict[str, Any]) -> None:
    """
    Whether the SDK can read an item of a list, or the common part of a run.

    Raises:
        AssertionError: When it would throw the whole answer away.
    """
    for name in TEXTS:
        assert isinstance(run[name], str), name
    for name in FLAGS:
        assert isinstance(run[name], bool), name
    for name in NUMBERS:
        assert isinstance(run[name], int | float), name
    for name in MOMENTS:
        assert _is_moment(run[name]), name
    for name in OPTIONAL_MOMENTS:
        assert name not in run or _is_moment(run[name]), name
    for name in OPTIONAL_TEXTS:
        assert name not in run or isinstance(run[name], str), name
    assert all(isinstance(tag, str) for tag in run["tags"])
    assert "metadata" not in run or isinstance(run["metadata"], dict)


def _is_moment(text: str) -> bool:
    return datetime.fromisoformat(text).tzinfo is not None


def check_run(run: dict[str, Any]) -> None:
    """As `check_listed`, of a run that was asked for by itself."""
    for one in (run, *_relatives(run["relatedRuns"])):
        check_listed(one)
        assert isinstance(one["depth"], int)
        assert one["triggerFunction"] in ("trigger", "triggerAndWait", "batchTrigger", "batchTriggerAndWait")
    assert isinstance(run.get("attemptCount", 0), int)
    if "error" in run:
        assert isinstance(run["error"]["message"], str)
        assert all(isinstance(run["error"].get(name, ""), str) for name in ("name", "stackTrace"))
    for name in ("payloadPresignedUrl", "outputPresignedUrl"):
        assert isinstance(run.get(name, ""), str)
    assert None not in [run[name] for name in run if name not in ("payload", "output")], run


def _relatives(related: dict[str, Any]) -> list[dict[str, Any]]:
    assert isinstance(related, dict)
    children: list[dict[str, Any]] = related.get("children", [])
    return [related[name] for name in ("root", "parent") if name in related] + children


async def retrieve(world: World, run: str) -> dict[str, Any]:
    answer = await world.ask(f"/api/v3/runs/{run}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    check_run(found)
    return found


@pytest.mark.parametrize("status", PUBLIC)
async def test_t27_a_run_with_any_status_can_be_retrieved(world: World, status: str) -> None:
    """By its public name, with the booleans of the REST answers, and nothing null that may only be absent."""
    run = world.publisher.run(world.new("run"), task="resize")
    run.status(status)

    found = await retrieve(world, run.id)

    public = PUBLIC[status]
    assert found["status"] == public
    assert found["isQueued"] == (public in ("PENDING_VERSION", "QUEUED", "DELAYED"))
    assert found["isExecuting"] == (public in ("DEQUEUED", "EXECUTING"))
    assert found["isWaiting"] == (public == "WAITING")
    assert found["isCompleted"] == (public in COMPLETED)
    assert found["isSuccess"] == (public == "COMPLETED")
    assert found["isCancelled"] == (public == "CANCELED")
    assert found["isFailed"] == (public in COMPLETED - {"COMPLETED", "CANCELED"}) or public == "CANCELED"
    assert ("finishedAt" in found) == (public in COMPLETED)


async def test_t27_a_run_is_retrieved_with_everything_that_is_known(world: World) -> None:
    """Payload and output decoded, the error of a failure, the runs around it; internal metadata is left out."""
    batch = world.new("batch")
    parent = world.run()
    run = world.run(
        parent=parent.id,
        root=parent.id,
        batch=batch,
        tags=["a"],
        payload={"size": [1, "ü"]},
        metadata={"a": 1, "$$streams": ["x"]},
    )
    child = world.run(parent=run.id, root=parent.id)
    run.start()
    run.complete({"bytes": 9})
    failed = world.run()
    failed.start()
    failed.fail(ValueError("no luck"))

    found = await retrieve(world, run.id)
    assert (found["payload"], found["output"]) == ({"size": [1, "ü"]}, {"bytes": 9})
    assert (found["tags"], found["batchId"], found["metadata"]) == (["a"], batch, {"a": 1})
    assert found["relatedRuns"]["parent"]["id"] == found["relatedRuns"]["root"]["id"] == parent.id
    assert found["depth"] > (await retrieve(world, parent.id))["depth"] == 0
    assert "output" not in await retrieve(world, child.id)
    error = (await retrieve(world, failed.id))["error"]
    assert (error["message"], error["name"]) == ("no luck", "ValueError")


async def test_t27_an_unknown_run_is_asked_for_again(world: World) -> None:
    """404, and the header that makes the SDK's `retrieve` wait for it."""
    answer = await world.ask(f"/api/v3/runs/{world.new('run')}")

    assert (answer.status_code, answer.headers["x-should-retry"]) == (404, "true")
    assert answer.json()["error"]


async def pages(world: World, **query: Any) -> list[list[str]]:
    """The ids of all pages of a list, forwards."""
    found, after = [], None
    while True:
        answer = await listed(world, **query, **({"page[after]": after} if after else {}))
        found.append([run["id"] for run in answer["data"]])
        after = answer["pagination"].get("next")
        if "next" not in answer["pagination"]:
            return found
        assert isinstance(after, str)
        assert len(found) < 50


async def listed(world: World, **query: Any) -> dict[str, Any]:
    answer = await world.ask("/api/v1/runs", params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    for run in found["data"]:
        check_listed(run)
        assert isinstance(run["env"]["id"], str)
        assert isinstance(run["env"]["name"], str)
        assert None not in run.values()
    return found


async def test_t28_a_list_is_paged_forwards_and_backwards(world: World) -> None:
    """The newest first; `next` is absent on the last page, `previous` leads back."""
    tag = world.new("tag")
    ids = [world.run(tags=[tag]).id for _ in range(7)]
    query: dict[str, Any] = {"filter[tag]": tag, "page[size]": 3}
    newest_first = ids[::-1]

    forwards = [page for page in await pages(world, **query) if page]
    assert forwards == [newest_first[:3], newest_first[3:6], newest_first[6:]]

    first = await listed(world, **query)
    second = await listed(world, **query, **{"page[after]": first["pagination"]["next"]})
    back = await listed(world, **query, **{"page[before]": second["pagination"]["previous"]})
    assert [run["id"] for run in back["data"]] == newest_first[:3]
    assert "previous" not in first["pagination"]


async def test_t28_the_project_s_list_is_the_same(world: World) -> None:
    """`runs.list` with a project reference asks at another path."""
    tag = world.new("tag")
    run = world.run(tags=[tag])

    answer = await world.ask("/api/v1/projects/proj_1/runs", params={"filter[tag]": tag})

    assert [one["id"] for one in answer.json()["data"]] == [run.id]


async def test_t28_filters_are_any_of_their_list(world: World) -> None:
    """Of tags, too, though a tag feed wants all of them. Several filters must all hold."""
    one, other = world.new("tag"), world.new("tag")
    first, second, both = world.run(tags=[one]), world.run(tags=[other]), world.run(tags=[one, other])
    first.start()
    second.start()
    second.complete()
    everything = {"filter[tag]": f"{one},{other}"}

    async def ids(**query: Any) -> set[str]:
        return {run["id"] for run in (await listed(world, **query))["data"]}

    assert await ids(**everything) == {first.id, second.id, both.id}
    assert await ids(**everything, **{"filter[status]": "EXECUTING,COMPLETED"}) == {first.id, second.id}
    assert await ids(**everything, **{"filter[status]": "QUEUED"}) == {both.id}
    assert await ids(**everything, **{"filter[taskIdentifier]": "crop,resize"}) == {first.id, second.id, both.id}
    assert await ids(**everything, **{"filter[taskIdentifier]": "crop"}) == set()


async def test_t28_filters_of_time_batch_and_tests(world: World) -> None:
    """Moments in milliseconds or as ISO text, or an age; a batch; whether it is a test."""
    tag, batch = world.new("tag"), world.new("batch")
    plain, test, batched = (
        world.run(tags=[tag]),
        world.run(tags=[tag], is_test=True),
        world.run(tags=[tag], batch=batch),
    )
    now = time.time()
    soon = datetime.fromtimestamp(now + 60).astimezone().isoformat()
    everybody = {plain.id, test.id, batched.id}

    async def ids(**query: Any) -> set[str]:
        return {run["id"] for run in (await listed(world, **{"filter[tag]": tag}, **query))["data"]}

    assert await ids(**{"filter[createdAt][from]": int((now - 60) * 1000)}) == everybody
    assert await ids(**{"filter[createdAt][from]": soon}) == set()
    assert await ids(**{"filter[createdAt][to]": soon}) == everybody
    assert await ids(**{"filter[createdAt][period]": "1d"}) == everybody
    assert await ids(**{"filter[isTest]": "true"}) == {test.id}
    assert await ids(**{"filter[isTest]": "false"}) == {plain.id, batched.id}
    assert await ids(**{"filter[batch]": batch}) == {batched.id}


async def test_t31_what_cannot_be_helped_by_asking_again_is_no_409(world: World) -> None:
    """The JSON client repeats each 409 five times."""
    run = world.run(tags=[f"tag{number}" for number in range(9)])
    ended = world.run()
    ended.start()
    ended.complete()
    asked: list[tuple[str, str, Any, int]] = [
        ("POST", f"/api/v2/runs/{ended.id}/cancel", None, 200),
        ("POST", f"/api/v1/runs/{run.id}/tags", {"tags": ["tag1", "tag2"]}, 200),
        ("POST", f"/api/v1/runs/{run.id}/tags", {"tags": ["more", "and more"]}, 422),
        ("POST", f"/api/v1/runs/{run.id}/tags", {"tags": 3}, 400),
        ("PUT", f"/api/v1/runs/{ended.id}/metadata", {"metadata": {"a": 1}}, 422),
        ("POST", f"/realtime/v1/streams/{ended.id}/input/approval", {"data": 1}, 400),
        ("PUT", f"/realtime/v1/streams/{ended.id}/self/tokens", None, 400),
    ]
    for method, path, body, status in asked:
        answer = await world.ask(path, method, **({} if body is None else {"json": body}))
        assert answer.status_code == status, (path, answer.text)
        assert status == 200 or answer.headers.get("x-should-retry", "false") == "false"


async def test_t31_who_asks_too_much_is_told_when_to_come_back_in_milliseconds(world: World) -> None:
    """`x-ratelimit-reset` is a moment within the next minute, and a page may read it."""
    run, token = world.run(), world.token()
    path = f"/api/v3/runs/{run.id}"

    async def ask() -> httpx2.Response:
        return await world.ask(path, bearer=token, headers={"origin": ORIGIN})

    answers = await asyncio.gather(*(ask() for _ in range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]

    assert refused
    for answer in refused:
        reset = int(answer.headers["x-ratelimit-reset"]) / 1000
        assert time.time() - 60 < reset < time.time() + 60
        assert answer.json()["error"]
        assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)


async def test_t31_feeds_are_not_limited_by_the_second(world: World) -> None:
    """Section 1.10: a client that polls is not refused for that."""
    run, token = world.run(), world.token()

    polls = await asyncio.gather(*(world.feed(f"runs/{run.id}", bearer=token).get() for _ in range(60)))

    assert {poll.status for poll in polls} == {200}


async def test_t32_added_tags_are_on_the_feeds(world: World) -> None:
    """As text or as a list; adding nothing new is no mistake."""
    run, tag = world.run(tags=["first"]), world.new("tag")
    alone = await world.feed(f"runs/{run.id}").catch_up()
    tagged = await world.feed("runs", tags=tag).catch_up()

    for tags in (tag, [tag, "third"], tag):
        answer = await world.ask(f"/api/v1/runs/{run.id}/tags", "POST", json={"tags": tags})
        assert answer.status_code == 200, answer.text
        assert isinstance(answer.json()["message"], str)

    await alone.until(lambda feed: '"third"' in (feed.row["runTags"] or ""))
    await tagged.until(lambda feed: feed.rows)
    assert tagged.row["friendlyId"] == run.id


async def test_t32_a_canceled_run_is_canceled_on_its_feed(world: World) -> None:
    """Asked twice, and when it has ended, the answer is the same. Of a run that is not there it is 404."""
    run = world.run()
    run.start()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    cancel = f"/api/v2/runs/{run.id}/cancel"
    for _ in range(2):
        answer = await world.ask(cancel, "POST")
        assert (answer.status_code, answer.json()["id"]) == (200, run.id)

    with pytest.raises(Cancelled):  # the job, which looks now and then
        run.raise_if_cancelled()
    run.cancel()
    await feed.until(lambda feed: feed.row["status"] == "CANCELED")
    assert feed.row["completedAt"]

    assert (await world.ask(cancel, "POST")).json()["id"] == run.id
    assert (await world.ask(f"/api/v2/runs/{world.new('run')}/cancel", "POST")).status_code == 404


async def test_t32_the_result_of_a_run_is_there_when_it_has_ended(world: World) -> None:
    """Before that it is not found."""
    run = world.run()
    path = f"/api/v1/runs/{run.id}/result"
    assert (await world.ask(path)).status_code == 404
    run.start()
    run.complete({"bytes": 9})

    answer = (await world.ask(path)).json()

    assert (answer["ok"], answer["id"], answer["outputType"]) == (True, run.id, "application/json")


async def test_t27_a_batch_is_retrieved_with_its_runs(world: World) -> None:
    """`processing` is an object, whatever is known of it; an unknown batch may come."""
    batch = world.new("batch")
    ids = {world.run(batch=batch).id for _ in range(3)}

    answer = await world.ask(f"/api/v2/batches/{batch}")

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["id"], found["runCount"], set(found["runs"])) == (batch, 3, ids)
    assert found["status"] in ("PENDING", "PROCESSING", "COMPLETED", "PARTIAL_FAILED", "ABORTED")
    assert _is_moment(found["createdAt"])
    assert _is_moment(found["updatedAt"])
    assert isinstance(found["processing"]["errors"], list)
    assert None not in found.values()

    unknown = await world.ask(f"/api/v2/batches/{world.new('batch')}")
    assert (unknown.status_code, unknown.headers["x-should-retry"]) == (404, "true")
