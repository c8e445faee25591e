"""`runcast watch`, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.cli.commands import on_a_terminal, run, running
from tests.redis_server import free_port
from tests.soon import soon

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.gateway.cli.commands import Command
    from tests.gateway.serving import ServedGateway

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def watching(gateway: ServedGateway, directory: Path, *arguments: str) -> AbstractAsyncContextManager[Command]:
    return running("watch", *arguments, directory=directory, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=gateway.secret)


def seeing(
    gateway: ServedGateway, directory: Path, *arguments: str, **environ: str
) -> AbstractAsyncContextManager[Command]:
    environ |= {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    return on_a_terminal("watch", *arguments, directory=directory, environ=environ)


async def watch(gateway: ServedGateway, directory: Path, *arguments: str) -> tuple[int, str, str]:
    async with watching(gateway, directory, *arguments) as command:
        return await command.ends()


# Exit codes.


@pytest.mark.parametrize(
    ("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 1), ("TIMED_OUT", 1), ("CANCELED", 7)]
)
async def test_with_exit_status_it_exits_as_the_run_ended(
    gateway: ServedGateway, tmp_path: Path, end: str, code: int
) -> None:
    gateway.publisher.create("resize", id="run_1").status(end)

    assert (await watch(gateway, tmp_path, "run_1", "--exit-status"))[0] == code


async def test_without_exit_status_it_exits_with_0_however_the_run_ended(
    gateway: ServedGateway, tmp_path: Path
) -> None:
    gateway.publisher.create("resize", id="run_1").fail("no")

    assert (await watch(gateway, tmp_path, "run_1"))[0] == 0


async def test_of_several_runs_one_that_failed_decides(gateway: ServedGateway, tmp_path: Path) -> None:
    """It waits for all of them first."""
    gateway.publisher.create("resize", id="run_1").cancel()
    gateway.publisher.create("resize", id="run_2").fail("no")
    async with watching(gateway, tmp_path, "run_1", "run_2", "run_3", "--exit-status") as command:
        await gateway.followed("run:run_3")
        gateway.publisher.create("resize", id="run_3").complete()
        assert (await command.ends())[0] == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--tag"),
        (("run 1",), "white space"),
        (("--all", "--exit-status"), "--exit-status"),
        (("run_1", "--timeout", "soon"), "span of time"),
        (("run_1", "--url", "ftp://example.com"), "address of a gateway"),
        (("run_1", "--url", "http://me:secret@example.com"), "address of a gateway"),
        (("run_1", "--colour"), "--colour"),
        (("--all", "--stream", "log"), "name them"),
    ],
)
async def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    gateway: ServedGateway, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    code, output, errors = await watch(gateway, tmp_path, *arguments)

    assert (code, output) == (2, "")
    assert word in errors
    assert "secret@" not in errors


async def test_without_a_token_it_exits_with_4_and_says_where_one_belongs(tmp_path: Path) -> None:
    code, _, errors = await run("watch", "run_1", directory=tmp_path)

    assert code == 4
    assert "RUNCAST_TOKEN" in errors


async def test_a_token_that_does_not_allow_the_run_exits_with_4(gateway: ServedGateway, tmp_path: Path) -> None:
    """The scopes that would do are named, the token is not."""
    token = gateway.token(["read:runs:another"])
    code, _, errors = await run("watch", "run_1", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=token)

    assert code == 4
    assert "read:runs:run_1" in errors
    assert token not in errors


async def test_a_credential_that_nobody_knows_exits_with_4(gateway: ServedGateway, tmp_path: Path) -> None:
    code, _, errors = await run("watch", "run_1", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN="what")

    assert code == 4
    assert "neither a public token nor a secret key" in errors


async def test_a_token_that_expires_while_watching_exits_with_4(gateway: ServedGateway, tmp_path: Path) -> None:
    token = gateway.token(["read:runs"], expires="1s")
    code, _, errors = await run("watch", "run_1", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=token)

    assert code == 4
    assert "expired" in errors


async def test_a_token_file_is_read_again_before_the_token_expires(gateway: ServedGateway, tmp_path: Path) -> None:
    """Whoever renews the token writes the new one into the same file; the connection stays."""
    file = tmp_path / "token"
    expires = soon(3)
    file.write_text(gateway.token(["read:runs"], expires=expires) + "\n")
    async with running("watch", "run_1", "--token-file", str(file), directory=tmp_path, RUNCAST_URL=gateway.url) as it:
        await gateway.followed("run:run_1")
        job = gateway.publisher.create("resize", id="run_1")
        file.write_text(gateway.token(["read:runs"], expires="1h") + "\n")
        while time.time() < expires + 1:
            job.set("number", time.time())
            await asyncio.sleep(0.1)
        job.complete()
        code, _, errors = await it.ends()

    assert (code, errors) == (0, "")


async def test_what_runs_write_to_a_stream_is_shown_beside(gateway: ServedGateway, tmp_path: Path) -> None:
    """As lines, and as JSON; it ends when the run ended and all of the stream was shown."""
    job = gateway.publisher.create("resize", id="run_1")
    job.log("half\x1b way", "warning", rows=3)
    job.stream("llm").write_all(["Hello", {"n": 1}])
    job.complete()
    gateway.publisher.flush(5)
    code, output, errors = await watch(gateway, tmp_path, "run_1", "--stream", "log", "--stream", "llm")
    _, lines, _ = await watch(gateway, tmp_path, "run_1", "--stream", "llm", "--json-lines")

    assert (code, errors) == (0, "")
    shown = [line for line in output.splitlines() if "|" in line]
    assert sorted(shown) == ["run_1 llm| Hello", 'run_1 llm| {"n": 1}', "run_1 log| WARNING  half? way rows=3"]
    told = [json.loads(line) for line in lines.splitlines()]
    chunks = [line for line in told if line["type"] == "chunk"]
    assert [(line["feed"], line["index"], line["chunk"]) for line in chunks] == [
        ("stream:run_1,llm", 0, "Hello"),
        ("stream:run_1,llm", 1, {"n": 1}),
    ]
    assert {"v": 1, "type": "stream_ended", "feed": "stream:run_1,llm", "status": "COMPLETED"} in told


async def test_a_timeout_exits_with_5(gateway: ServedGateway, tmp_path: Path) -> None:
    code, _, errors = await watch(gateway, tmp_path, "run_1", "--timeout", "1s")

    assert code == 5
    assert "the run continues; runcast watch run_1" in errors


async def test_a_gateway_that_can_not_be_reached_exits_with_6(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    options = ("--url", url, "--connect-timeout", "1s")
    code, _, errors = await run("watch", "run_1", *options, directory=tmp_path, RUNCAST_TOKEN="token")

    assert code == 6
    assert f"can't connect to {url} within 1 s" in errors
    assert "Connect call failed" in errors


async def test_ctrl_c_exits_with_130_and_says_that_the_run_continues(gateway: ServedGateway, tmp_path: Path) -> None:
    async with watching(gateway, tmp_path, "run_1") as command:
        await gateway.followed("run:run_1")
        command.interrupt()
        code, _, errors = await command.ends()

    assert code == 130
    assert errors == "runcast: the run continues; runcast watch run_1\n"


# What is written where no person looks on.


async def test_in_a_pipe_each_change_is_a_line(gateway: ServedGateway, tmp_path: Path) -> None:
    """Time, run, status, and what is new; nothing else is on stdout, and nothing at all on stderr."""
    async with watching(gateway, tmp_path, "run_1") as command:
        await gateway.followed("run:run_1")
        with gateway.publisher.running("resize", id="run_1") as job:
            job.progress(3, 10, "half\x1b[2J way")
            await command.writes("half")
            job.set("rows", [1, 2])
            await command.writes("rows")
        code, output, errors = await command.ends()

    assert (code, errors) == (0, "")
    lines = [line.split(" ", 1) for line in output.splitlines()]
    assert [told for _, told in lines] == [
        "run_1 QUEUED",
        "run_1 EXECUTING",
        "run_1 EXECUTING 3/10 30% half?[2J way",
        "run_1 EXECUTING rows=[1, 2]",
        "run_1 COMPLETED",
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at) for at, _ in lines)


async def test_who_comes_late_is_told_every_status(gateway: ServedGateway, tmp_path: Path) -> None:
    job = gateway.publisher.create("resize", id="run_1")
    job.start()
    job.wait()
    job.fail(ValueError("no room"))
    _, output, _ = await watch(gateway, tmp_path, "run_1")

    told = [line.split(" ", 2)[2] for line in output.splitlines()]
    assert told == ["QUEUED", "EXECUTING", "WAITING", "FAILED ValueError: no room"]


async def test_a_run_that_is_in_two_of_the_feeds_is_told_once(gateway: ServedGateway, tmp_path: Path) -> None:
    async with watching(gateway, tmp_path, "run_1", "--tag", "a", "--task", "resize") as command:
        for feed in ("run:run_1", "tag:a", "task:resize"):
            await gateway.followed(feed)
        gateway.publisher.create("resize", id="run_1", tags=["a"]).complete()
        gateway.publisher.create("resize", id="run_2")
        output = await command.writes("run_2 QUEUED")

    assert [line.split(" ", 1)[1] for line in output.splitlines()] == [
        "run_1 QUEUED",
        "run_1 COMPLETED",
        "run_2 QUEUED",
    ]


async def test_json_lines_are_versioned_objects(gateway: ServedGateway, tmp_path: Path) -> None:
    """The run is the public object, with its times as the gateway told them."""
    gateway.publisher.create("résumé", id="run_1", metadata={"progress": {"current": 1}}).complete({"ok": True})
    code, output, errors = await watch(gateway, tmp_path, "run_1", "--json-lines")

    lines: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    assert (code, errors) == (0, "")
    assert {line["v"] for line in lines} == {1}
    assert [line["type"] for line in lines] == ["connection", "run", "caught_up", "connection", "ended"]
    assert [line["state"] for line in lines if line["type"] == "connection"] == ["connecting", "live"]
    told = lines[1]
    assert told["feed"] == "run:run_1"
    assert told["run"]["taskIdentifier"] == "résumé"
    assert told["run"]["output"] == {"ok": True}
    assert [entry["status"] for entry in told["new_transitions"]] == ["QUEUED", "COMPLETED"]
    assert told["run"]["finishedAt"] == told["new_transitions"][-1]["at"]
    assert lines[-1] == {"v": 1, "type": "ended", "feed": "run:run_1", "status": "COMPLETED"}


async def test_a_gateway_that_restarts_is_awaited_and_nothing_is_missed(gateway: ServedGateway, tmp_path: Path) -> None:
    """However often connecting fails in between: the bound is for the first connection."""
    async with watching(gateway, tmp_path, "run_1") as command:
        await gateway.followed("run:run_1")
        job = gateway.publisher.create("resize", id="run_1")
        await command.writes("QUEUED")
        await gateway.stop()
        job.start()
        job.complete()
        await command.complains("Connect call failed")
        await gateway.start()
        code, output, errors = await command.ends()

    assert code == 0
    assert [line.split(" ")[2] for line in output.splitlines()] == ["QUEUED", "EXECUTING", "COMPLETED"]
    assert "runcast: reconnecting: the server is stopping" in errors


async def test_a_closed_pipe_ends_it_without_a_traceback(gateway: ServedGateway, tmp_path: Path) -> None:
    """As with `runcast watch … | head -1`."""
    async with watching(gateway, tmp_path, "run_1") as command:
        await gateway.followed("run:run_1")
        command.process.stdout._transport.close()  # type: ignore[union-attr]
        gateway.publisher.create("resize", id="run_1")
        errors = await command.process.stderr.read()  # type: ignore[union-attr]
        await command.process.wait()

    assert b"Traceback" not in errors


# What a person sees.


async def test_on_a_terminal_the_list_redraws_itself(gateway: ServedGateway, tmp_path: Path) -> None:
    """Status, run, task, progress and the state of the connection; the last of it stays."""
    async with seeing(gateway, tmp_path, "run_1") as command:
        await gateway.followed("run:run_1")
        job = gateway.publisher.create("resize", id="run_1")
        job.start()
        job.progress(5, 10, "half way")
        seen = _STYLE.sub("", await command.writes("half way"))
        assert "▶ EXECUTING  run_1  resize  ██████████░░░░░░░░░░ 5/10 50% half way" in seen
        job.complete()
        code, seen, _ = await command.ends()

    assert code == 0
    last = _STYLE.sub("", seen.rpartition("\x1b[2K")[2])
    assert last.startswith("✓ COMPLETED  run_1  resize")
    assert "● live, as of " in last
    assert seen.endswith("\x1b[?25h\r\n") or "\x1b[?25h" in seen, "the cursor is shown again"
    assert "\x1b[36m" in seen


async def test_in_a_narrow_terminal_the_status_and_the_numbers_are_whole(
    gateway: ServedGateway, tmp_path: Path
) -> None:
    """What is longest gives way, and half of the bar."""
    run = "run_" + "x" * 60
    gateway.publisher.create("resize", id=run).progress(5, 10, "half way")
    async with seeing(gateway, tmp_path, run) as command:
        seen = _STYLE.sub("", await command.writes("live"))

    assert re.search(r"○ QUEUED  run_x+…  resize  █{5}░{5} 5/10 50% half way", seen)


async def test_no_color_has_no_colours(gateway: ServedGateway, tmp_path: Path) -> None:
    gateway.publisher.create("resize", id="run_1").complete()
    for arguments, environ in (((), {"NO_COLOR": "1"}), (("--no-color",), {})):
        async with seeing(gateway, tmp_path, "run_1", *arguments, **environ) as command:
            _, seen, _ = await command.ends()
        assert "COMPLETED" in seen
        assert not re.search(r"\x1b\[(?:\d+;)*3\d", seen)


async def test_where_there_is_only_ascii_the_signs_are_ascii(gateway: ServedGateway, tmp_path: Path) -> None:
    gateway.publisher.create("größe", id="run_1", metadata={"progress": 50})
    async with seeing(gateway, tmp_path, "run_1", PYTHONIOENCODING="ascii") as command:
        seen = _STYLE.sub("", await command.writes("live"))

    assert seen.isascii()
    assert ". QUEUED  run_1  gr??e  ##########---------- 50%" in seen


async def test_the_compact_list_counts_those_that_completed(gateway: ServedGateway, tmp_path: Path) -> None:
    gateway.publisher.create("resize", id="good").complete()
    gateway.publisher.create("resize", id="bad").fail("no")
    async with seeing(gateway, tmp_path, "good", "bad", "--compact") as command:
        _, seen, _ = await command.ends()

    last = _STYLE.sub("", seen.rpartition("\x1b[2K")[2])
    assert "FAILED" in last
    assert "1 completed" in last
    assert "good" not in last


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}])
async def test_a_terminal_that_can_not_redraw_gets_lines(
    gateway: ServedGateway, tmp_path: Path, environ: dict[str, str]
) -> None:
    gateway.publisher.create("resize", id="run_1").complete()
    async with seeing(gateway, tmp_path, "run_1", **environ) as command:
        _, seen, _ = await command.ends()

    assert "\x1b" not in seen
    assert [line.split(" ")[2] for line in seen.splitlines()] == ["QUEUED", "COMPLETED"]


async def test_it_redraws_at_most_ten_times_a_second(gateway: ServedGateway, tmp_path: Path) -> None:
    """However fast a run changes."""
    loop = asyncio.get_running_loop()
    async with seeing(gateway, tmp_path, "run_1") as command:
        await gateway.followed("run:run_1")
        began = loop.time()
        for number in range(200):
            gateway.publisher.run("run_1", task="resize").status("EXECUTING", attempt=number + 1)
            await asyncio.sleep(0.005)
        gateway.publisher.run("run_1").complete()
        _, seen, _ = await command.ends()
        seconds = loop.time() - began

    assert seen.count("live, as of") <= 10 * (seconds + 1) + 2


async def test_an_ended_watch_leaves_the_terminal_as_it_was(gateway: ServedGateway, tmp_path: Path) -> None:
    """Interrupted or terminated: the cursor is there again."""
    for end, expected in (("interrupt", 130), ("terminate", 143)):
        async with seeing(gateway, tmp_path, "run_1") as command:
            await command.writes("live")
            getattr(command, end)()
            code, seen, _ = await command.ends()
        assert code == expected
        assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")


async def test_more_runs_than_fit_are_counted(gateway: ServedGateway, tmp_path: Path) -> None:
    for number in range(40):
        gateway.publisher.create("resize", id=f"run_{number}", tags=["many"]).start()
    async with seeing(gateway, tmp_path, "--tag", "many") as command:
        seen = _STYLE.sub("", await command.writes("more"))

    frame = seen.rpartition("\x1b[2K")[2]
    assert "19 more, 19 of them at work" in frame
    assert len(frame.splitlines()) <= 24
