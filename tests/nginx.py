"""A real nginx before something, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_CONFIGURATION = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {server}
        location / {{
            proxy_pass http://127.0.0.1:{target};
            {location}
        }}
    }}
}}
"""

#: What a gateway needs of nginx.
RIGHT = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_buffering off;
    proxy_read_timeout 1h;
"""


def nginx_binary() -> str:
    # Debian puts it where users other than root may not look.
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    assert found, "nginx is missing; scripts/system-packages installs it"
    return found


@contextlib.asynccontextmanager
async def running_nginx(directory: Path, target: int, location: str = RIGHT, *, server: str = "") -> AsyncIterator[int]:
    """
    Its port on loopback. *location* and *server* are lines of its configuration.

    Whatever takes its time does so beside the event loop: a gateway in it would say that it lags.
    """
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(
        user=user, directory=directory, port=port, target=target, location=location, server=server
    )
    (directory / "nginx.conf").write_text(text)
    process = await asyncio.to_thread(
        subprocess.Popen,
        [nginx_binary(), "-p", str(directory), "-c", str(directory / "nginx.conf"), "-g", "daemon off;"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        await asyncio.to_thread(_wait, process, port)
        yield port
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate, timeout=10)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "nginx did not listen in time"
        time.sleep(0.01)
