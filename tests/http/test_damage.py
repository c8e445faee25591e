"""Bytes that were right before somebody broke them: answered or refused, never a failure of ours, and always an end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hardening.peers import PING, eventually, frame, request, upgrade
from tests.http.cases import BODY, OK, TOKEN, chunked, chunks, sized, spelled
from tests.websocket.cases import echo, goodbye

if TYPE_CHECKING:
    from tests.ways import Entrance

pytestmark = pytest.mark.asyncio(loop_scope="package")

WHOLE: Final = [
    OK * 2,
    sized() + OK,
    chunked(chunks(BODY[:9], BODY[9:], trailer=b"X-Any: thing\r\n")) + OK,
    request("/livez", "Connection: Upgrade", "Upgrade: h2c") + sized(),
    request("/v1/events?run=run_of_damage", TOKEN) + OK,
    request("/v1/poll?run=run_of_damage&wait=0", TOKEN) + OK,
    request("/realtime/v1/runs?cursor=&handle=x&live=true&log=full&offset=0_0&tags=damage", TOKEN) + OK,
    upgrade(TOKEN) + echo("a") + frame(PING, b"x") + goodbye(1000),
    OK + upgrade(TOKEN) + echo("a"),
]
#: What is put in where something was: nothing, or what means something in HTTP.
PIECES: Final = st.sampled_from(
    [
        b"",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"\xff",
        b"0",
        b"9" * 20,
        b"\r\n\r\n",
        b"HTTP/1.1",
        b"/",
        b"?",
    ]
) | st.binary(max_size=4)
#: At each place so many bytes are replaced by a piece.
DAMAGES: Final = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 6), PIECES), min_size=1, max_size=4)

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


def damaged(data: bytes, damages: list[tuple[int, int, bytes]]) -> bytes:
    for place, size, piece in damages:
        start = place % len(data)
        data = data[:start] + piece + data[start + size :] or b"\0"
    return data


@settings(max_examples=150)
@given(whole=st.sampled_from(WHOLE), damages=DAMAGES, cut=st.integers(0, 1000))
async def test_damaged_requests(
    entrance: Entrance, whole: bytes, damages: list[tuple[int, int, bytes]], cut: int
) -> None:
    """No status that would be our fault, nothing in the log (conftest.py), and nothing that stays."""
    data = damaged(spelled(whole, entrance), damages)
    place = cut % len(data)
    caller = await entrance.call()
    await caller.say(*(part for part in (data[:place], data[place:]) if part))
    caller.half_close()

    told = await caller.take_all()

    assert not [
        status for status in _STATUS.findall(told) if status.startswith(b"5") and status not in (b"501", b"505")
    ]
    await caller.close()
    await eventually(lambda: not entrance.inside.server.server_state.connections, what="nobody is there any more")
