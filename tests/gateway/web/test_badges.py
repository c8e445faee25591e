"""Badges of runs: what they say, to whom, and what proxies of images are told about keeping them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import httpx2
import pytest

from gateway.web import badges
from tests.gateway.serving import ServedGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def gateway(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[ServedGateway]:
    async with ServedGateway(redis_server, environment) as gateway:
        gateway.publisher.create("export", id="run_1", tags=["customer:7"]).start()
        gateway.publisher.run("run_1").progress(45, 100)
        yield gateway


@pytest.fixture
async def browser(gateway: ServedGateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        yield client


async def badge(browser: httpx2.AsyncClient, path: str, **query: str) -> dict[str, Any]:
    """A badge as Shields reads it."""
    answer = await browser.get(path, params=query)
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


async def test_a_run_says_how_far_it_is(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """Its task, its status in a word, and its progress while it is running."""
    token = gateway.token(["read:runs:run_1"])

    assert await badge(browser, "/badge/runs/run_1.json", token=token) == {
        "schemaVersion": 1,
        "label": "export",
        "message": "running 45%",
        "color": "#0969da",
        "isError": False,
        "cacheSeconds": 300,
    }

    gateway.publisher.run("run_1").complete()

    assert (await badge(browser, "/badge/runs/run_1.json", token=token))["message"] == "completed"


async def test_a_picture_says_the_same(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """It may be opened by itself, and then runs and loads nothing."""
    answer = await browser.get("/badge/runs/run_1.svg", params={"token": gateway.token(["read:runs:run_1"])})

    assert answer.headers["content-type"] == "image/svg+xml; charset=utf-8"
    assert ET.fromstring(answer.content).attrib["aria-label"] == "export: running 45%"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_proxies_of_images_ask_again_each_time(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """With what GitHub's needs for that; and are told when nothing has changed."""
    query = {"token": gateway.token(["read:runs:run_1"])}
    first = await browser.get("/badge/runs/run_1.svg", params=query)
    again = await browser.get("/badge/runs/run_1.svg", params=query, headers={"if-none-match": first.headers["etag"]})
    gateway.publisher.run("run_1").complete()
    changed = await browser.get("/badge/runs/run_1.svg", params=query, headers={"if-none-match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache, max-age=0"
    assert first.headers["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200


async def test_runs_are_counted_by_what_they_do(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """Those of a tag, a task, a batch; one that failed is what matters most."""
    publisher = gateway.publisher
    token = gateway.token({"read": {"tags": ["customer:7"], "tasks": ["export"], "batch": ["batch_1"]}})
    for number in (2, 3):
        publisher.create("export", id=f"run_{number}", tags=["customer:7"], batch="batch_1").start()
        publisher.run(f"run_{number}").complete()
    counted = await badge(browser, "/badge/tags/customer:7.json", token=token)

    assert (counted["label"], counted["message"]) == ("customer:7", "1 running, 2 completed")
    assert counted["color"] == "#0969da"
    assert (await badge(browser, "/badge/batches/batch_1.json", token=token))["message"] == "2 completed"

    publisher.run("run_1").fail("no space left")
    counted = await badge(browser, "/badge/tasks/export.json", token=token)

    assert (counted["message"], counted["color"]) == ("1 failed, 2 completed", "#cf222e")


async def test_the_latest_run_can_stand_for_all(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """As of a task that runs every night."""
    gateway.publisher.create("nightly", id="run_a").fail("broken")
    gateway.publisher.create("nightly", id="run_b").complete()

    told = await badge(browser, "/badge/tasks/nightly.json", show="latest", token=gateway.token(["read:tasks:nightly"]))

    assert (told["label"], told["message"]) == ("nightly", "completed")


async def test_a_count_of_some_says_so(
    gateway: ServedGateway, browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there are more runs than are looked at."""
    monkeypatch.setattr(badges, "MOST_COUNTED", 2)
    for number in range(3):
        gateway.publisher.create("many", id=f"many_{number}")

    told = await badge(browser, "/badge/tasks/many.json", token=gateway.token(["read:tasks:many"]))

    assert told["message"] == "2 waiting of the newest 2"


async def test_a_label_of_ones_own_is_no_more_than_that(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """Whatever is in it."""
    query = {"label": '"><script>', "token": gateway.token(["read:runs:run_1"])}
    answer = await browser.get("/badge/runs/run_1.svg", params=query)

    assert ET.fromstring(answer.content).attrib["aria-label"] == '"><script>: running 45%'


#: Path, token, and the code of what was wrong.
UNKNOWN = [
    ("/badge/runs/run_1.json", None, "not_authenticated"),
    ("/badge/runs/run_1.json", "nonsense", "token_invalid"),
    ("/badge/runs/run_1.json", "of another run", "not_allowed"),
    ("/badge/runs/run_1.json", "expired", "token_expired"),
    ("/badge/runs/run_1.json", "one-time", "token_used"),
    ("/badge/runs/run_2.json", "of another run", None),
    ("/badge/runs/a%20b.json", "of another run", "bad_feed"),
    ("/badge/tags/%FF.json", "of another run", "not_allowed"),
]


async def test_what_can_not_be_said_is_a_grey_badge(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """For a picture in a page an error is of no use; the reason is there for who looks for it."""
    tokens = {
        "of another run": gateway.token(["read:runs:run_2"]),
        "expired": gateway.token(["read:runs:run_1"], now=1_000_000_000.0),
        "one-time": gateway.token(["read:runs:run_1"], one_time=True),
    }
    for path, token, reason in UNKNOWN:
        answer = await browser.get(path, params={} if token is None else {"token": tokens.get(token, token)})

        assert answer.status_code == 200
        assert answer.json()["message"] == "unknown"
        assert answer.json()["isError"] is True
        assert answer.headers.get("runcast-refusal") == reason, path
        assert "etag" in answer.headers


async def test_what_a_token_hides_is_on_no_badge(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """Progress is a part of the metadata."""
    token = gateway.token(["read:runs:run_1"], skip_columns=["metadata"])

    assert (await badge(browser, "/badge/runs/run_1.json", token=token))["message"] == "running"
    answer = await browser.get("/badge/runs/run_1.svg", params={"token": token})
    assert b"45" not in answer.content.replace(b'width="45', b"")


async def test_a_token_is_in_no_log(
    gateway: ServedGateway, browser: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it is in the address."""
    token = gateway.token(["read:runs:run_1"])
    with caplog.at_level(logging.DEBUG):
        await browser.get("/badge/runs/run_1.svg", params={"token": token})

    ours = [record.getMessage() for record in caplog.records if record.name.startswith("runcast")]
    assert not [line for line in ours if token in line]


async def test_a_token_of_a_badge_can_be_taken_back(gateway: ServedGateway, browser: httpx2.AsyncClient) -> None:
    """One that stands in a README lives long; when it is revoked the picture says no more than anybody may know."""
    token = gateway.token(["read:runs:run_1"], subject="readme", expires="365d")
    assert (await badge(browser, "/badge/runs/run_1.json", token=token))["message"] == "running 45%"

    words = {"authorization": f"Bearer {gateway.secret}"}
    assert (await browser.post("/v1/tokens/revoke", headers=words, json={"subject": "readme"})).status_code == 200
    answer = await browser.get("/badge/runs/run_1.json", params={"token": token})

    assert (answer.status_code, answer.json()["message"]) == (200, "unknown")
    assert answer.headers["runcast-refusal"] == "token_revoked"


async def test_what_is_no_badge_is_not_found(browser: httpx2.AsyncClient) -> None:
    """A mistake in an address is seen by whoever writes it."""
    for path in ("/badge/runs/run_1.png", "/badge/runs/run_1", "/badge/users/x.svg"):
        assert (await browser.get(path)).status_code == 404


async def test_badges_can_be_for_everybody(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Where the setting says so; then not faster than so many a second, whoever asks."""
    async with (
        ServedGateway(redis_server, environment, public_badges=True) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        gateway.publisher.create("export", id="run_1").start()
        shown = await badge(client, "/badge/runs/run_1.json")
        nowhere = await badge(client, "/badge/runs/run_1.json", environment="another")
        with pytest.MonkeyPatch.context() as patching:
            patching.setattr("gateway.web.badges.Bucket.take", lambda *_: 1.0)
            refused = await client.get("/badge/runs/run_1.json")

    assert shown["message"] == "running"
    assert nowhere["message"] == "unknown"
    assert refused.headers["runcast-refusal"] == "too_many_requests"
