"""How a page uses the elements: attributes, properties, events, slots; and what is the page's stays so."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from gateway.feeds import EnvironmentId
from gateway.store.redis_keys import run_key
from tests.elements.progress_forms import FORMS
from tests.journeys.gateway_process import ENVIRONMENT, token
from tests.journeys.model import PATIENCE_SECONDS

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.elements.host_page import HostPage
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="package")

RUN = {"id": "r", "taskIdentifier": "export", "status": "EXECUTING", "createdAt": "2026-01-31T10:00:00Z"}
#: The last update, and everything else in few words.
_TOLD = """() => ({
    update: told.update.map(([id, { run }]) => [id, run?.status]).at(-1),
    end: told.end.map(([id, { run, status }]) => [id, status, run.output]),
    error: told.error.map(([id, { code }]) => [id, code]),
    states: told.connection.filter(([id]) => id === "good").map(([, { state }]) => state),
})"""


async def test_a_token_comes_from_the_backend_of_the_page(host: HostPage, publisher: Publisher) -> None:
    publisher.create("export", id="u_1").start()
    publisher.flush()
    await host.page.context.add_cookies([{"name": "session", "value": "1", "url": host.url}])
    await host.put("run-status", run="u_1", token_url="/token")
    await expect(host.page.locator("run-status .status")).to_have_text("Running")


async def test_what_is_followed_may_be_tags_a_task_or_all_of_some_age(
    host: HostPage, publisher: Publisher, redis: RedisServer
) -> None:
    """
    Of runs that carry all of several tags it is said how many have finished; those of a task, which has no end, are
    counted. What is older than `since` is not there, and `limit` are the newest.
    """
    for number in range(4):
        run = publisher.create("followed", id=f"f_{number}", tags=["f_even", "f_odd"][number % 2 :])
        if number < 3:
            run.complete()
    publisher.flush()
    with redis.client() as client:
        long_ago = int((time.time() - 2 * 3600) * 1000)
        client.hset(run_key(EnvironmentId(ENVIRONMENT), "f_2"), "_created", long_ago)
    await host.put("run-status", tag="f_odd", token=token(), id="tag")
    await host.put("run-status", tag="f_odd,f_even", token=token("read:tags:f_even"), id="tags")
    await host.put("run-status", task="followed", token=token("read:tasks:followed"), id="task")
    await host.put("run-list", task="followed", token=token(), id="tasks")
    await host.put("run-list", all="", since="1h", limit="3", token=token(), id="all")
    await expect(host.page.locator("#tag .status")).to_have_text("3 of 4 finished")
    await expect(host.page.locator("#tags .status")).to_have_text("2 of 2 finished")
    await expect(host.page.locator("#tags [role=progressbar]")).to_have_attribute("aria-valuenow", "100")
    await expect(host.page.locator("#task .status")).to_have_text("1 waiting · 3 completed")
    await expect(host.page.locator("#task [role=progressbar]")).to_have_count(0)
    await expect(host.page.locator("#tasks .rows .id")).to_have_text(["f_3", "f_2", "f_1", "f_0"])
    await expect(host.page.locator("#all .rows .id")).to_have_text(["f_3", "f_1", "f_0"])
    publisher.run("f_3").complete()
    publisher.create("followed", id="f_4", tags=["f_odd"]).start()
    await expect(host.page.locator("#tag .status")).to_have_text("4 of 5 finished")
    await expect(host.page.locator("#task .status")).to_have_text("1 running · 4 completed")
    await expect(host.page.locator("#all .rows .id")).to_have_text(["f_4", "f_3", "f_1"])


async def test_a_property_that_was_set_before_the_element_was_defined_counts(
    host: HostPage, publisher: Publisher
) -> None:
    publisher.create("export", id="u_2").start()
    publisher.flush()
    script = """(token) => {
        const early = document.implementation.createHTMLDocument("").createElement("run-status");
        early.getToken = async () => ({ token });
        early.setAttribute("run", "u_2");
        document.querySelector("main").append(early);
    }"""
    await host.page.evaluate(script, token())
    await expect(host.page.locator("run-status .status")).to_have_text("Running")
    assert await host.page.evaluate("() => Object.hasOwn(document.querySelector('run-status'), 'getToken')") is False


async def test_a_page_hears_what_happens(host: HostPage, publisher: Publisher) -> None:
    """At the document, with a target inside: the events bubble, and leave shadow trees."""
    await host.page.evaluate("""() => {
        window.told = { update: [], end: [], error: [], connection: [] };
        for (const [name, list] of Object.entries(told)) {
            document.addEventListener(`run-${name}`, ({ detail, target }) => list.push([target.id, detail]));
        }
    }""")
    run = publisher.create("export", id="u_3")
    run.start()
    publisher.flush()
    await host.put("run-status", run="u_3", token=token(), id="good")
    await host.put("run-status", run="u_3", token=token("read:runs:another"), id="bad")
    await expect(host.page.locator("#good .status")).to_have_text("Running")
    await expect(host.page.locator("#bad .note")).to_contain_text("Access denied")
    run.progress(1, 2)
    run.complete({"rows": 7})
    await expect(host.page.locator("#good .status")).to_have_text("Completed")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (told := await host.page.evaluate(_TOLD))["update"] != ["good", "COMPLETED"]:
            await asyncio.sleep(0.05)  # it is told with the next animation frame
    assert told["end"] == [["good", "COMPLETED", {"rows": 7}]]
    assert told["error"] == [["bad", "not_allowed"]]
    assert "live" in told["states"]
    data = await host.page.evaluate("() => document.querySelector('#good').data.output")
    assert data == {"rows": 7}


async def test_what_a_page_knows_needs_no_gateway(host: HostPage) -> None:
    """One run or several, set by the page, as often as it likes."""
    await host.put("run-status", variant="compact")
    await host.give("run-status", RUN)
    await expect(host.page.locator("run-status .status")).to_have_text("Running")
    await host.give("run-status", RUN | {"status": "COMPLETED"})
    await expect(host.page.locator("run-status .status")).to_have_text("Completed")
    await host.give("run-status", [RUN, RUN | {"id": "s", "status": "FAILED"}])
    await expect(host.page.locator("run-status .status")).to_have_text("1 of 2 finished")
    await expect(host.page.locator("run-status .detail")).to_have_text("1 running · 1 failed")


async def test_content_of_the_page_stands_around_the_run(host: HostPage) -> None:
    """What a server rendered stays until something is known; the rest comes when it is its turn."""
    await host.put("run-status", content="Running, said the server")
    await host.page.evaluate("""() => {
        for (const slot of ["before", "after", "done", "failed"]) {
            const text = Object.assign(document.createElement("p"), { slot, textContent: slot });
            document.querySelector("run-status").append(text);
        }
    }""")

    async def shown() -> list[str]:
        texts: list[str] = await host.page.locator("run-status p").all_inner_texts()
        visible = [await each.is_visible() for each in await host.page.locator("run-status p").all()]
        return [text for text, is_visible in zip(texts, visible, strict=True) if is_visible]

    fallback = host.page.locator("run-status .fallback")
    await expect(fallback).to_be_visible()
    assert await shown() == ["before", "after"]
    await host.give("run-status", RUN)
    await expect(fallback).to_be_hidden()
    assert await shown() == ["before", "after"]
    await host.give("run-status", RUN | {"status": "COMPLETED"})
    assert await shown() == ["before", "after", "done"]
    await host.give("run-status", RUN | {"status": "TIMED_OUT"})
    assert await shown() == ["before", "after", "failed"]


async def test_with_forced_colors_the_bar_can_still_be_read(host: HostPage) -> None:
    """Backgrounds are taken away then; the bar keeps a border, and a filling of the system's colours."""
    await host.page.emulate_media(forced_colors="active")
    await host.put("run-status", variant="bar")
    await host.give("run-status", RUN | {"metadata": {"progress": {"percent": 25}}})
    style = "(part, name) => getComputedStyle(part)[name]"
    track, fill = (host.page.locator(f"run-status {part}") for part in (".bar", ".fill"))
    assert await track.evaluate(style, "borderTopWidth") == "1px"
    assert await fill.evaluate(style, "backgroundColor") != await track.evaluate(style, "backgroundColor")


async def test_what_the_author_says_of_the_element_holds(host: HostPage) -> None:
    """Role, name, tabindex and `hidden` are the page's; without them it is a group with the name of the run."""
    await host.put("run-status", role="region", tabindex="-1", aria_label="Mine", id="mine")
    await host.put("run-status", id="ours")
    await host.put("run-status", hidden="", id="hidden")
    for name in ("mine", "ours", "hidden"):
        await host.give(f"#{name}", RUN)
    assert {("group", "export"), ("region", "Mine")} <= await accessible(host)
    attributes = "(element) => element.getAttributeNames()"
    assert await host.page.locator("#mine").evaluate(attributes) == ["role", "tabindex", "aria-label", "id"]
    assert await host.page.locator("#ours").evaluate(attributes) == ["id"]
    await expect(host.page.locator("#hidden")).to_be_hidden()


async def accessible(host: HostPage) -> set[tuple[str, str]]:
    """What the browser tells a screen reader: roles and names."""
    session = await host.page.context.new_cdp_session(host.page)
    tree = await session.send("Accessibility.getFullAXTree")
    named = [node for node in tree["nodes"] if "role" in node and "name" in node]
    return {(node["role"]["value"], node["name"]["value"]) for node in named}


async def test_a_page_styles_it_by_properties_parts_and_states(host: HostPage) -> None:
    await host.page.evaluate("""() => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(`
            run-status { --run-status-color-working: rgb(1, 2, 3); --run-status-bar-height: 20px; }
            run-status::part(label) { color: rgb(4, 5, 6); }
            run-status:state(working) { outline: 7px solid; }
        `);
        document.adoptedStyleSheets = [sheet];
    }""")
    await host.put("run-status", variant="bar")
    await host.give("run-status", RUN)
    style = "(part, name) => getComputedStyle(part)[name]"
    found: list[Any] = [
        await host.page.locator(f"run-status {part}".strip()).evaluate(style, name)
        for part, name in ((".status", "color"), (".bar", "height"), (".label", "color"), ("", "outlineWidth"))
    ]
    assert found == ["rgb(1, 2, 3)", "20px", "rgb(4, 5, 6)", "7px"]


async def test_closed_it_says_so_and_refresh_follows_again(host: HostPage, publisher: Publisher) -> None:
    run = publisher.create("export", id="u_4")
    run.start()
    publisher.flush()
    await host.put("run-status", run="u_4", token=token())
    status, note = (host.page.locator(f"run-status {part}") for part in (".status", ".note"))
    await expect(status).to_have_text("Running")
    await host.page.evaluate("() => document.querySelector('run-status').close()")
    await expect(note).to_contain_text("Not connected · as of")
    run.complete()
    publisher.flush()
    await host.page.evaluate("() => document.querySelector('run-status').refresh()")
    await expect(status).to_have_text("Completed")
    await expect(note).to_be_hidden()


async def test_who_follows_nothing_is_told_why(host: HostPage) -> None:
    """With a token but nothing to follow, the console says what is missing; without one the page may have the data."""
    await host.put("run-status", id="quiet")
    async with host.page.expect_console_message() as told:
        await host.put("run-status", ruin="r", token_url="/token")
    message = await told.value
    assert message.type == "warning"
    assert "none of run,tag,batch,task,all" in message.text


async def test_another_run_is_shown_when_the_attribute_says_so(host: HostPage, publisher: Publisher) -> None:
    publisher.create("export", id="u_5").start()
    publisher.create("import", id="u_6").complete()
    publisher.flush()
    await host.put("run-status", run="u_5", token=token())
    await expect(host.page.locator("run-status .label")).to_have_text("export")
    await host.page.evaluate("() => document.querySelector('run-status').setAttribute('run', 'u_6')")
    await expect(host.page.locator("run-status .label")).to_have_text("import")
    await expect(host.page.locator("run-status .status")).to_have_text("Completed")


async def test_what_a_run_says_is_never_markup(host: HostPage) -> None:
    evil = "<img src=x onerror=alert(1)>"
    await host.put("run-status", variant="steps")
    await host.give(
        "run-status",
        RUN
        | {"taskIdentifier": evil, "error": {"name": evil, "message": evil}, "status": "FAILED"}
        | {"metadata": {"progress": {"text": evil}, "stages": [evil], "stage": evil}},
    )
    await expect(host.page.locator("run-status .error")).to_have_text(f"{evil}: {evil}")
    await expect(host.page.locator("run-status img")).to_have_count(0)


async def test_progress_is_what_the_run_says_in_whatever_form(host: HostPage) -> None:
    """
    Rounded down; what can't be understood is not shown, and no bar is fuller than full. In a list, too.
    """
    runs = [RUN | {"id": f"{number}", "metadata": {"progress": progress}} for number, (progress, _) in enumerate(FORMS)]
    await host.put("run-list")
    await host.give("run-list", runs)
    bars = host.page.locator("run-list .rows .bar")
    await expect(bars).to_have_count(len(FORMS))
    filled = """(rows) => rows.map((row) => [row.querySelector(".id").textContent, row.querySelector(".bar").hidden
        ? null : parseFloat(row.querySelector(".fill").style.inlineSize)])"""
    shown = dict(await host.page.locator("run-list .rows .row").evaluate_all(filled))
    assert shown == {f"{number}": percent for number, (_, percent) in enumerate(FORMS)}
    await host.put("run-status", variant="bar")
    bar, detail = host.page.locator("run-status [role=progressbar]"), host.page.locator("run-status .detail")
    words = {3: "5 of 0", 4: "99%", 5: "", 9: "1.5 · pages", 10: "40% · 1 of 2"}
    for number, (progress, percent) in enumerate(FORMS):
        await host.give("run-status", RUN | {"taskIdentifier": f"task_{number}", "metadata": {"progress": progress}})
        await expect(host.page.locator("run-status .label")).to_have_text(f"task_{number}")
        value = await bar.get_attribute("aria-valuenow")
        assert value == (None if percent is None else f"{int(percent)}"), progress
        if number in words:
            await expect(detail).to_have_text(words[number])
