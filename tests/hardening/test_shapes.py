"""The feeds of the official clients, asked for with anything: nobody's data, no crash, and bounds."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest
import pytest_asyncio

from gateway.triggerdev.shape import shapes
from tests.hardening.peers import eventually, request
from tests.hardening.shape_requests import AT_ONCE, MARKER, NASTY, ask, check, check_all, first, gateway_of_two, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.hardening.gateways import Gateway
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(_servers: dict[str, RedisServer]) -> AsyncIterator[Gateway]:
    async with gateway_of_two(_servers["valkey"], "shapes") as gateway:
        yield gateway


PARAMETERS: Final = [
    *(
        "offset",
        "handle",
        "live",
        "cursor",
        "log",
        "expired_handle",
        "cache-buster",
        "tags",
        "createdAt",
        "skipColumns",
    ),
    *("live_sse", "experimental_live_sse", "subset__where", "subset__limit", "replica", "table", "columns", "where"),
    *("skipColumns", "params[1]", "tags[]", "TAGS", "", "__proto__", "token"),
]
VALUES: Final = [
    *NASTY,
    *(
        "-1",
        "full",
        "changes_only",
        "1h",
        "2d12h",
        "9" * 50 + "h",
        "-1h",
        "1h" * 60,
        "mine",
        "mine,mine",
        "theirs,mine",
    ),
    *("payload,output", "id,status,friendlyId", ",".join(["payload"] * 500), "a," * 5000, "run_1"),
]


async def test_any_query_is_an_answer_or_a_refusal_that_says_why(gateway: Gateway) -> None:
    """Right names with wrong values, wrong names with right values, and names more than once; never a live loop."""
    bearer = gateway.bearer(scopes=["read:runs:run_1", "read:tags:mine"])
    handle, offset = await first(gateway, "runs", bearer, tags="mine")
    chance = random.Random(3)
    targets = []
    for _ in range(400):
        pairs = [("tags", "mine"), ("offset", offset), ("handle", handle), ("live", "true")]
        pairs += [(chance.choice(PARAMETERS), chance.choice(VALUES)) for _ in range(chance.randint(1, 3))]
        chance.shuffle(pairs)
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
        targets.append(f"/realtime/v1/{chance.choice(['runs', 'runs/run_1', 'batches/batch_1'])}?{text}")

    for start in range(0, len(targets), AT_ONCE):
        some = targets[start : start + AT_ONCE]
        for where, answer in zip(
            some, await asyncio.gather(*(ask(gateway, one, bearer, held=True) for one in some)), strict=True
        ):
            if answer is not None and answer.headers.get("content-type", "").startswith("text/event-stream"):
                continue
            check(answer, where)
            if answer is not None and answer.status == 200 and "electric-cursor" in answer.headers:
                assert any("key" in message for message in json.loads(answer.body)), where


@pytest.mark.parametrize("kind", ["runs", "batches"])
async def test_every_byte_in_an_id_is_an_id_that_is_not_there_or_a_refusal(gateway: Gateway, kind: str) -> None:
    """Escaped once, escaped twice, and as it is; and paths that lead elsewhere."""
    names = [f"x_%{byte:02x}" for byte in range(256)] + [f"%25{byte:02x}" for byte in range(0, 256, 7)]
    names += [f"%{byte:02x}%{256 - byte:02x}" for byte in range(0x80, 0x100, 3)]
    names += [
        "..",
        "%2e%2e",
        ".",
        "%2e",
        "run_1/..",
        "run_1%2f..%2frun_2",
        "//run_2",
        "%2frun_2",
        "run_2;x",
        "run_2%3bx",
    ]
    names += [
        "x" * 255,
        "x" * 256,
        "x" * 5000,
        "run_1%00",
        "run_1%20",
        "%",
        "%zz",
        "%u0041",
        "run:run_2",
        "*",
        "{run_2}",
    ]
    bearer = gateway.bearer(scopes=["read:runs:run_1", "read:batch:batch_9"])

    statuses = await check_all(gateway, [f"/realtime/v1/{kind}/{name}?offset=-1" for name in names], bearer)

    assert 200 not in statuses[:256]


async def test_bytes_that_are_no_text_are_refused(gateway: Gateway) -> None:
    """In the path, in the query, and in headers."""
    bearer = gateway.bearer()
    wheres = (
        b"/realtime/v1/runs/\xff\xfe?offset=-1",
        b"/realtime/v1/runs?offset=-1&tags=\xff",
        b"/realtime/v1/runs?\x80\x81",
        b"/realtime/v1/runs?offset=-1&tags=%ff%fe",
        b"/realtime/v1/runs?offset=%80&handle=%c3%28",
        b"/realtime/v1/runs?" + b"&" * 5000,
        b"/realtime/v1/runs?" + b"a=1&" * 2000,
    )
    for raw in wheres:
        check(await ask(gateway, raw, bearer), raw)
    where = target("runs/run_1", offset="-1")
    check(await ask(gateway, where, b"Authorization: Bearer \xff\xfe"), where)
    check(await ask(gateway, where, bearer, b"Origin: \xff"), where)


async def test_headers_that_come_twice_give_nobody_more_than_one_of_them(gateway: Gateway) -> None:
    """Two tokens, two origins; and lengths and encodings that are none."""
    good, bad = gateway.bearer(), "Authorization: Bearer nonsense"
    others = f"Authorization: Bearer {gateway.token(keys=gateway.others)}"
    where = target("runs/run_2", offset="-1")
    for headers in ((bad, bad), (others, bad), (bad, others), (others, others)):
        answer = await ask(gateway, where, *headers)
        check(answer, where)
        assert answer is not None
        assert answer.status in (400, 401, 404)
    mine = target("runs/run_1", offset="-1")
    doubled: tuple[tuple[str, ...], ...] = (
        (good, "Origin: https://app.example.com", "Origin: https://evil.example.net"),
        (good, "Origin: https://evil.example.net", "Origin: https://app.example.com"),
        (good, "Accept-Encoding: x", "Accept-Encoding: br;q=nope"),
        (good, "X-Trigger-Api-Version: " + "9" * 2000),
        (good, "If-None-Match: *", "If-None-Match: *"),
        (good, "Range: bytes=0-1"),
        (good, "Content-Length: 0", "Content-Length: 0"),
    )
    for several in doubled:
        check(await ask(gateway, mine, *several), several)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "CONNECT", "OPTIONS", "X"])
async def test_a_method_that_no_feed_has_is_refused(gateway: Gateway, method: str) -> None:
    """Without an answer of a feed, and the connection is good for no surprise."""
    peer = await gateway.http()
    peer.send(request(target("runs/run_2", offset="-1"), gateway.bearer(), "Content-Length: 0", method=method))
    try:
        status, _ = await peer.head()
    except EOFError:
        return
    assert status in (200, 204, 400, 404, 405, 501) if method == "OPTIONS" else status in (400, 404, 405, 501)
    assert MARKER.encode() not in gateway.heard


async def test_a_token_that_may_see_one_run_never_sees_another(gateway: Gateway) -> None:
    """By no spelling of any feed."""
    bearer = gateway.bearer(scopes=["read:runs:run_1", "read:tags:mine", "read:batch:batch_2"])
    asked = [
        *(("runs/run_2", {}), ("runs", {}), ("runs", {"tags": "theirs"}), ("runs", {"tags": "theirs,other"})),
        *(("batches/batch_1", {}), ("runs/run_2", {"tags": "mine"}), ("runs/run_1/../run_2", {})),
        *(("runs/run_1%2f..%2frun_2", {}), ("runs/RUN_1", {}), ("runs/run_2", {"run": "run_1"})),
    ]
    for path, query in asked:
        answer = await ask(gateway, target(path, offset="-1", **query), bearer)
        assert answer is not None
        assert answer.status in (403, 404), (path, query, answer)


async def test_views_that_nobody_polls_are_forgotten(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ways there are to skip columns: what was asked for once goes with whoever asked."""
    monkeypatch.setattr(shapes, "LINGER_SECONDS", 0.2)
    bearer = gateway.bearer()
    columns = ["payload", "output", "metadata", "error", "ttl", "number", "isTest", "runTags", "startedAt"]
    choices = [",".join(name for bit, name in enumerate(columns) if number >> bit & 1) for number in range(400)]

    await check_all(gateway, [target("runs", offset="-1", tags="mine", skipColumns=one) for one in choices], bearer)

    await eventually(lambda: not any(gateway.hub.connections()), what="all shapes are gone")


async def test_polls_that_end_abruptly_leave_nothing(gateway: Gateway) -> None:
    """Hundreds of held requests, all reset at once; the next one is held as ever."""
    bearer = gateway.bearer()
    handle, offset = await first(gateway, "runs", bearer, tags="mine")
    where = target("runs", tags="mine", offset=offset, handle=handle, live="true", cursor="1")
    peers = [await gateway.http() for _ in range(200)]
    for peer in peers:
        peer.send(request(where, bearer))
    await eventually(lambda: gateway.services.counters.viewers["shape"] == 200, what="all are held")

    for peer in peers:
        peer.reset()

    await eventually(lambda: gateway.services.counters.viewers["shape"] == 0, what="all places are free")
    assert await ask(gateway, where, bearer, held=True) is None


async def test_requests_behind_a_held_one_wait_and_are_answered_in_order(gateway: Gateway) -> None:
    """Pipelined, as no browser does: nothing is mixed up, and all go when the connection does."""
    bearer = gateway.bearer()
    handle, offset = await first(gateway, "runs/run_1", bearer)
    where = target("runs/run_1", offset=offset, handle=handle, live="true", cursor="1")
    peer = await gateway.http()
    peer.send(request(where, bearer) + request("/livez") + request(target("runs/run_9", offset="-1"), bearer))
    await eventually(lambda: gateway.services.counters.viewers["shape"] == 1, what="the first is held")

    gateway.publish("run_1", "WAITING", attempt=next(gateway._attempts) + 1000)

    assert [(await peer.answer()).status for _ in range(3)] == [200, 200, 404]
