"""What the app answers where there is nothing, or nothing of the kind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import gateway
from auth import EnvironmentKeys, Keyring
from gateway.app import create_app
from gateway.settings import Settings

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

SECRET = "an-example-secret-of-thirty-two-bytes"


@pytest.fixture
def client(redis_server: RedisServer) -> TestClient:
    settings = Settings(redis_url=redis_server.url)
    # Not as a context manager: what works in the background is not needed here.
    return TestClient(create_app(settings, Keyring([EnvironmentKeys.of("default", SECRET)])), follow_redirects=False)


def test_the_app_is_made_from_public_names() -> None:
    """What somebody needs who serves it by another server is in the package itself."""
    assert gateway.create_app is create_app
    assert gateway.Settings is Settings


def test_many_environments_make_no_slow_start(redis_server: RedisServer) -> None:
    """Nor a slow reload, while which nobody is served: what is done for all keys is done once, not for each again."""
    many = [EnvironmentKeys.of(f"environment_{number}", f"{number:04}-{SECRET}") for number in range(1000)]
    began = time.monotonic()

    create_app(Settings(redis_url=redis_server.url), Keyring(many))

    assert time.monotonic() - began < 20  # a tenth of a second; fifty, if it grows with the square


@pytest.mark.parametrize("under", ["", "/runcast", "/a/b c"])
def test_the_app_can_stand_under_a_path(redis_server: RedisServer, under: str) -> None:
    """Its description says so, and its paths are found there."""
    app = create_app(Settings(redis_url=redis_server.url), Keyring([EnvironmentKeys.of("default", SECRET)]))
    client = TestClient(Starlette(routes=[Mount(under, app)]))

    described = client.get(f"{under}/openapi.json").json()

    assert described["servers"] == [{"url": under.replace(" ", "%20") or "/"}]
    assert client.get(f"{under}/v1/runs/a%2Fb").status_code == 401
    assert client.get(f"{under}/v1/runs/a/b").status_code == 404


def test_a_slash_too_many_is_no_redirect(client: TestClient) -> None:
    """A redirect would repeat the query, and with it a token."""
    answer = client.get("/v1/events/?run=run_1&token=not-to-be-repeated")
    assert answer.status_code == 404
    assert "not-to-be-repeated" not in f"{answer.headers} {answer.text}"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/events"])
def test_another_method_is_refused_in_our_words(client: TestClient, path: str) -> None:
    """405 as problem+json, with what is allowed."""
    answer = client.post(path)
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert answer.json()["code"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"]
