"""What a gateway says in its log and on its standard error: never a token, a secret key or a password."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from auth import EnvironmentKeys, generate_secret_key, mint
from tests.hardening.peers import PATIENCE_SECONDS, TEXT, Closed, HttpPeer, WebSocketPeer, frame, request, say, upgrade
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.hardening.gateways import Gateway
    from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


def everything_wrong(token: str, secret: str) -> list[bytes]:
    """What a peer may send with a credential in it, in every place, rightly and wrongly."""
    return [
        upgrade(f"Authorization: Bearer {token}") + say({"type": "subscribe", "run": "r"}),
        upgrade(f"Authorization: Bearer {token}") + say("junk") * 12,
        upgrade(f"Authorization: Bearer {token}") + frame(TEXT, b"\xff"),
        upgrade(f"Authorization: Bearer {token}", "X-Long: " + "x" * 9000),
        upgrade(f"Authorization: Bearer {token}", target="/nothing"),
        upgrade(f"Authorization: Bearer {token}", "Transfer-Encoding: chunked"),
        upgrade(f"Authorization: Bearer {token}").replace(b"AAAAAAAAAAAAAAAAAAAAAA==", b"short"),
        upgrade(f"Authorization: Bearer {token}").replace(b"GET", b"POST"),
        upgrade(f"Sec-WebSocket-Protocol: runcast.v1, token.{token}"),
        upgrade(target=f"/v1/ws?token={token}"),
        upgrade(target=f"/nothing?token={token}"),
        upgrade() + say({"type": "authenticate", "token": token}) + say({"type": "authenticate", "token": token + "x"}),
        upgrade() + say({"type": "authenticate", "token": secret}),
        upgrade() + say({"type": "authenticate", "token": [secret]}),
        upgrade() + say('{"type": "authenticate", "token": "' + token),
        upgrade() + frame(TEXT, b'{"type": "authenticate", "token": "' + token.encode() + b'\xff"}'),
        upgrade() + frame(TEXT, say({"type": "authenticate", "token": token}), masked=False),
        request("/v1/events?run=r", f"Authorization: Bearer {token}"),
        request("/v1/events?run=r", f"Authorization: Bearer {token[:-1]}"),
        request("/v1/events?run=r", f"Authorization: Bearer {token}", "X: a\0b"),
        request(f"/v1/events?run=r&token={token}"),
        request(f"/v1/events?run=r&token={quote(secret)}"),
        request(f"/v1/events?run=r&token={token}&zzz=1"),
        request(f"/v1/events?run=%ff&token={token}"),
        request(f"/v1/events?run=r&token={token}\x01"),
        request(f"/v1/events?run=r&token={token}" + "x" * 70_000),
        request(f"/v1/events?run=r&token={token}", method="POST"),
        request(f"/v1/events?run=r&token={token}", version="1.0"),
        request(f"/v1/events?run=r&token={token}", version="9.9"),
        request(f"/v1/events?run=r&token={token}", "Connection: Upgrade", "Upgrade: h2c"),
        request(f"/nothing?token={token}"),
        request(f"/readyz?token={token}"),
        f"GET /v1/events?token={token} ".encode(),
    ]


async def _say_everything(port: int, token: str, secret: str, heard: bytearray) -> None:
    peers = []
    for data in everything_wrong(token, secret):
        peer = await HttpPeer.connect(port, heard)
        peers.append(peer)
        peer.send(data)
        await peer.sent()
    # Each is worked on before a later one is: when this one has its answer, those have theirs.
    last = await HttpPeer.connect(port, heard)
    last.send(request("/readyz"))
    assert (await last.answer()).status == 200
    for peer in [*peers, last]:
        peer.reset()


async def test_no_credential_reaches_a_log_at_any_level(gateway: Gateway) -> None:
    """With every logger at DEBUG: ours, uvicorn's, the WebSocket library's. The shared fixture looks."""
    await _say_everything(gateway.port, gateway.token(), gateway.keys.current.secret, gateway.heard)

    names = {line.partition(" ")[0] for line in gateway.logbook.lines}
    assert {"runcast.viewers", "uvicorn.error"} <= names, "nothing was listened to"


async def test_handlers_of_the_access_log_get_nothing(gateway: Gateway) -> None:
    """An operator who sets uvicorn's access log up still gets no line with a query in it."""
    access = logging.getLogger("uvicorn.access")
    access.addHandler(gateway.logbook)
    try:
        peer = await gateway.http()
        peer.send(request(f"/v1/events?zzz=1&token={gateway.token()}"))
        assert (await peer.answer()).status == 400
    finally:
        access.removeHandler(gateway.logbook)


@dataclass
class Process:
    """A gateway as operators run it."""

    port: int
    running: subprocess.Popen[bytes]

    def stop(self) -> tuple[int, str]:
        """End it as a service manager would; its exit status, and all that it wrote."""
        self.running.send_signal(signal.SIGTERM)
        output, _ = self.running.communicate(timeout=PATIENCE_SECONDS)
        return self.running.returncode, output.decode()


def _environ(redis_url: str, secret: str) -> dict[str, str]:
    ours = {"RUNCAST_REDIS_URL": redis_url, "RUNCAST_SECRET_KEY": secret, "RUNCAST_ENVIRONMENT": "secrecy"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNCAST_", "TRIGGER_"))}
    return {**kept, **ours}


def _serve(environ: dict[str, str], *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "serve", *options],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@asynccontextmanager
async def _running(redis: RedisServer, secret: str, workers: int) -> AsyncIterator[Process]:
    port = free_port()
    process = Process(port, _serve(_environ(redis.url, secret), "--port", str(port), "--workers", str(workers)))
    try:
        await _ready(process)
        yield process
    finally:
        process.running.kill()
        process.running.wait()
        if process.running.stdout is not None:
            process.running.stdout.close()


async def _ready(process: Process) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.running.poll() is None, process.running.communicate()
        try:
            peer = await HttpPeer.connect(process.port, bytearray())
        except OSError:
            await asyncio.sleep(0.05)
            continue
        peer.send(request("/readyz"))
        try:
            if (await peer.answer()).status == 200:
                return
        except EOFError:
            pass
        finally:
            await peer.close()
    raise AssertionError("never ready")


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_credential_reaches_standard_error(redis_server: RedisServer, workers: int) -> None:
    """What `runcast serve` writes is plain lines without a credential, whatever its viewers send; and it ends well."""
    secret, heard = generate_secret_key(), bytearray()
    token = mint(["read:runs"], EnvironmentKeys.of("secrecy", secret))
    async with _running(redis_server, secret, workers) as process:
        for _ in range(workers * 2):
            await _say_everything(process.port, token, secret, heard)
        viewer = await WebSocketPeer.connect(process.port, heard)
        await viewer.open(f"Authorization: Bearer {token}")
        await viewer.message("welcome")
        viewer.send(say({"type": "subscribe", "run": "r"}))
        await viewer.message("snapshot")

        stopping = asyncio.create_task(asyncio.to_thread(process.stop))
        goodbye = await viewer.end()
        await viewer.close()
        status, output = await stopping
    assert status in (0, -signal.SIGTERM)
    assert isinstance(goodbye, Closed)
    assert goodbye.code == 1012
    assert "runcast.viewers" in output
    assert "Traceback" not in output
    for shown in (output, heard.decode("latin-1")):
        assert token not in shown
        assert token.rpartition(".")[2] not in shown
        assert secret not in shown


async def test_a_password_of_redis_is_not_shown(redis_server: RedisServer, tmp_path: Path) -> None:
    """When Redis can't be used the message names it without what its URL holds in secret."""
    password = "very-secret-password"
    urls = [
        f"redis://user:{password}@127.0.0.1:{free_port()}/0",
        redis_server.url.replace("redis://", f"redis://user:{password}@"),
        f"redis://user:{password}@127.0.0.1:nonsense/0",
        f"nonsense://user:{password}@localhost",
    ]
    for url in urls:
        process = _serve(_environ(url, generate_secret_key()))
        output, _ = await asyncio.to_thread(process.communicate, None, PATIENCE_SECONDS)

        assert process.returncode == 2, output
        assert password not in output.decode()
        assert "Traceback" not in output.decode()
