"""Live requests of the shape protocol on the wire: nothing is lost. How long they are held has a file of its own."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx2
import pytest

from tests.conformance.shape_client import UP_TO_DATE, Poll, ShapeClient, check_poll, held
from tests.conformance.world import feeds_of
from tests.hardening.peers import HttpPeer, request

if TYPE_CHECKING:
    from gateway.publisher import Run
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: So few that a place which is not given back is missed.
SETTINGS: Final = {"RUNCAST_CONNECTIONS_PER_TOKEN": "10"}


async def test_e15_a_live_request_is_held_until_something_happens(world: World) -> None:
    """Changes of other runs don't answer it; its own does, at once, ending up to date."""
    feeds, polls = await feeds_of(world), {}
    for kind, feed in feeds.items():
        polls[kind] = asyncio.create_task(feed.poll())
    for _ in range(5):
        world.run(tags=["elsewhere"]).start()
    for polling in polls.values():
        await held(polling)

    began = time.monotonic()
    world.publisher.run(feeds["run"].row["friendlyId"] or "").start()
    answers = [await polling for polling in polls.values()]

    assert time.monotonic() - began < 5  # a hold lasts longer
    assert all(answer.up_to_date and answer.operations == ["update"] for answer in answers)


async def test_e17_each_live_answer_has_a_cursor_that_the_request_did_not_have(world: World) -> None:
    """So that no two polls have one URL."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    for step in range(5):
        before = feed.cursor
        run.status("WAITING" if step % 2 else "EXECUTING")
        poll = await feed.poll()
        assert poll.headers["electric-cursor"] not in ("", before)


async def test_e18_a_live_request_behind_the_tip_is_answered_at_once(world: World) -> None:
    """With everything since then, folded to what is."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    old = feed.copy()
    run.start()
    await feed.poll()
    run.set("step", 3)
    await feed.until(lambda feed: "step" in (feed.row["metadata"] or ""))

    await old.until(lambda old: old.row == feed.row)

    assert all(poll.seconds < 2 for poll in old.polls)


async def test_e19_nothing_is_used_up_by_being_sent(world: World) -> None:
    """The same request again is answered with the same changes, as often as it is asked."""
    for feed in (await feeds_of(world)).values():
        run = world.publisher.run(next(iter(feed.rows.values()))["friendlyId"] or "")
        run.status("EXECUTING" if feed.path.endswith(run.id) else "WAITING", attempt=2)
        run.set("last", feed.path)
        await feed.copy().until(lambda other, last=feed.path: last in (other.row["metadata"] or ""))  # type: ignore[misc]
        answers = [await feed.get() for _ in range(4)]
        assert len({answer.body for answer in answers}) == 1
        assert answers[0].changes


async def test_e20_e41_all_who_wait_with_the_same_url_are_answered(world: World) -> None:
    """However many subscriptions to one run there are; none disturbs another."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    others = [feed.copy() for _ in range(50)]
    polls = [asyncio.create_task(other.poll()) for other in others]
    await held(polls[0])

    run.start()
    answers = await asyncio.gather(*polls)

    assert len({answer.body for answer in answers}) == 1
    assert all(other.row["status"] == "EXECUTING" for other in others)


@pytest.mark.parametrize("manner", ["steady", "hasty", "lazy"])
async def test_e21_e25_e38_no_change_is_lost_whenever_it_comes(world: World, manner: str) -> None:
    """
    Whatever happens to runs, a client ends with the rows that a fresh snapshot has.

    The hasty one keeps abandoning its requests; the lazy one stays away for a while, as a hidden tab does.
    """
    tag, batch, chance = world.new("tag"), world.new("batch"), random.Random(7)
    runs = [world.run(tags=[tag] * (number % 2), batch=batch, payload="x" * 9000) for number in range(6)]
    feeds = [
        await feed.catch_up()
        for feed in (
            world.feed("runs", tags=tag),
            world.feed("runs", tags=tag, skipColumns="metadata,output"),
            world.feed(f"batches/{batch}"),
            world.feed(f"batches/{batch}", skipColumns="payload"),
        )
    ]

    async def publish() -> None:
        for number in range(120):
            _happens(chance.choice(runs), number, tag, chance)
            if number % 4 == 0:
                await asyncio.sleep(chance.uniform(0, 0.02))
        for run in runs:
            run.start(attempt=1000)
            run.add_tags(tag)
            run.complete({"last": True})
            run.add_tags("end")

    def has_all(feed: ShapeClient) -> bool:
        return sum('"end"' in (row["runTags"] or "") for row in feed.rows.values()) == len(runs)

    async def follow(feed: ShapeClient) -> None:
        while not has_all(feed):
            if manner == "lazy":
                await asyncio.sleep(chance.uniform(0, 0.3))
                feed.live = chance.random() < 0.5
            if manner == "hasty":
                answer = await _glance(world, feed, chance.uniform(0.001, 0.1))
            else:
                answer = await feed.get()
            if answer is None:
                continue
            check_poll(answer)
            feed._take(answer)

    async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        for feed in feeds:
            tasks.create_task(follow(feed))

    for feed in feeds:
        path = feed.path.removeprefix("/realtime/v1/")
        fresh = await world.feed(path, **feed.parameters).catch_up()
        assert _parsed(feed) == _parsed(fresh)


async def _glance(world: World, feed: ShapeClient, seconds: float) -> Poll | None:
    """The next request, which is given up after *seconds*; None when it was not answered by then."""
    query, began = feed.query(), time.monotonic()
    peer = await HttpPeer.connect(world.gateway.port, bytearray())
    try:
        peer.send(request(f"{feed.path}?{urlencode(query)}", f"Authorization: Bearer {feed.bearer}"))
        async with asyncio.timeout(seconds):
            answer = await peer.answer()
    except TimeoutError:
        return None
    finally:
        peer.reset()
        await peer.close()
    headers = httpx2.Headers(answer.headers)
    return Poll(answer.status, headers, answer.body, time.monotonic() - began, "live" in query)


def _happens(run: Run, number: int, tag: str, chance: random.Random) -> None:
    """One of the things that happen to runs."""
    match chance.randrange(8):
        case 0 | 1:
            run.set(chance.choice("abc"), chance.choice([number, "x" * 5000]))
        case 2:
            run.increment("n")
        case 3:
            run.delete("a")
        case 4:
            run.add_tags(tag)
        case 5:
            run.status(chance.choice(["EXECUTING", "WAITING"]))
        case 6:
            run.start(attempt=number + 1)
        case 7:
            run.complete({"text": "x" * chance.choice([1, 50_000])})


def _parsed(feed: ShapeClient) -> dict[str, dict[str, Any]]:
    """The rows of a feed, in which the order of metadata's keys is of no account."""
    return {key: {**row, "metadata": json.loads(row.get("metadata") or "null")} for key, row in feed.rows.items()}


async def test_e21_the_places_of_clients_that_have_gone_are_given_back(world: World) -> None:
    """A token that may hold only so many requests open can do so again and again."""
    run, token = world.run(), world.token()
    feed = await world.feed(f"runs/{run.id}", bearer=token).catch_up()
    for _ in range(3):
        assert await asyncio.gather(*(_glance(world, feed, 0.2) for _ in range(8))) == [None] * 8

    polling = asyncio.create_task(feed.poll())
    await held(polling)
    run.start()
    assert (await polling).operations == ["update"]


async def test_e22_nothing_is_answered_without_a_body(world: World) -> None:
    """Never 204, and never 304, even if a browser asks whether something has changed."""
    for feed in (await feeds_of(world)).values():
        first = feed.polls[0]
        feed.sent_headers = {
            "if-none-match": f'"{feed.handle}:-1:{feed.offset}", *',
            "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT",
        }
        poll = await feed.get(feed.first())
        assert poll.body == first.body


async def test_e23_the_headers_leave_with_the_whole_body(world: World) -> None:
    """Not a byte comes before the answer is known: a connection that dies after its headers kills a subscription."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    peer = await HttpPeer.connect(world.gateway.port, bytearray())
    query = "&".join(f"{name}={value}" for name, value in feed.query().items())
    peer.send(request(f"{feed.path}?{query}", f"Authorization: Bearer {feed.bearer}"))
    beginning = asyncio.create_task(peer.take(1))
    await asyncio.wait({beginning}, timeout=0.3)
    assert not beginning.done()

    run.start()
    await beginning
    head = await peer.take_until(b"\r\n\r\n")
    length = int(re.findall(rb"content-length: (\d+)", head.lower())[0])

    async with asyncio.timeout(0.5):  # it is on its way already: nothing else has to happen
        assert json.loads(await peer.take(length))[-1] == UP_TO_DATE
    await peer.close()


# Changes.


async def test_e24_a_change_names_its_operation_and_the_run(world: World) -> None:
    """An update carries the primary key; what enters a set is an insert with all columns."""
    tag = world.new("tag")
    run = world.run(payload={"size": 3})
    feed = await world.feed("runs", tags=tag).catch_up()
    run.add_tags(tag)
    entered = await feed.poll()
    run.start()
    changed = await feed.poll()

    assert (entered.operations, changed.operations) == (["insert"], ["update"])
    assert changed.changes[0]["value"]["id"] == run.id


async def test_e25_the_end_of_a_run_comes_in_one_answer(world: World) -> None:
    """Status, output, error and completedAt: an output that came later would never be seen."""
    run = world.run()
    run.start()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    run.set("last", "word")
    run.complete({"bytes": 9, "large": "x" * 50_000})

    await feed.until(lambda feed: feed.row["completedAt"])

    end = next(poll for poll in feed.polls if any("completedAt" in change["value"] for change in poll.changes))
    merged: dict[str, Any] = {}
    for change in end.changes:
        merged |= change["value"]
    if end is not feed.polls[0]:
        assert merged["status"] == "COMPLETED_SUCCESSFULLY"
        assert json.loads(merged["output"])["bytes"] == 9
