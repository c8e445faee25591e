"""Where a gateway listens."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Misconfigured
from gateway.server.run import listen
from gateway.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def at(path: Path) -> Settings:
    return Settings(redis_url="redis://unused", uds=str(path))


def test_a_path_is_listened_at(tmp_path: Path) -> None:
    """A proxy on the same machine connects there."""
    with listen(at(tmp_path / "sock")), socket.socket(socket.AF_UNIX) as proxy:
        proxy.connect(str(tmp_path / "sock"))


def test_what_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    """Its socket stays in the file system, and nobody listens there."""
    listen(at(tmp_path / "sock")).close()
    with listen(at(tmp_path / "sock")), socket.socket(socket.AF_UNIX) as proxy:
        proxy.connect(str(tmp_path / "sock"))


@pytest.mark.parametrize("there", ["a gateway", "a file", "nothing"])
def test_a_path_that_cant_be_had_is_refused(tmp_path: Path, there: str) -> None:
    """Nothing that somebody uses is taken away, and the path is named."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as other:
        if there == "a gateway":
            other.bind(str(path))
            other.listen()
        elif there == "a file":
            path.write_text("kept")
        else:
            path = tmp_path / "missing" / "sock"
        with pytest.raises(Misconfigured, match=f"can't listen at {path}"):
            listen(at(path))
    assert there != "a file" or path.read_text() == "kept"
