"""Lists of runs as the official clients ask for them: filters, and pages that go both ways."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.codec import rfc3339

if TYPE_CHECKING:
    from tests.gateway.triggerdev.asking import TheirAsking

PATH = "/api/v1/runs"


async def listed(api: TheirAsking, query: dict[str, Any] | None = None, *, path: str = PATH) -> list[str]:
    """The ids of all runs that are listed, page by page, as their iterator goes."""
    found: list[str] = []
    pagination: dict[str, str] = {"next": ""}
    while "next" in pagination:
        after = {"page[after]": pagination["next"]} if pagination["next"] else {}
        page = await api.ask("GET", path, params={**(query or {}), **after})
        found += [run["id"] for run in page["data"]]
        pagination = page["pagination"]
    return found


async def listed_backwards(api: TheirAsking, **query: Any) -> list[str]:
    """The same, page by page from the oldest run on."""
    found: list[str] = []
    pagination = {"previous": "1.0"}
    while "previous" in pagination:
        page = await api.ask("GET", PATH, params={**query, "page[before]": pagination["previous"]})
        found = [run["id"] for run in page["data"]] + found
        pagination = page["pagination"]
    return found


async def page(api: TheirAsking, **query: Any) -> tuple[list[str], dict[str, str]]:
    answer = await api.ask("GET", PATH, params=query)
    return [run["id"] for run in answer["data"]], answer["pagination"]


async def test_a_run_in_a_list_has_what_their_clients_need(api: TheirAsking) -> None:
    """What a run by itself has, but for what may be large; and its environment."""
    await api.create(payload=1, tags=["a"], batchId="b", metadata={"a": 1}, parentRunId="p")
    run = await api.ask("GET", "/api/v3/runs/run_1")

    (item,) = (await api.ask("GET", PATH))["data"]

    environment = api.gateway.keys.environment
    assert item.pop("env") == {"id": environment, "name": environment}
    assert item == {
        name: value
        for name, value in run.items()
        if name not in ("payload", "depth", "triggerFunction", "relatedRuns", "attemptCount")
    }


async def test_pages_lead_forth_and_back(api: TheirAsking) -> None:
    """The newest first; no `next` at the end and no `previous` at the beginning, whatever is created meanwhile."""
    for number in range(7):
        await api.create(f"run_{number}")
    size = {"page[size]": 3}

    first, after_first = await page(api, **size)
    second, after_second = await page(api, **size, **{"page[after]": after_first["next"]})
    third, after_third = await page(api, **size, **{"page[after]": after_second["next"]})
    await api.create("run_7")
    back, after_back = await page(api, **size, **{"page[before]": after_third["previous"]})
    top, after_top = await page(api, **size, **{"page[before]": after_back["previous"]})
    newest, after_newest = await page(api, **size, **{"page[before]": after_top["previous"]})
    again, _ = await page(api, **size, **{"page[after]": after_newest["next"]})

    assert [first, second, third] == [["run_6", "run_5", "run_4"], ["run_3", "run_2", "run_1"], ["run_0"]]
    led = [set(pagination) for pagination in (after_first, after_second, after_third)]
    assert led == [{"next"}, {"next", "previous"}, {"previous"}]
    assert (back, top, newest, again) == (second, first, ["run_7"], first)
    assert after_newest.keys() == {"next"}


async def test_who_turns_round_may_send_both_cursors(api: TheirAsking) -> None:
    """As their clients do: they keep the one that led to the page, and the later one counts."""
    for number in range(6):
        await api.create(f"run_{number}")
    query: dict[str, Any] = {"page[size]": 2}
    found, pagination = [], dict[str, str]()
    for way in (None, "next", "next", "previous", "previous", "next", "next"):
        if way is not None:
            query["page[after]" if way == "next" else "page[before]"] = pagination[way]
        runs, pagination = await page(api, **query)
        found.append("".join(runs).replace("run_", ""))

    assert found == ["54", "32", "10", "32", "54", "32", "10"]


async def test_a_full_last_page_is_the_last(api: TheirAsking) -> None:
    """No page without runs follows it."""
    for number in range(4):
        await api.create(f"run_{number}")

    runs, pagination = await page(api, **{"page[size]": 4})

    assert len(runs) == 4
    assert pagination == {}


@pytest.fixture
async def runs(api: TheirAsking) -> TheirAsking:
    """Six runs: of two tasks, with tags, in batches, some of them tests, some ended."""
    for number in range(6):
        await api.create(
            f"run_{number}",
            taskIdentifier="export" if number % 2 else "import",
            tags=[f"tag_{number % 3}", "all"],
            batchId=f"batch_{number // 3}",
            isTest=number < 2,
            status=("QUEUED", "COMPLETED", "FAILED")[number % 3],
        )
    return api


#: A query, and the runs that are listed.
FILTERS: list[tuple[dict[str, str], str]] = [
    ({}, "543210"),
    ({"filter[status]": "QUEUED"}, "30"),
    ({"filter[status]": "QUEUED,FAILED"}, "5320"),
    ({"filter[status]": "CRASHED"}, ""),
    ({"filter[taskIdentifier]": "export"}, "531"),
    ({"filter[taskIdentifier]": "export,import"}, "543210"),
    ({"filter[taskIdentifier]": "none"}, ""),
    ({"filter[tag]": "tag_0"}, "30"),
    ({"filter[tag]": "tag_0,tag_2"}, "5320"),
    ({"filter[tag]": "tag_1,none"}, "41"),
    ({"filter[tag]": "all,tag_1"}, "543210"),
    ({"filter[tag]": ",".join([*(f"none_{number}" for number in range(20)), "tag_1"])}, "41"),
    ({"filter[batch]": "batch_1"}, "543"),
    ({"filter[batch]": "batch_1", "filter[tag]": "tag_0,tag_1"}, "43"),
    ({"filter[isTest]": "true"}, "10"),
    ({"filter[isTest]": "false", "filter[taskIdentifier]": "import"}, "42"),
    ({"filter[tag]": "tag_0,tag_1", "filter[taskIdentifier]": "import", "filter[status]": "COMPLETED"}, "4"),
    ({"filter[tag]": "", "filter[status]": "", "filter[version]": ""}, "543210"),
    ({"filter[env]": "another"}, ""),
]


async def test_filters_are_met_all_of_them_by_any_of_their_values(runs: TheirAsking) -> None:
    """On pages of every size, forwards and backwards."""
    for query, numbers in FILTERS:
        expected = [f"run_{number}" for number in numbers]
        assert await listed(runs, query) == expected, query
        pages = {**query, "page[size]": "2"}
        assert await listed(runs, pages, path="/api/v1/projects/proj_x/runs") == expected, query
        assert await listed_backwards(runs, **pages) == expected, query


async def test_runs_of_an_environment_are_asked_for_by_its_name(runs: TheirAsking) -> None:
    """The caller's is the only one there is."""
    environment = f"other,{runs.gateway.keys.environment}"

    assert len(await listed(runs, {"filter[env]": environment}, path="/api/v1/projects/proj_x/runs")) == 6


async def test_a_window_of_time_has_a_beginning_and_an_end(api: TheirAsking) -> None:
    """By milliseconds, dates, or age; the later beginning counts."""
    await api.create("old")
    created = (await api.ask("GET", "/v1/runs/old"))["createdAt"]
    while rfc3339(int(time.time() * 1000)) <= created:
        pass
    between = int(time.time() * 1000)
    await api.create("new")
    new = (await api.ask("GET", "/v1/runs/new"))["createdAt"]
    start, end = "filter[createdAt][from]", "filter[createdAt][to]"

    assert await listed(api, {start: between}) == ["new"]
    assert await listed(api, {start: rfc3339(between)}) == ["new"]
    assert await listed(api, {end: created}) == ["old"]
    assert await listed(api, {start: created, end: new}) == ["new", "old"]
    assert await listed(api, {start: "2020-01-01", end: "2020-01-02"}) == []
    assert await listed(api, {"filter[createdAt][period]": "1d"}) == ["new", "old"]
    assert await listed(api, {"filter[createdAt][period]": "1d", start: between}) == ["new"]


REFUSED: list[dict[str, str]] = [
    {"filter[status]": "DONE"},
    {"filter[status]": "COMPLETED_SUCCESSFULLY"},
    {"filter[isTest]": "maybe"},
    {"filter[createdAt][from]": "yesterday"},
    {"filter[createdAt][period]": "a while"},
    {"filter[tag]": 'a"b'},
    {"page[size]": "0"},
    {"page[size]": "101"},
    {"page[after]": "run_x"},
    {"page[after]": "0.5"},
    {"page[before]": "1.2.3"},
    {"page[before]": "1.-3"},
    {"page[after]": "2.5", "page[before]": "2.7"},
    *({f"filter[{name}]": "x"} for name in ("version", "queue", "machine", "region")),
    *({f"filter[{name}]": "x"} for name in ("bulkAction", "schedule", "error")),
]


async def test_what_can_t_be_looked_for_is_refused(api: TheirAsking) -> None:
    """400, that names the parameter: an empty list would be taken for an answer."""
    for query in REFUSED:
        error = await api.fails(400, "GET", PATH, params=query)
        assert error["param"] in query


async def test_many_runs_are_listed_in_order_and_in_full_pages(api: TheirAsking) -> None:
    """However sparse a filter is, and however the runs of several tags lie among each other."""
    await api.create("first", isTest=True)
    tags = {number: [tag for tag, every in (("a", 3), ("b", 7)) if number % every == 0] for number in range(2_100)}

    def create_many() -> None:
        for number in range(2_100):
            api.gateway.publisher.create("export", id=f"run_{number}", tags=tags[number])
        assert api.gateway.publisher.flush()

    await asyncio.to_thread(create_many)
    await api.create("last", isTest=True)
    of_any = {"filter[tag]": "a,b", "page[size]": 100}

    runs, pagination = await page(api, **{"filter[isTest]": "true", "page[size]": 2})

    assert runs == ["last", "first"]
    assert pagination == {}
    expected = [f"run_{number}" for number in reversed(range(2_100)) if tags[number]]
    assert await listed(api, of_any) == expected
    assert await listed_backwards(api, **of_any) == expected
