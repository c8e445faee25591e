"""What is sent into a run as the official clients do, and read from it, on a gateway with a real Redis behind it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.api.asking import Asking
from tests.gateway.serving import ServedGateway
from tests.gateway.triggerdev.stream_clients import OfficialReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

PATH = "/realtime/v1/streams/run_1/input/approval"


@pytest.fixture
async def api(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[Asking]:
    """A gateway with one run, and whoever asks with the secret key."""
    async with ServedGateway(redis_server, environment) as gateway, Asking(gateway) as asking:
        await asking.create("run_1", status="EXECUTING")
        yield asking


async def test_what_is_sent_is_read(api: Asking) -> None:
    """By position and with an id of its own; the value is JSON text, which its reader takes apart."""
    values: list[Any] = [{"approved": True}, "text", 12.5, None, [], "é\U0001f600", {"data": {"data": 1}}]
    for value in values:
        assert await api.ask("POST", PATH, {"data": value}) == {"ok": True}
    reader = OfficialReader(api.gateway, PATH)
    parts = await reader.take(len(values))
    assert [json.loads(part.chunk) for part in parts] == values
    assert [part.position for part in parts] == [str(number) for number in range(len(values))]
    assert all(re.fullmatch("inp_[0-9a-f]{12}", part.id) for part in parts)
    assert len({part.id for part in parts}) == len(values)
    assert [part.position for part in await OfficialReader(api.gateway, PATH, last_event_id="4").take(2)] == ["5", "6"]


async def test_inputs_are_not_among_the_streams(api: Asking) -> None:
    """Whoever shows a run's streams would open one for each; but ours and theirs can read them by name."""
    await api.ask("POST", PATH, {"data": {"n": 1}})
    await api.ask("POST", "/realtime/v1/streams/run_1/self/tokens", content=b"1\n")
    assert (await api.ask("GET", "/v1/runs/run_1"))["realtimeStreams"] == ["tokens"]
    page = await api.ask(
        "GET", "/v1/runs/run_1/streams/$trigger.input:approval", headers={"accept": "application/json"}
    )
    assert [chunk["chunk"] for chunk in page["chunks"]] == [{"n": 1}]
    reader = OfficialReader(api.gateway, "/realtime/v1/streams/run_1/$trigger.input:approval")
    assert [part.chunk for part in await reader.take(1)] == [{"n": 1}]


async def test_who_may_send(api: Asking) -> None:
    """Who was handed the run, and whoever may send to all; nobody because they may read or write something else."""
    for scope in ("write:inputStreams:run_1", "write:inputStreams", "admin", "write:all"):
        async with api.with_token([scope]) as page:
            await page.ask("POST", PATH, {"data": scope})
    for scope in ("write:inputStreams:run_2", "write:runs:run_1", "write:runs", "read:inputStreams:run_1", "write"):
        async with api.with_token([scope]) as page:
            refused = await page.ask("POST", PATH, {"data": scope}, status=403)
            assert "inputStreams" in refused["error"]
    assert (await api.client.post(PATH, json={"data": 1}, headers={"authorization": "Bearer x"})).status_code == 401
    assert len(await OfficialReader(api.gateway, PATH).take(4)) == 4


async def test_who_may_see_the_run_may_read(api: Asking) -> None:
    await api.ask("POST", PATH, {"data": 1})
    token = api.gateway.token(["read:runs:run_1"])
    assert [part.chunk for part in await OfficialReader(api.gateway, PATH, token=token).take(1)] == ["1"]
    async with api.with_token(["write:inputStreams:run_1"]) as page:
        await page.ask("GET", PATH, status=403)


async def test_what_can_t_be_sent(api: Asking) -> None:
    """Each says what is wrong, in the form that the client shows."""
    for run, body, status in (
        ("run_9", b'{"data":1}', 404),
        ("run_1", b"", 400),
        ("run_1", b"[]", 400),
        ("run_1", b'{"data":NaN}', 400),
        ("run_1", b'{"data":"' + b"x" * (1024 * 1024) + b'"}', 413),
    ):
        answer = await api.client.post(f"/realtime/v1/streams/{run}/input/approval", content=body)
        assert answer.status_code == status
        assert answer.json()["ok"] is False
        assert isinstance(answer.json()["error"], str)
    assert (await api.client.post("/realtime/v1/streams/run_9/input/approval", json={"data": 1})).json()[
        "error"
    ] == "Run not found"
    await api.ask("GET", "/realtime/v1/streams/run_9/input/approval", status=404)
    await api.ask("PUT", PATH, status=405)


async def test_what_javascript_leaves_out_is_null(api: Asking) -> None:
    """It says nothing for what is undefined; a signal may have no value."""
    await api.ask("POST", PATH, {})
    await api.client.post(PATH, content=b'{"data":"\\ud83d"}')
    assert [json.loads(part.chunk) for part in await OfficialReader(api.gateway, PATH).take(2)] == [None, "\ud83d"]


async def test_what_is_sent_again_is_there_once(api: Asking) -> None:
    """A client that had no answer repeats its request; also when the run has ended meanwhile."""
    again = {"x-trigger-request-idempotency-key": "6f7c"}
    for _ in range(3):
        await api.ask("POST", PATH, {"data": 1}, headers=again)
    await api.ask("POST", PATH, {"data": 2})
    await api.ask("PATCH", "/v1/runs/run_1", {"status": "COMPLETED"})
    await api.ask("POST", PATH, {"data": 1}, headers=again)
    refused = await api.ask("POST", PATH, {"data": 3}, status=400)
    assert refused["ok"] is False
    assert "has ended" in refused["error"]
    assert await OfficialReader(api.gateway, PATH).all() == ["1", "2"]


async def test_a_reader_waits_for_what_is_sent(api: Asking) -> None:
    """Live, and from its last position on."""
    reader = OfficialReader(api.gateway, PATH, timeout_seconds="600")
    taking = asyncio.create_task(reader.take(2))
    await api.gateway.followed("stream:run_1,$trigger.input:approval")
    await api.ask("POST", PATH, {"data": [1]})
    await api.ask("POST", PATH, {"data": [2]})
    assert [part.chunk for part in await taking] == ["[1]", "[2]"]
    assert reader.position == "1"
