"""The page for iframes: what is in it, who may show it, how it looks, and what it says to the page around it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import expect

from gateway.errors import BadInput
from gateway.transports.origins import Ancestors
from tests.dashboard.visitor import AXE, picture
from tests.elements.progress_forms import FORMS
from tests.gateway.serving import ServedGateway
from tests.journeys.browser import chromium_browser, origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Frame, Page, Route

    from gateway import Publisher, Run
    from gateway.feeds import EnvironmentId
    from gateway.web.assets import Assets
    from tests.redis_server import RedisServer

#: A page of somebody else: it shows the frames it is told to, as high as they say they are, hears what they say, and
#: has another token when asked.
AROUND: Final = """<!doctype html><html lang="en"><title>A page</title><meta name="color-scheme" content="light dark">
<style>iframe { width: 22em; margin: 1em; border: 0; vertical-align: top }</style><main><h1>Exports</h1></main><script>
const heard = [], frames = [];
let token = "";
addEventListener("message", ({data, origin, source}) => {
  const from = frames.findIndex((frame) => frame.contentWindow === source);
  heard.push({...data, origin, from});
  if (data.type === "runcast:height") frames[from].height = data.height;
  if (data.type === "runcast:token" && token) source.postMessage({type: "runcast:token", token}, "*");
});
function show(url, sandbox, referrerPolicy) {
  const frame = document.createElement("iframe");
  if (sandbox !== null) frame.setAttribute("sandbox", sandbox);
  Object.assign(frame, {referrerPolicy, title: `Export ${frames.length}`, src: url});
  frames.push(frame);
  document.querySelector("main").append(frame);
  return frame;
}
function give(number, token) {
  frames[number].contentWindow.postMessage({type: "runcast:token", token}, "*");
}
// As another frame of the page would.
function giveFromBeside(number, token) {
  const beside = document.createElement("iframe");
  document.body.append(beside);
  beside.contentWindow.give = beside.contentWindow.Function("to", "message", "to.postMessage(message, '*')");
  beside.contentWindow.give(frames[number].contentWindow, {type: "runcast:token", token});
}
</script>"""
VARIANTS: Final = ("bar", "badge", "steps", "log", "compact")
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
#: The text of a page that says no colour of its own.
TEXT: Final = {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}

in_a_browser = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome() -> AsyncIterator[Browser]:
    """For all tests here."""
    async with chromium_browser() as browser:
        yield browser


async def test_the_page_is_made_of_files_that_are_what_they_should_be(
    browser: httpx2.AsyncClient, some_assets: Assets
) -> None:
    """With nothing inline, and nothing of a token, which only the fragment has."""
    answer = await browser.get("/embed/runs/run_1?theme=dark&variant=steps&lang=de")

    assert '<html lang="de" data-theme="dark">' in answer.text
    assert '<main data-run="run_1" data-variant="steps" data-src="/">' in answer.text
    for name in ("run-status.js", "embed.js"):
        asset = some_assets.find(name)
        assert asset is not None
        assert f'src="{asset.url}" integrity="{asset.integrity}" crossorigin="anonymous"' in answer.text
    assert "<style" not in answer.text
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "query", ["theme=%22%3E%3Cscript%3E", "variant=%3Cb%3E", "lang=%22%20onload=%22x", "lang=" + "x" * 99]
)
async def test_what_means_nothing_is_as_if_it_were_not_there(browser: httpx2.AsyncClient, query: str) -> None:
    """Nothing of the address is written into the page that was not known before."""
    assert (await browser.get(f"/embed/runs/run_1?{query}")).text == (await browser.get("/embed/runs/run_1")).text


async def test_a_runs_name_is_no_html(browser: httpx2.AsyncClient) -> None:
    """Whatever is in it; what can be no name is refused."""
    answer = await browser.get("/embed/runs/%3Cb%3E%26'")

    assert 'data-run="&lt;b&gt;&amp;&#x27;"' in answer.text
    assert (await browser.get("/embed/runs/a%22b")).status_code == 400


@pytest.mark.parametrize(
    ("text", "policy", "others"),
    [
        ("", "'none'", False),
        ("none", "'none'", False),
        ("self", "'self'", False),
        ("*", "*", True),
        (
            "self, https://App.example.com/, https://*.example.org",
            "'self' https://app.example.com https://*.example.org",
            True,
        ),
    ],
)
def test_who_may_show_it_is_a_list(text: str, policy: str, others: bool) -> None:
    """Spelled as policies spell it."""
    assert Ancestors.parse(text) == Ancestors(policy)
    assert Ancestors.parse(text).are_others is others


@pytest.mark.parametrize(
    "text", ["example.com", "https://a.example; script-src *", "none, self", "'self'", "https://a b"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    """A policy has room for much; a setting for origins only."""
    with pytest.raises(BadInput):
        Ancestors.parse(text)


async def test_pages_without_an_origin_are_let_in_where_others_may_embed(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Those of a sandboxed frame; pages of other origins are refused as before."""
    options = {"embed_origins": Ancestors.parse("https://app.example.com")}
    async with (
        ServedGateway(redis_server, environment, **options) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        words = {"authorization": f"Bearer {gateway.secret}"}
        opaque = await client.get("/v1/runs", headers={**words, "origin": "null"})
        app = await client.get("/v1/runs", headers={**words, "origin": "https://app.example.com"})

    assert (opaque.status_code, opaque.headers["access-control-allow-origin"]) == (200, "null")
    assert app.status_code == 403
    assert "access-control-allow-origin" not in app.headers


class Around:
    """The page around the frames, of a site that the gateway lets show its runs; one of them is at work."""

    def __init__(self, page: Page, url: str, gateway: ServedGateway, run: Run) -> None:
        self.page, self.url, self.gateway, self.run = page, url, gateway, run
        #: What broke a policy or did not work.
        self.wrong: list[str] = []
        #: What servers, and what stands between, see: addresses, and whom requests name as the page they come from.
        self.asked: list[str] = []
        self.frames: list[Frame] = []
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url.partition("#")[0]))
        page.on("request", lambda request: self.asked.append(request.headers.get("referer", "")))

    def token(self, run: str = "run_1", **options: Any) -> str:
        return self.gateway.token([f"read:runs:{run}"], **options)

    async def show(
        self, query: str, token: str = "", *, run: str = "run_1", sandboxed: bool = True, referrer: str = "no-referrer"
    ) -> Frame:
        """A frame with a run."""
        url = f"{self.gateway.url}/embed/runs/{run}?{query}" + (f"#token={token}" if token else "")
        sandbox = "allow-scripts" if sandboxed else None
        shown = await self.page.evaluate_handle("(all) => show(...all)", [url, sandbox, referrer])
        element = shown.as_element()
        frame = None if element is None else await element.content_frame()
        assert frame is not None
        self.frames.append(frame)
        return frame

    async def until(self, condition: str) -> list[dict[str, Any]]:
        """What it has heard when *condition* of it holds."""
        await self.page.wait_for_function(f"() => {condition}", timeout=60_000)
        found: list[dict[str, Any]] = json.loads(await self.page.evaluate("() => JSON.stringify(heard)"))
        return found

    async def heard_of(self, frame: Frame) -> list[str]:
        """What *frame* has said until now, by its type."""
        await frame.evaluate("() => parent.postMessage({type: 'until now'}, '*')")
        index = self.frames.index(frame)
        told = await self.until(f"heard.some(({{type, from}}) => type === 'until now' && from === {index})")
        return [said["type"] for said in told if said["from"] == index][:-1]

    async def violations(self) -> list[str]:
        """What axe finds in the frames."""
        for frame in (self.page.main_frame, *self.frames):
            if not await frame.evaluate("() => 'axe' in window"):
                await frame.evaluate(AXE.read_text(encoding="utf-8"))
                await frame.evaluate("() => axe.configure({allowedOrigins: ['<unsafe_all_origins>']})")
                # It takes what is behind a page for white, whatever the browser paints there.
                await frame.evaluate("() => { document.documentElement.style.background = 'Canvas'; }")
        found = await self.page.evaluate("() => axe.run()")
        good = [node["target"] for rule in found["passes"] for node in rule["nodes"]]
        assert len({target[0] for target in good if len(target) > 1}) == len(self.frames), "it did not look into all"
        bad = [(rule["id"], node["target"]) for rule in found["violations"] for node in rule["nodes"]]
        return [f"{rule}: {target}" for rule, target in bad if len(target) > 1]


@contextlib.asynccontextmanager
async def around(chrome: Browser, redis: RedisServer, environment: EnvironmentId) -> AsyncIterator[Around]:
    with origin(AROUND) as elsewhere:
        options = {"embed_origins": Ancestors.parse(elsewhere)}
        async with ServedGateway(redis, environment, **options) as gateway:
            # All of it can be seen: frames that can't be are not laid out.
            page = await chrome.new_page(viewport={"width": 900, "height": 1000}, reduced_motion="reduce")
            run = await asyncio.to_thread(gateway.publisher.create, "export", id="run_1")
            await asyncio.to_thread(run.start)
            shown = Around(page, elsewhere, gateway, run)
            await page.goto(elsewhere)
            yield shown
            await page.close()


@in_a_browser
async def test_a_sandboxed_frame_of_another_site_shows_the_run_to_its_end(
    chrome: Browser, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """
    Without an origin, storage or cookies, with a token that ends: the page around it is asked for another one, and
    hears how high the frame is, how the run goes, and how true that is. Nothing breaks a policy; and a site that is not
    on the list shows nothing.
    """
    async with around(chrome, redis_server, environment) as page:
        await page.page.evaluate("(another) => { token = another }", page.token())
        await page.show(f"origin={page.url}", page.token(expires="3s"))
        await page.until('heard.some(({status}) => status === "EXECUTING")')
        # The second token is asked for, and what happens then is still told.
        await page.until('heard.some(({type}) => type === "runcast:token")')
        await asyncio.to_thread(page.run.complete)
        heard = await page.until('heard.some(({state}) => state === "ended")')
        assert page.wrong == []
        with origin(AROUND) as not_listed:
            await page.page.goto(not_listed)
            async with page.page.expect_event("console", lambda message: "frame-ancestors" in message.text):
                await page.show("")

    assert {said["origin"] for said in heard} == {"null"}
    assert {said["run"] for said in heard} == {"run_1"}
    heights = [said["height"] for said in heard if said["type"] == "runcast:height"]
    assert all(height > 0 for height in heights)
    assert heights
    told = [(said["status"], said["percent"]) for said in heard if said["type"] == "runcast:status"]
    assert told == [("EXECUTING", None), ("COMPLETED", 100)]
    connections = [(said["state"], said["asOf"]) for said in heard if said["type"] == "runcast:connection"]
    assert connections[0] == ("connecting", None)
    assert {"live", "ended"} <= {state for state, _ in connections}
    assert all(as_of for state, as_of in connections if state in ("live", "ended"))
    assert not any("eyJ" in json.dumps(said) for said in heard)
    assert any("/embed/runs/run_1" in text for text in page.asked)
    assert not any("eyJ" in text for text in page.asked)


@in_a_browser
async def test_frames_look_as_they_are_asked_to_and_are_as_high_as_they_are(
    chrome: Browser, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """
    Every variant, in a theme or as the browser likes it. The page hears what a frame needs, also when that changes:
    then nothing of it is cut off. axe finds nothing in light and dark.
    """
    names = (*VARIANTS, *SCHEMES)
    async with around(chrome, redis_server, environment) as page:
        runs = await asyncio.to_thread(at_work, page.gateway.publisher, names)
        queries = {name: "theme" if name in SCHEMES else "variant" for name in names}
        frames = {name: await page.show(f"{queries[name]}={name}", page.token(name), run=name) for name in names}
        for name, frame in frames.items():
            variant = name if name in VARIANTS else "bar"
            await expect(frame.locator(f"run-status[variant={variant}] .status")).to_have_text("Running")
        await expect(frames["log"].locator(".line")).to_contain_text("row 12 has no price")
        low = await height_of(frames["bar"])
        for run in runs:
            await asyncio.to_thread(run.fail, ValueError("no space left, " * 9))
        for frame in frames.values():
            await expect(frame.locator(".status")).to_have_text("Failed")
            await height_of(frame)
        assert await height_of(frames["bar"]) > low
        assert page.wrong == []
        for scheme in SCHEMES:
            await page.page.emulate_media(color_scheme=scheme)
            colours = {name: await colour_of(frame) for name, frame in frames.items()}
            assert colours == dict.fromkeys(VARIANTS, TEXT[scheme]) | TEXT
            await picture(page.page, f"embed-{scheme}")
            assert (scheme, await page.violations()) == (scheme, [])


def at_work(publisher: Publisher, names: tuple[str, ...]) -> list[Run]:
    """Runs of these names, with some progress and a line of their logs."""
    runs = [publisher.create("export", id=name) for name in names]
    for run in runs:
        run.start()
        run.progress(42, 100, "writing rows")
        run.log("row 12 has no price", level="warning")
    publisher.flush()
    return runs


async def height_of(frame: Frame) -> int:
    """As its page has made it, when there is room for all of it."""
    await frame.wait_for_function("() => document.documentElement.scrollHeight <= innerHeight")
    height: int = await frame.evaluate("() => innerHeight")
    return height


async def colour_of(frame: Frame) -> str:
    found: str = await frame.locator("main").evaluate("(main) => getComputedStyle(main).color")
    return found


@in_a_browser
async def test_a_frame_talks_to_one_page(
    chrome: Browser, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """
    To that of `?origin=`, and without it to the one that the browser names, in either way; where it names none, to
    nobody. What another says, or somebody else in the page, is not heard. And a fragment that changes is a token.
    """
    async with around(chrome, redis_server, environment) as page:
        mine, hiding = page.token(), page.token(skip_columns=["metadata"])
        await asyncio.to_thread(page.run.progress, 42, 100)

        # Its token comes from the page, and not from another frame of it.
        anybody = await page.show("origin=*")
        await page.until("heard.some(({type}) => type === 'runcast:token')")
        await page.page.evaluate("(token) => giveFromBeside(0, token)", hiding)
        await page.page.evaluate("(token) => give(0, token)", mine)
        await expect(anybody.locator(".detail")).to_have_text("42% · 42 of 100")

        # To a page elsewhere the browser lets nothing through. A token from here is not taken; one in the fragment is.
        elsewhere = await page.show("origin=https://elsewhere.example")
        await elsewhere.evaluate("() => addEventListener('message', ({data}) => { window.came = data; })")
        await page.page.evaluate("(token) => give(1, token)", hiding)
        await elsewhere.wait_for_function("() => window.came")
        await page.page.evaluate("(token) => { frames[1].src += `#token=${token}`; }", mine)
        await expect(elsewhere.locator(".detail")).to_have_text("42% · 42 of 100")
        assert await elsewhere.evaluate("() => window.came.type") == "runcast:token"
        assert await page.heard_of(elsewhere) == []

        named = await page.show("", mine)
        await expect(named.locator(".status")).to_have_text("Running")
        assert "runcast:status" in await page.heard_of(named)
        await page.page.route(re.compile(r"/embed"), says_no_ancestors)
        for referrer, hears in (("origin", True), ("no-referrer", False)):
            old = await page.show("", mine, sandboxed=False, referrer=referrer)
            await expect(old.locator(".status")).to_have_text("Running")
            assert ("runcast:status" in await page.heard_of(old)) is hears
        await page.page.unroute_all()


async def says_no_ancestors(route: Route) -> None:
    """What a file of ours is in a browser that does not know `location.ancestorOrigins`."""
    answer = await route.fetch()
    text = re.sub(r' integrity="[^"]*"', "", await answer.text()).replace("ancestorOrigins", "ancestorsOfNobody")
    kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-encod")}
    await route.fulfill(status=answer.status, headers=kept, body=text)


@in_a_browser
async def test_a_frame_says_how_far_the_run_is_in_whatever_form(
    chrome: Browser, redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """As the elements understand it."""
    async with around(chrome, redis_server, environment) as page:
        await page.show("origin=*", page.token())
        for progress, percent in FORMS[:8]:
            await asyncio.to_thread(page.run.set, "progress", progress)
            await page.until(f"heard.findLast(({{status}}) => status)?.percent === {json.dumps(percent)}")
