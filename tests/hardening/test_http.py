"""HTTP requests that no browser would send: each has its answer, readable where it may be, and nobody else notices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import events, eventually, frame, request, say, upgrade

if TYPE_CHECKING:
    from tests.hardening.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD_ORIGIN = "Origin: https://app.example.com"


BAD_QUERIES: dict[str, tuple[str, str, str]] = {
    "nothing": ("", "bad_message", "run=ID"),
    "only options": ("limit=1&since=1h", "bad_message", "run=ID"),
    "an unknown parameter": ("run=r&zzz=1", "bad_message", "zzz"),
    "a parameter with a slip": ("run=r&skipColum=output", "bad_message", "'skipColumns'"),
    "a name without a value": ("run", "bad_feed", "run"),
    "an empty run": ("run=", "bad_feed", "run"),
    "an empty tag": ("tags=", "bad_feed", "tag"),
    "an empty tag among others": ("tags=a,,b", "bad_feed", "tag"),
    "an empty batch": ("batch=", "bad_feed", "batch"),
    "all=false": ("all=false", "bad_feed", "all"),
    "an empty limit": ("run=r&limit=", "bad_message", "limit"),
    "an empty since": ("run=r&since=", "bad_message", "since"),
    "a limit of nothing": ("run=r&limit=0", "bad_message", "limit"),
    "a limit that is no number": ("run=r&limit=ten", "bad_message", "limit"),
    "a limit with other digits": ("run=r&limit=%D9%A1", "bad_message", "limit"),
    "a limit of many digits": ("run=r&limit=" + "9" * 5000, "bad_message", "limit"),
    "a limit with a sign": ("run=r&limit=%2B1", "bad_message", "limit"),
    "two limits": ("run=r&limit=1&limit=2", "bad_message", "once"),
    "two cursors": ("run=r&cursor=1-1&cursor=1-2", "bad_message", "once"),
    "a word for a cursor": ("run=r&cursor=now", "bad_cursor", "cursor"),
    "a negative cursor": ("run=r&cursor=1--1", "bad_cursor", "cursor"),
    "an unknown column": ("run=r&skipColumns=zzz", "bad_message", "zzz"),
    "eleven tags": ("tags=" + ",".join("abcdefghijk"), "bad_feed", "10"),
    "a long tag": ("tags=" + "x" * 129, "bad_feed", "128"),
    "a NUL": ("run=%00", "bad_feed", "x00"),
    "a header in an id": ("run=a%0d%0aSet-Cookie:%20x", "bad_feed", "white space"),
    "bytes that are not UTF-8": ("run=%ff%fe", "bad_message", "query"),
    "a surrogate": ("run=%ed%a0%80", "bad_message", "query"),
    "101 feeds": ("&".join(f"run=r{n}" for n in range(101)), "bad_message", "100"),
    "60 KB of one run": ("run=" + "x" * 60_000, "bad_feed", "255"),
    "60 KB of separators": ("&" * 60_000, "bad_message", "run=ID"),
    "60 KB of names": ("&".join(f"p{n}" for n in range(9_000)), "bad_message", "unknown"),
}


@pytest.mark.parametrize("name", BAD_QUERIES)
async def test_a_query_that_is_wrong_is_answered_with_a_problem(gateway: Gateway, name: str) -> None:
    """Before any stream begins: problem+json with the documented code, a text that says what is wrong, and no token."""
    query, code, word = BAD_QUERIES[name]
    answer = await gateway.ask(f"/v1/events?{query}", gateway.bearer(), GOOD_ORIGIN)

    assert (answer.status, answer.problem["code"], answer.problem["retry"]) == (400, code, False)
    assert word in answer.problem["detail"]
    assert len(answer.body) < 1000
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_a_query_with_odd_but_possible_names_is_a_stream(gateway: Gateway) -> None:
    """Escapes, repetitions and odd characters are names like any others, and each feed comes once."""
    peer = await gateway.http()
    peer.send(
        request("/v1/events?run=r%&run=r%25&run=%2A&tags=%F0%9F%98%80,b&tag=b,%F0%9F%98%80&all=", gateway.bearer())
    )

    status, _ = await peer.head()

    assert status == 200
    feeds = {"run:r%", "run:*", "tag:b,😀", "all"}
    told = b""
    while told.count(b"event: snapshot") < len(feeds):
        told += await peer.chunk()
    assert {data["feed"] for kind, data in events(told) if kind == "snapshot"} == feeds


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/events/x", "/v1/ws", "/%2e%2e/etc", b"/v1/event\xc5\xbf"])
async def test_a_path_without_anything_is_a_problem(gateway: Gateway, path: str | bytes) -> None:
    """404 as problem+json, for every path that is not ours; raw bytes in a path are no request at all."""
    answer = await gateway.ask(path, GOOD_ORIGIN)

    if isinstance(path, bytes):
        assert answer.status == 400
        return
    assert (answer.status, answer.problem["code"]) == (404, "not_found")
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"])
async def test_other_methods_are_refused_with_what_is_allowed(gateway: Gateway, method: str) -> None:
    """405 as problem+json, with the header that says what would be right."""
    answer = await gateway.ask("/v1/events?run=r", gateway.bearer(), GOOD_ORIGIN, method=method)

    assert (answer.status, answer.problem["code"], answer.headers["allow"]) == (405, "method_not_allowed", "GET")
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_a_head_request_is_refused_without_a_body(gateway: Gateway) -> None:
    """HEAD gets the head of the refusal, and the next request on the connection its own answer."""
    peer = await gateway.http()

    peer.send(request("/v1/events?run=r", gateway.bearer(), method="HEAD") + request("/livez"))

    assert (await peer.head())[0] == 405
    assert (await peer.answer()).body == b'{"status":"alive"}'


@pytest.mark.parametrize("cursor", ["now", "1-1\x01", "\xff\xfe", "-" * 5000, "1-1, 1-2", "1 - 1", "%0d%0aX: y"])
async def test_a_last_event_id_that_is_no_cursor_is_refused(gateway: Gateway, cursor: str) -> None:
    """It is a cursor or an error; nothing of it becomes a header of ours."""
    answer = await gateway.ask("/v1/events?run=r&cursor=1-1", gateway.bearer(), f"Last-Event-ID: {cursor}")

    if "\x01" in cursor:
        assert answer.status == 400  # not even a header
    else:
        assert (answer.status, answer.problem["code"]) == (400, "bad_cursor")
    assert set(answer.headers) <= {"date", "cache-control", "content-type", "content-length", "vary", "connection"}


async def test_a_header_with_a_line_break_is_two_headers(gateway: Gateway) -> None:
    """What is smuggled behind a line break is read as it stands, and never repeated."""
    peer = await gateway.http()
    peer.send(request("/v1/events?run=r", gateway.bearer(), "Last-Event-ID: 1-1\r\nX-Smuggled: yes\r\n\tfolded"))

    answer = await peer.take_until(b"\r\n\r\n")

    assert b"muggled" not in answer


NOT_HTTP: dict[str, bytes] = {
    "junk": b"\x00\x01\x02\x03\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": request("/livez", version="9.9"),
    "an unknown method": request("/livez", method="FETCH"),
    "a method for tunnels": b"CONNECT evil.com:443 HTTP/1.1\r\nHost: evil.com\r\n\r\n",
    "a header without a name": request("/livez", ": x"),
    "a header with a space": request("/livez", "X Y: z"),
    "a NUL in a header": request("/livez", "X: a\0b"),
    "a length that is no number": request("/livez", "Content-Length: x"),
    "two lengths": request("/livez", "Content-Length: 1", "Content-Length: 2"),
    "a length and chunks": request("/livez", "Content-Length: 1", "Transfer-Encoding: chunked"),
    "a chunk without a size": request("/v1/events?run=r", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_not_http_is_refused_and_the_connection_closed(gateway: Gateway, name: str) -> None:
    """400, then the end: nobody guesses where the next request would begin."""
    peer = await gateway.http()

    peer.send(NOT_HTTP[name])

    assert (await peer.take_all()).split(b" ")[1] in (b"400", b"405")


async def test_a_request_without_end_is_refused_while_it_is_small(gateway: Gateway) -> None:
    """Headers are kept in memory, so there is a limit to them, of one request line, one header, or many."""
    endless = {
        "a request line": (b"GET /", b"x" * 10_000),
        "a header": (b"GET / HTTP/1.1\r\nX: ", b"x" * 10_000),
        "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 1000),
    }
    for name, (beginning, more) in endless.items():
        peer = await gateway.http()
        peer.send(beginning)
        sent, answered = 0, asyncio.ensure_future(peer.answer())
        while not answered.done():
            peer.send(more)
            sent += len(more)
            assert sent < 8 * 1024 * 1024, name
            await asyncio.sleep(0.001)
        assert (await answered).status == 431, name


@pytest.mark.parametrize("size", [65_536, 100_000])
async def test_a_query_that_is_too_long_is_told_so(gateway: Gateway, size: int) -> None:
    """More than 64 KiB are not read as a query; the answer says that its length is what is wrong."""
    answer = await gateway.ask("/v1/events?run=" + "x" * size, gateway.bearer())

    assert answer.status == 414


async def test_a_handshake_with_too_long_a_header_is_refused(gateway: Gateway) -> None:
    """A token that is too long for a header is not met with silence."""
    for headers in ([f"X-Long: {'x' * 9000}"], [f"X-{n}: y" for n in range(200)]):
        peer = await gateway.http()
        peer.send(upgrade(*headers))
        assert (await peer.answer()).status == 431

    peer = await gateway.http()
    peer.send(upgrade(target="/v1/ws?" + "x" * 9000))
    assert (await peer.answer()).status == 414


BAD_HANDSHAKES = {
    "another version": (
        request("/v1/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8"),
        426,
    ),
    "no key": (request("/v1/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), 400),
    "a short key": (upgrade().replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"AAAA"), 400),
    "two keys": (upgrade("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),
    "another path": (upgrade(target="/v1/events?run=r"), 404),
    "a POST": (upgrade().replace(b"GET", b"POST"), 405),
    "chunks": (upgrade("Transfer-Encoding: chunked"), 400),
    "another protocol": (request("/v1/ws", "Connection: Upgrade", "Upgrade: h2c"), 404),
}


@pytest.mark.parametrize("name", BAD_HANDSHAKES)
async def test_a_handshake_that_is_wrong_is_refused(gateway: Gateway, name: str) -> None:
    """With an HTTP status, and the connection ends where it is of no more use."""
    data, status = BAD_HANDSHAKES[name]
    peer = await gateway.http()

    peer.send(data)

    assert (await peer.head())[0] == status


async def test_a_request_within_its_time_may_come_in_pieces(gateway: Gateway) -> None:
    """Slow is not wrong: byte by byte, a request is answered, and so is the next."""
    peer = await gateway.http()

    for _ in range(2):
        for byte in request("/livez"):
            peer.send(bytes((byte,)))
            await peer.sent()
        assert (await peer.answer()).status == 200


async def test_a_handshake_byte_by_byte_is_let_in(gateway: Gateway) -> None:
    """The same holds for WebSockets."""
    peer = await gateway.websocket()

    for byte in upgrade(gateway.bearer()):
        peer.send(bytes((byte,)))
        await peer.sent()

    await peer.opened()
    await peer.message("welcome")


async def test_abrupt_resets_leave_nothing(gateway: Gateway) -> None:
    """At every step of a request, and all at once."""
    whole = request("/v1/events?run=run_3", gateway.bearer())
    peers = [await gateway.http() for _ in range(0, len(whole) + 1, 40)]
    for number, peer in enumerate(peers):
        peer.send(whole[: number * 40])
        await peer.sent()
    for peer in peers:
        peer.reset()

    streams = [await gateway.http() for _ in range(10)]
    for stream in streams:
        stream.send(whole)
        await stream.take_until(b"event: welcome")
        stream.reset()

    await eventually(lambda: not gateway.server.server_state.connections, what="all are forgotten")


async def test_a_viewer_that_does_not_wait_for_the_answer_to_a_bad_handshake_is_refused(gateway: Gateway) -> None:
    """Frames behind a handshake that is refused are not worked on."""
    peer = await gateway.http()

    peer.send(upgrade(target="/nothing") + say({"type": "subscribe", "run": "run_1"}) + frame(0x9))

    assert (await peer.answer()).problem["code"] == "not_found"
    assert await peer.take_all() == b""
