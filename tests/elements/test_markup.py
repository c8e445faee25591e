"""A page's own markup for a run: what is bound is shown, as text, and nothing that a run says can do more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import expect

from tests.journeys.gateway_process import token

if TYPE_CHECKING:
    from gateway import Publisher
    from tests.elements.host_page import HostPage

pytestmark = pytest.mark.asyncio(loop_scope="package")

RUN: Final = {"id": "r", "taskIdentifier": "shop.export", "status": "EXECUTING", "createdAt": "2026-01-31T10:00:00Z"}
EVIL: Final = "<img src=x onerror=alert(1)>"
LINK: Final = "javascript:alert(1)"
EMPTY: Final = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

#: Elements as `[name, attributes, children]` are put into a <template>: the page's policy allows no markup from text.
_PUT: Final = """([tag, attributes, nodes]) => {
    const make = ([name, attributes, children = []]) => {
        const element = document.createElement(name);
        for (const each of Object.entries(attributes)) element.setAttribute(...each);
        element.append(...children.map(make));
        return element;
    };
    const element = make([tag, attributes]);
    const template = document.createElement("template");
    template.content.append(...nodes.map(make));
    element.append(template);
    document.querySelector("main").append(element);
}"""
_ATTRIBUTES: Final = "(element) => Object.fromEntries([...element.attributes].map(({ name, value }) => [name, value]))"


async def put(host: HostPage, *nodes: list[Any], **attributes: str) -> None:
    await host.page.evaluate(_PUT, ["run-status", attributes, nodes])


async def test_what_is_bound_is_shown_in_place_of_ours(host: HostPage, publisher: Publisher) -> None:
    """Words of ours and fields of the run, as text and in attributes; from a gateway, as it changes."""
    run = publisher.create("shop.export", id="t_1")
    run.start()
    run.set("step", {"name": "rows", "number": 3})
    publisher.flush()
    bound = [
        ["b", {"data-bind": "status"}],
        ["i", {"data-bind": "run.metadata.step.name"}],
        ["u", {"data-bind": "run.metadata.step"}],
        ["s", {"data-bind": "run.metadata.nothing.there"}],
        ["progress", {"max": "100", "data-bind-value": "percent", "data-bind-aria-label": "name"}],
    ]
    await put(host, *bound, run="t_1", token=token())
    shown = host.page.locator("run-status > [slot=custom]")
    await expect(shown).to_have_text('Runningrows{"name":"rows","number":3}')
    await expect(host.page.locator("run-status .frame")).to_be_hidden()
    progress = shown.locator("progress")
    await expect(progress).to_have_attribute("aria-label", "export")
    assert await progress.get_attribute("value") is None  # nobody knows how far it is
    run.progress(2, 3)
    await expect(progress).to_have_attribute("value", "66")
    run.set("step", None)
    await expect(shown.locator("i")).to_be_empty()
    assert await host.axe() == []


async def test_it_says_too_when_it_may_be_old(host: HostPage, publisher: Publisher) -> None:
    publisher.create("shop.export", id="t_2").start()
    publisher.flush()
    await put(host, ["b", {"data-bind": "status"}], run="t_2", token=token())
    text = host.page.locator("run-status > [slot=custom] b")
    await expect(text).to_have_text("Running")
    color = "(element) => getComputedStyle(element).color"
    before = await text.evaluate(color)
    await host.page.evaluate("() => document.querySelector('run-status').close()")
    await expect(host.page.locator("run-status .note")).to_contain_text("Not connected · as of")
    assert await text.evaluate(color) != before


async def test_until_something_is_known_the_content_of_the_page_stays(host: HostPage) -> None:
    await put(host, ["b", {"data-bind": "name"}])
    shown, ours = host.page.locator("run-status > [slot=custom]"), host.page.locator("run-status .frame")
    await expect(host.page.locator("run-status .fallback")).to_have_js_property("hidden", False)
    await expect(shown).to_have_count(0)
    await host.give("run-status", RUN)
    await expect(shown).to_have_text("export")
    await host.page.evaluate("() => document.querySelector('run-status > template').remove()")
    await host.give("run-status", RUN)
    await expect(shown).to_have_count(0)
    await expect(ours).to_be_visible()


async def test_ours_is_shown_as_long_as_what_fills_it_can_not_be_had(host: HostPage) -> None:
    """What fills templates is a file of its own: without it the element shows what it has, and asks again."""
    await host.page.clock.install()
    await host.open()
    await host.page.route("**/runcast.views.*", lambda route: route.abort("connectionrefused"))
    async with host.page.expect_event("requestfailed"):
        await put(host, ["b", {"data-bind": "name"}])
        await host.give("run-status", RUN)
    shown, ours = host.page.locator("run-status > [slot=custom]"), host.page.locator("run-status .frame")
    await expect(ours).to_be_visible()
    await host.page.unroute("**/runcast.views.*")
    await host.page.clock.fast_forward(10_000)
    await expect(shown).to_have_text("export")
    await expect(ours).to_be_hidden()


async def test_what_a_run_says_can_do_nothing(host: HostPage) -> None:
    """No markup, handler, script or style, no address that runs or loads something; nor is what is inherited shown."""
    bound = [
        ["b", {"data-bind": "run.metadata.evil", "data-bind-title": "run.metadata.evil"}],
        ["i", {"data-bind-onclick": "run.metadata.code", "data-bind-style": "run.metadata.style"}],
        ["iframe", {"data-bind-srcdoc": "run.metadata.evil", "data-bind-src": "run.metadata.link"}],
        ["img", {"data-bind-src": "run.metadata.web", "data-bind-alt": "run.metadata.evil"}],
        ["script", {"data-bind": "run.metadata.code", "type": "text/plain"}],
        ["style", {"data-bind": "run.metadata.style"}],
        ["base", {"data-bind-href": "run.metadata.web"}],
        ["a", {"data-bind": "run.constructor.name", "data-bind-href": "run.metadata.link"}],
        ["a", {"data-bind": "run.metadata.toString", "data-bind-href": "run.metadata.hidden"}],
        ["a", {"data-bind": "run.id", "data-bind-href": "run.metadata.web"}],
        ["a", {"data-bind": "run.id", "data-bind-href": "run.metadata.path"}],
    ]
    await put(host, *bound)
    said = {
        "evil": EVIL,
        "code": "alert(1)",
        "style": "*{display:none}",
        "link": LINK,
        "hidden": f"\t java\nscript:{LINK}",
    }
    web = {"web": "https://files.example/1", "path": "/files/1"}
    await host.give("run-status", RUN | {"metadata": said | web})
    shown = host.page.locator("run-status > [slot=custom]")
    await expect(shown.locator("b")).to_have_text(EVIL)
    assert await shown.locator("img[src], script:not([type])").count() == 0
    attributes = [await each.evaluate(_ATTRIBUTES) for each in await shown.locator("> *").all()]
    set_by_us = [{name: value for name, value in each.items() if f"data-bind-{name}" in each} for each in attributes]
    nothing: list[dict[str, str]] = [{}, {}]
    assert set_by_us == [
        {"title": EVIL},
        {},
        {},
        {"alt": EVIL},
        *(*nothing, {}),
        *nothing,
        {"href": web["web"]},
        {"href": web["path"]},
    ]
    texts = await shown.locator("script, style, a").all_text_contents()
    assert texts == ["", "", "", "", "r", "r"]
    # That the page has a <style> is against its own policy: it is complained of once, by the hash of nothing.
    assert [EMPTY in complaint for complaint in host.complaints] == [True]
    host.complaints.clear()
