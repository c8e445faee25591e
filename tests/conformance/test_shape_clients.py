"""What clients and browsers need of the shape protocol: lines 26 and following of its checklist."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.events import open_events
from tests.conformance.rows import KEPT
from tests.conformance.shape_client import MUST_REFETCH, UP_TO_DATE, ShapeClient, check_poll, check_refused, held
from tests.conformance.world import CLIENT_HEADERS, EXPOSED, ORIGIN, feeds_of

if TYPE_CHECKING:
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


# Browsers and caching.


async def test_e26_a_preflight_is_answered_without_a_token(world: World) -> None:
    """It allows the page, GET, and every header that the clients send, by name."""
    asked = ["authorization", "x-trigger-branch", *CLIENT_HEADERS]
    for path in ("/realtime/v1/runs/run_1?log=full&offset=-1", "/realtime/v1/runs", "/realtime/v1/batches/batch_1"):
        answer = await world.http.options(
            path,
            headers={
                "origin": ORIGIN,
                "access-control-request-method": "GET",
                "access-control-request-headers": ",".join(asked),
            },
        )
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)
        assert "GET" in re.split(r",\s*", answer.headers["access-control-allow-methods"])
        assert set(re.split(r",\s*", answer.headers["access-control-allow-headers"].lower())) >= set(asked)
        assert int(answer.headers["access-control-max-age"]) > 0


async def test_e27_e28_a_page_may_read_every_answer_and_nobody_keeps_one(world: World) -> None:
    """The six headers are exposed, and nothing is to be stored, whatever the status. (429 and 5xx: test_faults.py)"""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    feed.sent_headers = {"origin": ORIGIN}
    run.start()
    elsewhere, nowhere = world.feed(f"runs/{run.id}", bearer="no"), world.feed(f"runs/{world.new('run')}")
    forbidden = world.feed(f"runs/{run.id}", bearer=world.token("read:runs:another"))
    for one in (elsewhere, nowhere, forbidden):
        one.sent_headers = {"origin": ORIGIN}

    polls = {
        "snapshot": (await feed.get(feed.first()), 200),
        "live": (await feed.get(), 200),
        "bad": (await feed.get(feed.query(offset="soon")), 400),
        "token": (await elsewhere.get(), 401),
        "scope": (await forbidden.get(), 403),
        "run": (await nowhere.get(), 404),
        "handle": (await feed.get(feed.query(handle="nonsense")), 409),
    }

    for name, (poll, status) in polls.items():
        assert poll.status == status, name
        assert poll.headers["cache-control"] == "no-store", name
        assert poll.headers["access-control-allow-origin"] in ("*", ORIGIN), name
        exposed = re.split(r",\s*", poll.headers["access-control-expose-headers"].lower())
        assert set(exposed) >= set(EXPOSED) or "*" in exposed, name


async def test_e27_a_page_of_another_origin_may_read_nothing(world: World) -> None:
    """Pages that were not allowed are refused, whatever token they have."""
    feed = world.feed(f"runs/{world.run().id}")
    feed.sent_headers = {"origin": "https://evil.example.net"}

    poll = await feed.get()

    assert poll.status == 403
    assert "access-control-allow-origin" not in poll.headers


async def test_e29_e42_skipped_columns_stay_out_and_required_ones_in(world: World) -> None:
    """On each of the three feeds, in values and schema."""
    for kind in ("run", "tag", "batch"):
        feed = (await feeds_of(world))[kind]
        skipping = world.feed(
            feed.path.removeprefix("/realtime/v1/"),
            **{**feed.parameters, "skipColumns": "payload,status,updatedAt,metadata"},
        )
        await skipping.catch_up()
        for columns in (skipping.row.keys(), skipping.schema.keys()):
            assert columns >= KEPT
            assert not {"payload", "metadata"} & columns


# Clients: what of them can be seen on the wire.


async def test_e30_e47_an_up_to_date_snapshot_needs_no_second_request(world: World) -> None:
    """One request, one row, and a run that has ended says so in it."""
    run = world.run()
    run.complete({"a": 1})

    feed = await world.feed(f"runs/{run.id}").catch_up()

    assert len(feed.polls) == 1
    assert feed.row["completedAt"]
    assert feed.row["output"] == '{"a":1}'


async def test_e32_a_second_stream_on_the_same_url_is_up_to_date_as_well(world: World) -> None:
    """No cursor comes with a snapshot, so that the newer client does not take it for an old one."""
    run = world.run()
    first = await world.feed(f"runs/{run.id}").catch_up()
    run.start()
    await first.poll()

    second = await world.feed(f"runs/{run.id}").catch_up()

    assert "electric-cursor" not in second.polls[0].headers
    assert second.emitted == [first.row]


async def test_e33_e36_a_forgotten_handle_costs_exactly_one_409(world: World) -> None:
    """Then the rows come again, and everything goes on."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    feed.handle = "of-another-server"
    await feed.poll()
    await feed.catch_up()
    run.start()
    await feed.until(lambda feed: feed.row["status"] == "EXECUTING")

    assert [poll.status for poll in feed.polls].count(409) == 1


@pytest.mark.parametrize("parameters", [["live_sse"], ["experimental_live_sse"], ["experimental_live_sse", "live_sse"]])
async def test_e34_a_request_for_events_gets_events(world: World, parameters: list[str]) -> None:
    """One message an event, up-to-date with a number that is the offset to go on from."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    headers = {"authorization": f"Bearer {feed.bearer}"}
    query = {**feed.query(), **dict.fromkeys(parameters, "true")}

    async with open_events(world.http, feed.path, headers, query) as events:
        assert events.headers["electric-handle"] == feed.handle
        assert events.headers["electric-offset"]
        assert events.headers["electric-cursor"]
        run.start()
        messages: list[dict[str, Any]] = []
        while not any("key" in message for message in messages) or "control" not in messages[-1]["headers"]:
            event = await events.next()
            assert event is not None
            messages.append(event.json)

    (change,) = [message for message in messages if "key" in message]
    assert change["value"]["status"] == "EXECUTING"
    end = messages[-1]["headers"]
    assert end["control"] == "up-to-date"
    assert str(end["global_last_seen_lsn"]).isdecimal()
    assert all(str(message["headers"].get("lsn", "0")).isdecimal() for message in messages)

    feed.offset = f"{end['global_last_seen_lsn']}_0"
    await held(polling := asyncio.create_task(feed.get()))
    polling.cancel()


async def test_e34_a_forgotten_handle_is_refused_on_an_event_stream_too(world: World) -> None:
    """409 as ever; the client starts over."""
    feed = await world.feed(f"runs/{world.run().id}").catch_up()

    poll = await feed.get(feed.query(handle="nonsense", live_sse="true"))

    assert (poll.status, poll.json) == (409, MUST_REFETCH)


async def test_e35_a_stream_goes_on_from_where_it_was_stored(world: World) -> None:
    """A new client with an old offset and handle gets what it missed, without live and with."""
    run = world.run()
    stored = await world.feed(f"runs/{run.id}").catch_up()
    run.start()
    run.complete({"a": 1})
    fresh = await world.feed(f"runs/{run.id}").catch_up()

    for live in (False, True):
        resumed = stored.copy()
        resumed.live = live
        await resumed.until(lambda resumed: resumed.row["completedAt"])
        assert resumed.row == fresh.row


async def test_e37_a_refusal_of_a_token_has_a_body_that_can_be_read(world: World) -> None:
    """An empty one that calls itself JSON would be asked for again and again."""
    poll = await world.feed(f"runs/{world.run().id}", bearer=world.token(now=time.time() - 3600)).get()

    check_refused(poll, 401)
    assert len(poll.body) == int(poll.headers["content-length"]) > 0


async def test_e39_a_client_of_the_current_api_version_sees_dequeued(world: World) -> None:
    """As it is in the row."""
    run = world.publisher.run(world.new("run"), task="resize")
    run.status("DEQUEUED")
    feed = world.feed(f"runs/{run.id}")
    feed.sent_headers = dict(CLIENT_HEADERS)

    assert (await feed.catch_up()).row["status"] == "DEQUEUED"


async def test_e40_each_status_is_emitted_in_order(world: World) -> None:
    """One answer is one emission for the client, so that two statuses never share one, even if they come together."""
    run = world.publisher.run(world.new("run"), task="resize")
    run.status("QUEUED")
    feed = await world.feed(f"runs/{run.id}").catch_up()
    polling = asyncio.create_task(feed.poll())
    await held(polling)
    for status in ("DEQUEUED", "EXECUTING", "WAITING", "EXECUTING"):
        run.status(status)
    run.complete()

    await polling
    await feed.until(lambda feed: feed.row["completedAt"])

    shown = ["PENDING", "DEQUEUED", "EXECUTING", "WAITING_TO_RESUME", "EXECUTING", "COMPLETED_SUCCESSFULLY"]
    assert [row["status"] for row in feed.emitted] == shown


async def test_e43_e44_e45_lists_tell_changes_and_who_comes_later(world: World) -> None:
    """All rows have the tags; a run that gets the tag later joins; so do runs of a batch."""
    tag, batch = world.new("tag"), world.new("batch")
    first, second = world.run(tags=[tag], batch=batch), world.run()
    tagged = await world.feed("runs", tags=tag).catch_up()
    batched = await world.feed(f"batches/{batch}").catch_up()

    second.add_tags(tag)
    third = world.run(batch=batch)
    first.start()
    await tagged.until(lambda feed: _statuses(feed) == {first.id: "EXECUTING", second.id: "PENDING"})
    await batched.until(lambda feed: _statuses(feed) == {first.id: "EXECUTING", third.id: "PENDING"})

    assert all(f'"{tag}"' in (row["runTags"] or "") for row in tagged.rows.values())


def _statuses(feed: ShapeClient) -> dict[str | None, str | None]:
    return {row["friendlyId"]: row["status"] for row in feed.rows.values()}


async def test_e46_an_unknown_run_is_told_in_one_answer(world: World) -> None:
    """A status that ends the client's asking, and a body that says why."""
    check_refused(await world.feed(f"runs/{world.new('run')}").get(), 404)


async def test_e50_a_tab_that_becomes_visible_again_catches_up(world: World) -> None:
    """With its cursor, handle and offset but not live: answered at once with everything since, and the schema."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    run.start()
    await feed.poll()
    run.set("step", 7)
    run.complete()

    poll = await feed.get({"handle": feed.handle, "offset": feed.offset, "cursor": feed.cursor, "log": "full"})

    check_poll(poll)
    assert poll.up_to_date
    assert json.loads(poll.headers["electric-schema"]) == feed.schema
    feed._take(poll)
    assert feed.row["status"] == "COMPLETED_SUCCESSFULLY"


async def test_e07_now_skips_history_and_changes_only_has_no_rows(world: World) -> None:
    """Modes that the official clients don't use are answered as section 16 says."""
    run = world.run()
    feed = world.feed(f"runs/{run.id}")
    for asked in ({"offset": "now", "log": "full"}, {"offset": "-1", "log": "changes_only"}):
        poll = await feed.get(asked)
        check_poll(poll)
        assert poll.messages == [UP_TO_DATE]
