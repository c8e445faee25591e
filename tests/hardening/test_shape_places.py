"""Handles and offsets that somebody made up: nobody else's rows, and no loop."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import psutil
import pytest
import pytest_asyncio

from gateway.triggerdev.shape.handles import Handle
from tests.hardening.peers import HttpPeer, request
from tests.hardening.shape_requests import (
    AT_ONCE,
    ELSEWHERE,
    NASTY,
    ask,
    check,
    check_all,
    first,
    gateway_of_two,
    target,
)
from tests.soon import soon, until_past

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.hardening.gateways import Gateway
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(_servers: dict[str, RedisServer]) -> AsyncIterator[Gateway]:
    async with gateway_of_two(_servers["valkey"], "shape_places") as gateway:
        yield gateway


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
