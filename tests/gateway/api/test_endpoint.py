"""The one way in and out of plain requests: who is let in, what is read, and how refusals look."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.routing import Match

from gateway.api import endpoint
from gateway.errors import BadMessage
from gateway.transports.origins import Origins
from tests.gateway.api.asking import Asking
from tests.gateway.serving import ServedGateway
from tests.journeys.in_process import until

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

JSON = {"content-type": "application/json"}


async def test_who_says_not_who_they_are_is_told_how_to(api: Asking) -> None:
    """401 with WWW-Authenticate, for every kind of credential that does not hold."""
    credentials = ["", "Basic abc", "Bearer", "Bearer nonsense", "Bearer a.b.c", f"bearer {api.credential}x"]
    for credential in credentials:
        problem = await api.refused("GET", "/v1/runs", headers={"authorization": credential})
        assert problem["status"] == 401, credential
        assert problem["headers"]["www-authenticate"] == "Bearer"


async def test_a_token_in_the_query_is_none(api: Asking) -> None:
    """It would stand in logs; and it is not repeated."""
    problem = await api.refused("GET", f"/v1/runs?token={api.credential}", headers={"authorization": ""})

    assert problem["status"] == 401


async def test_another_method_is_told_which_there_are(api: Asking) -> None:
    """405 with the methods of that very path."""
    expected = {
        "/v1/runs": {"GET", "HEAD", "POST"},
        "/v1/runs/run_1": {"GET", "HEAD", "PATCH"},
        "/v1/runs/run_1/tags": {"POST"},
        "/v1/batches/b": {"GET", "HEAD"},
        "/openapi.json": {"GET", "HEAD"},
    }
    for path, methods in expected.items():
        for method in ("PUT", "DELETE", "PURGE", "OPTIONS"):
            problem = await api.refused(method, path)
            assert problem["status"] == 405
            assert set(problem["headers"]["allow"].split(", ")) == methods


async def test_head_is_get_without_the_body(api: Asking) -> None:
    """The same status and the same length, and the connection goes on."""
    await api.create()
    for path in ("/v1/runs/run_1", "/v1/runs", "/v1/runs/nope", "/openapi.json", "/docs"):
        whole, head = await api.client.get(path), await api.client.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-length"] == str(len(whole.content))
        assert head.headers["content-type"] == whole.headers["content-type"]


async def test_a_browser_is_asked_where_it_comes_from(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Pages of the allowed origins may ask and write, with what they need of headers; others may not even ask."""
    ours, other = {"origin": "https://app.example.com"}, {"origin": "https://evil.example"}
    preflight = {"access-control-request-method": "PATCH", "access-control-request-headers": "idempotency-key"}
    options: dict[str, Any] = {"origins": Origins.parse(ours["origin"])}
    async with ServedGateway(redis_server, environment, **options) as gateway, Asking(gateway) as api:
        allowed = await api.client.options("/v1/runs/run_1", headers={**ours, **preflight})
        answer = await api.client.post("/v1/runs", json={"taskIdentifier": "t"}, headers=ours)
        problem = await api.refused("POST", "/v1/runs", {"taskIdentifier": "t"}, headers=other)

    assert allowed.status_code == 200
    assert "PATCH" in allowed.headers["access-control-allow-methods"]
    assert "idempotency-key" in allowed.headers["access-control-allow-headers"]
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == ours["origin"]
    assert "location" in answer.headers["access-control-expose-headers"]
    assert problem["code"] == "origin_not_allowed"


#: A body that is not right → what the problem says of it.
BODIES: dict[bytes, str] = {
    b"": "empty",
    b"{": "JSON",
    b"nul": "JSON",
    b"[]": "object",
    b'"text"': "object",
    b"null": "object",
    b"\xff\xfe": "JSON",
    b'{"taskIdentifier": NaN}': "JSON",
    b'{"taskIdentifier": "t", "payload": Infinity}': "JSON",
    b'{"taskIdentifier": "t", "payload": 1e999}': "JSON",
    b'{"taskIdentifier": "t", "payload": ' + b"1" * 400 + b"}": "JSON",
    b'{"taskIdentifier": "t", "payload": "\\ud800"}': "JSON",
    b'{"taskIdentifier": "t", "metadata": {"\\udfff": 1}}': "JSON",
    b'{"taskIdentifier": "t", "taskIdentifier": "u"}': "twice",
    b'{"taskIdentifier": "t", "payload": [{"a": 1, "a": 2}]}': "twice",
    b'{"taskIdentifier": "t", "payload": ' + b"[" * 500 + b"]" * 500 + b"}": "payload",
    b'{"taskIdentifier": "t", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "JSON",
    b'{"taskIdentifier": "t"} {}': "JSON",
    b'{"taskIdentifier": "t",}': "JSON",
    b"{'taskIdentifier': 't'}": "JSON",
}


async def test_a_body_that_is_not_json_is_refused(api: Asking) -> None:
    """In words that say what is wrong, whatever it is; nothing is guessed."""
    for body, expected in BODIES.items():
        problem = await api.refused("POST", "/v1/runs", content=body, headers=JSON)
        assert problem["status"] == 400, body[:60]
        assert expected in problem["detail"], body[:60]
    assert (await api.ask("GET", "/v1/runs"))["runs"] == []


async def test_numbers_are_kept_as_json_has_them(api: Asking) -> None:
    """Whole ones up to 64 bits exactly, the others in double precision, as every reader of JSON has them."""
    await api.client.post(
        "/v1/runs",
        content=b'{"taskIdentifier":"t","id":"run_1","payload":[9223372036854775807,-0.5,1e300,123456789012345678901]}',
        headers=JSON,
    )

    assert (await api.ask("GET", "/v1/runs/run_1"))["payload"] == [2**63 - 1, -0.5, 1e300, 123456789012345678901.0]


#: Value of a field → of which nothing but the form is wrong.
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "/taskIdentifier", "missing"),
    ({"taskIdentifier": 1}, "/taskIdentifier", "text"),
    ({"taskIdentifier": None}, "/taskIdentifier", "text"),
    ({"taskIdentifier": "a,b"}, "/taskIdentifier", "','"),
    ({"taskIdentifier": "t" * 256}, "/taskIdentifier", "255"),
    ({"taskIdentifier": "t", "id": ""}, "/id", "1 to 255"),
    ({"taskIdentifier": "t", "id": "a b"}, "/id", "white space"),
    ({"taskIdentifier": "t", "tags": "one"}, "/tags", "list"),
    ({"taskIdentifier": "t", "tags": ["ok", 7]}, "/tags/1", "text"),
    ({"taskIdentifier": "t", "tags": ["ok", "a,b"]}, "/tags/1", "','"),
    ({"taskIdentifier": "t", "tagz": []}, "/tagz", "'tags'"),
    ({"taskIdentifier": "t", "a/b~": 1}, "/a~1b~0", "no such field"),
    ({"taskIdentifier": "t", "metadata": []}, "/metadata", "object"),
    ({"taskIdentifier": "t", "isTest": 1}, "/isTest", "true or false"),
    ({"taskIdentifier": "t", "number": 1.5}, "/number", "whole number"),
    ({"taskIdentifier": "t", "number": True}, "/number", "whole number"),
    ({"taskIdentifier": "t", "number": 2**60}, "/number", "9007199254740991"),
    ({"taskIdentifier": "t", "ttl": "soon"}, "/ttl", "30m"),
    ({"taskIdentifier": "t", "ttl": 0}, "/ttl", "30m"),
    ({"taskIdentifier": "t", "maxDurationSeconds": -1}, "/maxDurationSeconds", "0.001"),
    ({"taskIdentifier": "t", "delayedUntil": "tomorrow"}, "/delayedUntil", "2026-01-31T10:00:00Z"),
    ({"taskIdentifier": "t", "delayedUntil": "2026-13-31T10:00:00Z"}, "/delayedUntil", "moment"),
    ({"taskIdentifier": "t", "delayedUntil": -5}, "/delayedUntil", "moment"),
    ({"taskIdentifier": "t", "status": "RUNNING"}, "/status", "EXECUTING"),
    ({"taskIdentifier": "t", "idempotencyKey": ""}, "/idempotencyKey", "1 to 255"),
]


async def test_a_wrong_field_is_named_with_what_would_be_right(api: Asking) -> None:
    """As a JSON pointer, and in words."""
    for body, field, expected in WRONG:
        problem = await api.refused("POST", "/v1/runs", body)
        assert (problem["status"], problem["field"]) == (400, field), body
        assert expected in problem["detail"], problem["detail"]


async def test_a_wrong_parameter_is_named_with_what_would_be_right(api: Asking) -> None:
    """Unknown, repeated, or of a wrong form."""
    wrong = {
        "statuz=QUEUED": ("statuz", "'status'"),
        "limit=0": ("limit", "1 to 100"),
        "limit=ten": ("limit", "whole number"),
        "limit=1&limit=2": ("limit", "once"),
        "after=abc": ("after", "`next`"),
        "status=DONE": ("status", "COMPLETED"),
        "createdAfter=yesterday": ("createdAfter", "1h"),
        "tag=": ("tag", "1 to 128"),
        "task=a%2Cb": ("task", "','"),
        "skipColumns=payloads": ("skipColumns", "payload"),
        "%00=1": ("\0", "no such parameter"),
    }
    for query, (field, expected) in wrong.items():
        problem = await api.refused("GET", f"/v1/runs?{query}")
        assert (problem["status"], problem["field"]) == (400, field)
        assert expected in problem["detail"], problem["detail"]
    assert (await api.refused("GET", "/v1/runs?tag=%ff"))["code"] == "bad_message"
    assert (await api.refused("GET", "/v1/runs/%ff"))["field"] == "id"


async def test_a_body_in_another_form_is_refused(api: Asking) -> None:
    """415 for another type, another character set, or one that is compressed."""
    for headers in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {**JSON, "content-encoding": "gzip"},
    ):
        problem = await api.refused("POST", "/v1/runs", content=b'{"taskIdentifier":"t"}', headers=headers)
        assert (problem["status"], problem["code"]) == (415, "unsupported_media_type")
    accepted = {"content-type": 'Application/JSON; charset="UTF-8"'}
    answer = await api.client.post("/v1/runs", content=b'{"taskIdentifier":"t"}', headers=accepted)
    assert answer.status_code == 201


async def test_a_body_over_the_limit_is_refused(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """413, whether it says its size or comes in chunks that have no end; and the connection is good for the next."""

    async def endless() -> Any:
        for _ in range(10_000):
            yield b'{"' + b"x" * 1000

    async with ServedGateway(redis_server, environment, body_bytes=1000) as gateway, Asking(gateway) as api:
        said = await api.refused("POST", "/v1/runs", content=b" " * 1001, headers=JSON)
        unsaid = await api.refused("POST", "/v1/runs", content=endless(), headers=JSON)
        await api.create()

    for problem in (said, unsaid):
        assert (problem["status"], problem["code"]) == (413, "too_large")
        assert "1000" in problem["detail"]


async def test_a_body_that_does_not_come_is_not_waited_for(api: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, and what was sent of it is forgotten."""
    monkeypatch.setattr(endpoint, "BODY_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.gateway.settings.port)
    head = f"POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.credential}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"too_slow" in answer


async def test_all_bodies_together_have_a_bound(api: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes when it is reached is told to come back; those who have been answered hold nothing."""
    monkeypatch.setattr(endpoint, "MOST_KEPT_BYTES", 1000)

    problem = await api.refused("POST", "/v1/runs", {"taskIdentifier": "t", "payload": "x" * 1000})
    for number in range(20):
        await api.create(f"run_{number}", payload="x" * 500)

    assert (problem["code"], problem["retry"]) == ("unavailable", True)
    assert problem["headers"]["retry-after"] == "1"
    assert endpoint.BODIES.kept_bytes == 0


@pytest.mark.parametrize(
    ("root", "raw", "found"),
    [
        ("", "/v1/runs/a%2Fb", {"id": "a%2Fb"}),
        ("", "/v1/runs/a/b", None),
        ("", "/v1/runs/", None),
        ("", "/v1%2Fruns/a", None),
        ("", "/v1/r%75ns/a", {"id": "a"}),
        ("/under", "/under/v1/runs/a%2Fb", {"id": "a%2Fb"}),
        ("/under/", "/under/v1/runs/a", {"id": "a"}),
        ("/a/b c", "/a/b%20c/v1/runs/a", {"id": "a"}),
        ("/under", "/v1/runs/a", {"id": "a"}),  # a proxy that took it away
        ("/under", "/underneath/v1/runs/a", None),
    ],
)
def test_the_parts_of_a_path_are_told_apart_before_they_are_decoded(
    root: str, raw: str, found: dict[str, str] | None
) -> None:
    """Wherever the gateway stands."""
    services: Any = None
    route = endpoint.ApiRoute(services, "/v1/runs/{id}", [])

    match, child = route.matches({"type": "http", "path": "", "raw_path": raw.encode(), "root_path": root})

    assert (match is Match.FULL, child.get("path_params")) == (found is not None, found)


@pytest.mark.parametrize(
    ("raw", "fits"), [("/a/b", True), ("/a/b/", True), ("/a/b/c/d%2Fe", True), ("/a", False), ("/a/bc", False)]
)
def test_a_path_may_stand_for_all_below_it(raw: str, fits: bool) -> None:
    """Also for itself."""
    services: Any = None
    route = endpoint.ApiRoute(services, "/a/b/*", [])

    match, _ = route.matches({"type": "http", "path": "", "raw_path": raw.encode(), "root_path": ""})

    assert (match is Match.FULL) == fits


async def test_a_slash_too_many_names_nothing(api: Asking) -> None:
    """404, and not another path's answer."""
    await api.create()
    for path in ("/v1/runs/", "/v1/runs/run_1/", "/v1//runs", "/v1/runs//tags", "/v1/batches/"):
        assert (await api.refused("GET", path))["code"] == "not_found"


async def test_who_leaves_in_the_middle_of_a_body_leaves_nothing(api: Asking) -> None:
    """No run, no trace in the log, no task."""
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", api.gateway.settings.port)
        head = f"POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.credential}\r\n"
        writer.write(f'{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"task'.encode())
        await writer.drain()
        writer.transport.abort()

    await until(lambda: endpoint.BODIES.kept_bytes == 0, "the end of the requests")
    assert (await api.ask("GET", "/v1/runs"))["runs"] == []


async def test_a_mistake_of_ours_is_a_problem_without_its_reason(
    api: Asking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was is in the log, once; the client reads that it was not their fault."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    services = api.gateway._services
    monkeypatch.setattr(type(services.store), "list_runs", fail)

    problem = await api.refused("GET", "/v1/runs")

    assert (problem["status"], problem["code"], problem["retry"]) == (500, "internal_error", False)
    assert "secret" not in json.dumps({name: value for name, value in problem.items() if name != "headers"})
    assert "the secret of the house" in caplog.text


def test_a_large_body_is_looked_through_as_closely_as_a_small_one() -> None:
    """Only elsewhere: in another thread."""
    many = b",".join(b'{"k%d": 1}' % number for number in range(20_000))

    with pytest.raises(BadMessage, match="twice"):
        endpoint.parse_json(b'{"a": [' + many + b'], "a": 1}')
    assert len(endpoint.parse_json(b"[" + many + b"]")) == 20_000


async def test_requests_over_one_connection_are_answered_in_turn(api: Asking) -> None:
    """Keep-alive survives refusals of every kind."""
    limits = httpx2.Limits(max_connections=1)
    headers = {"authorization": f"Bearer {api.credential}"}
    async with httpx2.AsyncClient(base_url=api.gateway.url, headers=headers, limits=limits, trust_env=False) as client:
        statuses = [
            (await client.post("/v1/runs", content=b"{", headers=JSON)).status_code,
            (await client.post("/v1/runs", content=b"x" * 100_000)).status_code,
            (await client.get("/v1/runs?x=1")).status_code,
            (await client.post("/v1/runs", json={"taskIdentifier": "t"})).status_code,
        ]

    assert statuses == [400, 415, 400, 201]
