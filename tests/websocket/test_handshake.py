"""
The opening handshake (RFC 6455, section 4.2; RFC 9110, section 7.8): who is let in, and what whoever is not is told.

Origins and tokens are looked at behind it (tests/hardening/test_http.py, test_tokens.py): a browser tells its page
nothing of a handshake that was refused.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.hardening.peers import CLOSE, PING, PONG
from tests.ways import Way
from tests.websocket.cases import echo, frame, listen, next_frame

if TYPE_CHECKING:
    from tests.ways import Caller, Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

#: Section 1.3.
_KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
_ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

HEADERS: Final = {
    "Host": "localhost",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": _KEY,
}


def handshake(start: str = "GET /v1/ws HTTP/1.1", *more: str, **changed: str | None) -> bytes:
    """
    Any handshake.

    Args:
        more: Lines of headers beside the usual ones.
        changed: Values of headers in place of the usual ones, None for none; with _ for -.
    """
    headers: dict[str, str | None] = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([start, *lines, *more, "", ""]).encode("latin-1")


@dataclass(frozen=True)
class Opening:
    name: str
    section: str
    asked: bytes
    #: The statuses that the RFC allows here.
    statuses: tuple[int, ...] = (101,)
    subprotocol: str | None = None
    #: Servers that are not ours do otherwise.
    ours_alone: bool = False

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


START: Final = "GET /v1/ws HTTP/1.1"
RIGHT = [
    Opening("as usual", "4.2.2", handshake()),
    Opening("names in small letters", "4.2.1", handshake().replace(b"Sec-WebSocket-Key", b"sec-websocket-key")
            .replace(b"Connection", b"connection").replace(b"Upgrade:", b"upgrade:")),
    Opening("names in large letters", "4.2.1", handshake().replace(b"Sec-WebSocket-Key", b"SEC-WEBSOCKET-KEY")
            .replace(b"Sec-WebSocket-Version", b"SEC-WEBSOCKET-VERSION")),
    Opening("values in other letters", "4.2.1", handshake(Upgrade="WebSocket", Connection="UPGRADE")),
    Opening("as Firefox says it", "4.2.1", handshake(Connection="keep-alive, Upgrade")),
    Opening("a list with spaces", "4.2.1", handshake(Connection="  foo ,  uPgRaDe,bar ")),
    Opening("Connection on two lines", "4.2.1", handshake(START, "Connection: Upgrade", Connection="keep-alive")),
    Opening("spaces around the key", "4.2.1", handshake(Sec_WebSocket_Key=f"  {_KEY}\t")),
    Opening("no space behind the colons", "4.2.1", handshake().replace(b": ", b":")),
    Opening("a query", "4.2.1", handshake("GET /v1/ws?x=%20 HTTP/1.1")),
    Opening("an escape in the path", "4.2.1", handshake("GET /v1/w%73 HTTP/1.1")),
    Opening("a target with its host", "4.2.1", handshake("GET http://localhost/v1/ws HTTP/1.1"), ours_alone=True),
    Opening("cookies, and headers that nobody knows", "4.2.1", handshake(START, "Cookie: a=b", "X-Any: thing")),
    Opening("a body of no bytes", "4.2.1", handshake(START, "Content-Length: 0"), (101, 400)),
    Opening("an empty line before it", "RFC 9112 2.2", b"\r\n" + handshake()),
    Opening("Expect", "4.2.1", handshake(START, "Expect: 100-continue"), (101, 417)),
    Opening("another protocol as good", "RFC 9110 7.8", handshake(Upgrade="websocket, h2c"), (101, 404, 426)),
    Opening("another protocol that is better", "RFC 9110 7.8", handshake(Upgrade="h2c, websocket"), (101, 404, 426)),
    Opening("an Origin", "4.2.2", handshake(START, "Origin: https://app.example.com")),
]  # fmt: skip

SUBPROTOCOLS = [
    Opening("ours", "4.2.2", handshake(Sec_WebSocket_Protocol="runcast.v1"), subprotocol="runcast.v1"),
    Opening("ours among others", "4.2.2", handshake(Sec_WebSocket_Protocol="x, runcast.v1,token.abc"),
            subprotocol="runcast.v1"),
    Opening("ours on a second line", "11.3.4",
            handshake(START, "Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: runcast.v1"),
            subprotocol="runcast.v1"),
    Opening("ours in a list with holes", "RFC 9110 5.6.1", handshake(Sec_WebSocket_Protocol=", ,runcast.v1,,"),
            subprotocol="runcast.v1"),
    Opening("ours twice", "4.1", handshake(Sec_WebSocket_Protocol="runcast.v1, runcast.v1"), (101, 400),
            subprotocol="runcast.v1"),
    Opening("others", "4.2.2", handshake(Sec_WebSocket_Protocol="mqtt, token.abc")),
    Opening("ours in other letters is another", "4.2.2", handshake(Sec_WebSocket_Protocol="RunCast.V1")),
    Opening("none at all", "4.2.2", handshake(Sec_WebSocket_Protocol=""), (101, 400)),
    Opening("a name with a space", "4.1", handshake(Sec_WebSocket_Protocol="a b"), (101, 400)),
]  # fmt: skip

EXTENSIONS = [
    Opening(name, "9.1", handshake(Sec_WebSocket_Extensions=offered), ours_alone=True)
    for name, offered in {
        "compression": "permessage-deflate; client_max_window_bits",
        "compression without a context": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "old compression": "x-webkit-deflate-frame",
        "what nobody knows": 'foo; bar=1; baz="x", other',
    }.items()
]

REFUSED = [
    Opening("no key", "4.2.2", handshake(Sec_WebSocket_Key=None), (400,)),
    Opening("an empty key", "4.2.1", handshake(Sec_WebSocket_Key=""), (400,)),
    Opening("a short key", "4.2.1", handshake(Sec_WebSocket_Key="AAAA"), (400,)),
    Opening("a long key", "4.2.1", handshake(Sec_WebSocket_Key="A" * 32), (400,)),
    Opening("a key without padding", "4.2.1", handshake(Sec_WebSocket_Key="A" * 22), (400,)),
    Opening("a key that is no base64", "4.2.1", handshake(Sec_WebSocket_Key="!" * 24), (400,)),
    Opening("two keys", "11.3.1", handshake(START, f"Sec-WebSocket-Key: {_KEY}"), (400,)),
    Opening("POST", "4.2.1", handshake("POST /v1/ws HTTP/1.1"), (400, 405)),
    Opening("HEAD", "4.2.1", handshake("HEAD /v1/ws HTTP/1.1"), (400, 404, 405)),
    Opening("another path", "4.2.2", handshake("GET /v1/socket HTTP/1.1"), (404,)),
    Opening("another path where there is something", "4.2.2", handshake("GET /livez HTTP/1.1"), (404,)),
    Opening("a slash too much", "4.2.2", handshake("GET /v1/ws/ HTTP/1.1"), (404,)),
    Opening("no host", "RFC 9112 3.2", handshake(Host=None), (400,), ours_alone=True),
    Opening("two hosts", "RFC 9112 3.2", handshake(START, "Host: other"), (400,), ours_alone=True),
    Opening("no host that could be", "RFC 9112 3.2", handshake(Host="a b"), (400,), ours_alone=True),
    Opening("HTTP/1.0", "4.2.1", handshake("GET /v1/ws HTTP/1.0"), (400, 404, 426), ours_alone=True),
    Opening("HTTP/2.0", "4.2.1", handshake("GET /v1/ws HTTP/2.0"), (400, 505), ours_alone=True),
    Opening("a body", "4.2.1", handshake(START, "Content-Length: 5") + b"hello", (400,), ours_alone=True),
    Opening("a body in chunks", "4.2.1", handshake(START, "Transfer-Encoding: chunked") + b"0\r\n\r\n", (400,),
            ours_alone=True),
    Opening("two origins", "RFC 6454 7.2",
            handshake(START, "Origin: https://a.example", "Origin: https://b.example"), (101, 400)),
    Opening("a folded header", "RFC 9112 5.2", handshake(START, "X-Any: a\r\n b"), (101, 400)),
    Opening("a key behind a space", "RFC 9112 5.1", handshake().replace(b"Key:", b"Key :"), (400,)),
]  # fmt: skip

#: Section 4.2.2, item 4: told which version is spoken here. What the websockets library, and so uvicorn, leaves out.
VERSIONS = [
    Opening(name, "4.4", handshake(Sec_WebSocket_Version=version), (426,))
    for name, version in {
        "no version": None,
        "the version before": "8",
        "a version of later": "14",
        "an empty version": "",
        "a version that is no number": "x",
        "a version with a zero": "013",
        "a list of versions": "13, 8",
    }.items()
] + [Opening("two versions", "11.3.5", handshake(START, "Sec-WebSocket-Version: 8"), (426, 400))]

#: Without these it is no handshake at all, but a request for something that is not there.
NO_HANDSHAKE = [
    Opening("no Upgrade", "4.2.1", handshake(Upgrade=None), (400, 404, 426)),
    Opening("another protocol", "4.2.1", handshake(Upgrade="h2c"), (400, 404, 426)),
    Opening("another version of the protocol", "RFC 9110 7.8", handshake(Upgrade="websocket/13"), (400, 404, 426)),
    Opening("no Connection", "4.2.1", handshake(Connection=None), (400, 404, 426)),
    Opening("another Connection", "4.2.1", handshake(Connection="keep-alive"), (400, 404, 426)),
]


async def ask(entrance: Entrance, opening: Opening, *segments: bytes) -> tuple[Caller, int, dict[str, str]]:
    """Who asked, the status, and the headers of the answer."""
    caller = await entrance.call()
    await caller.say(*(segments or (opening.asked,)))
    return (caller, *await caller.head())


async def check(entrance: Entrance, opening: Opening, *segments: bytes) -> None:
    caller, status, headers = await ask(entrance, opening, *segments)
    assert status in opening.statuses
    if status != 101:
        assert "sec-websocket-accept" not in headers
        return
    assert headers["upgrade"].lower() == "websocket"
    assert headers["connection"].lower() == "upgrade"
    assert headers["sec-websocket-accept"] == _ACCEPT
    assert headers.get("sec-websocket-protocol") == opening.subprotocol
    assert "sec-websocket-extensions" not in headers
    assert not {"content-length", "transfer-encoding"} & headers.keys()  # RFC 9110, section 8.6; RFC 9112, 6.1
    await caller.say(frame(PING, b"there?"))
    while (heard := await next_frame(caller))[0] not in (PONG, CLOSE):
        pass  # what is wrong with its origin or its token
    await caller.say(frame(CLOSE, heard[1][:2] if heard[0] == CLOSE else b""))
    assert heard == (PONG, b"there?") or heard[1][:2] in (b"\x11\x31", b"\x11\x33")  # 4401, 4403


async def test_the_sample_of_the_rfc() -> None:
    """Section 1.3, so that what is compared here is right."""
    assert base64.b64encode(hashlib.sha1(_KEY.encode() + _GUID).digest()).decode() == _ACCEPT


@pytest.mark.parametrize("opening", [*RIGHT, *SUBPROTOCOLS, *EXTENSIONS, *REFUSED, *NO_HANDSHAKE], ids=str)
async def test_handshakes(entrance: Entrance, opening: Opening) -> None:
    """Whoever asks as it has to be asked is let in, and heard; nobody else is, in one piece or byte by byte."""
    await check(entrance, opening)
    await check(entrance, opening, *(bytes((byte,)) for byte in opening.asked))


@pytest.mark.parametrize(
    "opening", [one for one in (*RIGHT, *SUBPROTOCOLS, *REFUSED, *NO_HANDSHAKE) if not one.ours_alone], ids=str
)
@pytest.mark.parametrize("way", [Way.PLAIN], ids=lambda way: way.value)
async def test_handshakes_elsewhere(entrance: Entrance, opening: Opening) -> None:
    """The app lets in the same people on any server."""
    await check(entrance, opening)


@pytest.mark.parametrize("opening", VERSIONS, ids=str)
async def test_whoever_speaks_another_version_is_told_ours(entrance: Entrance, opening: Opening) -> None:
    """So that it can try again with that one."""
    _, status, headers = await ask(entrance, opening)

    assert status in opening.statuses
    if status == 426:
        assert headers["sec-websocket-version"] == "13"
        assert headers["upgrade"].lower() == "websocket"  # RFC 9110, section 15.5.22


@pytest.mark.parametrize("opening", [*REFUSED, *VERSIONS], ids=str)
async def test_a_refused_handshake_ends_its_connection_or_leaves_it_usable(
    entrance: Entrance, opening: Opening
) -> None:
    """Either it says that it is the last answer, and is; or the next request is answered like any other."""
    caller, status, headers = await ask(entrance, opening)
    if status == 101:
        return
    await caller.take(int(headers.get("content-length", 0)) if b"HEAD" not in opening.asked else 0)

    await caller.say(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")

    if headers.get("connection") == "close":
        assert await caller.take_all() == b""
    else:
        assert (await caller.answer()).status == 200


async def test_each_key_has_its_own_answer(entrance: Entrance) -> None:
    """Section 4.2.2: a proxy that answers from its memory would be found out."""
    for number in range(20):
        key = base64.b64encode(hashlib.md5(b"%d" % number).digest()).decode()
        _, status, headers = await ask(entrance, Opening("", "", handshake(Sec_WebSocket_Key=key)))
        wanted = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        assert (status, headers["sec-websocket-accept"]) == (101, wanted)


async def test_a_cut_at_any_byte_of_the_handshake_is_not_noticed(entrance: Entrance) -> None:
    """And neither is one in what comes behind it, of somebody who does not wait for the answer."""
    asked = handshake(START, entrance.bearer)
    whole = asked + frame(PING, b"last") + echo("last")
    for place in range(1, len(whole), 3):
        caller = await entrance.call()
        await caller.say(whole[:place], whole[place:])
        assert (await caller.head())[0] == 101
        await next_frame(caller)  # welcome
        heard = await listen(caller, last_word="last")
        assert (heard.answers, heard.pongs) == ([], []), place
        await caller.close()
