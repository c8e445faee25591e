"""
The stage that the tests in Node play on: a gateway process, its Redis, a worker process, and proxies in front.

Node moves it by calls over a socket of its own: one JSON call a line, `{"id", "do", "with"}`, each answered by
`{"id", "result" | "error"}`. What begins with `worker.` is passed on to the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.journeys.gateway_process import SECRET, clean_environ
from tests.journeys.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.journeys.gateway_process import GatewayProcess
    from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
_LONGEST_LINE = 16 * 1024 * 1024


class WorkerProcess:
    """A process of `worker.py`. Many calls may be under way at once."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": name, "with": arguments}).encode() + b"\n")
        return await self._answers[number]

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            self._answers.pop(answer["id"]).set_result(answer)
        for waiting in self._answers.values():
            waiting.cancel()

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._listening


@contextlib.asynccontextmanager
async def running_worker(redis_url: str) -> AsyncIterator[WorkerProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.clients.worker",
        cwd=ROOT,
        env=clean_environ(RUNCAST_REDIS_URL=redis_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    worker = WorkerProcess(process)
    try:
        yield worker
    finally:
        await worker.end()


class Stage:
    """What Node may ask for, by the names of the methods."""

    def __init__(self, gateways: Sequence[GatewayProcess], redis: RedisServer, worker: WorkerProcess) -> None:
        self._gateways, self._redis, self._worker = gateways, redis, worker
        self._gateway = gateways[0]
        self._proxies: list[Proxy] = []
        self._talks: set[asyncio.Task[None]] = set()

    async def kill_gateway(self) -> None:
        await asyncio.to_thread(self._gateway.kill)

    async def stop_gateway(self) -> None:
        await asyncio.to_thread(self._gateway.stop)

    async def start_gateway(self) -> None:
        await asyncio.to_thread(self._gateway.start)

    async def replace_gateway(self, number: int) -> None:
        """Stop one of several, and start another in its place."""
        await asyncio.to_thread(self._gateways[number].stop)
        await asyncio.to_thread(self._gateways[number].start)

    async def stop_redis(self, *, kill: bool = False) -> None:
        await asyncio.to_thread(self._redis.stop, kill=kill)

    async def start_redis(self, *, empty: bool = False) -> None:
        """As it was, or with nothing of what it had, and wait until the gateway has found it."""
        if empty:
            self._redis.lose_data()
        await asyncio.to_thread(self._redis.start)
        await self._gateway.until_ready()

    async def open_proxy(self) -> dict[str, Any]:
        """A way to the gateway that can be cut, by its number."""
        proxy = Proxy(self._gateway.port)
        await proxy.accept()
        self._proxies.append(proxy)
        return {"number": len(self._proxies) - 1, "url": f"http://127.0.0.1:{proxy.port}"}

    async def cut_proxy(self, number: int) -> None:
        """Break its connections; it takes new ones."""
        await self._proxies[number].refuse()
        await self._proxies[number].accept()

    async def close(self) -> None:
        for proxy in self._proxies:
            await proxy.refuse()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry out what one process of Node asks for, until it goes."""
        with contextlib.suppress(ConnectionError):
            async for line in reader:
                call = json.loads(line)
                task = asyncio.create_task(self._carry_out(call, writer))
                self._talks.add(task)
                task.add_done_callback(self._talks.discard)
        writer.close()

    async def _carry_out(self, call: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        name, arguments = call["do"], call.get("with", {})
        if name.startswith("worker."):
            answer = await self._worker.call(name.removeprefix("worker."), arguments)
        else:
            method: Callable[..., Awaitable[Any]] = getattr(self, name)
            try:
                answer = {"result": await method(**arguments)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
        writer.write(json.dumps(answer | {"id": call["id"]}).encode() + b"\n")


@contextlib.asynccontextmanager
async def set_stage(
    gateway: GatewayProcess, redis: RedisServer, *others: GatewayProcess, url: str = ""
) -> AsyncIterator[dict[str, str]]:
    """
    Set it for the duration of the block. Gives the environment variables by which Node finds it.

    Args:
        others: More gateways.
        url: Where all of them are asked, if not at the first one.
    """
    async with running_worker(redis.url) as worker:
        stage = Stage([gateway, *others], redis, worker)
        server = await asyncio.start_server(stage.talk, "127.0.0.1", limit=_LONGEST_LINE)
        try:
            port = server.sockets[0].getsockname()[1]
            yield {"STAGE_PORT": str(port), "GATEWAY_URL": url or gateway.url, "SECRET_KEY": SECRET}
        finally:
            server.close()
            await stage.close()
