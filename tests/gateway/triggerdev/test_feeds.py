"""The feeds of the official clients on a real Redis: what is answered, when, and to whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis

from auth import EnvironmentKeys, Keyring, SigningKey, generate_secret_key
from gateway.changes import Operation, Operator
from gateway.feeds import FeedId
from gateway.revocations import By, Revocation
from gateway.store import redis_store
from gateway.store.redis_keys import history_key
from gateway.transports.origins import Origins
from gateway.triggerdev import feeds
from gateway.triggerdev.shape import events, log, poll, reading
from gateway.triggerdev.shape.handles import Handle, definition_of
from gateway.triggerdev.shape.view import ShapeView
from tests.gateway.store.changing import Changing
from tests.gateway.triggerdev.shape.serving import Feeds
from tests.redis_server import binaries, running_server
from tests.soon import soon, until_past

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.gateway.triggerdev.shape.folding import Answer, FoldingClient
    from tests.redis_server import RedisServer

UP_TO_DATE = {"headers": {"control": "up-to-date"}}
IDLE = [UP_TO_DATE]


@pytest.fixture
def short_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is held for longer than a moment."""
    monkeypatch.setattr(poll, "HOLD_SECONDS", 0.05)


async def held(served: Feeds, client: FoldingClient) -> asyncio.Task[Answer]:
    """A live poll, once it waits."""
    before = served.services.counters.viewers["shape"]
    asking = asyncio.create_task(client.poll(live=True))
    async with asyncio.timeout(10):
        while served.services.counters.viewers["shape"] == before and not asking.done():
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    return asking


def ticks(value: Any, key: str = "tick") -> dict[str, Any]:
    return {"operations": [Operation(Operator.SET, key, value)]}


class TestRunFeed:
    """`GET /realtime/v1/runs/:id`."""

    async def test_a_snapshot_and_then_what_changes(self, served: Feeds, changing: Changing) -> None:
        """The payload is sent once; a change brings what it touched."""
        changing.create(initial={"payload": {"n": 1}}, metadata={"x": 1})
        client = served.client("runs/run_1")
        answer = await client.poll()

        assert [message.get("headers") for message in answer.body] == [{"operation": "insert"}, UP_TO_DATE["headers"]]
        waiting = await held(served, client)
        changing.apply(status="EXECUTING")
        change, last = (await waiting).body

        assert last == UP_TO_DATE
        assert change["headers"] == {"operation": "update"}
        assert change["value"].keys() == {"id", "status", "startedAt", "updatedAt"}
        assert client.rows["run_1"]["payload"] == '{"n":1}'

    async def test_each_status_has_an_answer_of_its_own(self, served: Feeds, changing: Changing) -> None:
        """The clients show one state for each answer. The last one has the output, and its end."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        changing.apply(status="EXECUTING")
        changing.apply(**ticks(1))
        changing.apply(status="WAITING")
        changing.apply(status="COMPLETED", columns={"output": {"ok": True}})
        seen = []
        while (client.rows["run_1"]["completedAt"]) is None:
            await client.poll(live=True)
            seen.append(client.rows["run_1"]["status"])

        assert seen == ["EXECUTING", "WAITING_TO_RESUME", "COMPLETED_SUCCESSFULLY"]
        assert client.rows["run_1"]["output"] == '{"ok":true}'

    async def test_metadata_comes_whole_and_nothing_else_with_it(self, served: Feeds, changing: Changing) -> None:
        """The protocol knows no parts of a document; a payload beside it is not sent again."""
        changing.create(initial={"payload": "p" * 3000}, metadata={"kept": [1], "gone": 1})
        client = served.client("runs/run_1")
        await client.poll()
        for number in range(3):
            waiting = await held(served, client)
            changing.apply(**ticks(number))
            change, _ = (await waiting).body
            assert json.loads(change["value"]["metadata"]) == {"kept": [1], "gone": 1, "tick": number}
            assert change["value"].keys() == {"id", "updatedAt", "metadata"}
        waiting = await held(served, client)
        changing.apply(operations=[Operation(Operator.UPDATE, "", {})])
        await waiting

        assert client.rows["run_1"]["metadata"] is None
        assert client.inserts == 1

    async def test_what_is_too_large_for_an_event_is_read(self, served: Feeds, changing: Changing) -> None:
        """Then the row comes whole, in one answer."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        waiting = await held(served, client)
        changing.apply(status="COMPLETED", columns={"output": "x" * 100_000})
        change, _ = (await waiting).body

        assert change["headers"] == {"operation": "insert"}
        assert change["value"]["completedAt"] is not None
        assert change["value"]["output"] == json.dumps("x" * 100_000)

    async def test_what_is_too_large_for_the_log_is_read_by_all(self, served: Feeds, changing: Changing) -> None:
        """Once for everybody who waits, and it is not kept."""
        changing.create()
        clients = [served.client("runs/run_1") for _ in range(20)]
        for client in clients:
            await client.poll()
        waiting = [await held(served, client) for client in clients]
        waves = served.hub.statistics.waves
        changing.apply(columns={"output": "x" * 1_000_000})
        await asyncio.gather(*waiting)

        assert all(len(client.rows["run_1"]["output"] or "") > 1_000_000 for client in clients)
        assert served.hub.statistics.waves - waves <= 3

    async def test_nothing_of_what_is_hidden_wakes_anybody(
        self, served: Feeds, changing: Changing, short_hold: None
    ) -> None:
        """Neither the column nor the change."""
        changing.create(metadata={"x": 1})
        client = served.client("runs/run_1", skipColumns="metadata,output")
        await client.poll()
        waiting = await held(served, client)
        changing.apply(**ticks(1))
        changing.apply(columns={"output": "x" * 100_000})

        assert (await waiting).body == IDLE
        assert not {"metadata", "output"} & (client.schema | client.rows["run_1"].keys())
        assert {"metadataType", "outputType"} <= client.schema

    async def test_an_unknown_run_is_looked_for_twice(self, served: Feeds, changing: Changing) -> None:
        """Whoever made its id may be faster with viewers than with Redis; a 404 would end a subscription for good."""
        client = served.client("runs/run_1")
        asking = asyncio.create_task(client.poll())
        while not served.hub._channels:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        changing.create()

        assert (await asking).status == 200
        assert "run_1" in client.rows

    async def test_an_unknown_run_is_not_found(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By whoever may see it, and by whoever may not."""
        monkeypatch.setattr(poll, "ARRIVAL_SECONDS", 0.01)
        changing.create("run_2")
        for token in (served.secret, served.token("read:runs:run_1"), served.token("read:runs:other")):
            answer = await served.get("runs/run_1", {"offset": "-1"}, token)
            assert (answer.status, answer.body["error"]) == (404, "Not found")
            assert answer.headers["x-should-retry"] == "false"
        answer = await served.get("runs/run_2", {"offset": "-1"}, served.token("read:runs:other"))
        assert answer.status == 403

    async def test_a_run_id_may_have_a_slash(self, served: Feeds, changing: Changing) -> None:
        """It is the publisher's."""
        changing.create("a/b")

        assert (await served.get("runs/a/b", {"offset": "-1"})).body[0]["key"] == '"public"."TaskRun"/"a//b"'


class TestListFeeds:
    """`GET /realtime/v1/runs` and `GET /realtime/v1/batches/:id`."""

    async def test_a_run_that_gets_the_tag_later_comes_whole(self, served: Feeds, changing: Changing) -> None:
        """Before it is told in parts."""
        changing.create("run_1", tags=["a"])
        changing.create("run_2", initial={"payload": 1})
        client = served.client("runs", tags="a")
        await client.poll()
        assert client.rows.keys() == {"run_1"}
        waiting = await held(served, client)
        changing.apply("run_2", tags=["a"])
        changing.apply("run_2", status="EXECUTING")
        while client.rows.get("run_2", {}).get("status") != "EXECUTING":
            await waiting
            waiting = asyncio.create_task(client.poll(live=True))
        waiting.cancel()

        assert client.rows["run_2"]["payload"] == "1"

    async def test_runs_carry_all_the_tags(self, served: Feeds, changing: Changing) -> None:
        """However they are ordered; what can't be a tag is refused."""
        changing.create("run_1", tags=["a", "b"])
        changing.create("run_2", tags=["a"])
        client = served.client("runs", tags="b,a")
        await client.poll()

        assert client.rows.keys() == {"run_1"}
        assert (await served.get("runs", {"offset": "-1", "tags": 'a"'})).status == 400

    async def test_the_window_stays_where_it_began(self, served: Feeds, changing: Changing) -> None:
        """Older runs are neither listed nor told; the handle carries the moment."""
        changing.create("old", tags=["a"], age=2 * 3_600_000)
        changing.create("new", tags=["a"])
        client = served.client("runs", tags="a", createdAt="1h")
        await client.poll()
        assert client.rows.keys() == {"new"}
        since = Handle.parse(client.handle)
        assert since is not None
        assert 3600 <= time.time() - since.since / 1000 < 3661

        waiting = await held(served, client)
        changing.apply("old", status="EXECUTING")
        changing.apply("new", status="EXECUTING")
        await waiting
        assert client.rows.keys() == {"new"}
        await client.poll()
        assert client.rows.keys() == {"new"}

    async def test_a_batch_is_its_runs(self, served: Feeds, changing: Changing) -> None:
        """Those that are created later come, too."""
        changing.create("run_1", initial={"batchId": "batch_1"})
        client = served.client("batches/batch_1")
        await client.poll()
        waiting = await held(served, client)
        changing.create("run_2", initial={"batchId": "batch_1"})
        await waiting

        assert client.rows.keys() == {"run_1", "run_2"}

    async def test_an_unknown_batch(self, served: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its runs may be on their way: who can ask again is told so."""
        monkeypatch.setattr(poll, "ARRIVAL_SECONDS", 0.01)
        answer = await served.get("batches/batch_9", {"offset": "-1"})

        assert (answer.status, answer.headers["x-should-retry"]) == (404, "true")

    async def test_who_has_a_cut_off_snapshot_is_told_whole_runs(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a run that was not among the newest nothing is known, so a part of it would be nonsense."""
        monkeypatch.setattr(feeds, "ShapeView", partial(ShapeView, limit=2))
        for number in range(4):
            changing.create(f"run_{number}")
        client = served.client("runs")
        await client.poll()
        assert client.rows.keys() == {"run_2", "run_3"}

        waiting = await held(served, client)
        changing.apply("run_0", status="EXECUTING")
        await waiting
        assert client.rows.keys() == {"run_0", "run_2", "run_3"}
        waiting = await held(served, client)
        changing.apply("run_0", status="WAITING")
        changing.apply("run_3", status="EXECUTING")
        await waiting
        while client.rows["run_3"]["status"] != "EXECUTING":
            await client.poll(live=True)
        assert client.rows["run_0"]["status"] == "WAITING_TO_RESUME"
        assert client.updates

    async def test_a_large_snapshot_comes_in_pages(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each leads on, and the last one is up to date."""
        monkeypatch.setattr(reading, "MOST_BYTES", 2000)
        for number in range(250):
            changing.create(f"run_{number}", task="t")
        client = served.client("runs")
        while not client.up_to_date:
            assert (await client.poll()).status == 200

        assert len(client.statuses) == 3
        assert len(client.rows) == 250

    async def test_a_part_holds_no_longer_than_its_history(
        self, served: Feeds, changing: Changing, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that had just changed was to come with a later part; Redis lost that change, and it stands before."""
        monkeypatch.setattr(redis_store, "PAGE_ROWS", 2)
        monkeypatch.setattr(reading, "MOST_BYTES", 100)
        for number in range(5):
            changing.create(f"run_{number}")
        client = served.client("runs")
        with redis.Redis(port=redis_server.port) as raw:
            kept = {key: raw.dump(key) for key in changing.all_keys()}
            changing.apply("run_0", status="EXECUTING")
            await client.poll()
            assert client.rows.keys() == {"run_1", "run_2"}
            assert client.offset.endswith("_1")
            raw.delete(*changing.all_keys())
            for key, dumped in kept.items():
                assert dumped is not None
                raw.restore(key, 60_000, dumped)
            raw.hset(history_key(served.environment), "replid", "a replica")
        await client.poll()
        assert client.statuses == [200, 409]
        while not client.up_to_date:
            assert (await client.poll()).status == 200

        assert len(client.rows) == 5
        assert client.offset.endswith("_0")

    async def test_many_who_come_together_share_one_reading(self, served: Feeds, changing: Changing) -> None:
        """Whether they have something or nothing."""
        for number in range(10):
            changing.create(f"run_{number}", tags=["a"])
        clients = [served.client("runs", tags="a") for _ in range(200)]
        reads = served.store.round_trips
        await asyncio.gather(*(client.poll() for client in clients))

        assert reads is served.store.round_trips
        assert served.hub.statistics.waves <= 3
        assert all(len(client.rows) == 10 for client in clients)


class TestPlaces:
    """Offsets, handles, and what becomes of those that don't hold."""

    async def test_the_same_question_has_the_same_answer(self, served: Feeds, changing: Changing) -> None:
        """Nothing is used up by having been sent."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        waiting = [await held(served, client), asyncio.create_task(client.ask(live=True))]
        await asyncio.sleep(0)
        place = client.offset, client.handle
        changing.apply(status="EXECUTING")
        first, second = await asyncio.gather(*waiting)
        assert first.body == second.body

        client.offset, client.handle = place
        assert (await client.ask(live=True)).body == first.body
        caught_up = await client.ask()
        assert caught_up.body[0]["value"]["status"] == "EXECUTING"
        assert "electric-schema" in caught_up.headers

    @pytest.mark.parametrize("live", ["true", ""])
    async def test_a_handle_that_is_none_is_refused(self, served: Feeds, changing: Changing, live: str) -> None:
        """With a new one, under which the client begins."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        for handle in ("undefined-next", "x" * 50, served.client("runs").handle or "y"):
            query = {"offset": client.offset, "handle": handle, **({"live": live} if live else {})}
            answer = await served.get("runs/run_1", query)
            assert answer.status == 409
            assert answer.body == [{"headers": {"control": "must-refetch"}}]
            assert answer.headers["electric-handle"] != handle
            again = {"offset": "-1", "handle": answer.headers["electric-handle"], "expired_handle": handle}
            assert (await served.get("runs/run_1", again)).status == 200

    async def test_a_handle_of_another_feed_is_refused(self, served: Feeds, changing: Changing) -> None:
        """Or of other columns."""
        changing.create("run_1")
        changing.create("run_2")
        client = served.client("runs/run_1")
        await client.poll()
        place = {"offset": client.offset, "handle": client.handle}

        assert (await served.get("runs/run_1", place)).status == 200
        assert (await served.get("runs/run_2", place)).status == 409
        assert (await served.get("runs", place)).status == 409
        assert (await served.get("runs/run_1", {**place, "skipColumns": "payload"})).status == 409
        assert (await served.get("runs/run_1", {**place, "skipColumns": "nothing"})).status == 200

    async def test_a_place_that_never_was_is_refused(self, served: Feeds, changing: Changing) -> None:
        """At once, and not held for ever."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        beyond = f"{int(client.offset.split('_')[0]) + 1000}_0"

        for query in ({"live": "true", "cursor": ""}, {}):
            assert (await served.get("runs/run_1", {**query, "offset": beyond, "handle": client.handle})).status == 409

    async def test_an_old_place_is_caught_up(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From Redis, when the log does not reach back so far."""
        monkeypatch.setattr(log, "MAX_ENTRIES", 4)
        changing.create()
        old, new = served.client("runs/run_1"), served.client("runs/run_1")
        await old.poll()
        await new.poll()
        for number in range(20):
            waiting = await held(served, new)
            changing.apply(columns={"output": number})
            await waiting
        await old.poll(live=True)

        assert old.rows == new.rows
        assert old.inserts == 2

    async def test_lost_data_sends_everybody_back_to_the_start(
        self, served: Feeds, changing: Changing, environment: EnvironmentId
    ) -> None:
        """Those that wait at once."""
        changing.create("run_1", tags=["a"])
        client = served.client("runs", tags="a")
        await client.poll()
        waiting = await held(served, client)
        changing.client.delete(*changing.client.keys(f"runcast:{{{environment}}}:*"))
        changing.create("run_2", tags=["a"])
        assert (await waiting).status == 409
        await client.poll()

        assert client.rows.keys() == {"run_2"}

    async def test_from_now_on(self, served: Feeds, changing: Changing) -> None:
        """Who skips what is there gets none of it, and each run whole when it changes."""
        changing.create("run_1", tags=["a"])
        for query in ({"offset": "now"}, {"offset": "-1", "log": "changes_only"}):
            answer = await served.get("runs", {**query, "tags": "a"})
            assert answer.body == IDLE
            assert "electric-schema" in answer.headers
            place = {"offset": answer.headers["electric-offset"], "handle": answer.headers["electric-handle"]}
            changing.apply("run_1", **ticks(query["offset"]))
            change, _ = (await served.get("runs", {**place, "tags": "a", "live": "true"})).body
            assert change["headers"] == {"operation": "insert"}

    async def test_requests_that_make_no_sense(self, served: Feeds, changing: Changing) -> None:
        """400, with a word about what would."""
        changing.create()
        for query in (
            {},
            {"offset": "x"},
            {"offset": "5_0"},
            {"offset": "-1", "live": "true"},
            {"offset": "-1", "subset__limit": "1"},
        ):
            answer = await served.get("runs/run_1", query)
            assert answer.status == 400
            assert answer.body["error"]


class TestHolding:
    """A live request with nothing to tell."""

    async def test_it_ends_after_a_while_where_it_was(
        self, served: Feeds, changing: Changing, short_hold: None
    ) -> None:
        """With nothing but that there is nothing."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        before, began = client.offset, time.monotonic()
        answer = await client.poll(live=True)

        assert answer.body == IDLE
        assert client.offset == before
        assert time.monotonic() - began > 0.04

    async def test_who_hangs_up_is_let_go(self, served: Feeds, changing: Changing) -> None:
        """Nothing of the request stays."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        gone = asyncio.Event()
        asking = asyncio.create_task(client.ask(live=True, gone=gone))
        while not served.services.counters.viewers["shape"]:
            await asyncio.sleep(0.001)
        gone.set()
        with pytest.raises(EOFError):
            await asking

        assert served.services.counters.viewers["shape"] == 0
        assert not served.expirations.viewers()

    async def test_a_stop_answers_who_waits_and_who_comes(self, served: Feeds, changing: Changing) -> None:
        """The client comes again, and finds another gateway; or this one once more, which has a turn for it, too."""
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        for _ in range(2):
            waiting = await held(served, client)
            served.stop()

            assert (await waiting).body == IDLE

    async def test_who_finds_no_place_waits_for_the_refusal(
        self, redis_server: RedisServer, environment: EnvironmentId, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some clients come again a tenth of a second after a 429. Who does not wait for news needs no place."""
        monkeypatch.setattr(feeds, "REFUSAL_SECONDS", 0.05)
        changing.create()
        async with Feeds(redis_server, environment, connections=1).serving() as served:
            first, second = served.client("runs/run_1"), served.client("runs/run_1")
            await first.poll()
            await second.poll()
            waiting = await held(served, first)
            began = time.monotonic()
            answer = await second.ask(live=True)
            assert answer.status == 429
            assert time.monotonic() - began >= 0.04
            assert int(answer.headers["x-ratelimit-reset"]) > time.time() * 1000
            assert "retry-after" in answer.headers
            changing.apply(status="EXECUTING")
            await waiting
            assert (await second.ask(live=True)).status == 200

    async def test_without_redis_they_come_again(
        self, tmp_path: Path, environment: EnvironmentId, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Never an answer that would end a subscription."""
        monkeypatch.setattr(reading, "READ_SECONDS", 0.3)
        with running_server(tmp_path, binaries()["valkey"], "--appendonly", "no") as redis:
            async with Feeds(redis, environment).serving() as served:
                with redis.client() as client:
                    Changing(client, environment).create()
                viewer = served.client("runs/run_1")
                await viewer.poll()
                redis.stop()
                answer = await served.get("runs/run_1", {"offset": "-1"})
                assert answer.status == 503
                assert "retry-after" in answer.headers


class TestTokens:
    """Whose token may what, and for how long."""

    @pytest.mark.parametrize(
        ("scope", "path", "status"),
        [
            ("read:runs:run_1", "runs/run_1", 200),
            ("read:tags:a", "runs/run_1", 200),
            ("read:tasks:resize", "runs/run_1", 200),
            ("read:batch:batch_1", "runs/run_1", 200),
            ("read:runs:run_2", "runs/run_1", 403),
            ("write:runs:run_1", "runs/run_1", 403),
            ("read:tags:a", "runs?tags=a,b", 200),
            ("read:tags:a", "runs?tags=b", 403),
            ("read:tags:a", "runs", 403),
            ("read:tags", "runs", 200),
            ("read:runs", "runs", 200),
            ("read:runs:run_1", "runs", 403),
            ("read:batch:batch_1", "batches/batch_1", 200),
            ("read:batch:batch_2", "batches/batch_1", 403),
            ("read:runs", "batches/batch_1", 200),
        ],
    )
    async def test_scopes(self, served: Feeds, changing: Changing, scope: str, path: str, status: int) -> None:
        """As the official server has them."""
        changing.create(tags=["a"], initial={"batchId": "batch_1"})
        path, _, query = path.partition("?")
        asked = {"offset": "-1", **dict(part.split("=") for part in query.split("&") if part)}

        assert (await served.get(path, asked, served.token(scope))).status == status

    async def test_a_tokens_columns_replace_those_of_the_request(self, served: Feeds, changing: Changing) -> None:
        """In rows, schema and handle."""
        changing.create(initial={"payload": 1})
        token = served.token("read:runs:run_1", skip_columns=["payload"])
        client = served.client("runs/run_1", token, skipColumns="output")
        await client.poll()

        assert "payload" not in client.schema
        assert "output" in client.schema

    async def test_a_feed_outlives_its_token(self, served: Feeds, changing: Changing) -> None:
        """The official hook takes no new one, and would freeze."""
        changing.create()
        client = await self.outlived(served)
        waiting = await held(served, client)
        changing.apply(status="EXECUTING")
        assert (await waiting).status == 200
        assert (await client.poll()).status == 200

        # A new history sends it back to the start, with a handle that is as good.
        client.offset = "999999999999999_0"
        assert (await client.poll()).status == 409
        assert (await client.poll()).status == 200

    async def test_from_a_good_token_to_its_end_and_on(self, served: Feeds, changing: Changing) -> None:
        """With the handle that it was given while it was good."""
        changing.create()
        ends = soon()
        client = served.client("runs/run_1", served.token("read:runs:run_1", expires=ends))
        await client.poll()
        await until_past(ends)

        assert (await served.get("runs/run_1", {"offset": "-1"}, client.token)).status == 401
        assert (await client.poll()).status == 200

    async def test_an_ended_token_opens_nothing(self, served: Feeds, changing: Changing) -> None:
        """Neither without a handle, nor with one that is not its own, nor with one of another feed."""
        changing.create("run_1")
        changing.create("run_2")
        mine = await self.outlived(served)
        theirs, other = await self.outlived(served, scope="read:runs"), await self.outlived(served, "runs/run_2")
        token = mine.token

        assert (await served.get("runs/run_1", {"offset": "-1"}, token)).status == 401
        for handle in ("x", theirs.handle, other.handle, mine.handle[:-1] + ("A" if mine.handle[-1] != "A" else "B")):
            query = {"offset": mine.offset, "handle": handle, "live": "true"}
            assert (await served.get("runs/run_1", query, token)).status == 401
            assert (await served.get("runs/run_1", {"offset": "-1", "handle": handle}, token)).status == 401
        assert (await mine.ask()).status == 200

    async def test_the_grace_has_an_end(self, redis_server: RedisServer, environment: EnvironmentId) -> None:
        """And may be none."""
        for grace, status in ((0.0, 401), (59.0, 401), (100.0, 200)):
            async with Feeds(redis_server, environment, shape_handle_grace_seconds=grace).serving() as served:
                with redis_server.client() as client:
                    Changing(client, environment).create()
                assert (await (await self.outlived(served)).ask()).status == status

    async def test_a_revoked_token_has_no_grace(self, served: Feeds, changing: Changing) -> None:
        """Whoever revokes it means it."""
        changing.create()
        client = await self.outlived(served)
        waiting = await held(served, client)
        await self.revoke(served, client.token)

        assert (await asyncio.wait_for(self.status_of(waiting), 10)) == 401
        assert (await client.ask()).status == 401

    async def test_a_key_that_is_taken_away_has_no_grace(self, served: Feeds, changing: Changing) -> None:
        """Neither for those who wait nor for those who come."""
        changing.create()
        client = await self.outlived(served)
        waiting = await held(served, client)
        other = Keyring([EnvironmentKeys.of(served.environment, generate_secret_key())])
        served.admission.reload(other, Origins())
        served.expirations.keys_changed()

        assert (await asyncio.wait_for(self.status_of(waiting), 10)) == 401
        assert (await client.ask()).status == 401

    async def test_a_retired_key_has_no_grace(self, served: Feeds, changing: Changing) -> None:
        """Its own day is over, then."""
        changing.create()
        client = await self.outlived(served)
        retired = SigningKey(served.secret, time.time() - 25 * 3600, "test")
        keys = replace(served.keys, current=SigningKey(generate_secret_key(), None, "test"), previous=(retired,))
        served.admission.reload(Keyring([keys]), Origins())

        assert (await client.ask()).status == 401

    async def test_another_good_token_goes_on_where_the_first_was(self, served: Feeds, changing: Changing) -> None:
        """With a handle of its own from then on."""
        changing.create()
        client = served.client("runs/run_1", served.token("read:runs:run_1"))
        await client.poll()
        first, client.token = client.handle, served.token("read:runs")
        await client.poll()

        assert client.statuses == [200, 200]
        assert client.handle != first
        second = client.handle
        await client.poll()
        assert client.handle == second

    async def test_a_held_poll_is_refused_when_its_token_is_revoked(self, served: Feeds, changing: Changing) -> None:
        """Within a second."""
        changing.create()
        client = served.client("runs/run_1", served.token("read:runs:run_1"))
        await client.poll()
        waiting = await held(served, client)
        await self.revoke(served, client.token)

        assert (await asyncio.wait_for(self.status_of(waiting), 10)) == 401

    async def test_a_one_time_token_is_used_by_the_first_request(self, served: Feeds, changing: Changing) -> None:
        """Those that follow have the handle that it was given."""
        changing.create()
        client = served.client("runs/run_1", served.token("read:runs:run_1", one_time=True))
        await client.poll()
        assert (await client.ask()).status == 200
        assert (await served.get("runs/run_1", {"offset": "-1"}, client.token)).status == 422

    async def test_nobody_without_a_token(self, served: Feeds) -> None:
        """Not even by the query, where it would be in logs."""
        assert (await served.get("runs/run_1", {"offset": "-1", "token": served.secret}, "x")).status == 401

    @staticmethod
    async def outlived(served: Feeds, path: str = "runs/run_1", scope: str = "read:runs:run_1") -> FoldingClient:
        """A client that began with a token whose time has been over for a minute."""
        now = time.time()
        client = served.client(path)
        await client.poll()
        client.token = served.token(scope, expires=int(now) - 60, now=now - 900)
        known, admitted = Handle.parse(client.handle), served.admission.admit(client.token, overdue=100)
        assert known is not None
        feed = FeedId.run(path.partition("/")[2])
        definition = definition_of(served.environment, feed, frozenset())
        client.handle = str(Handle.issue(definition, admitted, epoch=known.epoch, since=known.since, base=known.base))
        return client

    @staticmethod
    async def status_of(waiting: asyncio.Task[Answer]) -> int:
        """The client's model refuses to take a 401, and says so."""
        with contextlib.suppress(AssertionError):
            return (await waiting).status
        return 401

    @staticmethod
    async def revoke(served: Feeds, token: str) -> None:
        marks = served.admission.admit(token, overdue=1000).marks
        assert marks is not None
        now = int(time.time() * 1000)
        await served.revocations.revoke(
            served.environment, Revocation(By.TOKEN, marks.digest, now + 1, now, now + 900_000)
        )


class TestEvents:
    """`live_sse`: the same as a response that goes on."""

    async def test_changes_come_as_events(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each set of them ends with where the client is then, as decimal digits; silence is broken by comments."""
        monkeypatch.setattr(events, "STREAM_SECONDS", 0.5)
        monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.05)
        changing.create()
        client = served.client("runs/run_1")
        await client.poll()
        asking = asyncio.create_task(self.stream(served, client))
        while not served.services.counters.viewers["shape"]:
            await asyncio.sleep(0.001)
        changing.apply(status="EXECUTING")
        await asyncio.sleep(0.1)
        changing.apply(**ticks(1))
        start, data = await asking

        headers = dict(start["headers"])
        assert headers[b"content-type"] == b"text/event-stream"
        assert {b"electric-handle", b"electric-offset", b"electric-cursor"} <= headers.keys()
        blocks = data.decode().split("\n\n")
        messages = [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]
        assert ": keep-alive" in blocks
        assert [message["headers"].get("operation") or message["headers"]["control"] for message in messages] == [
            *("update", "up-to-date", "update", "up-to-date"),
        ]
        offset = int(messages[-1]["headers"]["global_last_seen_lsn"])
        assert offset > int(client.offset.split("_")[0])
        client.offset = f"{offset}_0"
        client.rows["run_1"] |= messages[0]["value"] | messages[2]["value"]
        fresh = served.client("runs/run_1")
        await fresh.poll()
        assert fresh.rows == client.rows

    async def test_what_does_not_hold_is_answered_plainly(self, served: Feeds, changing: Changing) -> None:
        """As a poll would be."""
        changing.create()
        query = {"offset": "5_0", "handle": "x", "live": "true", "live_sse": "true"}

        assert (await served.get("runs/run_1", query)).status == 409

    @staticmethod
    async def stream(served: Feeds, client: FoldingClient) -> tuple[Any, bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        query = f"offset={client.offset}&handle={client.handle}&live=true&experimental_live_sse=true&live_sse=true"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": client.path,
            "raw_path": client.path.encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", b"Bearer " + served.secret.encode())],
        }
        await served.app(scope, receive, send)
        return sent[0], b"".join(message["body"] for message in sent[1:])


class TestShapes:
    """What there is of a shape."""

    async def test_a_shape_lingers_and_goes(
        self, served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between two polls of a client nobody holds it; when nobody comes it is let go."""
        changing.create()
        await served.get("runs/run_1", {"offset": "-1"})
        assert len(served.shapes) == 1
        assert served.hub._channels
        served.shapes.close()
        assert len(served.shapes) == 0
        assert not served.hub._channels

    async def test_those_who_ask_for_the_same_share_one(self, served: Feeds, changing: Changing) -> None:
        """Whatever their tokens, and however they name it."""
        changing.create(tags=["a", "b"])
        for tags in ("a,b", "b,a"):
            for token in (served.secret, served.token("read:tags:a")):
                await served.get("runs", {"offset": "-1", "tags": tags, "createdAt": "1h"}, token)

        assert len(served.shapes) <= 2  # a minute may have begun in between
