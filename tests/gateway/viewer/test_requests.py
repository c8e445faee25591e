"""Plain requests: to a real gateway, and to whoever else may answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import BadChange, Misconfigured
from gateway.viewer.address import http_url
from gateway.viewer.requests import NoConnection, RequestRefused, Requests, quoted
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateway.serving import ServedGateway


async def elsewhere(requests: Requests, method: str, path: str, **options: Any) -> Any:
    """In a thread: the gateway lives in this loop."""
    return (await asyncio.to_thread(requests.send, method, path, **options)).json()


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Somebody who answers every request so, whatever it is; and what was asked."""
    asked: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_run_is_created_and_read(gateway: ServedGateway) -> None:
    requests = Requests(gateway.url, gateway.secret)
    created = await elsewhere(requests, "POST", "/v1/runs", body={"taskIdentifier": "résumé", "id": "run/1 ?"[:5]})
    read = await elsewhere(requests, "GET", f"/v1/runs/{quoted('run/1')}", query=[("skipColumns", "payload")])

    assert created["id"] == read["id"] == "run/1"
    assert read["taskIdentifier"] == "résumé"


async def test_a_refusal_has_its_code_and_its_words(gateway: ServedGateway) -> None:
    with pytest.raises(RequestRefused, match="there is no run 'nothing'") as missing:
        await elsewhere(Requests(gateway.url, gateway.secret), "GET", "/v1/runs/nothing")
    with pytest.raises(RequestRefused) as stranger:
        await elsewhere(Requests(gateway.url, None), "GET", "/v1/runs/nothing")

    assert (missing.value.status, missing.value.problem, missing.value.come_back) == (404, "not_found", False)
    assert (stranger.value.status, stranger.value.problem) == (401, "not_authenticated")


@pytest.mark.parametrize(
    ("answer", "status", "word", "come_back"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", 502, "HTTP 502", True),
        (b'HTTP/1.1 429 Too Many\r\n\r\n{"detail": "slower", "code": "too_many_requests"}', 429, "slower", True),
        (b'HTTP/1.1 500 Oops\r\n\r\n{"detail": 7}', 500, "HTTP 500", False),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", 200, "not JSON", False),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", 302, "HTTP 302", False),
    ],
)
async def test_what_is_no_gateway_is_told_as_it_is(answer: bytes, status: int, word: str, come_back: bool) -> None:
    async with answering(answer) as (url, _):
        with pytest.raises(RequestRefused, match=word) as refused:
            await elsewhere(Requests(url, "token"), "GET", "/v1/runs")

    assert (refused.value.status, refused.value.come_back) == (status, come_back)


async def test_a_redirect_takes_no_token_along() -> None:
    """Not even to another path: whoever redirects is no gateway."""
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n{}") as (thief, stolen):
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {thief}/v1/runs\r\n\r\n".encode()
        async with answering(moved) as (url, _):
            with pytest.raises(RequestRefused):
                await elsewhere(Requests(url, "token"), "GET", "/v1/runs")

    assert stolen == []


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_whoever_speaks_no_http_is_no_connection(answer: bytes) -> None:
    async with answering(answer) as (url, _):
        with pytest.raises(NoConnection, match="can't reach"):
            await elsewhere(Requests(url, "token"), "GET", "/v1/runs")


async def test_where_nobody_answers_is_no_connection_within_the_time() -> None:
    with pytest.raises(NoConnection, match="refused"):
        await elsewhere(Requests(f"http://127.0.0.1:{free_port()}", "token"), "GET", "/")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(NoConnection, match="timed out"):
            await elsewhere(Requests(url, "token", timeout=0.1), "GET", "/")


def test_what_can_not_be_sent_is_told_before() -> None:
    with pytest.raises(BadChange):
        Requests("http://127.0.0.1:1", "token").post("/v1/runs", {"payload": object()})
    with pytest.raises(Misconfigured):
        Requests("http://127.0.0.1:1", "to\r\nken")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8787/", "http://127.0.0.1:8787"),
        ("wss://example.com/runs/", "https://example.com/runs"),
        ("https://[::1]:80", "https://[::1]:80"),
    ],
)
def test_an_address_is_understood(url: str, address: str) -> None:
    assert http_url(url) == address


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://a", "http://", "http://a?b", "http://a#b", "http://me@a", "http://a:x", "http://["],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="is like"):
        http_url(url)
