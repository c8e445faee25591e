"""`runcast exec -- CMD`: CMD runs as if we were not there, and its run says what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import termios
from typing import IO, TYPE_CHECKING, Any, Final

import pytest
from typer.testing import CliRunner

from gateway.cli import main
from gateway.feeds import EnvironmentId
from gateway.publisher import Publisher
from gateway.store.redis_keys import metadata_key, run_key
from tests.gateway.cli.commands import Command, run, running, surroundings
from tests.redis_server import binaries, free_port, running_server

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.redis_server import RedisServer

RUN: Final = "run_1"


class Shell:
    """Somebody with a shell beside a Redis."""

    def __init__(self, redis: RedisServer, environment: EnvironmentId, directory: Path) -> None:
        self.redis, self.environment, self.directory = redis, environment, directory
        self.environ = {"RUNCAST_REDIS_URL": redis.url, "RUNCAST_ENVIRONMENT": environment}

    async def executes(self, script: str, *options: str, **environ: str) -> tuple[int, str, str]:
        """Run a shell script as the run `run_1`, to its end."""
        arguments = ("exec", "--id", RUN, *options, "--", "sh", "-c", script)
        return await run(*arguments, directory=self.directory, **(self.environ | environ))

    def executing(self, script: str, *options: str) -> AbstractAsyncContextManager[Command]:
        arguments = ("exec", "--id", RUN, *options, "--", "sh", "-c", script)
        return running(*arguments, directory=self.directory, **self.environ)

    def column(self, name: str) -> Any:
        with self.redis.client() as client:
            text = client.hget(run_key(self.environment, RUN), name)
            return json.loads(str(text)) if text is not None else None

    def metadata(self, name: str) -> Any:
        with self.redis.client() as client:
            return json.loads(str(client.hget(metadata_key(self.environment, RUN), name)))

    async def log(self) -> list[dict[str, Any]]:
        """What is in the run's log."""
        with self.redis.client() as client:
            (key,) = client.scan_iter(match=f"*{{{self.environment}}}:stream:{RUN},log")
            entries: Any = client.xrange(key)
        return [json.loads(value) for _, fields in entries for value in fields.values() if value.startswith("{")]


@pytest.fixture
def shell(redis_server: RedisServer, environment: EnvironmentId, tmp_path: Path) -> Shell:
    return Shell(redis_server, environment, tmp_path)


async def test_output_goes_to_both_places_and_the_exit_code_is_the_commands(shell: Shell) -> None:
    """stdout to stdout, stderr to stderr, and both to the log in the order in which they came."""
    script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three; exit 3"

    code, output, errors = await shell.executes(script)

    assert (code, output) == (3, "one\nthree")
    assert "two\n" in errors
    assert shell.column("status") == "COMPLETED_WITH_ERRORS"
    assert shell.column("output") == {"exitCode": 3}
    assert shell.column("error")["raw"] == "exit code 3: two"
    assert shell.column("taskIdentifier") == "sh"
    lines = [(line["source"], line["level"], line["message"]) for line in await shell.log()]
    assert lines == [("stdout", "info", "one"), ("stderr", "error", "two"), ("stdout", "info", "three")]


async def test_a_command_that_ends_well_completes(shell: Shell) -> None:
    code, output, errors = await shell.executes(
        "echo well", "--quiet", "--task", "nightly", "--tag", "a", "--batch", "b"
    )

    assert (code, output, errors) == (0, "", "")
    assert shell.column("status") == "COMPLETED_SUCCESSFULLY"
    assert shell.column("output") == {"exitCode": 0}
    assert (shell.column("taskIdentifier"), shell.column("runTags"), shell.column("batchId")) == ("nightly", ["a"], "b")
    assert [line["message"] for line in await shell.log()] == ["well"]


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (signal.SIGTERM, 143, "CANCELED"),
        (signal.SIGINT, 130, "CANCELED"),
        (signal.SIGHUP, 129, "CANCELED"),
        (signal.SIGUSR1, 138, "CRASHED"),
    ],
)
async def test_a_signal_is_passed_on_to_all_that_the_command_started(
    shell: Shell, number: signal.Signals, code: int, status: str
) -> None:
    """A shell that waits for a child does not pass a signal on by itself."""
    child = "(trap 'echo the child heard; exit' TERM INT HUP USR1; echo ready; while :; do sleep 0.02; done) & wait"
    # A child in the background ignores SIGINT unless it says otherwise, so that it is asked of the shell itself.
    script = child if number is not signal.SIGINT else "echo ready; exec sleep 30"
    async with shell.executing(script) as command:
        await command.writes("ready")
        command.process.send_signal(number)
        ended, output, _ = await command.ends()

    assert ended == code
    assert shell.column("status") == status
    assert number is signal.SIGINT or "the child heard" in output


async def test_a_signal_that_the_command_handles_is_its_own_business(shell: Shell) -> None:
    async with shell.executing("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done") as command:
        await command.writes("ready")
        command.terminate()
        code, output, _ = await command.ends()

    assert (code, output) == (0, "ready\nbye\n")
    assert shell.column("status") == "COMPLETED_SUCCESSFULLY"


async def test_a_command_that_is_killed_crashed(shell: Shell) -> None:
    code, _, _ = await shell.executes("kill -9 $$")

    assert code == 137
    assert shell.column("status") == "CRASHED"
    assert shell.column("error")["raw"] == "killed by SIGKILL"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("echo ready; exec sleep 30", 143),
        ("trap '' TERM; echo ready; while :; do sleep 0.02; done", 137),  # it does not want to
    ],
)
async def test_whoever_asks_the_run_to_stop_stops_the_command(shell: Shell, script: str, code: int) -> None:
    with Publisher(shell.redis.url, environment=shell.environment) as publisher:
        async with shell.executing(script, "--grace", "0.2") as command:
            await command.writes("ready")
            await asyncio.to_thread(publisher.request_cancel, RUN)
            ended, _, _ = await command.ends()

    assert ended == code
    assert shell.column("status") == "CANCELED"


async def test_a_command_that_takes_too_long_is_stopped(shell: Shell) -> None:
    code, _, _ = await shell.executes("exec sleep 30", "--timeout", "0.3")

    assert code == 124
    assert shell.column("status") == "TIMED_OUT"


async def test_control_c_on_a_terminal_reaches_the_command_once(shell: Shell) -> None:
    """There it stays in our process group, so that the terminal tells it; we must not tell it again."""
    ours, theirs = pty.openpty()
    script = "trap 'echo heard' INT; echo ready; n=0; while [ $n -lt 40 ]; do sleep 0.02; n=$((n+1)); done; exit 3"
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "exec", "--id", RUN, "--", "sh", "-c", script],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=shell.directory,
        env=surroundings(shell.directory, shell.environ),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    with open(ours, "r+b", buffering=0) as terminal:
        seen = await asyncio.to_thread(_read_until, terminal, b"ready")
        terminal.write(b"\x03")
        seen += await asyncio.to_thread(_read_until, terminal, b"never")
    code = await asyncio.to_thread(process.wait)

    assert code == 3
    assert seen.count(b"heard") == 1
    assert shell.column("status") == "CANCELED"  # it was told to stop, and did not end well


def _read_until(terminal: IO[bytes], word: bytes) -> bytes:
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody holds the other end any more
        while word not in seen and (data := terminal.read(1024)):
            seen += data
    return seen


async def test_without_redis_everything_else_is_as_ever(shell: Shell) -> None:
    """The job runs, is shown, and ends in its own way; that nobody could be told is said."""
    away = f"redis://127.0.0.1:{free_port()}/0"

    code, output, errors = await shell.executes("echo out; exit 5", RUNCAST_REDIS_URL=away)

    assert (code, output) == (5, "out\n")
    assert "Redis can't be reached" in errors


async def test_a_redis_that_goes_and_comes_back_is_told_everything(tmp_path: Path) -> None:
    """What was written meanwhile, and how it ended; the command noticed nothing."""
    (tmp_path / "redis").mkdir()
    with running_server(tmp_path / "redis", binaries()["valkey"]) as server:
        shell = Shell(server, EnvironmentId("default"), tmp_path)
        marks = [tmp_path / name for name in ("away", "back")]
        wait = "; ".join(f"echo {mark.name}; while [ ! -e {mark} ]; do sleep 0.02; done" for mark in marks)
        async with shell.executing(f"{wait}; echo last") as command:
            await command.writes("away")
            server.stop()
            marks[0].touch()
            await command.writes("back")
            server.start()
            marks[1].touch()
            code, output, _ = await command.ends()

        assert (code, output) == (0, "away\nback\nlast\n")
        assert [line["message"] for line in await shell.log()] == ["away", "back", "last"]
        assert shell.column("status") == "COMPLETED_SUCCESSFULLY"


async def test_the_command_reads_our_stdin_and_knows_its_run(shell: Shell) -> None:
    """`runcast publish` inside of it needs no name."""
    publish = f"{sys.executable} -m gateway.cli publish --progress 3/10"
    code, output, _ = await shell.executes(f"cat; echo $RUNCAST_RUN_ID; {publish}")

    assert (code, output) == (0, f"{RUN}\n{RUN} applied\n")
    assert shell.metadata("progress")["current"] == 3


async def test_what_can_not_be_started_says_so_as_a_shell_does(shell: Shell) -> None:
    plain = shell.directory / "plain"
    plain.write_text("no program")
    plain.chmod(stat.S_IRUSR)
    for command, code in (("no-such-command", 127), (str(plain), 126)):
        arguments = ("exec", "--id", RUN, "--", command, "--option")
        ended, _, errors = await run(*arguments, directory=shell.directory, **shell.environ)
        assert (ended, "can't be started" in errors) == (code, True)
    assert shell.column("status") == "COMPLETED_WITH_ERRORS"


@pytest.mark.parametrize(
    ("options", "word"), [(("--timeout", "soon"), "30m"), (("--lease", "-"), "lease"), (("--tag", ""), "tag")]
)
def test_wrong_usage_exits_with_2_and_runs_nothing(shell: Shell, options: tuple[str, ...], word: str) -> None:
    done = CliRunner().invoke(main, ["exec", *options, "--", "touch", str(shell.directory / "ran")], env=shell.environ)

    assert (done.exit_code, done.stdout) == (2, "")
    assert word in done.stderr
    assert not (shell.directory / "ran").exists()


def test_publish_without_a_name_says_where_one_comes_from(shell: Shell) -> None:
    done = CliRunner().invoke(main, ["publish", "--progress", "1"], env=shell.environ | {"RUNCAST_RUN_ID": ""})

    assert (done.exit_code, "RUNCAST_RUN_ID" in done.stderr) == (2, True)
