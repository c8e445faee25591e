"""The feeds of the official clients, and tokens: whose may what, and for how long after its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from auth import EnvironmentKeys, Keyring, SigningKey, generate_secret_key
from gateway.feeds import FeedId
from gateway.revocations import By, Revocation
from gateway.transports.origins import Origins
from gateway.triggerdev.shape.handles import Handle, definition_of
from tests.gateway.store.changing import Changing
from tests.gateway.triggerdev.polls import held
from tests.gateway.triggerdev.shape.serving import Feeds
from tests.soon import soon, until_past

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId
    from tests.gateway.triggerdev.shape.folding import Answer, FoldingClient
    from tests.redis_server import RedisServer


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
