"""
A case of the tables here: what a client sends, and what any server must answer (RFC 9112 and RFC 9110).

A connection that has to stay open is asked for one more thing, so that nothing is left behind that would be taken for a
part of the next request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.hardening.peers import Answer, request
from tests.ways import Way

if TYPE_CHECKING:
    from tests.ways import Caller, Entrance

#: Stands for the credential of whoever asks, which the tables can't know.
TOKEN: Final = "Authorization: Bearer $TOKEN"
OK: Final = request("/livez")
ALIVE: Final = b'{"status":"alive"}'
PAYLOAD: Final = {"a": [1, 2, 3], "κ": "\r\n0\r\n\r\n"}
#: What creates a run; the answer shows its payload.
BODY: Final = json.dumps({"taskIdentifier": "t", "payload": PAYLOAD}).encode()

_LAST: Final = request("/livez", "X-Last: yes")
#: So many bytes are sent one by one, too.
_SHORT: Final = 700


def post(*headers: str, body: bytes = BODY, version: str = "1.1") -> bytes:
    """A request that creates a run, if its *headers* say rightly where its body ends."""
    return request("/v1/runs", TOKEN, "Content-Type: application/json", *headers, method="POST", version=version) + body


def sized(*headers: str, body: bytes = BODY, version: str = "1.1") -> bytes:
    return post(f"Content-Length: {len(body)}", *headers, body=body, version=version)


def chunks(*pieces: bytes, trailer: bytes = b"") -> bytes:
    """A body in chunks (RFC 9112, section 7.1)."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


def chunked(body: bytes, *headers: str) -> bytes:
    return post("Transfer-Encoding: chunked", *headers, body=body)


@dataclass(frozen=True)
class Case:
    name: str
    #: Of RFC 9112, unless it says otherwise.
    section: str
    asks: bytes
    #: The status of each answer; several where the RFC leaves a choice.
    statuses: tuple[int | tuple[int, ...], ...]
    #: Whether the connection goes on; None: as the last answer says.
    stays: bool | None = True

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


async def read_answer(caller: Caller, *, head: bool = False) -> Answer:
    """The next answer, whole, whichever way it says where it ends."""
    status, headers = await caller.head()
    if head or status < 200 or status in (204, 304):
        return Answer(status, headers, b"")
    if "content-length" in headers:
        assert "transfer-encoding" not in headers, "RFC 9112, section 6.2"
        return Answer(status, headers, await caller.take(int(headers["content-length"])))
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, b"".join([chunk async for chunk in _chunks(caller)]))
    return Answer(status, headers, await caller.take_all())


async def _chunks(caller: Caller) -> Any:
    while chunk := await caller.chunk():
        yield chunk


def spelled(asks: bytes, entrance: Entrance) -> bytes:
    return asks.replace(b"$TOKEN", entrance.token.encode())


async def carry_out(case: Case, entrance: Entrance) -> None:
    """Send what the case sends, at once and, when it is short, byte by byte: nobody may tell the two apart."""
    asks = spelled(case.asks, entrance)
    await _carry_out(case, entrance, asks)
    if len(case.asks) <= _SHORT and entrance.way is Way.OURS:
        await _carry_out(case, entrance, *(bytes((byte,)) for byte in asks))


async def _carry_out(case: Case, entrance: Entrance, *segments: bytes) -> None:
    caller = await entrance.call()
    await caller.say(*segments)
    answer = None
    for wanted in case.statuses:
        answer = await read_answer(caller, head=case.asks.startswith(b"HEAD") and answer is None)
        assert answer.status in ((wanted,) if isinstance(wanted, int) else wanted), answer
        check(answer)
    last = answer is not None and answer.headers.get("connection", "").lower() == "close"
    if case.stays is not None:
        assert case.stays is not last, f"{answer} does not say whether it is the last one"
    if not last:
        await caller.say(_LAST)
        assert (await read_answer(caller)).body == ALIVE
    else:
        assert await caller.take_all() == b""
    await caller.close()


def check(answer: Answer) -> None:
    """What holds of every answer."""
    assert answer.status < 200 or "date" in answer.headers, "RFC 9110, section 6.6.1"
    if answer.status == 201:
        assert json.loads(answer.body)["payload"] == PAYLOAD
    if answer.status == 405:
        assert "allow" in answer.headers, "RFC 9110, section 15.5.6"
    if answer.status < 200 or answer.status == 204:
        assert not {"content-length", "transfer-encoding"} & answer.headers.keys(), "RFC 9110, 8.6; RFC 9112, 6.1"
