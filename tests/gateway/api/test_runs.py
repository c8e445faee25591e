"""`/v1/runs`: creating, reading, listing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.codec import rfc3339

if TYPE_CHECKING:
    from tests.gateway.api.asking import Asking


async def test_a_run_is_created_with_everything_that_is_said_of_it(api: Asking) -> None:
    """And comes back as the public object, whole."""
    said = {
        "payload": {"rows": [1, 2.5, "ü", None], "deep": {"a": {}}},
        "tags": ["customer:7", "a tag"],
        "batchId": "batch_1",
        "parentRunId": "run_p",
        "rootRunId": "run_r",
        "metadata": {"step": 1},
        "ttl": "2h",
        "maxDurationSeconds": 60,
        "isTest": True,
        "number": 7,
        "context": {"attempt": {"number": 1}},
        "idempotencyKey": "key",
    }

    run = await api.create("run_1", **said)

    assert said.items() <= run.items()
    assert (run["id"], run["taskIdentifier"], run["status"], run["attempt"]) == ("run_1", "export", "QUEUED", 1)
    assert run == await api.ask("GET", "/v1/runs/run_1")


async def test_a_new_run_has_an_address(api: Asking) -> None:
    """`Location` leads to it, whatever is in its id; without one it is given an id of its own."""
    answers = [
        await api.client.post("/v1/runs", json={"taskIdentifier": "export", **named})
        for named in ({"id": "a/b ?ü".replace(" ", "_")}, {})
    ]

    for answer in answers:
        assert answer.status_code == 201
        found = await api.client.get(answer.headers["location"])
        assert found.json() == answer.json()
        assert found.headers["etag"] == answer.headers["etag"]
    assert answers[1].json()["id"].startswith("run_")


async def test_creating_a_run_again_gives_the_run_as_it_is(api: Asking) -> None:
    """200 instead of 201, and neither its status nor its payload is turned back."""
    first = await api.create("run_1", payload=1)
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "EXECUTING"})

    again = await api.ask("POST", "/v1/runs", {"taskIdentifier": "export", "id": "run_1", "payload": 2})

    assert (again["status"], again["payload"]) == ("EXECUTING", 1)
    assert again["createdAt"] == first["createdAt"]


async def test_a_run_created_again_after_another_change_is_no_new_one(api: Asking) -> None:
    """What tells a new run from an old one is the run, not the number of the newest change."""
    body = {"taskIdentifier": "export", "id": "run_1"}
    answers = await asyncio.gather(*(api.client.post("/v1/runs", json=body) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]


async def test_a_run_that_is_to_begin_later_is_delayed(api: Asking) -> None:
    """Until a moment, said as text or as a number."""
    later = int(time.time() * 1000) + 3_600_000
    by_text = await api.create("run_1", delayedUntil=rfc3339(later))
    by_number = await api.create("run_2", delayedUntil=later)
    past = await api.create("run_3", delayedUntil=1000)

    assert by_text["status"] == by_number["status"] == "DELAYED"
    assert by_text["delayedUntil"] == by_number["delayedUntil"] == rfc3339(later)
    assert past["status"] == "QUEUED"


async def test_the_same_idempotency_key_is_the_same_run(api: Asking) -> None:
    """Of one task; another task's run with that key is another."""

    async def create(task: str, status: int) -> str:
        body = {"taskIdentifier": task, "idempotencyKey": "order 7"}
        run: str = (await api.ask("POST", "/v1/runs", body, status=status))["id"]
        return run

    first = await create("export", 201)

    assert await create("export", 200) == first
    assert await create("import", 201) != first


async def test_a_span_may_be_said_in_words_or_seconds(api: Asking) -> None:
    """Whatever the number, it is written down so that it can be read again."""
    for index, ttl in enumerate(["30m", "2d12h", 90, 0.5, 2_592_000, 8565470.284]):
        assert (await api.create(f"run_{index}", ttl=ttl))["ttl"]


async def test_who_has_a_run_already_is_not_sent_it_again(api: Asking) -> None:
    """304 as long as nothing changed, then the run as it is."""
    await api.create("run_1")
    etag = (await api.client.get("/v1/runs/run_1")).headers["etag"]

    async def again() -> int:
        answer = await api.client.get("/v1/runs/run_1", headers={"if-none-match": f'"x", W/{etag}'})
        return answer.status_code

    assert await again() == 304
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "EXECUTING"})
    assert await again() == 200


async def test_columns_can_be_left_out(api: Asking) -> None:
    """By the reader's wish; by the token's, whatever the reader wishes."""
    await api.create("run_1", payload=1, metadata={"a": 1})

    run = await api.ask("GET", "/v1/runs/run_1?skipColumns=payload,metadata&skipColumns=tags")
    async with api.with_token(["read:runs"], skip_columns=["payload"]) as viewer:
        shown = await viewer.ask("GET", "/v1/runs/run_1?skipColumns=metadata")
        listed = await viewer.ask("GET", "/v1/runs")

    assert "payload" not in run
    assert "metadata" not in run
    assert "payload" not in shown
    assert shown["metadata"] == {"a": 1}
    assert listed["runs"] == [shown]


async def test_a_run_that_does_not_exist_is_not_found(api: Asking) -> None:
    """With or without a slash in its id; and a path that is none of ours is no run."""
    for path in ("/v1/runs/nope", "/v1/runs/no%2Fpe"):
        assert (await api.refused("GET", path))["code"] == "not_found"
    assert "no run" not in (await api.refused("GET", "/v1/runs/no/pe"))["detail"]


#: Query → the runs that it finds.
LISTED = {
    "": "543210",
    "limit=2": "54",
    "task=import": "420",
    "tag=tag_1": "41",
    "tag=tag_1&tag=all": "41",
    "batch=batch_1": "210",
    "batch=batch_1&task=import&tag=tag_2": "2",
    "status=COMPLETED": "1",
    "status=COMPLETED&status=EXECUTING": "41",
    "status=COMPLETED,EXECUTING": "41",
    "status=CANCELED": "",
    "createdAfter=1h": "543210",
    "createdAfter=2020-01-31T10:00:00Z": "543210",
    "createdAfter=2999-01-31T10:00:00%2B01:00": "",
    "createdAfter=1000": "543210",
}
#: A scope, and a query that it opens.
OPENED = [
    ("read:runs", ""),
    ("read:tags:tag_1", "tag=tag_1"),
    ("read:tags:tag_1", "tag=tag_1&tag=other"),
    ("read:tags:tag_1", "tag=tag_1&task=import"),
    ("read:tasks:import", "task=import&tag=tag_1"),
    ("read:batch:batch_1", "batch=batch_1"),
]


class TestListing:
    """`GET /v1/runs`."""

    @pytest.fixture(autouse=True)
    async def runs(self, api: Asking) -> None:
        for number in range(6):
            await api.create(
                f"run_{number}",
                taskIdentifier="export" if number % 2 else "import",
                tags=[f"tag_{number % 3}", "all"],
                **({"batchId": "batch_1"} if number < 3 else {}),
            )
        await api.ask("PATCH", "/v1/runs/run_1", {"status": "COMPLETED"})
        await api.ask("PATCH", "/v1/runs/run_4", {"status": "EXECUTING"})

    async def test_runs_that_meet_every_filter_the_newest_first(self, api: Asking) -> None:
        """By the time of their creation, whatever happened to them since."""
        for query, found in LISTED.items():
            page = await api.ask("GET", f"/v1/runs?{query}")
            assert [run["id"] for run in page["runs"]] == [f"run_{number}" for number in found], query

    async def test_pages_lead_to_each_other_and_are_stable(self, api: Asking) -> None:
        """Whatever is created or changed in between, each run of the beginning comes once."""
        found, address, pages = [], "/v1/runs?tag=all&limit=2", 0
        while address:
            answer = await api.client.get(address)
            found += [run["id"] for run in answer.json()["runs"]]
            pages += 1
            await api.create(f"new_{pages}", tags=["all"])
            await api.ask("PATCH", "/v1/runs/run_0", {"progress": {"current": pages}})
            following = answer.links.get("next", {}).get("url")
            assert bool(following) == (answer.json()["next"] is not None)
            address = f"/v1/runs{following}" if following else ""

        assert found == [f"run_{number}" for number in (5, 4, 3, 2, 1, 0)]

    async def test_a_token_lists_what_its_feeds_show(self, api: Asking) -> None:
        """The scope of any filter opens the list; that of another thing does not."""
        async with api.with_token(["read:tags:other_2"]) as stranger:
            for scope, query in OPENED:
                async with api.with_token([scope]) as viewer:
                    assert (await viewer.client.get(f"/v1/runs?{query}")).status_code == 200
                problem = await stranger.refused("GET", f"/v1/runs?{query}")
                assert problem["code"] == "not_allowed"
                assert scope in problem["detail"]
