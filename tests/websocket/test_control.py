"""Pings and pongs (RFC 6455, sections 5.5.2 and 5.5.3). Floods of them are in tests/hardening/test_slowness.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.peers import PING, PONG
from tests.ways import Way
from tests.websocket.cases import NORMAL, PROTOCOL_ERROR, Case, carry_out, echo, frame, goodbye

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

ANY_BYTES = bytes(range(131, 256))

CASES = [
    Case("a ping", "5.5.2", (frame(PING),), pongs=(b"",)),
    Case("a ping with text", "5.5.2", (frame(PING, b"hello"),), pongs=(b"hello",)),
    Case("a ping with any bytes", "5.5.2", (frame(PING, b"\x00\xff\xfe\xc3\x28"),), pongs=(b"\x00\xff\xfe\xc3\x28",)),
    Case("a ping of 125 bytes", "5.5", (frame(PING, ANY_BYTES),), pongs=(ANY_BYTES,)),
    Case("ten pings", "5.5.2",
         tuple(frame(PING, b"%d" % n) for n in range(10)), pongs=tuple(b"%d" % n for n in range(10))),
    Case("a ping behind each of some texts", "5.5.2",
         tuple(part for n in range(5) for part in (echo(f"{n}"), frame(PING, b"%d" % n))),
         answers=tuple(f"run:{n}" for n in range(5)), pongs=tuple(b"%d" % n for n in range(5))),
    Case("a ping of 126 bytes", "5.5", (frame(PING, bytes(126)),), closed=(PROTOCOL_ERROR,)),
    Case("a ping of 125 bytes, and one of 126", "5.5", (frame(PING, ANY_BYTES), frame(PING, bytes(126))),
         pongs=(ANY_BYTES,), closed=(PROTOCOL_ERROR,)),
    Case("a ping of 64 KiB", "5.5", (frame(PING, bytes(65536)),), closed=(PROTOCOL_ERROR,)),
    Case("a pong of 126 bytes", "5.5", (frame(PONG, bytes(126)),), closed=(PROTOCOL_ERROR,)),
    Case("a pong that nobody asked for", "5.5.3", (frame(PONG),)),
    Case("a pong with a payload that nobody asked for", "5.5.3", (frame(PONG, b"hello"), frame(PONG, ANY_BYTES))),
    Case("a pong that nobody asked for, and a ping", "5.5.3", (frame(PONG, b"x"), frame(PING, b"y")), pongs=(b"y",)),
    Case("a thousand pongs", "5.5.3", (frame(PONG, b"x") * 1000, echo("a")), answers=("run:a",)),
    Case("a ping behind a goodbye", "5.5.1", (goodbye(NORMAL), frame(PING, b"x")), closed=(NORMAL,)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("way", [Way.OURS, Way.ASGI, Way.PLAIN], ids=lambda way: way.value)
async def test_pings_and_pongs(entrance: Entrance, case: Case) -> None:
    """Each ping has its pong, with the same payload; pongs have no answer."""
    await carry_out(case, entrance)
