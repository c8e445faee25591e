"""The dashboard holds no secret longer than its tab, and not in any place but the tab's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import expect

from tests.journeys.gateway_process import SECRET, token

if TYPE_CHECKING:
    from playwright.async_api import Page

    from gateway import Publisher
    from tests.dashboard.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: Everything that a page can leave behind, apart from the storage of its tab.
LEFT: Final = """async () => JSON.stringify({
    local: {...localStorage}, cookie: document.cookie, state: history.state, name: window.name,
    address: location.href, title: document.title, text: document.body.innerHTML,
    databases: await indexedDB.databases(), caches: await caches.keys(),
    workers: (await navigator.serviceWorker.getRegistrations()).length,
    entries: performance.getEntries().map(({name}) => name),
})"""
#: What pages say to other tabs, and which locks they ask for, which other tabs can see the names of.
OVERHEARD: Final = """(() => {
    window.channels_ = [];
    const Channel = BroadcastChannel;
    window.BroadcastChannel = class extends Channel { constructor(name) { super(name); channels_.push(name); } };
    const locks = navigator.locks, request = locks?.request;
    if (locks) locks.request = (...asked) => { channels_.push(asked[0]); return request.apply(locks, asked); };
})()"""


async def test_the_key_is_in_the_storage_of_the_tab_and_nowhere_else(visitor: Visitor, publisher: Publisher) -> None:
    """Not in an address, the history, the console, what is told other tabs, or what outlives the tab."""
    publisher.create("export", id="secret_1")
    page = visitor.page
    await page.add_init_script(OVERHEARD)
    await visitor.sign_in(SECRET, "/runs/secret_1")
    await visitor.is_live()
    assert await page.evaluate("JSON.stringify({...sessionStorage})") == json.dumps(
        {"runcast.credential": SECRET}, separators=(",", ":")
    )
    await page.get_by_role("link", name="Runs", exact=True).click()
    await visitor.is_live()
    await page.keyboard.press("g")
    await expect(visitor.card("Redis")).to_be_visible()
    assert SECRET not in await page.evaluate(LEFT)
    assert await page.evaluate("channels_") == []
    assert not [text for text in [*visitor.console, *visitor.addresses] if SECRET in text]


async def test_another_tab_is_not_signed_in_and_a_reload_is(visitor: Visitor) -> None:
    """Neither one that is opened by hand, nor one from a link, nor one that comes after the first was closed."""
    page = visitor.page
    await visitor.sign_in(SECRET)
    await page.reload()
    await visitor.is_live()
    await asks_who_it_is(await page.context.new_page(), visitor.url)
    async with page.context.expect_page() as opening:
        await page.get_by_role("link", name="Runs", exact=True).click(modifiers=["ControlOrMeta"])
    await expect((await opening.value).get_by_label("Secret key or token")).to_be_visible()
    context = page.context
    await page.close()
    await asks_who_it_is(await context.new_page(), visitor.url)


async def asks_who_it_is(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.get_by_label("Secret key or token")).to_be_visible()
    await page.close()


async def test_a_token_that_came_by_a_link_is_not_in_the_history(visitor: Visitor, publisher: Publisher) -> None:
    publisher.create("export", id="secret_2")
    linked = token("read:runs:secret_2")
    await visitor.go(f"/runs/secret_2#token={linked}")
    await visitor.is_live()
    assert linked not in await visitor.page.evaluate("location.href + JSON.stringify(history.state)")
    shown = await visitor.page.evaluate("[document.body.innerHTML, ...performance.getEntries().map(({name}) => name)]")
    assert not [text for text in shown[:1] if linked in text]
    devtools = await visitor.page.context.new_cdp_session(visitor.page)
    entries = (await devtools.send("Page.getNavigationHistory"))["entries"]
    assert [entry["url"] for entry in entries][-1] == f"{visitor.url}/runs/secret_2"
    assert not [entry for entry in entries if linked in entry["url"]]


async def test_nothing_is_left_after_signing_out(visitor: Visitor, publisher: Publisher) -> None:
    """Whoever goes back or forward after that sees the question who they are, at every address."""
    publisher.create("export", id="secret_3")
    page = visitor.page
    await visitor.sign_in(SECRET)
    await page.get_by_role("link", name="Gateway").click()
    await expect(visitor.card("Redis")).to_be_visible()
    await visitor.page.evaluate("history.pushState(null, '', '/runs/secret_3')")
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("export queued")
    await page.get_by_role("button", name="Sign out").click()
    field = page.get_by_label("Secret key or token")
    await expect(field).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0
    for _ in range(3):
        await page.go_back()
        await expect(field).to_be_visible()
        await expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        assert "secret_3" not in await page.locator("body").inner_text()
    await page.go_forward()
    await expect(field).to_be_visible()


async def test_a_page_that_the_browser_kept_shows_nothing_to_who_is_not_signed_in(visitor: Visitor) -> None:
    """
    A browser may keep a page that is left as it was, and show it again. That is told here as the browser tells it:
    under the tool that drives it this one keeps none.
    """
    page = visitor.page
    await visitor.sign_in(SECRET, "/gateway")
    await expect(visitor.card("Redis")).to_be_visible()
    shown_again = "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    await page.evaluate(f"window.kept_ = true; {shown_again}")
    await expect(visitor.card("Redis")).to_be_visible()
    assert await page.evaluate("window.kept_")
    await page.evaluate(f"sessionStorage.clear(); {shown_again}")
    await expect(page.get_by_label("Secret key or token")).to_be_visible()
    await expect(visitor.card("Redis")).to_have_count(0)


async def test_pages_run_nothing_but_ours_and_stand_in_no_frame(visitor: Visitor) -> None:
    """So says their policy, on each of them; that they keep it is looked at after every test here."""
    for path in ("/", "/runs/some", "/batches/some", "/gateway"):
        answer = await visitor.page.goto(visitor.url + path)
        assert answer is not None
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
