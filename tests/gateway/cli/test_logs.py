"""`runcast logs`, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

from tests.gateway.cli.commands import on_a_terminal, run, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.serving import ServedGateway


async def logs(gateway: ServedGateway, directory: Path, *arguments: str) -> tuple[int, str, str]:
    return await run("logs", *arguments, directory=directory, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=gateway.secret)


def write_some(gateway: ServedGateway) -> None:
    """A log of five lines, and a stream of pieces, of a run that goes on."""
    job = gateway.publisher.create("resize", id="run_1")
    job.log("begun")
    job.log("half\x1b[2J way\nthere", "warning", rows=3)
    job.stream("log").write_all(["as it is\n", {"any": "JSON"}, 7])
    job.stream("llm").write_all(["Hel", "lo\nwor", "ld"])
    gateway.publisher.flush(5)


async def test_what_was_written_is_printed_as_lines(gateway: ServedGateway, tmp_path: Path) -> None:
    """Texts as they are, lines of a log with their level and fields, and nothing that would move a cursor."""
    write_some(gateway)
    everything, tail, timed, pieces, lines = await asyncio.gather(
        logs(gateway, tmp_path, "run_1"),
        logs(gateway, tmp_path, "run_1", "--tail", "2"),
        logs(gateway, tmp_path, "run_1", "-t"),
        logs(gateway, tmp_path, "run_1", "--stream", "llm", "--join"),
        logs(gateway, tmp_path, "run_1", "--json-lines", "--tail", "1"),
    )

    written = "INFO     begun\nWARNING  half?[2J way\nthere rows=3\nas it is\n" + '{"any": "JSON"}\n7\n'
    assert everything == (0, written, "")
    assert tail == (0, '{"any": "JSON"}\n7\n', "")
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO     begun\n", timed[1])
    assert pieces == (0, "Hello\nworld", "")
    line = json.loads(lines[1])
    assert (line["v"], line["type"], line["index"], line["chunk"]) == (1, "chunk", 4, 7)
    assert line["cursor"]


async def test_following_goes_on_until_the_run_ended(gateway: ServedGateway, tmp_path: Path) -> None:
    write_some(gateway)
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    arguments = ("logs", "run_1", "-f", "--tail", "1")
    async with running(*arguments, directory=tmp_path, **environ) as command:
        await command.writes("7\n")
        await gateway.followed("stream:run_1,log")
        gateway.publisher.run("run_1").log("more")
        await command.writes("more")
        gateway.publisher.run("run_1").complete()
        assert await command.ends() == (0, "7\nINFO     more\n", "")


async def test_a_run_that_does_not_exist_yet_can_be_followed(gateway: ServedGateway, tmp_path: Path) -> None:
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    async with running("logs", "run_1", "-f", directory=tmp_path, **environ) as command:
        await gateway.followed("stream:run_1,log")
        job = gateway.publisher.create("resize", id="run_1")
        job.log("begun")
        job.complete()
        assert await command.ends() == (0, "INFO     begun\n", "")


async def test_on_a_terminal_levels_have_colours(gateway: ServedGateway, tmp_path: Path) -> None:
    write_some(gateway)
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    async with on_a_terminal("logs", "run_1", directory=tmp_path, environ=environ) as command:
        _, seen, _ = await command.ends()
    async with on_a_terminal("logs", "run_1", directory=tmp_path, environ=environ | {"NO_COLOR": "1"}) as command:
        _, plain, _ = await command.ends()

    assert "\x1b[33mWARNING  half?[2J way" in seen
    assert "\x1b" not in plain


async def test_its_exit_codes(gateway: ServedGateway, tmp_path: Path) -> None:
    write_some(gateway)
    token = gateway.token({"read": {"runs": "another"}})
    missing, denied, slow, both, lonely = await asyncio.gather(
        logs(gateway, tmp_path, "nothing"),
        run("logs", "run_1", "-f", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=token),
        logs(gateway, tmp_path, "run_1", "-f", "--tail", "0", "--timeout", "1s"),
        logs(gateway, tmp_path, "run_1", "--tail", "1", "--since-start"),
        logs(gateway, tmp_path, "run_1", "--timeout", "1s"),
    )

    assert (missing[0], denied[0], slow[0], both[0], lonely[0]) == (3, 4, 5, 2, 2)
    assert slow[1] == ""
    assert "runcast logs run_1 -f" in slow[2]
