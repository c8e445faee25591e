"""Where an embedded server keeps what it has: nobody else can read it, and what was left behind does no harm."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import redis

from gateway.store.embedded import (
    EmbeddedServer,
    UnsafeStateDirectory,
    embedded_server,
    read_url_file,
    state_directory,
)
from gateway.store.embedded_directory import STATE_DIRECTORY_VARIABLE, Endpoint
from tests.gateway.store.embedded_servers import connection_to, mode


class TestSecrecy:
    def test_the_directory_and_the_url_are_ours_alone(self, state_dir: Path) -> None:
        """Nobody else on the machine can read the password or the data, and git doesn't either."""
        with embedded_server(state_dir):
            assert mode(state_dir) == 0o700
            assert mode(state_dir / "redis.url") == 0o600
            assert (state_dir / ".gitignore").read_text() == "*\n"

    def test_without_the_password_it_says_nothing(self, state_dir: Path, binary: Path) -> None:
        """Being on the same machine is not enough."""
        with embedded_server(state_dir, binary=binary) as server:
            endpoint = Endpoint.parse(server.url)
            assert endpoint is not None
            with (
                connection_to(f"redis://127.0.0.1:{endpoint.port}/0") as connection,
                pytest.raises(redis.exceptions.AuthenticationError),
            ):
                connection.ping()

    def test_the_password_is_neither_in_argv_nor_in_the_log(self, state_dir: Path, binary: Path) -> None:
        """`ps` shows arguments to everybody, and logs get pasted into issues."""
        with embedded_server(state_dir, binary=binary) as server:
            endpoint = Endpoint.parse(server.url)
            assert endpoint is not None
            arguments = psutil.Process(server.pid).cmdline()
            environment = psutil.Process(server.pid).environ()

        for said in (str(arguments), str(environment), (state_dir / "redis.log").read_text(), repr(server)):
            assert endpoint.password not in said

    def test_an_empty_directory_is_made_private(self, state_dir: Path) -> None:
        """A volume that was mounted for us, for one."""
        state_dir.mkdir(mode=0o755)

        with embedded_server(state_dir):
            assert mode(state_dir) == 0o700

    def test_an_open_directory_in_use_is_refused_and_left_alone(self, state_dir: Path) -> None:
        """It could be a home directory or /tmp; closing it to others is not ours to do."""
        state_dir.mkdir()
        state_dir.chmod(0o755)
        (state_dir / "something").touch()

        with pytest.raises(UnsafeStateDirectory, match="chmod 700"), embedded_server(state_dir):
            pass

        assert (mode(state_dir), [path.name for path in state_dir.iterdir()]) == (0o755, ["something"])


class TestWhatWasLeftBehind:
    """Whatever lies in the directory, a start succeeds and the files are ours again."""

    def test_no_file_is_no_url(self, state_dir: Path) -> None:
        """A directory that isn't there is nothing to complain about."""
        assert read_url_file(state_dir) is None

    def test_files_of_a_dead_owner(self, state_dir: Path) -> None:
        """A lock file without a lock, and a URL without an owner, mean nothing."""
        dead = Endpoint(port=1, password="0" * 64).url
        state_dir.mkdir(mode=0o700)
        (state_dir / "redis.lock").write_text("99999999")
        (state_dir / "redis.url").write_text(f"{dead}\n")
        (state_dir / "redis.url").chmod(0o644)
        assert read_url_file(state_dir) is None

        with embedded_server(state_dir) as server:
            assert server.owned
            assert read_url_file(state_dir) == server.url
            assert mode(state_dir / "redis.url") == 0o600

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff\x00 nonsense",
            b"redis://:" + b"a" * 64 + b"@192.0.2.1:6379/0\n",
            b"redis://:" + b"a" * 64 + b"@127.0.0.1:99999/0\n",
            b"redis://:" + b"a" * 64 + b"@127.0.0.1:6379/0\nrequirepass x\n",
            b"x" * 100_000,
        ],
    )
    def test_a_url_that_is_not_ours_is_not_used(self, state_dir: Path, content: bytes) -> None:
        """Text that we would not have written is neither believed nor put into a configuration."""
        state_dir.mkdir(mode=0o700)
        (state_dir / "redis.url").write_bytes(content)

        with embedded_server(state_dir) as server, connection_to(server.url) as connection:
            assert connection.ping()
            assert "a" * 64 not in server.url

    def test_a_link_is_replaced_and_not_followed(self, state_dir: Path, tmp_path: Path) -> None:
        """What a planted link points to stays as it was."""
        victim = tmp_path / "victim"
        victim.write_text("precious")
        state_dir.mkdir(mode=0o700)
        (state_dir / "redis.url").symlink_to(victim)

        with embedded_server(state_dir):
            assert not (state_dir / "redis.url").is_symlink()
        assert victim.read_text() == "precious"

    def test_a_fifo_holds_nobody_up(self, state_dir: Path) -> None:
        """Opening one for reading waits for a writer, which a worker that starts should not."""
        state_dir.mkdir(mode=0o700)
        os.mkfifo(state_dir / "redis.url")

        assert read_url_file(state_dir) is None

    def test_two_logs_are_kept(self, state_dir: Path) -> None:
        """The log of the start before stays for a look; older ones don't pile up."""
        for _ in range(3):
            with embedded_server(state_dir):
                pass

        assert sorted(path.name for path in state_dir.glob("redis.log*")) == ["redis.log", "redis.log.old"]


def test_the_directory_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNCAST_STATE_DIR says where; without it, or when it is empty, it is .runcast where we are."""
    monkeypatch.chdir(tmp_path)

    assert state_directory({STATE_DIRECTORY_VARIABLE: "/elsewhere"}) == Path("/elsewhere")
    assert state_directory({}) == state_directory({STATE_DIRECTORY_VARIABLE: ""}) == tmp_path / ".runcast"


def test_printing_a_server_does_not_print_its_password() -> None:
    """It ends up in logs and tracebacks."""
    assert repr(EmbeddedServer("redis://:secret@127.0.0.1:1/0", 7)) == "<EmbeddedServer pid=7 owned=False>"
