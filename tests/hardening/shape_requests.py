"""Requests for the feeds of the official clients with anything in them, and what no answer may be or show."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from gateway.changes import change
from gateway.store.writing import ChangeWriter, whole
from gateway.transports.origins import Origins
from tests.hardening.conftest import ORIGINS
from tests.hardening.gateways import running_gateway
from tests.hardening.peers import HttpPeer, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import Answer
    from tests.redis_server import RedisServer

#: In rows that only some may see, and in rows of another environment, which nobody here may.
MARKER: Final = "belongs-to-somebody-else"
ELSEWHERE: Final = "belongs-to-another-environment"
#: A live request that is not answered in this time is held.
HELD_SECONDS: Final = 0.2
AT_ONCE: Final = 50

NASTY: Final = [
    *("", " ", "0", "-1", "now", "-2_0", "0_0", "1_0", "0_inf", "1_inf", "inf_0", "1_", "_1", "1_1_1", "+1_0", "1e3_0"),
    *(
        "9" * 17 + "_0",
        "9" * 18 + "_0",
        "9" * 19 + "_0",
        "9" * 400 + "_0",
        "0x10_0",
        "\u0661_\u0660",
        "1 _0",
        "1_0\n",
        "NaN",
        "null",
    ),
    *(
        "true",
        "[]",
        "{}",
        "'\"\\",
        "\0",
        "\r\nX-Injected: 1",
        "%",
        "%%",
        "ü",
        "𝄞",
        "\u2028",
        "../..",
        "x" * 4000,
        "*",
        ",",
    ),
]


@asynccontextmanager
async def gateway_of_two(redis: RedisServer, name: str) -> AsyncIterator[Gateway]:
    """A gateway with runs that not everybody may see, in both its environments."""
    async with running_gateway(redis, name, origins=Origins.parse(ORIGINS)) as gateway:
        _publish_elsewhere(gateway, "run_1")
        gateway.publish("run_1", "EXECUTING", tags=("mine",))
        gateway.publish("run_2", "EXECUTING", tags=("theirs",), columns={"payload": MARKER})
        yield gateway


def _publish_elsewhere(gateway: Gateway, run: str) -> None:
    """The same names in the other environment, with what nobody here may see."""
    initial = {"taskIdentifier": "task", "batchId": "batch_2", "payload": ELSEWHERE}
    said = change(run, create=True, status="EXECUTING", initial=initial, tags=("mine",))
    with gateway.redis.client() as client:
        writer = ChangeWriter(environment=cast("Any", gateway.others.environment))
        client.execute_command(*cast("Any", whole(writer.by_digest(said))))


def target(path: str, **query: str) -> str:
    """A path below /realtime/v1 and a query, in which everything is escaped."""
    pairs = (f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
    return f"/realtime/v1/{path}?{'&'.join(pairs)}"


async def ask(
    gateway: Gateway, where: str | bytes, *headers: str | bytes, held: bool = False, sees: bool = False
) -> Answer | None:
    """
    The answer; None when the request is *held*, which it then may be. Who asks goes in any case.

    Args:
        sees: Whether whoever asks may see the marked rows of its environment.
    """
    peer = await HttpPeer.connect(gateway.port, heard := bytearray())
    try:
        peer.send(request(where, *headers))
        async with asyncio.timeout(HELD_SECONDS if held else 15):
            return await peer.answer()
    except TimeoutError:
        assert held, f"no answer to {where!r}"
        return None
    except EOFError:
        assert heard == b"", heard  # the connection was closed without a word; no server would say 200 to that
        return None
    finally:
        await peer.close()
        assert sees or MARKER.encode() not in heard, where
        assert ELSEWHERE.encode() not in heard, where


def check(answer: Answer | None, where: object, *, live_at: str | None = None) -> None:
    """
    Whether a client can live with *answer*, and nobody else is hurt by it.

    Args:
        live_at: The offset of the request, if that was live.
    """
    if answer is None:
        return
    assert answer.status in (200, 400, 401, 403, 404, 409, 414, 431), (where, answer)
    assert "x-injected" not in answer.headers, where
    if answer.status in (414, 431) or (answer.status == 400 and answer.headers.get("connection") == "close"):
        return  # it was no HTTP, or too much of it; the connection is closed
    body = json.loads(answer.body)
    if answer.status == 409:
        assert body == [{"headers": {"control": "must-refetch"}}]
        assert re.fullmatch(r"[\w.~-]+", answer.headers["electric-handle"])
    elif answer.status != 200:
        assert isinstance(body["error"], str)
        assert len(answer.body) < 2000
    elif live_at is not None:
        assert any("key" in message for message in body), f"at once and empty, a loop: {where}"
        assert answer.headers["electric-offset"] != live_at, f"the same again, a loop: {where}"


async def check_all(
    gateway: Gateway, targets: Sequence[str], bearer: str, *, live: bool = False, sees: bool = False
) -> list[int]:
    """Ask for all of them, and return how they were answered; 0 is held."""
    found = []

    async def one(where: str) -> int:
        answer = await ask(gateway, where, bearer, held=live, sees=sees)
        offset = re.search(r"offset=([^&]*)", where)
        check(answer, where, live_at=offset[1] if live and offset else None)
        return 0 if answer is None else answer.status

    for start in range(0, len(targets), AT_ONCE):
        found += await asyncio.gather(*(one(where) for where in targets[start : start + AT_ONCE]))
    return found


async def first(gateway: Gateway, path: str, bearer: str, **query: str) -> tuple[str, str]:
    """Handle and offset of a feed as it is now."""
    answer = await ask(gateway, target(path, offset="-1", **query), bearer, sees=True)
    assert answer is not None
    assert answer.status == 200, answer
    return answer.headers["electric-handle"], answer.headers["electric-offset"]
