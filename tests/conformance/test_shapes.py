"""The shape protocol on the wire: the checklist of its document. Holding and faults have files of their own."""

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

from tests.conformance.rows import read_run
from tests.conformance.shape_client import MUST_REFETCH, UP_TO_DATE, Poll, ShapeClient, check_poll, check_refused, held
from tests.conformance.world import ORIGIN, feeds_of
from tests.hardening.peers import HttpPeer, request

if TYPE_CHECKING:
    from gateway.publisher import Run
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: So few that a place which is not given back is missed.
SETTINGS: Final = {"RUNCAST_CONNECTIONS_PER_TOKEN": "10"}

OFFSET: Final = re.compile(r"\d+_(\d+|inf)")
HANDLE: Final = re.compile(r"[A-Za-z0-9._~-]+")


def position(offset: str) -> tuple[int, int]:
    """What an offset means, to be compared."""
    assert OFFSET.fullmatch(offset), offset
    first, _, second = offset.partition("_")
    return int(first), 1 << 62 if second == "inf" else int(second)


# Snapshot and catch-up.


async def test_e01_e02_a_snapshot_has_its_headers_and_ends_up_to_date(world: World) -> None:
    """On each of the three feeds; the header says that the body ends so."""
    for feed in (await feeds_of(world)).values():
        (poll,) = feed.polls
        assert poll.operations == ["insert"]
        assert poll.messages[-1] == UP_TO_DATE
        assert poll.headers["electric-up-to-date"] == ""


async def test_e02_a_large_snapshot_comes_in_pages_that_advance(world: World) -> None:
    """Each page has a later offset than the one before, and only the last ends up to date."""
    tag = world.new("tag")
    ids = {world.run(tags=[tag], payload="x" * 2_500_000).id for _ in range(8)}

    feed = await world.feed("runs", tags=tag).catch_up()

    places = [position(poll.headers["electric-offset"]) for poll in feed.polls]
    assert places == sorted(set(places))
    assert [poll.up_to_date for poll in feed.polls] == [False] * (len(places) - 1) + [True]
    assert {row["friendlyId"] for row in feed.rows.values()} == ids


async def test_e03_each_row_is_inserted_once_with_all_columns_under_a_key_that_stays(world: World) -> None:
    """In the snapshot, in changes, in a snapshot of later: the same row has the same key."""
    tag = world.new("tag")
    runs = [world.run(tags=[tag]) for _ in range(5)]
    feed = await world.feed("runs", tags=tag).catch_up()

    assert feed.polls[0].operations == ["insert"] * 5
    keys = {change["value"]["friendlyId"]: change["key"] for change in feed.polls[0].changes}
    runs[0].start()
    (told,) = (await feed.poll()).changes
    later = await world.feed("runs", tags=tag).catch_up()

    assert told["key"] == keys[runs[0].id]
    assert {change["value"]["friendlyId"]: change["key"] for change in later.polls[0].changes} == keys


async def test_e04_every_value_is_text_or_null_of_the_type_that_the_schema_says(world: World) -> None:
    """Also of a run about which everything is known."""
    run = world.run(
        tags=["a"], payload=[1], metadata={"a": None}, number=3, is_test=True, ttl="1h", idempotency_key="k", batch="b"
    )
    run.start()
    run.stream("tokens").write("x")
    run.complete({"b": [True, None, 1.5]})
    assert world.publisher.flush()

    feed = await world.feed(f"runs/{run.id}").catch_up()

    found = read_run({name: feed.row[name] for name in feed.row if name != "idempotencyKey"}, _known(feed))
    assert (found["number"], found["isTest"], found["ttl"]) == (3, True, "1h")
    assert found["realtimeStreams"] == ["tokens"]


def _known(feed: ShapeClient) -> dict[str, dict[str, Any]]:
    return {name: entry for name, entry in feed.schema.items() if name != "idempotencyKey"}


async def test_e05_offsets_only_grow_and_handles_are_plain_words(world: World) -> None:
    """An answer's offset is where its changes end; the next one goes on from there."""
    for feed in (await feeds_of(world)).values():
        before, handle = position(feed.offset), feed.handle
        assert HANDLE.fullmatch(handle)
        run = world.publisher.run(next(iter(feed.rows.values()))["friendlyId"] or "")
        for number in range(4):
            run.status(("WAITING", "EXECUTING")[number % 2])
            await feed.poll()
            assert position(feed.offset) > before
            assert feed.handle == handle
            before = position(feed.offset)


BAD_REQUESTS: Final[dict[str, dict[str, str | None]]] = {
    "no offset": {"offset": None},
    "an empty offset": {"offset": ""},
    "a word": {"offset": "soon"},
    "one number": {"offset": "12"},
    "a negative one": {"offset": "-2_0"},
    "an offset without a handle": {"handle": None},
    "live from the start": {"live": "true", "offset": "-1", "cursor": ""},
    "a subset": {"subset__where": "true", "subset__limit": "1"},
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_e06_a_request_that_can_t_be_right_is_refused(world: World, name: str) -> None:
    """400 with a JSON object, on each of the three feeds."""
    for feed in (await feeds_of(world)).values():
        feed.live = False
        changed = BAD_REQUESTS[name]
        asked = {key: value for key, value in {**feed.query(), **changed}.items() if value is not None}
        if changed.get("offset") == "-1":
            del asked["handle"]
        check_refused(await feed.get(asked), 400)


async def test_e07_parameters_that_are_not_ours_do_not_disturb(world: World) -> None:
    """Nor do those of the protocol that mean nothing here."""
    more = {
        "table": "runs",
        "where": "1=1",
        "params[1]": "x",
        "columns": "id",
        "replica": "default",
        "x": "é",
        "cache-buster": "1-a",
        "expired_handle": "gone",
        "cursor": "12",
    }
    for feed in (await feeds_of(world)).values():
        plain = await feed.get(feed.first())
        fresh = await feed.get(feed.first(**more))
        feed.live = False
        later = await feed.get({**feed.query(), **more})
        without_log = await feed.get({name: text for name, text in feed.query().items() if name != "log"})

        assert fresh.body == plain.body
        for poll in (fresh, later, without_log):
            check_poll(poll)
        assert later.messages == without_log.messages == [UP_TO_DATE]


async def test_e08_who_has_no_token_and_who_asks_for_nothing_is_told_so(world: World) -> None:
    """401 and 404 with a JSON object, and the headers that let a page read it."""
    headers = {"origin": ORIGIN}
    for path in (f"runs/{world.run().id}", "runs?tags=a", f"batches/{world.new('batch')}"):
        for bearer in ("", "nonsense", "a.b.c", world.token(now=time.time() - 3600)):
            feed = world.feed(path.partition("?")[0], bearer=bearer)
            feed.sent_headers = headers
            poll = await feed.get()
            check_refused(poll, 401)
            assert poll.headers["access-control-allow-origin"] in ("*", ORIGIN)

    feed = world.feed(f"runs/{world.new('run')}")
    feed.sent_headers = headers
    poll = await feed.get()
    check_refused(poll, 404)
    assert poll.headers["access-control-allow-origin"] in ("*", ORIGIN)


async def test_e09_a_handle_that_comes_with_the_first_offset_is_passed_over(world: World) -> None:
    """Whatever it is: a 409 there would be asked again for ever."""
    for feed in (await feeds_of(world)).values():
        for handle in (feed.handle, "nonsense", "", "x" * 2000, "é"):
            poll = await feed.get({**feed.parameters, "log": "full", "offset": "-1", "handle": handle})
            check_poll(poll)
            assert (poll.status, poll.operations) == (200, ["insert"])


async def test_e10_catching_up_at_the_tip_is_answered_at_once(world: World) -> None:
    """With the schema, the same handle, and up-to-date."""
    for feed in (await feeds_of(world)).values():
        feed.live = False
        poll = await feed.get()
        check_poll(poll)
        assert poll.seconds < 2
        assert poll.messages == [UP_TO_DATE]
        assert poll.headers["electric-handle"] == feed.handle
        assert position(poll.headers["electric-offset"]) >= position(feed.offset)


async def test_e11_catching_up_from_an_old_place_gives_the_present_row_each_time(world: World) -> None:
    """Asked again, it is the same."""
    tag = world.new("tag")
    runs = [world.run(tags=[tag], payload={"n": n}) for n in range(3)]
    feed = await world.feed("runs", tags=tag).catch_up()
    feed.live = False
    runs[0].start()
    runs[0].complete({"n": 0})
    runs[1].start()
    new = world.run(tags=[tag])

    once, again = feed.copy(), feed.copy()
    once.live = again.live = False
    await once.catch_up()
    await again.catch_up()

    assert once.rows == again.rows == (await world.feed("runs", tags=tag).catch_up()).rows
    assert new.id in {row["friendlyId"] for row in once.rows.values()}


# Rotation.


@pytest.mark.parametrize("live", [True, False], ids=["live", "catching up"])
async def test_e12_e13_a_handle_that_does_not_hold_is_refused_with_another(world: World, live: bool) -> None:
    """409 with one must-refetch; from the start on the feed then has a handle that is not the one refused."""
    for feed in (await feeds_of(world)).values():
        feed.handle, feed.live = "nonsense", live
        poll = await feed.poll()
        assert (poll.status, poll.messages) == (409, MUST_REFETCH)

        fresh = await feed.poll()

        assert (fresh.status, fresh.operations) == (200, ["insert"])
        assert feed.handle != "nonsense"


async def test_e12_a_handle_of_another_feed_is_refused(world: World) -> None:
    """Another run, other tags, other columns: each is a shape of its own."""
    one, other = [(await feeds_of(world)) for _ in range(2)]
    for kind, feed in one.items():
        skipping = ShapeClient(feed.http, feed.path, feed.bearer, {**feed.parameters, "skipColumns": "payload"})
        for stranger in (other[kind], skipping):
            stranger.handle, stranger.offset, stranger.live = feed.handle, feed.offset, True
            assert (await stranger.get()).status == 409


async def test_e14_a_handle_once_refused_is_never_issued_again(world: World) -> None:
    """However often clients come with it."""
    feed = (await feeds_of(world))["run"]
    refused_handles, issued = {"nonsense"}, set()
    feed.handle = "nonsense"
    for _ in range(20):
        poll = await feed.poll()
        assert poll.status == 409
        refused_handles.add(feed.expired)
        fresh = await feed.poll()
        issued.add(fresh.headers["electric-handle"])
        assert not issued & refused_handles
        feed.handle = f"x{feed.handle}"
        feed.live = False


# Live.


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
