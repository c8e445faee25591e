"""Requests, right and wrong (RFC 9112, sections 2 to 5; RFC 9110): lines, targets, headers, methods, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import request
from tests.http.cases import OK, TOKEN, Case, carry_out, sized
from tests.ways import Way

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

REFUSED = ((400,),)

RIGHT = [
    Case("GET", "3", OK, (200,)),
    Case("escapes in the path", "RFC 9110 4.2.3", request("/liv%65%7A"), (200,)),
    Case("escapes that are none", "RFC 9110 4.2.3", request("/%zz%"), (404,)),
    Case("a query", "3.2.1", request("/livez?a=b?c/d"), (200,)),
    Case("a query and nothing in it", "3.2.1", request("/livez?"), (200,)),
    Case("two slashes", "3.2.1", request("//livez"), (404, )),
    Case("HEAD", "RFC 9110 9.3.2", request("/livez", method="HEAD"), (200,)),
    Case("HEAD of what is not there", "RFC 9110 9.3.2", request("/nowhere", method="HEAD"), (404,)),
    Case("HEAD, and GET", "RFC 9110 9.3.2", request("/livez", method="HEAD") + OK, (200, 200)),
    Case("OPTIONS", "RFC 9110 9.3.7", request("/livez", method="OPTIONS"), ((200, 204, 405),)),
    Case("OPTIONS of the server", "3.2.4", request("*", method="OPTIONS"), ((200, 204, 404, 405),)),
    Case("a method that is not allowed here", "RFC 9110 15.5.6", request("/livez", method="DELETE"), (405,)),
    Case("TRACE", "RFC 9110 9.3.8", request("/livez", method="TRACE"), ((405, 501),)),
    Case("names in any letters", "RFC 9110 5.1", OK.replace(b"Host", b"hOsT"), (200,)),
    Case("no space behind the colon", "5", OK.replace(b": ", b":"), (200,)),
    Case("much space behind the colon", "5", OK.replace(b": ", b": \t  "), (200,)),
    Case("space behind the value", "5", OK.replace(b"localhost", b"localhost \t "), (200,)),
    Case("an empty value", "5", request("/livez", "X-Empty:"), (200,)),
    Case("a value beyond ASCII", "RFC 9110 5.5", request("/livez", "X-Any: \xe9\xff"), (200,)),
    Case("five hundred headers", "5", request("/livez", *(f"X-{n}: y" for n in range(500))), (200,)),
    Case("the host with a port", "3.2", OK.replace(b"localhost", b"localhost:8000"), (200,)),
    Case("the host as an address", "3.2", OK.replace(b"localhost", b"[::1]:8000"), (200,)),
    Case("no name of a host", "3.2", OK.replace(b" localhost", b""), (200,)),
]  # fmt: skip

#: Where h11 leaves the choice to whoever uses it, or makes another one.
RIGHT_AT_OURS = [
    Case("an empty line before it", "2.2", b"\r\n" + OK, (200,)),
    Case("several empty lines before it", "2.2", b"\r\n\r\n\r\n" + OK, (200,)),
    Case("a target with its host", "3.2.2", request("http://localhost/livez"), (200,)),
    Case("a target with another host", "3.2.2", request("http://other.example:99/livez?a=b"), (200,)),
    Case("a target in large letters", "3.2.2", request("HTTP://LOCALHOST/livez"), (200,)),
    Case("a target with its host and no path", "3.2.2", request("http://localhost"), (200,)),
    Case("a target with its host, no path, and a query", "3.2.2", request("http://localhost?a=b"), (200,)),
]

WRONG = [
    Case("no path", "3.2", request("livez"), ((400, 404),), stays=None),
    Case("a star for GET", "3.2.4", request("*"), ((400, 404),), stays=None),
    Case("a fragment", "3.2", request("/livez#a"), ((200, 400, 404),), stays=None),
    Case("two spaces", "3", OK.replace(b" ", b"  ", 1), ((200, 400),), stays=None),
    Case("tabs", "3", OK.replace(b" ", b"\t", 2), ((200, 400),), stays=None),
    Case("a space in the target", "3.2", request("/li vez"), REFUSED, stays=False),
    Case("a control character in the target", "3.2", request("/li\x01vez"), REFUSED, stays=False),
    Case("DEL in the target", "3.2", request("/li\x7fvez"), REFUSED, stays=False),
    Case("bytes beyond ASCII in the target", "3.2", request(b"/livez/\xe9"), REFUSED, stays=False),
    Case("a method that is none", "3.1", request("/livez", method="G(T"), REFUSED, stays=False),
    Case("no such method", "3.1", request("/livez", method="FETCH"), ((400, 405, 501),), stays=None),
    Case("a method in small letters", "3.1", request("/livez", method="get"), ((400, 405, 501),), stays=None),
    Case("a version of two digits", "2.3", request("/livez", version="1.10"), REFUSED, stays=False),
    Case("a version that is none", "2.3", OK.replace(b"HTTP/1.1", b"HTTP/x"), REFUSED, stays=False),
    Case("a version in small letters", "2.3", OK.replace(b"HTTP", b"http"), REFUSED, stays=False),
    Case("a version of later", "RFC 9110 2.5", request("/livez", version="1.2"), ((200, 400, 505),), stays=None),
    Case("another protocol", "2.3", OK.replace(b"HTTP", b"ICY"), REFUSED, stays=False),
    Case("no host", "3.2", OK.replace(b"Host: localhost\r\n", b""), REFUSED, stays=False),
    Case("two hosts", "3.2", request("/livez", "Host: localhost"), REFUSED, stays=False),
    Case("a header without a name", "5.1", request("/livez", ": x"), REFUSED, stays=False),
    Case("a header without a colon", "5", request("/livez", "X"), REFUSED, stays=False),
    Case("a space before the colon", "5.1", request("/livez", "X-Any : y"), REFUSED, stays=False),
    Case("a space before the first header", "2.2", OK.replace(b"Host", b" Host"), REFUSED, stays=False),
    Case("a bracket in a name", "5.1", request("/livez", "X(y: z"), REFUSED, stays=False),
    Case("a name beyond ASCII", "5.1", request("/livez", "X\xe9: z"), REFUSED, stays=False),
    Case("a NUL in a value", "RFC 9110 5.5", request("/livez", "X-Any: a\0b"), REFUSED, stays=False),
    Case("a bare CR in a value", "2.2", request("/livez", "X-Any: a\rb"), REFUSED, stays=False),
    Case("a folded header", "5.2", request("/livez", "X-Any: a\r\n b"), ((200, 400),), stays=None),
    Case("lines that end with LF alone", "2.2", OK.replace(b"\r\n", b"\n"), ((200, 400),), stays=None),
    Case("one line that ends with LF alone", "2.2", OK.replace(b"\r\n", b"\n", 1), ((200, 400),), stays=None),
    Case("TLS", "3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", REFUSED, stays=False),
    Case("a good request, and one that is none", "9.3.2", OK + b"\0\0\r\n\r\n", (200, 400), stays=False),
    Case("several good requests, and one that is none", "9.3.2",
         OK * 5 + b"JUNK\r\n\r\n" + OK, (200,) * 5 + (400,), stays=False),
    Case("a good request with a body, and one that is none", "9.3.2", sized() + b"\0\r\n\r\n", (201, 400), stays=False),
]  # fmt: skip

WRONG_AT_OURS = [
    Case("a host that could be none", "3.2", OK.replace(b"localhost", b"a b"), REFUSED, stays=False),
    Case("a host with a path", "3.2", OK.replace(b"localhost", b"localhost/a"), REFUSED, stays=False),
    Case("a host with a user", "3.2", OK.replace(b"localhost", b"me@localhost"), REFUSED, stays=False),
    Case("a list of hosts", "3.2", OK.replace(b"localhost", b"a, b"), REFUSED, stays=False),
    Case("no version", "3", b"GET /livez\r\n\r\n", REFUSED, stays=False),
    Case("HTTP/2.0", "2.3", request("/livez", version="2.0"), ((505,),), stays=False),
    Case("HTTP/2 without asking", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ((400, 505),), stays=False),
    Case("CONNECT", "RFC 9110 9.3.6", request("localhost:80", method="CONNECT"), ((400, 405, 501),), stays=False),
    Case("lines that end with CR alone", "2.2", OK.replace(b"\r\n", b"\r"), REFUSED, stays=False),
    Case("a request for a poll without a host", "3.2",
         request("/realtime/v1/runs?tags=a&live=true&handle=x&offset=0_0", TOKEN).replace(b"Host: localhost\r\n", b""),
         REFUSED, stays=False),
]  # fmt: skip


@pytest.mark.parametrize("case", RIGHT, ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.H11], ids=lambda way: way.value)
async def test_requests(entrance: Entrance, case: Case) -> None:
    """What is a request is answered."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("case", [*WRONG, *RIGHT_AT_OURS, *WRONG_AT_OURS], ids=str)
async def test_requests_at_our_server(entrance: Entrance, case: Case) -> None:
    """What is none has its status, and ends the connection: who knows where the next one would begin."""
    await carry_out(case, entrance)


async def test_a_head_has_the_headers_of_its_get(entrance: Entrance) -> None:
    """RFC 9110, section 9.3.2."""
    caller = await entrance.call()
    answers = []
    for method in ("GET", "HEAD"):
        await caller.say(request("/livez", method=method))
        status, headers = await caller.head()
        if method == "GET":
            await caller.take(int(headers["content-length"]))
        answers.append((status, {**headers, "date": ""}))

    assert answers[0] == answers[1]
