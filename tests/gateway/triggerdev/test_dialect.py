"""How the official clients are let in and refused: statuses they act on, errors they can read, also from a browser."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from auth import EnvironmentKeys, generate_secret_key, mint
from gateway.transports.origins import Origins
from gateway.triggerdev.later import LATER
from tests.gateway.serving import ServedGateway
from tests.gateway.triggerdev.asking import TheirAsking
from tests.redis_server import running_server, valkey_binary

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

ORIGIN = {"origin": "https://app.example.com"}
#: Sections 0.4, and section 13 of electric-shape.
EXPOSED = {
    *("electric-offset", "electric-handle", "electric-cursor", "electric-schema", "electric-up-to-date"),
    *("x-trigger-jwt", "x-trigger-jwt-claims", "x-stream-version", "x-session-settled", "x-last-chunk-index"),
    *("x-should-retry", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"),
}


async def test_who_is_not_known_is_told_so(api: TheirAsking) -> None:
    """401 as JSON, not to be tried again, whatever the credential is."""
    other = EnvironmentKeys.of("elsewhere", generate_secret_key())
    expired = api.gateway.token(["read:runs"], now=time.time() - 3600, expires="1m")
    credentials = ["", "Bearer", "Bearer pk_dev_x", "Bearer tr_dev_unknown", "Bearer a.b.c"]
    credentials += [f"Bearer {expired}", f"Bearer {mint(['read:runs'], other)}"]

    for credential in credentials:
        error = await api.fails(401, "GET", "/api/v1/runs", headers={"authorization": credential})
        assert error["headers"]["x-should-retry"] == "false"


FOR_SECRET_KEYS: list[tuple[str, str, Any]] = [
    ("POST", "/api/v1/auth/jwt/claims", None),
    ("POST", "/api/v1/auth/public-tokens", {"scopes": ["read:runs"]}),
    ("POST", "/api/v1/auth/jwt", {}),
    ("POST", "/api/v1/runs/run_1/tags", {"tags": "a"}),
    ("GET", "/api/v1/runs/run_1/metadata", None),
    ("PUT", "/api/v1/runs/run_1/metadata", {"operations": []}),
    ("GET", "/api/v1/runs/run_1/result", None),
    ("GET", "/api/v1/batches/batch_1/results", None),
]


async def test_a_public_token_is_no_credential_where_a_secret_key_is_needed(api: TheirAsking) -> None:
    """401, and nothing is done, even with every scope there is."""
    await api.create(batchId="batch_1")

    async with api.with_token(["admin", "write:all", "*:all"]) as viewer:
        for method, path, body in FOR_SECRET_KEYS:
            await viewer.fails(401, method, path, body)

    assert (await api.ask("GET", "/v1/runs/run_1")).keys() & {"tags", "output"} == set()


async def test_a_path_without_anything_is_told_as_they_read_it(api: TheirAsking) -> None:
    """404 below each of their paths, 405 with the methods that there are; both once and for all."""
    for path in ("/api/v1/nothing", "/api", "/realtime/v1", "/api/v1/runs//tags", "/api/v3/runs/run_1/"):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            error = await api.fails(404, method, path)
            assert error["headers"]["x-should-retry"] == "false"
    for method, path, allowed in (
        ("DELETE", "/api/v3/runs/run_1", {"GET", "HEAD"}),
        ("POST", "/api/v1/runs/run_1/metadata", {"GET", "HEAD", "PUT"}),
        ("GET", "/api/v2/runs/run_1/cancel", {"POST"}),
        ("POST", "/api/v1/runs", {"GET", "HEAD"}),
    ):
        error = await api.fails(405, method, path)
        assert set(error["headers"]["allow"].split(", ")) == allowed


async def test_what_is_not_there_yet_says_so_to_everybody(api: TheirAsking) -> None:
    """501 that their clients don't repeat, without a token, and readable in a browser."""
    for methods, template, missing in LATER:
        path = template.replace("{id}", "run_1").replace("{task}", "a%2Fb").replace("{batch}", "b")
        paths = [path.replace("{which}", "output").replace("*", below) for below in ("x", "x/y%2Fz")]
        for method in methods:
            for asked in paths:
                error = await api.fails(501, method, asked, headers={"authorization": "", **ORIGIN})
                assert error["error"] == missing
                assert error["headers"]["x-should-retry"] == "false"
                assert error["headers"]["access-control-allow-origin"] == ORIGIN["origin"]


async def test_what_is_not_there_yet_hears_large_bodies_out(api: TheirAsking) -> None:
    """A payload of three megabytes does not end in a broken connection."""
    for _ in range(3):
        await api.fails(501, "POST", "/api/v1/tasks/export/trigger", content=b"x" * 3_000_000)


async def test_a_body_may_be_empty_or_without_a_type(api: TheirAsking) -> None:
    """Their clients name JSON where there is nothing, and what is JSON need not be named."""
    await api.ask("POST", "/api/v1/auth/jwt/claims", content=b"")
    await api.create()
    for media in ("", "text/plain;charset=UTF-8"):
        await api.ask("POST", "/api/v1/runs/run_1/tags", content=b'{"tags": "a"}', headers={"content-type": media})


async def test_what_is_wrong_with_a_body_is_said(api: TheirAsking) -> None:
    """400, never to be repeated; a body that is too large is 413 before it is read."""
    await api.create()
    path = "/api/v1/runs/run_1/tags"
    for content in (b"", b"{", b"[]", b'{"tags": 1}', b'{"tags": [""]}', b'{"tags": "a,b"}', b"{}"):
        error = await api.fails(400, "POST", path, content=content)
        assert error["headers"]["x-should-retry"] == "false"
    metadata = "/api/v1/runs/run_1/metadata"
    await api.fails(413, "PUT", metadata, content=b'{"metadata": {"a": "' + b"x" * 2_100_000 + b'"}}')


async def test_what_is_not_known_is_passed_over_unless_it_is_a_filter(api: TheirAsking) -> None:
    """Newer clients say more. But a list must not show what was not asked for."""
    await api.create()

    await api.ask("POST", "/api/v1/runs/run_1/tags", {"tags": ["a"], "news": {}})
    await api.ask("GET", "/api/v3/runs/run_1?news=1")
    await api.ask("GET", "/api/v1/runs?news=1")
    assert "filter[news]" in (await api.fails(400, "GET", "/api/v1/runs?filter%5Bnews%5D=1"))["error"]


async def test_too_many_requests_say_when_to_come_back(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """In milliseconds since 1970, as their JSON client reads it, with the limit; and a page can read it."""
    origins = Origins.parse(ORIGIN["origin"])
    options: dict[str, Any] = {"requests_per_second": 1, "origins": origins}
    async with ServedGateway(redis_server, environment, **options) as gateway, TheirAsking(gateway) as asking:
        began = time.time() * 1000
        # All at once: one after the other they may be slow enough.
        answers = await asyncio.gather(*(asking.client.get("/api/v1/runs", headers=ORIGIN) for _ in range(10)))
        ended = time.time() * 1000

    headers = next(answer.headers for answer in answers if answer.status_code == 429)
    assert headers["x-should-retry"] == "true"
    assert began < int(headers["x-ratelimit-reset"]) < ended + 2000
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("1", "0")
    assert headers["access-control-allow-origin"] == ORIGIN["origin"]


async def test_a_page_may_ask_for_everything_and_read_every_answer(api: TheirAsking) -> None:
    """Preflights need no token; errors of every kind are readable, with the headers that their clients look at."""
    wished = "authorization,content-type,trigger-version,x-trigger-api-version,x-trigger-electric-version,x-part-id"
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        asked = {"access-control-request-method": method, "access-control-request-headers": wished}
        for path in ("/api/v3/runs/run_1", "/realtime/v1/runs", "/api/v1/nothing"):
            preflight = await api.client.options(path, headers={"authorization": "", **ORIGIN, **asked})
            assert preflight.status_code == 200
            assert method in preflight.headers["access-control-allow-methods"]
            assert preflight.headers["access-control-allow-headers"] == wished
            assert preflight.headers["access-control-allow-origin"] == ORIGIN["origin"]

    await api.create()
    asked_for = [("GET", "/api/v3/runs/run_1", ""), ("GET", "/api/v3/runs/none", ""), ("GET", "/api/nothing", "")]
    asked_for += [("DELETE", "/api/v3/runs/run_1", ""), ("GET", "/api/v1/runs", "Bearer x"), ("POST", "/engine/v1", "")]
    for method, path, credential in asked_for:
        headers = {**ORIGIN, **({"authorization": credential} if credential else {})}
        answer = await api.client.request(method, path, headers=headers)
        assert answer.headers["access-control-allow-origin"] == ORIGIN["origin"]
        assert set(answer.headers["access-control-expose-headers"].split(", ")) >= EXPOSED
        assert "origin" in answer.headers["vary"].lower()


async def test_another_page_may_not(api: TheirAsking) -> None:
    """Only the origins that are allowed, whatever the credential."""
    await api.fails(403, "GET", "/api/v1/runs", headers={"origin": "https://evil.example.com"})


async def test_a_mistake_of_ours_is_told_without_its_reason(
    api: TheirAsking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500, which their clients try again."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(type(api.gateway._services.store), "list_runs", fail)

    answer = await api.client.get("/api/v1/runs")

    assert answer.status_code == 500
    assert answer.headers.get("x-should-retry", "true") == "true"
    assert "secret" not in answer.text
    assert "the secret of the house" in caplog.text


async def test_without_redis_everything_is_to_be_tried_again(environment: EnvironmentId, tmp_path: Path) -> None:
    """503, and never a 404: their clients would take that for the truth."""
    with running_server(tmp_path, valkey_binary()) as redis:
        async with ServedGateway(redis, environment) as gateway, TheirAsking(gateway) as asking:
            await asking.create(batchId="batch_1")
            redis.stop(kill=True)
            for method, path, body in (
                ("GET", "/api/v3/runs/run_1", None),
                ("GET", "/api/v1/runs", None),
                ("GET", "/api/v2/batches/batch_1", None),
                ("PUT", "/api/v1/runs/run_1/metadata", {"metadata": {}}),
                ("POST", "/api/v1/runs/run_1/tags", {"tags": "a"}),
                ("POST", "/api/v2/runs/run_1/cancel", None),
            ):
                error = await asking.fails(503, method, path, body)
                assert error["headers"]["x-should-retry"] == "true"
                assert int(error["headers"]["retry-after"]) >= 1
            assert (await asking.ask("POST", "/api/v1/auth/jwt/claims"))["pub"] is True
