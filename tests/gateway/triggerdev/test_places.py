"""Where a client of the feeds stands: what it is answered there, behind it, and beyond it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.triggerdev.shape import log
from tests.gateway.triggerdev.polls import IDLE, held, ticks

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.gateway.store.changing import Changing
    from tests.gateway.triggerdev.shape.serving import Feeds


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
