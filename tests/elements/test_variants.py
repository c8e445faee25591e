"""Every variant in every state says what is known, and is accessible: light, dark, narrow or with forced colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import expect

from gateway import Publisher
from gateway.runs import Status
from gateway.web.states import State, state_of
from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from playwright.async_api import Locator

    from tests.elements.host_page import HostPage
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

VARIANTS: Final = ("bar", "badge", "steps", "log", "compact")
#: Run → the status and the detail that is shown of it, and how full the bar is; None where nobody knows.
RUNS: Final = {
    "v_queued": ("Queued", "", None),
    "v_unknown": ("Running", "", None),
    "v_counting": ("Running", "7", None),
    "v_half": ("Running", "42% · 42 of 100 · writing rows", "42"),
    "v_nearly": ("Running", "99% · 9,999 of 10,000", "99.99"),
    "v_stages": ("Running", "", None),
    "v_completed": ("Completed", "", "100"),
    "v_failed": ("Failed", "", "42"),
    "v_canceled": ("Canceled", "", "42"),
    "v_again": ("Running", "attempt 2", None),
}
NOTHING_TO_EXPECT: Final = ("v_lost",)
LONG: Final = "A name that is much longer than what there is room for in a line of text, a badge or above a bar"


def publish(publisher: Publisher) -> None:
    """Runs of every kind; of all of them but the first the log says something."""
    runs = {id: publisher.create("reports.export", id=id, batch="v_batch") for id in (*RUNS, *NOTHING_TO_EXPECT)}
    for id, run in runs.items():
        if id != "v_queued":
            run.start()
            run.log("reading orders")
            run.log("row 12 has no price", level="warning")
    runs["v_counting"].progress(7)
    for id in ("v_half", "v_completed", "v_failed", "v_canceled"):
        runs[id].progress(42, 100, "writing rows")
    runs["v_nearly"].progress(9999, 10_000)
    runs["v_stages"].set("stages", ["collect", "parse", "report"])
    runs["v_stages"].set("stage", "parse")
    runs["v_completed"].complete()
    runs["v_failed"].fail(ValueError("row 4211 has no price\nand more"))
    runs["v_lost"].crash("killed")
    runs["v_canceled"].cancel()
    runs["v_again"].retry("busy")
    runs["v_again"].start()
    publisher.flush()


@pytest.fixture(scope="module", autouse=True)
def published(redis: RedisServer) -> None:
    with Publisher(redis.url) as publisher:
        publish(publisher)


@pytest.mark.parametrize("variant", VARIANTS)
async def test_it_shows_what_is_known_and_nothing_else(host: HostPage, variant: str) -> None:
    """Words beside every colour; a progressbar without a value where no value is known. axe finds nothing."""
    for id in (*RUNS, *NOTHING_TO_EXPECT, "v_nowhere"):
        await host.put("run-status", run=id, variant=variant, token=token())
    await host.put("run-status", batch="v_batch", variant=variant, token=token(), label="All of them")
    await host.put("run-status", run="v_half", variant=variant, token=token("read:runs:another"), id="denied")
    await host.put("run-status", run="v_failed", variant=variant, token=token(), label=LONG, id="long")
    for id, (status, detail, value) in RUNS.items():
        element = host.page.locator(f"run-status[run={id}]:not([id])")
        await expect(element.locator(".status")).to_have_text(status)
        await expect(element.locator(".label")).to_have_text("export")
        await expect(element.locator(".detail")).to_have_text(detail)
        bar = element.locator("[role=progressbar]")
        if variant == "badge":
            await expect(bar).to_be_hidden()
        elif value is None:
            await expect(bar).to_be_visible()
            assert await bar.get_attribute("aria-valuenow") is None
        else:
            await expect(bar).to_have_attribute("aria-valuenow", value.partition(".")[0])  # rounded down
            await expect(bar.locator(".fill")).to_have_attribute("style", f"inline-size: {value}%;")
    lost = host.page.locator("run-status[run=v_lost]")
    await expect(lost.locator(".status")).to_have_text("Crashed")
    await expect(lost.locator("[role=progressbar]")).to_have_count(0)
    await expect(host.page.locator("run-status[run=v_nowhere] .status")).to_have_text("No such run")
    await expect(host.page.locator("#denied .note")).to_contain_text("Access denied")
    await expect(host.page.locator("#denied .frame")).to_be_hidden()
    whole = host.page.locator("run-status[batch]")
    await expect(whole.locator(".status")).to_have_text("4 of 11 finished")
    assert await host.axe_in_looks(variant) == []


async def test_a_list_shows_all_of_a_batch(host: HostPage) -> None:
    await host.put("run-list", batch="v_batch", token=token(), href="/runs/{id}", label="Nightly")
    rows = host.page.get_by_role("table", name="Nightly").get_by_role("row")
    await expect(rows).to_have_count(1 + len(RUNS) + len(NOTHING_TO_EXPECT))
    await expect(rows.first.get_by_role("columnheader")).to_have_text(["Status", "Run", "Progress", "Since"])
    half = rows.filter(has_text="v_half").get_by_role("cell")
    await expect(half.nth(0)).to_have_text("Running")
    await expect(half.nth(2)).to_have_text("42% · 42 of 100 · writing rows")
    await expect(half.nth(1).get_by_role("link")).to_have_attribute("href", "/runs/v_half")
    await expect(rows.filter(has_text="v_failed").get_by_role("cell").nth(2)).to_have_text(
        "ValueError: row 4211 has no price"
    )
    assert await host.axe_in_looks("list") == []


async def test_a_status_is_of_the_kind_that_badges_and_the_dashboard_show(host: HostPage, publisher: Publisher) -> None:
    """A run that failed looks failed wherever one looks."""
    kinds = {State.RUNNING: "working", State.COMPLETED: "ok", State.FAILED: "bad", State.CANCELED: "stopped"}
    for status in Status:
        publisher.create("export", id=f"of_kind_{status}", tags=["of_kind"]).status(status)
    publisher.flush()
    await host.put("run-list", tag="of_kind", token=token())
    for status in Status:
        row = host.page.get_by_role("row").filter(has_text=f"of_kind_{status}")
        await expect(row).to_have_attribute("data-kind", kinds.get(state_of(status), "waiting"))


async def test_steps_are_statuses_or_the_stages_that_the_run_names(host: HostPage) -> None:
    for id in ("v_failed", "v_stages", "v_again"):
        await host.put("run-status", run=id, variant="steps", token=token())
    steps = host.page.locator("run-status[run=v_failed] li")
    await expect(steps.locator(".text")).to_have_text(["Queued", "Running", "Failed"])
    assert await kinds(steps) == ["ok", "ok", "bad"]
    steps = host.page.locator("run-status[run=v_stages] li")
    await expect(steps.locator(".text")).to_have_text(["collect", "parse", "report"])
    assert await kinds(steps) == ["ok", "working", "todo"]
    again = host.page.locator("run-status[run=v_again] li .text")
    await expect(again).to_have_text(["Queued", "Running", "Trying again", "Running", "Finish"])


async def kinds(steps: Locator) -> list[str | None]:
    return [await step.get_attribute("data-kind") for step in await steps.all()]


async def test_a_log_follows_its_stream(host: HostPage, publisher: Publisher) -> None:
    """Lines of a log each on its own; words of a model one after the other."""
    run = publisher.create("answer", id="v_words")
    run.start()
    for word in ("What ", "viewers ", "see"):
        run.stream("llm").write(word)
    publisher.flush()
    await host.put("run-status", run="v_half", variant="log", token=token())
    await host.put("run-status", run="v_words", variant="log", stream="llm", token=token())
    log = host.page.locator("run-status[run=v_half]").get_by_role("log")
    await expect(log.locator(".line")).to_contain_text(["reading orders", "row 12 has no price"])
    await expect(log.locator(".line").nth(1)).to_have_attribute("data-level", "warning")
    words = host.page.locator("run-status[run=v_words]").get_by_role("log")
    await expect(words).to_have_text("What viewers see")
    run.stream("llm").write(", live")
    await expect(words).to_have_text("What viewers see, live")
    assert await words.get_attribute("aria-live") == "off"


async def test_a_log_waits_until_its_part_can_be_had(host: HostPage) -> None:
    """What shows logs is a file of its own: until it comes that is said, and it is asked for again."""
    await host.page.clock.install()
    await host.open()
    await host.page.route("**/runcast.views.*", lambda route: route.abort("connectionrefused"))
    async with host.page.expect_event("requestfailed"):
        await host.put("run-status", run="v_half", variant="log", token=token())
    log = host.page.locator("run-status").get_by_role("log")
    await expect(log).to_have_text("Connecting…")
    await host.page.unroute("**/runcast.views.*")
    await host.page.clock.fast_forward(10_000)
    await expect(log.locator(".line")).to_contain_text(["reading orders", "row 12 has no price"])
