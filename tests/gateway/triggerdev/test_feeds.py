"""The feeds of the official clients on a real Redis: a run, a list, a batch, and what is told of them."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING

import redis

from gateway.changes import Operation, Operator
from gateway.store import redis_store
from gateway.store.redis_keys import history_key
from gateway.triggerdev import feeds
from gateway.triggerdev.shape import poll, reading
from gateway.triggerdev.shape.handles import Handle
from gateway.triggerdev.shape.view import ShapeView
from tests.gateway.triggerdev.polls import IDLE, UP_TO_DATE, held, ticks

if TYPE_CHECKING:
    import pytest

    from tests.gateway.store.changing import Changing
    from tests.gateway.triggerdev.shape.serving import Feeds
    from tests.redis_server import RedisServer


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
