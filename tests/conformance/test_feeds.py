"""The feeds: lines 1 to 16 of the checklist in the Trigger.dev realtime protocol, section 11."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.changes import change
from gateway.store.redis_keys import metadata_key, run_key
from tests.conformance.rows import COLUMNS, FINAL, KEPT, PUBLIC, SKIPPABLE, read_run
from tests.conformance.shape_client import ShapeClient, held

if TYPE_CHECKING:
    from tests.conformance.shape_client import Poll
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_MS: Final = 3_600_000


def shown(feed: ShapeClient) -> dict[str, dict[str, Any]]:
    """The runs of a feed as the client parses them, by id."""
    runs = [read_run(row, feed.schema) for row in feed.rows.values()]
    return {run["friendlyId"]: run for run in runs}


def change_of(poll: Poll) -> dict[str, str | None]:
    """The columns of the one change of an answer."""
    (found,) = poll.changes
    value: dict[str, str | None] = found["value"]
    return value


async def test_t01_a_first_request_answers_with_the_row_and_is_up_to_date(world: World) -> None:
    """Handle, offset and schema in the headers; one insert, then up-to-date."""
    run = world.run(tags=["blue"], payload={"size": 3})

    feed = await world.feed(f"runs/{run.id}").catch_up()

    (poll,) = feed.polls
    assert (poll.status, poll.operations, poll.up_to_date) == (200, ["insert"], True)
    assert len(poll.messages) == 2
    found = shown(feed)[run.id]
    assert (found["taskIdentifier"], found["status"], found["runTags"]) == ("resize", "PENDING", ["blue"])
    assert json.loads(found["payload"]) == {"size": 3}


@pytest.mark.parametrize("status", PUBLIC)
async def test_t02_a_run_with_any_raw_status_can_be_read(world: World, status: str) -> None:
    """The row passes the schema of the clients, and names the status as they expect it in a row."""
    run = world.publisher.run(world.new("run"), task="resize")
    run.status(status)

    found = shown(await world.feed(f"runs/{run.id}").catch_up())[run.id]

    assert found["status"] == status


async def test_t04_a_change_between_two_polls_is_in_the_next_at_once(world: World) -> None:
    """Whatever happened while no request was open is not missed, and not waited with."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    run.start()

    poll = await feed.poll()

    assert poll.seconds < 2
    assert change_of(poll)["status"] == "EXECUTING"


@pytest.mark.parametrize("kind", ["run", "tag", "batch"])
async def test_t05_a_change_during_a_hold_is_told_at_once(world: World, kind: str) -> None:
    """The held request is answered by the change, not by a clock."""
    tag, batch = world.new("tag"), world.new("batch")
    run = world.run(tags=[tag], batch=batch)
    path, parameters = {
        "run": (f"runs/{run.id}", {}),
        "tag": ("runs", {"tags": tag}),
        "batch": (f"batches/{batch}", {}),
    }[kind]
    feed = await world.feed(path, **parameters).catch_up()
    polling = asyncio.create_task(feed.poll())
    await held(polling)

    began = time.monotonic()
    run.start()
    poll = await polling

    assert time.monotonic() - began < 5  # a hold lasts longer
    assert change_of(poll)["status"] == "EXECUTING"


async def test_t06_a_run_is_on_its_feed_as_soon_as_its_creation_was_answered(world: World) -> None:
    """Whoever follows it a millisecond later finds it, whichever way it was created."""
    published = world.publisher.create("resize", id=world.new("run"))
    assert (await world.feed(f"runs/{published.id}").get()).status == 200

    body = {"taskIdentifier": "resize", "id": world.new("run")}
    answer = await world.ask("/v1/runs", "POST", json=body)
    assert answer.status_code == 201
    assert (await world.feed(f"runs/{body['id']}").get()).status == 200


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_t07_completed_at_comes_with_every_final_status(world: World, status: str) -> None:
    """In the same answer as the status, output and error: the newer client ends with it."""
    run = world.run()
    run.start()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    assert feed.row["completedAt"] is None

    run.status(status, output={"bytes": 9} if status == "COMPLETED_SUCCESSFULLY" else None)
    told = change_of(await feed.poll())

    assert (told["status"], told["completedAt"] is not None) == (status, True)
    assert (told.get("output") is not None) == (status == "COMPLETED_SUCCESSFULLY")


async def test_t08_numbers_and_booleans_are_never_null(world: World) -> None:
    """A run about which nobody said them has zero and false."""
    feed = await world.feed(f"runs/{world.run().id}").catch_up()

    assert {name: feed.row[name] for name in ("number", "isTest", "usageDurationMs")} == {
        "number": "0",
        "isTest": "f",
        "usageDurationMs": "0",
    }
    assert [float(feed.row[name] or "nan") for name in ("costInCents", "baseCostInCents")] == [0, 0]


async def test_t09_values_are_spelled_as_the_database_does(world: World) -> None:
    """Times without a zone, t and f, array literals with everything in quotes."""
    tags = ["user:7", "a b", "it's", "{brace}", "NULL", "größe", "😀"]
    run = world.run(tags=tags, is_test=True, number=12, ttl="10m", metadata={"a": [1, "ü"]})
    run.start()

    feed = await world.feed(f"runs/{run.id}").catch_up()

    found = shown(feed)[run.id]
    assert sorted(found["runTags"]) == sorted(tags)
    assert (feed.row["isTest"], feed.row["number"]) == ("t", "12")
    assert abs(found["startedAt"].timestamp() - time.time()) < 60
    assert json.loads(found["metadata"]) == {"a": [1, "ü"]}
    assert {found[f"{name}Type"] for name in ("payload", "output", "metadata")} == {"application/json"}


async def test_t09_lists_without_elements_are_empty_for_the_client(world: World) -> None:
    """No tags: null. No streams: the literal of an empty array."""
    feed = await world.feed(f"runs/{world.run().id}").catch_up()

    assert (feed.row["runTags"], feed.row["realtimeStreams"]) == (None, "{}")


ERRORS: Final[dict[str, Any]] = {
    "an exception": ValueError("no such file"),
    "a text": "no such file",
    "an internal code": {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CRASHED"},
    "an internal code that no client knows": {"type": "INTERNAL_ERROR", "code": "HIT_BY_A_COMET", "message": "ouch"},
    "a custom error": {"type": "CUSTOM_ERROR", "raw": "[1]"},
}


@pytest.mark.parametrize("name", ERRORS)
async def test_t09_an_error_is_one_that_the_clients_know(world: World, name: str) -> None:
    """Whatever a job said of its failure: a kind that they don't know would end the subscription."""
    run, error = world.run(), ERRORS[name]
    run.start()
    if isinstance(error, dict):
        world.publisher.say(change(run.id, status="FAILED", columns={"error": error}))
    else:
        run.fail(error)

    found = shown(await world.feed(f"runs/{run.id}").catch_up())[run.id]

    assert found["status"] == "COMPLETED_WITH_ERRORS"
    assert found["error"] is not None
    assert "ouch" in json.dumps(found["error"]) or "no client" not in name


async def test_t10_skipped_columns_are_neither_in_rows_nor_in_the_schema(world: World) -> None:
    """Nor in later changes; what the clients need stays, and names that are no columns are passed over."""
    run = world.run(payload={"secret": 1}, metadata={"a": 1})
    skip = ",".join([*SKIPPABLE, *KEPT, "nonsense", ""])

    feed = await world.feed(f"runs/{run.id}", skipColumns=skip).catch_up()
    assert feed.row.keys() == feed.schema.keys() == KEPT

    run.complete({"secret": 2})
    told = change_of(await feed.poll())
    assert told.keys() <= KEPT
    assert told["status"] == "COMPLETED_SUCCESSFULLY"


async def test_t10_without_skipping_every_column_is_there(world: World) -> None:
    """And none that is not in the table of section 3.1."""
    feed = await world.feed(f"runs/{world.run().id}").catch_up()

    assert feed.schema.keys() - {"idempotencyKey"} == COLUMNS.keys()


async def test_t10_what_the_token_hides_replaces_what_the_query_skips(world: World) -> None:
    """The claim of the token decides alone."""
    run = world.run(payload={"secret": 1}, metadata={"a": 1})
    token = world.token(skip_columns=["payload"])

    feed = await world.feed(f"runs/{run.id}", bearer=token, skipColumns="metadata").catch_up()

    assert "payload" not in feed.row
    assert "payload" not in feed.schema
    assert feed.row["metadata"] == '{"a":1}'


async def test_t11_a_tag_feed_shows_the_runs_that_carry_all_its_tags(world: World) -> None:
    """One of them is not enough; and without any tag all runs are shown."""
    first, second = world.new("tag"), world.new("tag")
    both = world.run(tags=[first, second])
    one = world.run(tags=[first])

    feed = await world.feed("runs", tags=f"{second},{first}").catch_up()
    every = await world.feed("runs").catch_up()

    assert shown(feed).keys() == {both.id}
    assert shown(every).keys() >= {both.id, one.id}


async def test_t11_a_tag_added_later_makes_the_run_appear_whole(world: World) -> None:
    """As an insert, for the client holds nothing of it."""
    first, second = world.new("tag"), world.new("tag")
    run = world.run(tags=[first], payload={"size": 3})
    feed = await world.feed("runs", tags=f"{first},{second}").catch_up()
    assert feed.rows == {}

    run.add_tags(second)
    poll = await feed.poll()

    assert poll.operations == ["insert"]
    assert shown(feed)[run.id]["payload"] == '{"size":3}'


async def test_t11_runs_older_than_the_window_are_not_shown(world: World) -> None:
    """24 hours unless the request says less; more, and what can't be read, mean 24 hours."""
    tag = world.new("tag")
    ages = {hours: _run_of_age(world, tag, hours) for hours in (0, 3, 25)}

    async def runs(**parameters: str) -> set[str]:
        return set(shown(await world.feed("runs", tags=tag, **parameters).catch_up()))

    assert await runs() == {ages[0], ages[3]}
    assert await runs(createdAt="2h") == {ages[0]}
    assert await runs(createdAt="1d12h") == {ages[0], ages[3]}
    assert await runs(createdAt="soon") == {ages[0], ages[3]}


def _run_of_age(world: World, tag: str, hours: int) -> str:
    """A run that was created *hours* ago."""
    run = world.run(tags=[tag])
    moment = str(int(time.time() * 1000) - hours * HOUR_MS)
    with world.redis.client() as client:
        client.hset(run_key(world.environment, run.id), mapping={"createdAt": moment, "_created": moment})
    return run.id


@pytest.mark.parametrize("tags", ["", ",", "a,", ",a", "a,,b", "a\nb", "a\x7f", "a\\b", 'a"b', "\0"])
async def test_t11_tags_that_no_run_can_carry_are_refused(world: World, tags: str) -> None:
    """400, with a text that says why."""
    poll = await world.feed("runs", tags=tags).get()

    if tags == "":  # the clients leave the parameter out then; both readings are right
        assert poll.status in (200, 400)
        return
    assert poll.status == 400
    assert poll.json["error"]


async def test_t11_of_more_than_a_thousand_runs_the_newest_are_shown(world: World) -> None:
    """And each change of one that was left out makes it appear whole, never as a part."""
    tag = world.new("tag")
    ids = [world.publisher.create("resize", id=world.new("run"), tags=[tag]).id for _ in range(1003)]
    feed = await world.feed("runs", tags=tag).catch_up()
    assert set(shown(feed)) == set(ids[3:])

    world.publisher.run(ids[0]).start()
    await feed.until(lambda feed: ids[0] in shown(feed))

    assert shown(feed)[ids[0]]["status"] == "EXECUTING"


async def test_t12_a_batch_feed_shows_its_runs_as_they_are_created(world: World) -> None:
    """Those that were there, and those that come."""
    batch = world.new("batch")
    first = world.run(batch=batch)
    feed = await world.feed(f"batches/{batch}").catch_up()
    assert shown(feed).keys() == {first.id}

    second = world.run(batch=batch)
    poll = await feed.poll()

    assert poll.operations == ["insert"]
    assert shown(feed).keys() == {first.id, second.id}


async def test_t12_an_unknown_batch_is_not_found(world: World) -> None:
    """With the header that says that it may come."""
    poll = await world.feed(f"batches/{world.new('batch')}").get()

    assert (poll.status, poll.headers["x-should-retry"]) == (404, "true")
    assert poll.json["error"]


async def test_t13_an_unknown_run_is_not_found(world: World) -> None:
    """As JSON: a body of another kind would be asked for again and again."""
    poll = await world.feed(f"runs/{world.new('run')}").get()

    assert (poll.status, poll.headers["x-should-retry"]) == (404, "false")
    assert poll.headers["content-type"].startswith("application/json")
    assert poll.json["error"]


async def test_t13_a_run_that_is_there_is_never_not_found(world: World) -> None:
    """Not while many ask at once for runs that were created a moment ago, some of them in vain."""
    runs = [world.run() for _ in range(20)]

    polls = await asyncio.gather(
        *(world.feed(f"runs/{run.id}").get() for run in runs for _ in range(5)),
        *(world.feed(f"runs/{world.new('run')}").get() for _ in range(20)),
    )

    assert [poll.status for poll in polls] == [200] * 100 + [404] * 20


@pytest.mark.parametrize("live", [True, False], ids=["live", "catching up"])
@pytest.mark.parametrize("handle", ["nonsense", "1-2", "run-x.0", "é"])
async def test_t14_a_client_with_a_handle_that_is_not_ours_recovers(world: World, handle: str, live: bool) -> None:
    """By one must-refetch or a fresh snapshot; it sees the run and what happens to it, and no error."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    feed.handle, feed.live = handle, live

    await feed.poll()
    await feed.catch_up()
    run.start()
    await feed.until(lambda feed: feed.row["status"] == "EXECUTING")

    assert [poll.status for poll in feed.polls].count(409) <= 1


async def test_t15a_changes_are_parts_of_rows_that_the_client_has(world: World) -> None:
    """A change says the columns that it concerns, with null for one that was cleared; the merged row is right."""
    run = world.run(payload={"text": "x" * 10_000})
    run.start()
    run.retry("no luck")
    feed = await world.feed(f"runs/{run.id}").catch_up()
    assert shown(feed)[run.id]["error"] == {"type": "STRING_ERROR", "raw": "no luck"}

    polling = asyncio.create_task(feed.poll())
    await held(polling)
    run.complete({"bytes": 9})
    told = change_of(await polling)

    assert (told["error"], told["output"]) == (None, '{"bytes":9}')
    assert "payload" not in told
    found = shown(feed)[run.id]
    assert (found["error"], found["status"]) == (None, "COMPLETED_SUCCESSFULLY")
    assert len(found["payload"]) > 10_000


async def test_t15a_a_new_run_is_inserted_before_it_is_updated(world: World) -> None:
    """Also when it is created and changed several times between two polls, or during one."""
    tag = world.new("tag")
    world.run(tags=[tag])
    feed = await world.feed("runs", tags=tag).catch_up()
    for _ in range(30):
        run = world.run(tags=[tag])
        run.start()
        run.set("step", 1)
        run.complete()
        if run.id.endswith(("3", "7")):
            await feed.poll()  # asserts that no update precedes its insert

    await feed.until(lambda feed: sum(run["status"] == "COMPLETED_SUCCESSFULLY" for run in shown(feed).values()) == 30)


async def test_t16_a_run_that_is_gone_leaves_the_others_as_they_are(world: World) -> None:
    """Its row is missing in the list, for new clients and for those who were there; nothing else changes."""
    tag = world.new("tag")
    gone, stays = world.run(tags=[tag]), world.run(tags=[tag])
    feed = await world.feed("runs", tags=tag).catch_up()
    with world.redis.client() as client:
        assert client.delete(run_key(world.environment, gone.id), metadata_key(world.environment, gone.id))

    fresh = await world.feed("runs", tags=tag).catch_up()
    assert shown(fresh).keys() == {stays.id}

    stays.start()
    for one in (feed, fresh):
        await one.until(lambda feed: shown(feed)[stays.id]["status"] == "EXECUTING")


async def test_t16_a_run_that_is_gone_is_not_found_and_ends_no_subscription_of_another(world: World) -> None:
    """Whoever follows it is held, or told that it is not there; never an answer that can't be read."""
    run = world.run()
    feed = await world.feed(f"runs/{run.id}").catch_up()
    with world.redis.client() as client:
        client.delete(run_key(world.environment, run.id), metadata_key(world.environment, run.id))

    polling = asyncio.create_task(feed.get())
    done, _ = await asyncio.wait({polling}, timeout=0.5)
    if done:
        assert (await polling).status in (404, 409)
    polling.cancel()

    assert (await world.feed(f"runs/{run.id}").get()).status == 404
