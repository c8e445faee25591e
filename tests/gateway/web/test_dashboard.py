"""The page that is the dashboard: at each of its addresses, with nothing in it that a policy would have to allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from gateway.web.assets import Assets
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.mark.parametrize("path", ["/", "/?status=FAILED", "/runs/run_1", "/runs/a%2Fb", "/batches/batch_1", "/gateway"])
async def test_each_address_has_the_same_page(browser: httpx2.AsyncClient, some_assets: Assets, path: str) -> None:
    """It finds its script and style under their hashes."""
    answer = await browser.get(path)

    script = some_assets.find("dashboard.js")
    assert script is not None
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<script src="{script.url}" integrity="{script.integrity}">' in answer.text
    assert "%" not in answer.text


async def test_the_page_runs_nothing_but_ours_and_stands_in_no_frame(browser: httpx2.AsyncClient) -> None:
    """It holds a secret key while it is open."""
    answer = await browser.get("/")

    host = str(browser.base_url).removeprefix("http://").rstrip("/")
    policy = dict(directive.split(" ", 1) for directive in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": f"'self' ws://{host} wss://{host}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["a.example; script-src *", "a.example,b.example", "'self'"])
async def test_a_host_that_is_none_is_not_part_of_the_policy(browser: httpx2.AsyncClient, host: str) -> None:
    """What a client says of itself opens nothing."""
    answer = await browser.get("/", headers={"host": host})

    if answer.status_code == 200:  # else the server refused it before
        assert "connect-src 'self';" in answer.headers["content-security-policy"]


async def test_our_own_pages_may_talk_to_us_from_wherever_we_are(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Browsers name their origin, and no list has to; another page's is still refused."""
    async with (
        ServedGateway(redis_server, environment) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        words = {"authorization": f"Bearer {gateway.secret}"}
        own = await client.get("/v1/runs", headers={**words, "origin": gateway.url})
        other = await client.get("/v1/runs", headers={**words, "origin": "https://other.example"})
        port = await client.get("/v1/runs", headers={**words, "origin": "http://127.0.0.1:1"})
        opaque = await client.get("/v1/runs", headers={**words, "origin": "null"})

    assert [answer.status_code for answer in (own, other, port, opaque)] == [200, 403, 403, 403]


async def test_what_was_not_built_is_said(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Everything else is served without it."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("gateway.web.routes.shipped", lambda: Assets({}))
        async with (
            ServedGateway(redis_server, environment) as gateway,
            httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
        ):
            page, embedded = await client.get("/"), await client.get("/embed/runs/run_1")
            listed, badge = await client.get("/_/v1/assets.json"), await client.get("/badge/runs/run_1.svg")

    assert [page.status_code, embedded.status_code] == [404, 404]
    assert "make assets" in page.json()["detail"]
    assert (listed.json(), badge.status_code) == ({}, 200)
