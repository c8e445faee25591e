"""nginx and Caddy in front of gateways: the sample files of deploy/, on free ports."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEPLOY = Path(__file__).parents[2] / "deploy"
START_SECONDS = 10.0
#: In place of the sample's ten seconds and minute, so that a test sees what happens after them.
SHUTDOWN_SECONDS, IDLE_SECONDS = 1, 2


class Front:
    """A proxy on loopback, with an idle limit of `IDLE_SECONDS` where it has one."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], reload: Callable[[], None], log: Path) -> None:
        self.port, self.log = port, log
        self.url = f"http://127.0.0.1:{port}"
        self.reload = reload
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def until_it_listens(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(START_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()


def nginx_binary() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, "nginx is missing; scripts/system-packages installs it"
    return found


def caddy_binary() -> str:
    found = shutil.which("caddy")
    assert found, "caddy is missing; scripts/system-packages installs it"
    return found


def nginx_sample(directory: Path, port: int, gateways: Sequence[int], idle_seconds: int = IDLE_SECONDS) -> Path:
    """deploy/nginx.conf, changed only where its head says so."""
    upstream = " ".join(f"server 127.0.0.1:{gateway} max_fails=0;" for gateway in gateways)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    changes = {
        r"server 127\.0\.0\.1:8787 .* # <-\n.*server 127\.0\.0\.1:8788 .* # <-": upstream,
        r"listen 80; +# <-": f"listen 127.0.0.1:{port};",
        r"pid .*# files": f"pid {directory}/pid;",
        r"/var/log/nginx/error\.log(.*)# files": rf"{directory}/error.log\1",
        r"/var/log/nginx/access\.log(.*)# files": rf"{directory}/access.log\1",
        r"    # files": " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds),
        r"worker_shutdown_timeout 10s;": f"worker_shutdown_timeout {SHUTDOWN_SECONDS}s;",
        r"proxy_read_timeout 60s;": f"proxy_read_timeout {idle_seconds}s;",
        r"client_body_timeout 60s;": f"client_body_timeout {idle_seconds}s;",
    }
    text = (DEPLOY / "nginx.conf").read_text()
    for pattern, by in changes.items():
        text, found = re.subn(pattern, by, text)
        assert found == 1, pattern
    assert not re.search("# (<-|files)", text)
    config = directory / "nginx.conf"
    config.write_text(text)
    return config


@contextlib.contextmanager
def running_nginx(directory: Path, *gateways: int, idle_seconds: int = IDLE_SECONDS) -> Iterator[Front]:
    """nginx in front of the *gateways* (ports), for the duration of the block."""
    port, directory = free_port(), _new(directory / "nginx")
    command = [nginx_binary(), "-p", str(directory), "-c", str(nginx_sample(directory, port, gateways, idle_seconds))]
    _run([*command, "-t"])

    def reload() -> None:
        _run([*command, "-s", "reload"])

    with _running(port, [*command, "-g", "daemon off;"], {}, reload, directory / "error.log") as front:
        yield front


@contextlib.contextmanager
def running_caddy(directory: Path, *gateways: int, idle_seconds: int = IDLE_SECONDS) -> Iterator[Front]:
    """Caddy in front of the *gateways* (ports), for the duration of the block. It has no idle limit."""
    port, directory = free_port(), _new(directory / "caddy")
    environ = {
        "SITE_ADDRESS": f"http://127.0.0.1:{port}",
        "UPSTREAMS": " ".join(f"127.0.0.1:{gateway}" for gateway in gateways),
        "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
        "GRACE_PERIOD": f"{SHUTDOWN_SECONDS}s",
        "HOME": str(directory),
    }
    options = ["--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"]
    _run([caddy_binary(), "validate", *options], **environ)

    def reload() -> None:
        # Of a file that did not change Caddy does nothing.
        _run([caddy_binary(), "reload", "--force", "--address", environ["CADDY_ADMIN"], *options], **environ)

    with _running(port, [caddy_binary(), "run", *options], environ, reload, directory / "log") as front:
        yield front


def _run(command: list[str], **environ: str) -> None:
    ended = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def _new(directory: Path) -> Path:
    directory.mkdir()
    return directory


@contextlib.contextmanager
def _running(
    port: int, command: list[str], environ: dict[str, str], reload: Callable[[], None], log: Path
) -> Iterator[Front]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=os.environ | environ, stdout=output, stderr=output)
    front = Front(port, process, reload, log)
    try:
        front.until_it_listens()
        yield front
    finally:
        front.stop()


FRONTS = {"nginx": running_nginx, "caddy": running_caddy}
