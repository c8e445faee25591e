"""The page for iframes: what is in it, who may show it, and that it works in a sandbox in a real browser."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway.errors import BadInput
from gateway.transports.origins import Ancestors
from tests.gateway.serving import ServedGateway
from tests.journeys.browser import chromium, origin

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from gateway.web.assets import Assets
    from tests.redis_server import RedisServer

#: A page of somebody else: it shows the frame it is told to, hears what that says, and has another token when asked.
AROUND = """<!doctype html><title>A page</title><script>
const heard = [];
let token = "";
addEventListener("message", ({data, origin, source}) => {
  heard.push({...data, origin});
  if (data.type === "runcast:token" && token) source.postMessage({type: "runcast:token", token}, "*");
});
function show(url, sandbox) {
  const frame = document.createElement("iframe");
  if (sandbox !== null) frame.setAttribute("sandbox", sandbox);
  frame.referrerPolicy = "no-referrer";
  frame.src = url;
  document.body.append(frame);
}
</script>"""


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
    """The page around the frame, in a browser."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def show(self, url: str, sandbox: str | None) -> None:
        await self._page.evaluate("([url, sandbox]) => show(url, sandbox)", [url, sandbox])

    async def until(self, condition: str) -> list[dict[str, Any]]:
        """What it has heard when *condition* of it holds."""
        await self._page.wait_for_function(f"() => {condition}", timeout=20_000)
        found: list[dict[str, Any]] = json.loads(await self._page.evaluate("() => JSON.stringify(heard)"))
        return found


async def test_a_sandboxed_frame_of_another_site_shows_the_run_to_its_end(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """
    Without an origin, storage or cookies, with a token that ends: the page around it is asked for another one, and
    hears how high the frame is and how the run goes. Nothing breaks a policy; and a site that is not on the list shows
    nothing.
    """
    with origin(AROUND) as elsewhere:
        options = {"embed_origins": Ancestors.parse(elsewhere)}
        async with ServedGateway(redis_server, environment, **options) as gateway, chromium() as page:
            wrong: list[str] = []
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            # As servers, and what stands between, see them.
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
            page.on("request", lambda request: asked.append(request.headers.get("referer", "")))
            around = Around(page)
            await page.goto(elsewhere)
            run = await asyncio.to_thread(gateway.publisher.create, "export", id="run_1")
            await asyncio.to_thread(run.start)
            await page.evaluate("(another) => { token = another }", gateway.token(["read:runs:run_1"]))
            first = gateway.token(["read:runs:run_1"], expires="3s")
            url = f"{gateway.url}/embed/runs/run_1?origin={elsewhere}#token={first}"
            await around.show(url, "allow-scripts")
            await around.until('heard.some(({status}) => status === "EXECUTING")')
            # The second token is asked for, and what happens then is still told.
            heard = await around.until('heard.some(({type}) => type === "runcast:token")')
            await asyncio.to_thread(run.complete)
            heard = await around.until('heard.some(({status}) => status === "COMPLETED")')
            assert wrong == []
            with origin(AROUND) as not_listed:
                await page.goto(not_listed)
                async with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
                    await Around(page).show(url, None)

    assert {said["origin"] for said in heard} == {"null"}
    assert {said["run"] for said in heard} == {"run_1"}
    heights = [said["height"] for said in heard if said["type"] == "runcast:height"]
    assert all(height > 0 for height in heights)
    assert heights
    assert not any("eyJ" in json.dumps(said) for said in heard)
    assert any("/embed/runs/run_1" in text for text in asked)
    assert not any("eyJ" in text for text in asked)
