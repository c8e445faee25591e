"""The shape protocol on the wire: snapshots, catching up, refusals. Live requests have a file of their own."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.conformance.rows import read_run
from tests.conformance.shape_client import MUST_REFETCH, UP_TO_DATE, ShapeClient, check_poll, check_refused
from tests.conformance.world import ORIGIN, feeds_of

if TYPE_CHECKING:
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFSET: Final = re.compile(r"\d+_(\d+|inf)")
HANDLE: Final = re.compile(r"[A-Za-z0-9._~-]+")


def position(offset: str) -> tuple[int, int]:
    """What an offset means, to be compared."""
    assert OFFSET.fullmatch(offset), offset
    first, _, second = offset.partition("_")
    return int(first), 1 << 62 if second == "inf" else int(second)


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
