"""Browser pages: those of other origins are let in or kept out by one list, the same for every transport and error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import request, upgrade

if TYPE_CHECKING:
    from tests.hardening.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD_ORIGIN = "Origin: https://app.example.com"

CORS_CASES = {
    "no token": ("/v1/events?run=r", 401),
    "a bad token": ("/v1/events?run=r&token=x.y.z", 401),
    "a bad query": ("/v1/events?zzz=1", 400),
    "no such path": ("/nothing", 404),
}


@pytest.mark.parametrize("name", CORS_CASES)
async def test_errors_can_be_read_by_the_pages_that_may_and_by_no_others(gateway: Gateway, name: str) -> None:
    """CORS headers are on errors too, and only for allowed origins."""
    target, status = CORS_CASES[name]
    token = [] if status == 401 else [gateway.bearer()]

    for origin in ("https://app.example.com", "https://a.example.org"):
        answer = await gateway.ask(target, f"Origin: {origin}", *token)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, origin)
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers

    answer = await gateway.ask(target, "Origin: https://evil-example.org", *token)
    assert "access-control-allow-origin" not in answer.headers


FOREIGN_ORIGINS = [
    "https://evil.com",
    "https://evil-app.example.com",
    "https://app.example.com.evil.com",
    "https://app.example.com:8443",
    "https://app.example.com@evil.com",
    "https://evil.com/https://app.example.com",
    "http://app.example.com",
    "https://app.example.com.",
    "https://app.example.com, https://evil.com",
    "https://example.org",
    "https://evilexample.org",
    "https://.example.org",
    "https://a..example.org",
    "https://a.example.org.evil.com",
    "https://a.example.org:1",
    "https://evil.com#.example.org",
    "https://evil.com\\.example.org",
    "https://evil.com?.example.org",
    "https://user@a.example.org",
    "null",
    "",
    "\xff",
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_page_from_elsewhere_is_refused_on_every_transport(gateway: Gateway, origin: str) -> None:
    """However an origin is dressed up: 403 for Server-Sent Events, 4403 for a WebSocket, even with a good token."""
    answer = await gateway.ask("/v1/events?run=r", f"Origin: {origin}", gateway.bearer())
    assert (answer.status, answer.problem["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers

    peer = await gateway.websocket()
    await peer.open(f"Origin: {origin}", gateway.bearer())
    code, closed = await peer.refusal()
    assert (code, closed.code) == ("origin_not_allowed", 4403)


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://a.example.org", "https://a.b.example.org"])
async def test_a_page_from_an_allowed_origin_is_let_in(gateway: Gateway, origin: str) -> None:
    """The list allows what it names, and sub-domains where it says so."""
    peer = await gateway.websocket()
    await peer.open(f"Origin: {origin}", gateway.bearer())
    await peer.message("welcome")

    stream = await gateway.http()
    stream.send(request("/v1/events?run=r", f"Origin: {origin}", gateway.bearer()))
    status, headers = await stream.head()
    assert (status, headers["access-control-allow-origin"]) == (200, origin)


async def test_two_origins_open_nothing(gateway: Gateway) -> None:
    """A request with two Origin headers is no browser's; the good one does not vouch for the other."""
    both = (GOOD_ORIGIN, "Origin: https://evil.com")
    peer = await gateway.http()
    peer.send(upgrade(*both, gateway.bearer()))
    assert (await peer.answer()).status == 400

    for headers in (both, both[::-1]):
        answer = await gateway.ask("/v1/events?run=r", *headers, gateway.bearer())
        assert answer.status == 403


async def test_a_preflight_says_what_is_allowed(gateway: Gateway) -> None:
    """For an allowed origin only; what the browser names comes back, and nothing that is not a header."""
    wanted = ("Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization, last-event-id")
    answer = await gateway.ask("/v1/events", GOOD_ORIGIN, *wanted, method="OPTIONS")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example.com")
    assert "last-event-id" in answer.headers["access-control-allow-headers"]

    answer = await gateway.ask("/v1/events", "Origin: https://evil.com", *wanted, method="OPTIONS")
    assert answer.status == 400
    assert "access-control-allow-origin" not in answer.headers
