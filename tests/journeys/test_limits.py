"""One environment at many times its limits: it is refused, or slowed down, and the others don't feel it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from auth import EnvironmentKeys, mint
from gateway.changes import Operation, Operator, change
from gateway.feeds import EnvironmentId
from gateway.metadata import native
from gateway.publisher import Publisher
from gateway.store.writing import ChangeWriter, whole
from tests.journeys.in_process import Inside, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.redis_server import RedisServer

GREEDY = EnvironmentKeys.of("greedy", "tr_test_the_secret_of_the_greedy_000001")
MODEST = EnvironmentKeys.of("modest", "tr_test_the_secret_of_the_modest_000001")
PATIENCE_SECONDS = 30.0


def secret(keys: EnvironmentKeys) -> dict[str, str]:
    return {"authorization": f"Bearer {keys.current.secret}"}


@pytest.fixture
async def inside(own_redis: RedisServer) -> AsyncIterator[Inside]:
    async with serving(
        own_redis.url,
        keys=(GREEDY, MODEST),
        connections_per_environment=5,
        connections_per_token=2,
        requests_per_second=20.0,
        token_requests_per_second=5.0,
        changes_per_second=50.0,
    ) as inside:
        yield inside


def socket(inside: Inside, token: str) -> connect:
    return connect(f"ws://127.0.0.1:{inside.port}/v1/ws", additional_headers={"authorization": f"Bearer {token}"})


async def welcomed(socket: ClientConnection) -> None:
    assert json.loads(await socket.recv())["type"] == "welcome"


async def test_requests_over_the_rate_are_refused_with_a_time(inside: Inside) -> None:
    async with httpx2.AsyncClient(base_url=inside.url) as client:
        answers = await asyncio.gather(*(client.get("/v1/runs", headers=secret(GREEDY)) for _ in range(200)))
        other = await client.get("/v1/runs", headers=secret(MODEST))

    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    problem = refused[0].json()
    assert problem["code"] == "too_many_requests"
    assert problem["retry"] is True
    assert "this environment may ask 20 times a second" in problem["detail"]
    assert int(refused[0].headers["retry-after"]) >= 1
    assert other.status_code == 200
    assert inside.services.counters.limits_hit["requests_per_second", "greedy"] == len(refused)


async def test_a_token_has_a_rate_of_its_own(inside: Inside) -> None:
    token = {"authorization": f"Bearer {mint(['read:runs'], GREEDY)}"}
    async with httpx2.AsyncClient(base_url=inside.url) as client:
        answers = await asyncio.gather(*(client.get("/v1/runs", headers=token) for _ in range(15)))
        backend = await client.get("/v1/runs", headers=secret(GREEDY))

    refused = {answer.json()["detail"] for answer in answers if answer.status_code == 429}
    assert refused
    assert all("this token may ask 5 times" in detail for detail in refused)
    assert backend.status_code == 200


async def test_polls_are_requests(inside: Inside) -> None:
    """Else whoever does not want to wait could ask as fast as it can."""
    token = {"authorization": f"Bearer {mint(['read:runs'], GREEDY)}"}
    async with httpx2.AsyncClient(base_url=inside.url) as client:
        polls = (client.get("/v1/poll?run=r&wait=0", headers=token) for _ in range(15))
        answers = await asyncio.gather(*polls)

    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert int(refused[0].headers["retry-after"]) >= 1


async def test_changes_over_the_rate_are_refused(inside: Inside, own_redis: RedisServer) -> None:
    """Also in one large request: what it brings is owed."""
    with Publisher(own_redis.url, environment="greedy") as publisher:
        publisher.create("t", id="r")
    chunks = {"chunks": list(range(400))}
    async with httpx2.AsyncClient(base_url=inside.url, headers=secret(GREEDY)) as client:
        first = await client.post("/v1/runs/r/streams/s", json=chunks)
        second = await client.post("/v1/runs/r/streams/s", json=chunks)
        patched = await client.patch("/v1/runs/r", json={"status": "EXECUTING"})

    assert first.status_code == 200
    assert (second.status_code, second.json()["code"]) == (429, "too_many_changes")
    assert patched.status_code == 429


async def test_connections_over_the_limit_are_refused(inside: Inside) -> None:
    """By 429 or a close code, each with a time to come back; a place that is left is free."""
    token = mint(["read:runs"], GREEDY)
    async with socket(inside, token) as one, socket(inside, token) as two:
        await welcomed(one)
        await welcomed(two)
        async with socket(inside, token) as three:
            error = json.loads(await three.recv())
            with pytest.raises(ConnectionClosed) as closed:
                await three.recv()
        async with httpx2.AsyncClient(base_url=inside.url) as client:
            events = await client.get("/v1/events?all=true", headers={"authorization": f"Bearer {token}"})
        await one.close()
        while inside.viewers > 1:
            await asyncio.sleep(0.01)
        async with socket(inside, token) as again:
            await welcomed(again)

    assert (error["code"], error["retry"]) == ("too_many_connections", True)
    assert error["afterMilliseconds"] > 0
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4429
    assert (events.status_code, events.json()["code"]) == (429, "too_many_connections")
    assert int(events.headers["retry-after"]) >= 1


async def test_a_one_time_token_that_finds_no_place_is_not_used_up(inside: Inside) -> None:
    """On whatever it comes; when there is a place again it opens one connection."""
    key = GREEDY.current.secret
    once = mint(["read:runs"], GREEDY, one_time=True)
    asking = {"authorization": f"Bearer {once}"}
    async with contextlib.AsyncExitStack() as places:
        for _ in range(5):
            await welcomed(await places.enter_async_context(socket(inside, key)))
        async with socket(inside, once) as refused, httpx2.AsyncClient(base_url=inside.url) as client:
            told = [json.loads(await refused.recv())["code"]]
            told += [
                (await client.get(f"/v1/{way}?run=r", headers=asking)).json()["code"] for way in ("events", "poll")
            ]
    while inside.viewers:
        await asyncio.sleep(0.01)
    async with socket(inside, once) as opened:
        await welcomed(opened)

    assert told == ["too_many_connections"] * 3


class Flood(threading.Thread):
    """Publishes changes of the greedy environment as fast as Redis takes them, without asking the gateway."""

    def __init__(self, redis: RedisServer) -> None:
        super().__init__()
        self._redis = redis
        self._ending = threading.Event()
        self.count = 0

    def run(self) -> None:
        writer = ChangeWriter(environment=EnvironmentId("greedy"))
        with self._redis.client() as client:
            unscripted: Any = client
            unscripted.execute_command(*whole(writer.by_digest(change("busy"))))
            while not self._ending.is_set():
                with client.pipeline(transaction=False) as pipeline:
                    for _ in range(100):
                        self.count += 1
                        operations = native([Operation(Operator.SET, "n", self.count)])
                        pipeline.execute_command(*writer.by_digest(change("busy"), operations or ()))
                    pipeline.execute()

    def end(self) -> None:
        self._ending.set()
        self.join()


class Follower:
    """A socket that follows one run, and keeps what it is told."""

    def __init__(self, socket: ClientConnection, run: str) -> None:
        self._socket = socket
        self._run = run
        self.snapshots = 0
        self.numbers: list[int] = []
        self.statuses: list[str] = []

    async def follow(self) -> None:
        await self._socket.send(json.dumps({"type": "subscribe", "run": self._run}))
        async for text in self._socket:
            message = json.loads(text)
            match message["type"]:
                case "snapshot":
                    self.snapshots += 1
                    for run in message["runs"]:
                        self._note(run.get("metadata", {}), run["status"])
                case "update":
                    self._note(message.get("metadata", {}).get("changed", {}), message["run"].get("status"))
                case "end":
                    return

    def _note(self, metadata: dict[str, Any], status: str | None) -> None:
        if "n" in metadata:
            self.numbers.append(metadata["n"])
        if status is not None:
            self.statuses.append(status)


async def test_a_hundred_times_its_limit_is_not_felt_by_another(inside: Inside, own_redis: RedisServer) -> None:
    """
    The greedy environment publishes, asks and connects as fast as it can.

    The modest one is told each of its changes as it happens, in order, and is refused nothing. The greedy one's viewers
    lose intermediate progress, and end with the truth.
    """
    with (
        Publisher(own_redis.url, environment="greedy") as greedy,
        Publisher(own_redis.url, environment="modest") as modest,
    ):
        busy, calm = greedy.create("t", id="busy"), modest.create("t", id="calm")
        busy.start()
        calm.start()
        async with socket(inside, GREEDY.current.secret) as one, socket(inside, MODEST.current.secret) as two:
            followers = [Follower(one, "busy"), Follower(two, "calm")]
            following = [asyncio.create_task(follower.follow()) for follower in followers]
            while not all(follower.snapshots for follower in followers):
                await asyncio.sleep(0.01)
            flood = Flood(own_redis)
            flood.start()
            storm = asyncio.create_task(_storm(inside))
            async with httpx2.AsyncClient(base_url=inside.url, headers=secret(MODEST)) as client:
                for number in range(15):
                    answer = await client.post(
                        "/v1/runs/calm/metadata", json={"operations": [{"type": "set", "key": "n", "value": number}]}
                    )
                    assert answer.status_code == 200, answer.text
                    await asyncio.sleep(0.1)
            hits = inside.services.counters.limits_hit
            # However slow the machine is: a hundred times what is heard in a second, and too many requests.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while flood.count < 100 * 50 or not hits["requests_per_second", "greedy"]:
                    await asyncio.sleep(0.01)
            storm.cancel()
            await asyncio.to_thread(flood.end)
            await asyncio.to_thread(busy.complete)
            await asyncio.to_thread(calm.complete)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*following)

    greedy_seen, modest_seen = followers
    assert modest_seen.snapshots == 1
    assert modest_seen.numbers == list(range(15))
    assert modest_seen.statuses == ["EXECUTING", "COMPLETED"]
    assert greedy_seen.numbers[-1] == flood.count
    assert greedy_seen.statuses[-1] == "COMPLETED"
    assert len(greedy_seen.numbers) < flood.count / 10
    assert hits["changes_per_second", "greedy"]
    assert not [limit for limit, environment in hits if environment == "modest"]
    assert inside.hub.statistics.catch_ups["over_limit"]


async def _storm(inside: Inside) -> None:
    """Asks without a pause, on a few connections."""
    async with httpx2.AsyncClient(base_url=inside.url, headers=secret(GREEDY)) as client:

        async def ask() -> None:
            while True:
                await client.get("/v1/runs")

        await asyncio.gather(*(ask() for _ in range(4)))
