"""Where a body ends (RFC 9112, sections 6 and 7), so that nobody smuggles a request; and who is asked for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import request
from tests.http.cases import ALIVE, BODY, OK, TOKEN, Case, carry_out, chunked, chunks, post, read_answer, sized, spelled
from tests.ways import Way

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

SIZE = len(BODY)
#: What somebody would like us to take for a request.
SMUGGLED = request("/nowhere")

RIGHT = [
    Case("a length", "6.3", sized(), (201,)),
    Case("a length with zeros", "6.3", post(f"Content-Length: 000{SIZE}"), (201,)),
    Case("chunks", "7.1", chunked(chunks(BODY[:9], BODY[9:])), (201,)),
    Case("a chunk for each byte", "7.1", chunked(chunks(*(bytes((byte,)) for byte in BODY))), (201,)),
    Case("sizes in large letters", "7.1", chunked(b"%X\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)), (201,)),
    Case("sizes with zeros", "7.1", chunked(b"000%x\r\n%b\r\n000\r\n\r\n" % (SIZE, BODY)), (201,)),
    Case("extensions", "7.1.1", chunked(b'%x;a=b;c="d";e\r\n%b\r\n0;f\r\n\r\n' % (SIZE, BODY)), (201,)),
    Case("a trailer", "7.1.2", chunked(chunks(BODY, trailer=b"X-Any: thing\r\n")), (201,)),
    Case("a trailer that would be a credential", "RFC 9110 6.5.1",
         chunked(chunks(BODY, trailer=b"Authorization: Bearer nonsense\r\n")), (201,)),
    Case("a trailer that would be a length", "RFC 9110 6.5.1",
         chunked(chunks(BODY, trailer=b"Content-Length: 3\r\n")), ((201, 400),), stays=None),
    Case("the name of the coding in other letters", "7", post("Transfer-Encoding: Chunked", body=chunks(BODY)), (201,)),
    Case("a body for GET", "RFC 9110 9.3.1", request("/livez", "Content-Length: 5") + b"hello", (200,)),
    Case("chunks for GET", "RFC 9110 9.3.1",
         request("/livez", "Transfer-Encoding: chunked") + chunks(b"hello"), (200,)),
    Case("a request as the body of GET", "RFC 9110 9.3.1",
         request("/livez", f"Content-Length: {len(SMUGGLED)}") + SMUGGLED, (200,)),
    Case("a request as a chunk", "7.1", request("/livez", "Transfer-Encoding: chunked") + chunks(SMUGGLED), (200,)),
    Case("a body of a request that is refused", "9.3",
         request("/v1/runs", "Content-Length: 40", method="POST") + bytes(40),
         (401,), stays=None),
    Case("a body of no bytes", "6.3", request("/livez", "Content-Length: 0"), (200,)),
    Case("a POST without a body", "6.3", request("/livez", method="POST"), (405,)),
    Case("several, in all ways", "9.3", sized() + chunked(chunks(BODY)) + OK + sized(), (201, 201, 200, 201)),
]  # fmt: skip

#: 400, or for a coding that is not known 501; and then the end, for who knows what is smuggled behind it.
WRONG = [
    *(Case(f"a length of {value!r}", "6.3", post(f"Content-Length: {value}"), ((400,),), stays=False)
      for value in (f"+{SIZE}", "-1", "0x2f", "9" * 23, "4 7", "4_7", "4,8", f"{SIZE}.0", "\u00b2", "x")),
    Case("two lengths", "6.3", post("Content-Length: 1", "Content-Length: 2"), ((400,),), stays=False),
    *(Case(f"the coding {value!r}", "6.1",
           post(f"Transfer-Encoding: {value}", body=chunks(BODY)), ((400, 501),), stays=False)
      for value in ("xchunked", "chunked, gzip", "gzip, chunked", "identity", "chunked, identity", "chunked;a=b",
                    "\x0bchunked", "chunked, chunked", "'chunked'", "chu nked")),
    Case("two codings", "6.1", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=chunks(BODY)),
         ((400, 501),), stays=False),
    *(Case(f"a size of {size!r}", "7.1", chunked(size + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), ((400,),), stays=False)
      for size in (b"zz", b"-5", b"+5", b"0x2f", b"", b" 2f", b"2f2f2f2f2f2f2f2f2f2f2f", b"\xb2")),
    Case("a chunk that is longer than it says", "7.1",
         chunked(b"%x\r\n%bXX\r\n0\r\n\r\n" % (SIZE, BODY)), ((400,),), stays=False),
    Case("a chunk without an end of its line", "7.1",
         chunked(b"%x\r\n%b0\r\n\r\n" % (SIZE, BODY)), ((400,),), stays=False),
    Case("chunks that end with LF", "7.1", chunked(b"%x\n%b\n0\n\n" % (SIZE, BODY)), ((400,),), stays=False),
    Case("a size that ends with LF", "7.1", chunked(b"%x\n%b\r\n0\r\n\r\n" % (SIZE, BODY)), ((400,),), stays=False),
]  # fmt: skip

WRONG_AT_OURS = [
    Case("a length and chunks", "6.3",
         post("Content-Length: 3", "Transfer-Encoding: chunked", body=chunks(BODY)), ((400,),),
         stays=False),
    Case("chunks and a length", "6.3",
         post("Transfer-Encoding: chunked", "Content-Length: 3", body=chunks(BODY)), ((400,),),
         stays=False),
    Case("a length, and a coding that is none", "6.3", sized("Transfer-Encoding:"), ((400, 501),), stays=False),
    Case("the same length twice", "6.3", sized(f"Content-Length: {SIZE}"), ((201, 400),), stays=None),
    Case("a list of the same length", "6.3", post(f"Content-Length: {SIZE}, {SIZE}"), ((201, 400),), stays=None),
    Case("an empty length", "6.3", post("Content-Length:"), ((400,),), stays=False),
    Case("an extension that ends with LF", "7.1.1",
         chunked(b"%x;a\n%b\r\n0\r\n\r\n" % (SIZE, BODY)), ((400,),), stays=False),
    Case("a space behind a size", "7.1.1",
         chunked(b"%x \r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)), ((201, 400),), stays=None),
    Case("a request behind a length and chunks", "11.2",
         request("/livez", "Content-Length: 6", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n" + SMUGGLED,
         ((400,),), stays=False),
]  # fmt: skip

EXPECT = [
    Case("it, and the body at once", "RFC 9110 10.1.1", sized("Expect: 100-continue"), (100, 201)),
    Case("it in other letters", "RFC 9110 10.1.1", sized("Expect: 100-Continue"), (100, 201)),
    Case("something else", "RFC 9110 10.1.1", sized("Expect: 200-ok"), ((201, 417),), stays=None),
    Case("it, where nobody wants a body", "RFC 9110 10.1.1", request("/livez", "Expect: 100-continue"), (200,)),
]  # fmt: skip


@pytest.mark.parametrize("case", RIGHT, ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.H11], ids=lambda way: way.value)
async def test_bodies(entrance: Entrance, case: Case) -> None:
    """A body is read to its end, and not further."""
    await carry_out(case, entrance)


@pytest.mark.parametrize("case", [*WRONG, *WRONG_AT_OURS, *EXPECT], ids=str)
async def test_bodies_at_our_server(entrance: Entrance, case: Case) -> None:
    """The same, where others answer otherwise."""
    if case in EXPECT:
        asks = spelled(case.asks, entrance)
        caller = await entrance.call()
        await caller.say(asks)
        statuses = [(await read_answer(caller)).status for _ in case.statuses]
        assert tuple(statuses) in [case.statuses, (201,), (417,)]
        return
    await carry_out(case, entrance)


async def test_a_body_is_asked_for_when_it_is_wanted(entrance: Entrance) -> None:
    """Whoever expects to be asked is asked, or refused before it has sent anything (RFC 9110, section 10.1.1)."""
    asks = spelled(sized("Expect: 100-continue"), entrance)
    caller = await entrance.call()
    await caller.say(asks[:-SIZE])
    assert await caller.head() == (100, {})
    await caller.say(asks[-SIZE:])
    assert (await read_answer(caller)).status == 201

    await caller.say(asks[:-SIZE].replace(b"Bearer ", b"Bearer x"))
    assert (await read_answer(caller)).status == 401


async def test_an_old_client_is_not_asked(entrance: Entrance) -> None:
    """HTTP/1.0 knows no interim answers (RFC 9110, section 15.2)."""
    caller = await entrance.call()
    await caller.say(spelled(sized("Expect: 100-continue", version="1.0"), entrance))
    answer = await read_answer(caller)
    assert (answer.status, answer.headers["connection"]) == (201, "close")
    assert await caller.take_all() == b""


async def test_chunks_of_an_old_client_end_its_connection(entrance: Entrance) -> None:
    """RFC 9112, section 6.1: who knows whether somebody on the way has read them as such."""
    caller = await entrance.call()
    await caller.say(
        spelled(
            post("Transfer-Encoding: chunked", "Connection: keep-alive", version="1.0", body=chunks(BODY)), entrance
        )
        + OK
    )
    assert (await read_answer(caller)).status in (201, 400)
    assert await caller.take_all() == b""


async def test_a_trailer_is_no_header_however_it_comes(entrance: Entrance) -> None:
    """With the body, or much later: what was decided by then is decided."""
    whole = spelled(chunked(chunks(BODY, trailer=b"Authorization: Bearer nonsense\r\nHost: other\r\n")), entrance)
    cut = whole.index(b"\r\n0\r\n") + 5
    for segments in ([whole], [whole[:cut], whole[cut:]], [whole[:-2], whole[-2:]]):
        caller = await entrance.call()
        await caller.say(*segments, OK)
        assert (await read_answer(caller)).status == 201
        assert (await read_answer(caller)).body == ALIVE


async def test_what_is_smuggled_is_never_answered(entrance: Entrance) -> None:
    """However lengths and chunks contradict each other: one answer, and the end."""
    for lines in (
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Transfer-Encoding: xchunked", "Content-Length: 4"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: x"),
        ("Content-Length: 4", "Content-Length: 0"),
        ("Transfer-Encoding : chunked", "Content-Length: 4"),
        ("X: y\r\n Transfer-Encoding: chunked", "Content-Length: 4"),
        ("X: y\nTransfer-Encoding: chunked", "Content-Length: 4"),
    ):
        caller = await entrance.call()
        await caller.say(request("/livez", TOKEN, *lines, method="POST") + b"0\r\n\r\n" + SMUGGLED)
        assert (await read_answer(caller)).status in (400, 501), lines
        assert await caller.take_all() == b""
