"""The HTTP interface, from a program that knows nothing of us but HTTP and JSON; gateways and Redis die under it."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from typing import TYPE_CHECKING, Any

from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.viewers import EventsViewer, WebSocketViewer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.redis_server import RedisServer

PATIENCE_SECONDS = 20.0


class Program:
    """Speaks plain HTTP/1.1, one connection per request, as a shell script with curl would."""

    def __init__(self, *gateways: GatewayProcess, key: str = SECRET) -> None:
        self.gateways = gateways
        self.key = key

    async def say(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of the first gateway's answer; 0 when there is none."""
        return await asyncio.to_thread(self._say, self.gateways[0], method, path, body, headers)

    async def insist(self, method: str, path: str, body: Any, key: str) -> tuple[int, Any]:
        """Ask one gateway after another until one of them answers, with the same idempotency key."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        turn = hash(key)
        while time.monotonic() < deadline:
            gateway = self.gateways[turn % len(self.gateways)]
            status, answer, _ = await asyncio.to_thread(
                self._say, gateway, method, path, body, {"Idempotency-Key": key}
            )
            if status not in (0, 409, 503):
                return status, answer
            turn += 1
            await asyncio.sleep(0.02)
        raise AssertionError(f"{method} {path} was not answered in time")

    def _say(
        self, gateway: GatewayProcess, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        sent = {"Authorization": f"Bearer {self.key}", **headers}
        text = None
        if body is not None:
            text, sent["Content-Type"] = json.dumps(body), "application/json"
        try:
            connection.request(method, path, text, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null"), dict(answer.getheaders())
        except (OSError, http.client.HTTPException):
            return 0, None, {}
        finally:
            connection.close()


async def test_a_job_in_any_language_is_followed_from_its_start_to_its_end(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """Whoever follows the tag or the run sees everything that was said over HTTP, and what is read is the same."""
    with running_gateway(tmp_path / "gateway.log", own_redis.url) as gateway:
        program = Program(gateway)
        reader = Program(gateway, key=token("read:tags:customer:7"))
        async with (
            WebSocketViewer(gateway, token("read:tags:customer:7"), {"tags": ["customer:7"]}) as tagged,
            EventsViewer(gateway, token("read:runs:run_1"), {"run": "run_1"}) as single,
        ):
            await tagged.model.until_live()
            await single.model.until_live()
            new = {"taskIdentifier": "export", "id": "run_1", "tags": ["customer:7"], "payload": {"rows": 10}}
            statuses = [(await program.say("POST", "/v1/runs", new))[0]]
            for body in (
                {"status": "EXECUTING"},
                *({"progress": {"current": step, "total": 3}} for step in (1, 2, 3)),
                {"status": "COMPLETED", "output": [1, {"a": []}]},
            ):
                statuses.append((await program.say("PATCH", "/v1/runs/run_1", body))[0])
            for viewer in (tagged, single):
                await viewer.model.until_status("run_1", "COMPLETED")
        status, run, _ = await reader.say("GET", "/v1/runs/run_1")
        listed = (await reader.say("GET", "/v1/runs?tag=customer:7"))[1]

    assert statuses == [201, 200, 200, 200, 200, 200]
    assert status == 200
    assert [entry["status"] for entry in run["transitions"]] == ["QUEUED", "EXECUTING", "COMPLETED"]
    for viewer in (tagged, single):
        seen = viewer.model.runs["run_1"]
        # What a viewer was told of transitions it keeps apart.
        assert {**seen, "transitions": run["transitions"]} == run
    assert listed == {"runs": [run], "next": None}


async def test_writes_with_a_key_count_once_though_gateways_are_killed(own_redis: RedisServer, tmp_path: Path) -> None:
    """At any moment, before or after the write; two gateways share what is remembered."""
    with (
        running_gateway(tmp_path / "one.log", own_redis.url) as one,
        running_gateway(tmp_path / "two.log", own_redis.url) as two,
    ):
        program = Program(one, two)
        await program.insist("POST", "/v1/runs", {"taskIdentifier": "t", "id": "run_1"}, "creation")
        one_more = {"operations": [{"type": "increment", "key": "n", "value": 1}]}

        async def count(worker: int) -> None:
            for number in range(10):
                # Twice each, as by a client that never heard the first answer.
                key = f"{worker}-{number}"
                answers = await asyncio.gather(
                    *(program.insist("POST", "/v1/runs/run_1/metadata", one_more, key) for _ in range(2))
                )
                assert [status for status, _ in answers] == [200, 200]

        async def kill() -> None:
            await asyncio.sleep(0.2)
            one.kill()
            await asyncio.to_thread(one.start)

        await asyncio.gather(kill(), *(count(worker) for worker in range(4)))
        run = (await program.say("GET", "/v1/runs/run_1"))[1]

    assert run["metadata"] == {"n": 40}


async def test_redis_that_is_away_is_told_and_nothing_is_lost(own_redis: RedisServer, tmp_path: Path) -> None:
    """503 with a time to come back, for reads and writes; what was acknowledged before is there afterwards."""
    with running_gateway(tmp_path / "gateway.log", own_redis.url) as gateway:
        program = Program(gateway)
        await program.say("POST", "/v1/runs", {"taskIdentifier": "t", "id": "run_1"})
        own_redis.stop()
        refusals = [
            await program.say(*request)
            for request in (
                ("GET", "/v1/runs/run_1"),
                ("GET", "/v1/runs"),
                ("PATCH", "/v1/runs/run_1", {"status": "EXECUTING"}),
                ("POST", "/v1/runs", {"taskIdentifier": "t"}),
            )
        ]
        own_redis.start()
        await gateway.until_ready()
        status, answer, _ = await program.say("PATCH", "/v1/runs/run_1", {"status": "EXECUTING"})

    for refused, problem, headers in refusals:
        assert (refused, problem["code"], problem["retry"]) == (503, "unavailable", True)
        assert int(headers["retry-after"]) >= 1
    assert (status, answer["outcome"]) == (200, "applied")
