"""The feeds of the official clients, asked for with anything: nobody's data, no crash, no loop, and bounds."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import psutil
import pytest
import pytest_asyncio

from gateway.changes import change
from gateway.store.writing import ChangeWriter, whole
from gateway.transports.origins import Origins
from gateway.triggerdev.shape import shapes
from gateway.triggerdev.shape.handles import Handle
from tests.hardening.conftest import ORIGINS
from tests.hardening.gateways import running_gateway
from tests.hardening.peers import HttpPeer, eventually, request
from tests.soon import soon, until_past

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from tests.hardening.gateways import Gateway
    from tests.hardening.peers import Answer
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(_servers: dict[str, RedisServer]) -> AsyncIterator[Gateway]:
    """With runs that not everybody may see, in both environments."""
    async with running_gateway(_servers["valkey"], "shapes", origins=Origins.parse(ORIGINS)) as gateway:
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


async def strangers(gateway: Gateway, bearer: str) -> list[str]:
    """Handles that were issued, but not for run_1 and the token of *bearer*."""
    return [
        (await first(gateway, "runs/run_1", bearer, skipColumns="payload"))[0],
        (await first(gateway, "runs/run_2", gateway.bearer()))[0],
        (await first(gateway, "runs/run_1", gateway.bearer()))[0],
        (await first(gateway, "runs", gateway.bearer(), tags="theirs"))[0],
        (await first(gateway, "runs", gateway.bearer()))[0],
        (await first(gateway, "batches/batch_1", gateway.bearer()))[0],
        *[await _elsewhere(gateway, path) for path in ("runs/run_1", "runs", "batches/batch_2")],
    ]


async def _elsewhere(gateway: Gateway, path: str) -> str:
    """A handle of the other environment."""
    peer = await HttpPeer.connect(gateway.port, bytearray())
    peer.send(request(target(path, offset="-1"), f"Authorization: Bearer {gateway.token(keys=gateway.others)}"))
    answer = await peer.answer()
    await peer.close()
    assert ELSEWHERE.encode() in answer.body
    return answer.headers["electric-handle"]


def crafted(handle: str, chance: random.Random) -> Iterable[str]:
    """Handles that are nearly *handle*."""
    parts = handle.split(".")
    numbers = ["0", "1", "9", "999999999", "9" * 16, "9" * 17, "-1", "", "1e9", "ffffffffffffffff", "00"]
    for place in range(len(parts)):
        for value in (*numbers, parts[place][::-1], parts[place] + "A", "_" * len(parts[place]), "é"):
            yield ".".join([*parts[:place], value, *parts[place + 1 :]])
    for place in range(len(handle)):
        flipped = chr(ord(handle[place]) ^ 1 << chance.randrange(7))
        yield handle[:place] + flipped + handle[place + 1 :]
    yield from (handle[:length] for length in range(0, len(handle), 5))
    yield from (handle * 2, handle + ".x", f" {handle}", handle.upper(), handle + "\0", "x" * 5000)


@pytest.mark.parametrize("live", [True, False], ids=["live", "catching up"])
async def test_a_handle_that_somebody_made_up_shows_nothing_but_its_owners_feed(gateway: Gateway, live: bool) -> None:
    """Every bit flipped, every part exchanged, handles of other feeds, tokens and environments."""
    bearer = gateway.bearer(scopes=["read:runs:run_1"])
    handle, offset = await first(gateway, "runs/run_1", bearer)
    handles = [*crafted(handle, random.Random(1)), *await strangers(gateway, bearer), *NASTY]
    more = {"live": "true", "cursor": "1"} if live else {}

    targets = [target("runs/run_1", offset=offset, handle=one, **more) for one in handles]
    statuses = await check_all(gateway, targets, bearer, live=live)

    assert {200 if not live else 0, 400, 409} >= set(statuses) - {414, 431}


@pytest.mark.parametrize("live", [True, False], ids=["live", "catching up"])
@pytest.mark.parametrize("path", ["runs/run_1", "runs?mine", "runs", "batches/batch_1"])
async def test_an_offset_that_somebody_made_up_is_no_loop(gateway: Gateway, path: str, live: bool) -> None:
    """Ahead, behind, far away, and no number at all; with a handle of its own, and with a crafted one."""
    path, _, tag = path.partition("?")
    bearer = gateway.bearer(scopes=["read:runs"])
    query = {"tags": tag} if tag else {"tags": "mine", "createdAt": "1h"} if path == "runs" else {}
    handle, offset = await first(gateway, path, bearer, **query)
    now = int(offset.partition("_")[0])
    parts = handle.split(".")
    handles = [handle, ".".join([*parts[:2], str(now), *parts[3:]]), ".".join([parts[0], "1", "1", *parts[3:]])]
    near = [f"{now + step}_0" for step in (-(10**6), -2, -1, 1, 2, 1000, 10**6, 10**9, 10**12)]
    more = {"live": "true", "cursor": "1"} if live else {}

    targets = [target(path, offset=one, handle=h, **query, **more) for h in handles for one in (*near, *NASTY)]
    await check_all(gateway, targets, bearer, live=live, sees=True)


async def test_whatever_a_client_begins_with_it_is_held_after_a_few_requests(gateway: Gateway) -> None:
    """It follows what it is told, as clients do; an endless exchange would be thousands of requests a second."""
    bearer = gateway.bearer(scopes=["read:runs"])
    handle, offset = await first(gateway, "runs", bearer, tags="mine")
    chance = random.Random(2)
    begins = [(one, offset) for one in crafted(handle, chance)]
    begins += [(one, f"{chance.randrange(10**16)}_0") for one, _ in begins[::3]]

    async def follow(handle: str, offset: str) -> None:
        live = True
        for _ in range(6):
            query = {"offset": offset, "handle": handle, **({"live": "true", "cursor": "1"} if live else {})}
            answer = await ask(gateway, target("runs", tags="mine", **query), bearer, held=live)
            if answer is None or answer.status not in (200, 409):
                return
            handle, live = answer.headers["electric-handle"], answer.status == 200
            offset = answer.headers["electric-offset"] if live else "-1"
        raise AssertionError("it is still asking")

    for start in range(0, len(begins), AT_ONCE):
        await asyncio.gather(*(follow(*begin) for begin in begins[start : start + AT_ONCE]))


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


async def test_an_expired_token_lives_on_with_its_own_handle_alone(gateway: Gateway) -> None:
    """Not with one of another feed, another token, other columns, or one that was changed by a bit."""
    ends = soon()
    token = gateway.token(["read:runs"], expires=ends)
    mine = f"Authorization: Bearer {token}"
    handle, offset = await first(gateway, "runs/run_1", mine)
    handles = [*crafted(handle, random.Random(4)), *await strangers(gateway, gateway.bearer())]
    handles = [one for one in handles if Handle.parse(one) != Handle.parse(handle)]  # `00` is 0
    await until_past(ends)

    for more in ({"offset": "-1"}, {"offset": offset}, {"offset": offset, "live": "true", "cursor": ""}):
        targets = [target("runs/run_1", handle=one, **more) for one in handles]
        targets += [target("runs/run_2", handle=handle, **more), target("runs", handle=handle, **more)]
        targets += [target("runs/run_1", handle=handle, skipColumns="payload", **more)]
        statuses = await check_all(gateway, targets, mine)  # nobody is held, not even live, however long it takes
        assert set(statuses) <= {401, 431, 414}, more
    own = await ask(gateway, target("runs/run_1", handle=handle, offset=offset), mine)
    assert own is not None
    assert own.status == 200


# What all of this may take.


async def test_answers_for_places_that_somebody_made_up_are_not_kept(gateway: Gateway) -> None:
    """A feed with much news is asked for it from hundreds of places, none of which a client was given."""
    bearer, runs = gateway.bearer(), [f"run_large_{number}" for number in range(3)]
    for run in runs:
        gateway.publish(run, tags=("large",))
    handle, offset = await first(gateway, "runs", bearer, tags="large")
    where = target("runs", tags="large", offset=offset, handle=handle, live="true", cursor="1")
    holding = asyncio.create_task(ask(gateway, where, bearer))
    # Numbers follow the clock: so there are a thousand places between the last change and the next.
    await asyncio.sleep(1)
    for run in runs:
        gateway.publish(run, "WAITING", columns={"context": {"text": "x" * 100_000}, "output": "y" * 200_000})
    assert await holding is not None
    parts, now = handle.split("."), int(offset.partition("_")[0])
    process = psutil.Process(os.getpid())

    async def wanted(number: int) -> None:
        made_up = ".".join([*parts[:2], str(number + 1), *parts[3:]])
        for one, place in ((made_up, now), (handle, now + number)):
            query = {"tags": "large", "offset": f"{place}_0", "handle": one, "live": "true", "cursor": "1"}
            check(await ask(gateway, target("runs", **query), bearer, held=True), query)

    await asyncio.gather(*map(wanted, range(20)))
    before = process.memory_info().rss
    for start in range(20, 620, 20):
        await asyncio.gather(*map(wanted, range(start, start + 20)))

    assert process.memory_info().rss - before < 100 * 1024 * 1024


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
