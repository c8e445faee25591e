"""What nobody's official client would ask: answered as any other mistake, never out of another environment."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
import pytest

from auth import mint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hardening.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Nearly right, and not at all.
WORDS = [
    *("run_1", "1.1", "2.5", "1.999999999999999", "999999999.1", "1.0", "0", "-1", "1e9", "", ",", ",,", "a,b", "*"),
    *("true", "1h", "2020-01-01", "2020-13-01", "9" * 40, "x" * 5000, "\0", "'\"\\", "\r\nSet-Cookie: x", "ü", "𝄞"),
    *("COMPLETED", "QUEUED,FAILED", "null", "{}", "[]", "__proto__", "../../etc/passwd", "run:other", "\u2028"),
]
PARAMETERS = [
    *("page[size]", "page[after]", "page[before]", "filter[status]", "filter[taskIdentifier]", "filter[tag]"),
    *("filter[batch]", "filter[isTest]", "filter[createdAt][from]", "filter[createdAt][to]", "filter[env]"),
    *("filter[createdAt][period]", "filter[version]", "filter", "filter[", "filter[]", "page", "skipColumns"),
]
VALUES: list[Any] = [*WORDS, None, True, 0, -1, 1.5, 1e308, [], {}, ["a"], [["a"]], {"a": {"b": 1}}, ["a"] * 200]


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {gateway.keys.current.secret}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{gateway.port}"
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as asking:
        yield asking


def check(answer: httpx2.Response) -> None:
    """An answer, or a mistake of whoever asked, in their words; no header that they made up."""
    assert answer.status_code < 500, answer.text
    assert "set-cookie" not in answer.headers
    assert isinstance(answer.json(), dict)
    if answer.status_code >= 400:
        assert isinstance(answer.json()["error"], str)
        assert len(answer.content) < 2000


async def test_lists_are_asked_for_with_anything(gateway: Gateway, client: httpx2.AsyncClient) -> None:
    """Filters and cursors that somebody made up."""
    gateway.publish("run_1", tags=("a",))
    chance = random.Random(4)

    for _ in range(300):
        query = [(chance.choice(PARAMETERS), chance.choice(WORDS)) for _ in range(chance.randint(1, 3))]
        text = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        check(await client.get(f"/api/v1/runs?{text}"))


async def test_bodies_hold_anything(gateway: Gateway, client: httpx2.AsyncClient) -> None:
    """For every route that takes one; the run is there afterwards, and can still be read."""
    gateway.publish("run_1")
    chance = random.Random(5)
    fields = ["tags", "metadata", "operations", "parentOperations", "scopes", "expirationTime", "realtime", "claims"]

    def anything() -> Any:
        kind = chance.choice(["set", "append", "remove", "increment", "delete", "update", "none"])
        one = {"type": kind, "key": chance.choice([*WORDS, "$.a.*", "$.a.0"]), "value": chance.choice(VALUES)}
        return {name: chance.choice([one, [one], chance.choice(VALUES)]) for name in chance.sample(fields, 3)}

    for _ in range(200):
        method, path = chance.choice(
            [
                ("PUT", "/api/v1/runs/run_1/metadata"),
                ("POST", "/api/v1/runs/run_1/tags"),
                ("POST", "/api/v1/auth/public-tokens"),
                ("POST", "/api/v1/auth/jwt"),
            ]
        )
        body = chance.choice([json.dumps(anything()), chance.choice(WORDS), json.dumps(chance.choice(VALUES))])
        check(await client.request(method, path, content=body.encode()))

    assert (await client.get("/api/v3/runs/run_1")).status_code == 200
    assert isinstance((await client.get("/api/v1/runs/run_1/metadata")).json()["metadata"], dict)


async def test_ids_are_anything(gateway: Gateway, client: httpx2.AsyncClient) -> None:
    """In every path that has one."""
    gateway.publish("run_1")
    for word in WORDS:
        name = quote(word, safe="")
        for method, path in (
            ("GET", f"/api/v3/runs/{name}"),
            ("GET", f"/api/v1/runs/{name}/result"),
            ("GET", f"/api/v1/runs/{name}/metadata"),
            ("PUT", f"/api/v1/runs/{name}/metadata"),
            ("POST", f"/api/v2/runs/{name}/cancel"),
            ("GET", f"/api/v2/batches/{name}"),
            ("GET", f"/api/v1/batches/{name}/results"),
            ("GET", f"/api/v1/projects/{name}/runs"),
        ):
            check(await client.request(method, path, content=b"{}" if method == "PUT" else b""))


async def test_another_environment_is_never_seen(gateway: Gateway, client: httpx2.AsyncClient) -> None:
    """Not by its ids, its batches, its tags, or the cursors of its lists; not by a token that names it."""
    gateway.publish("run_secret", tags=("secret",))
    own = {"authorization": f"Bearer {gateway.others.current.secret}"}
    cursor = {"page[before]": "1.1"}

    for path in ("/api/v3/runs/run_secret", "/api/v1/runs/run_secret/metadata", "/api/v2/batches/batch_1"):
        assert (await client.get(path)).status_code == 200
        assert (await client.get(path, headers=own)).status_code == 404
    for query in ({}, cursor, {"filter[tag]": "secret"}, {"filter[batch]": "batch_1"}, {"filter[env]": "x"}):
        listed = (await client.get("/api/v1/runs", params=query, headers=own)).json()
        assert listed["data"] == []
    writes = [("POST", "run_secret/tags", {"tags": "x"}), ("PUT", "run_secret/metadata", {"metadata": {"x": 1}})]
    for method, path, body in writes:
        answer = await client.request(method, f"/api/v1/runs/{path}", json=body, headers=own)
        assert answer.status_code == 404
    forged = mint(["admin"], gateway.others)
    assert (
        await client.get("/api/v3/runs/run_secret", headers={"authorization": f"Bearer {forged}"})
    ).status_code == 404
    assert "secret" not in str((await client.get("/api/v1/runs", headers=own)).json())


async def test_a_relative_in_another_environment_is_none(gateway: Gateway, client: httpx2.AsyncClient) -> None:
    """A run that says where it comes from says so of its own environment."""
    gateway.publish("run_secret")
    own = {"authorization": f"Bearer {gateway.others.current.secret}"}
    said = {"taskIdentifier": "t", "id": "child", "parentRunId": "run_secret", "rootRunId": "run_secret"}
    assert (await client.post("/v1/runs", json=said, headers=own)).status_code in (200, 201)

    child = (await client.get("/api/v3/runs/child", headers=own)).json()
    flush = {"parentOperations": [{"type": "set", "key": "x", "value": 1}]}
    answer = await client.put("/api/v1/runs/child/metadata", json=flush, headers=own)

    assert child["relatedRuns"] == {}
    assert answer.json() == {"metadata": {}}
    assert "x" not in (await client.get("/api/v1/runs/run_secret/metadata")).json()["metadata"]
