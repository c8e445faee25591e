"""`/openapi.json` and `/docs`: there, whole, and for everybody. (That they are true, test_schemathesis.py shows.)"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis

from gateway.api import page
from gateway.api.endpoint import ApiRoute

if TYPE_CHECKING:
    from tests.gateway.api.asking import Asking


@pytest.fixture
async def document(api: Asking) -> Any:
    return await api.ask("GET", "/openapi.json", headers={"authorization": ""})


def path_of(route: Any) -> str:
    path: str = route.template if isinstance(route, ApiRoute) else route.path
    return path


async def test_every_route_of_the_gateway_is_in_the_document(api: Asking, document: Any) -> None:
    """And the document names no other. What the official Trigger.dev clients ask for is another protocol's."""
    named = [route for route in api.gateway.routes if type(route).__name__ in ("ApiRoute", "Route")]
    routes = [route for route in named if not path_of(route).startswith(("/api/", "/realtime/", "/engine/"))]
    paths = {path_of(route) for route in routes}

    assert len(paths) > 10
    assert document["paths"].keys() == paths
    for route in routes:
        if isinstance(route, ApiRoute):
            assert {method.upper() for method in document["paths"][route.template]} == set(route.methods)


def test_the_document_is_one_of_openapi(document: Any) -> None:
    """By the schema of OpenAPI 3.1 itself."""
    schemathesis.openapi.from_dict(document).validate()


def test_every_operation_says_what_it_needs(document: Any) -> None:
    """A name, a summary, who may call it, and what it answers; every reference leads somewhere."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]

    assert len(names) == len(set(names))
    for operation in operations:
        assert operation["summary"]
        assert operation["responses"]
        assert operation.get("security") == [] or "Public tokens:" in operation["description"]
    for reference in re.findall(r"'#/components/(\w+)/(\w+)'", str(document)):
        assert reference[1] in document["components"][reference[0]]


async def test_the_page_shows_every_operation_without_help_from_outside(api: Asking, document: Any) -> None:
    """No script, no address that something is loaded from; a policy that would not let it."""
    answer = await api.client.get("/docs", headers={"authorization": ""})
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert style is not None
    assert base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in policy
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(| on\w+=|style=", answer.text)
    assert "prefers-color-scheme: dark" in style[1]
    for path, item in document["paths"].items():
        assert escape(path) in answer.text
        for method, operation in item.items():
            assert method == "head" or f'id="{operation["operationId"]}"' in answer.text


async def test_every_link_of_the_page_leads_somewhere(api: Asking) -> None:
    """Names of objects to where they are described."""
    text = (await api.client.get("/docs")).text

    for target in re.findall(r'href="([^"]+)"', text):
        assert target == "/openapi.json" or f'id="{target[1:]}"' in text, target


def test_nothing_that_is_described_becomes_html() -> None:
    """A name with an angle bracket stays text."""
    evil = "<script>alert(1)</script>"
    operation = {"operationId": "x", "summary": evil, "description": evil, "tags": [evil], "responses": {}}
    made = page.page(
        {
            "info": {"title": evil, "version": "1", "description": evil},
            "tags": [{"name": evil, "description": evil}],
            "paths": {evil: {"get": operation}},
            "components": {"schemas": {evil: {"description": evil, "properties": {evil: {"enum": [evil]}}}}},
        }
    )

    assert b"<script" not in made
