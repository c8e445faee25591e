"""`runcast runs`, `ls` and `get`, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.gateway.cli.commands import on_a_terminal, run, running
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.serving import ServedGateway

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


async def runcast(gateway: ServedGateway, directory: Path, *arguments: str) -> tuple[int, str, str]:
    return await run(*arguments, directory=directory, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=gateway.secret)


def ids(output: str) -> list[str]:
    return [line.split("\t")[0] for line in output.splitlines()]


@pytest.fixture
def some_runs(gateway: ServedGateway) -> None:
    """Three, the newest last."""
    gateway.publisher.create("resize", id="run_1", tags=["a"], batch="batch_1").fail(ValueError("no\x1b[2J room"))
    gateway.publisher.create("resize", id="run_2", tags=["a", "b"], payload={"large": 1}).start()
    gateway.publisher.create("mail", id="run_3").progress(3, 10, "writing")
    gateway.publisher.flush(5)


@pytest.mark.usefixtures("some_runs")
async def test_runs_are_listed_the_newest_first_and_can_be_chosen(gateway: ServedGateway, tmp_path: Path) -> None:
    """In a pipe: a line each, tabs between the columns."""
    everything, tagged, tasks, batch, status, limited, none = await asyncio.gather(
        runcast(gateway, tmp_path, "runs"),
        runcast(gateway, tmp_path, "ls", "--tag", "a,b"),
        runcast(gateway, tmp_path, "runs", "--task", "resize", "--since", "1h"),
        runcast(gateway, tmp_path, "runs", "--batch", "batch_1"),
        runcast(gateway, tmp_path, "runs", "--status", "failed,EXECUTING"),
        runcast(gateway, tmp_path, "runs", "--limit", "2"),
        runcast(gateway, tmp_path, "runs", "--task", "unknown"),
    )

    assert everything[0] == 0
    rows = [line.split("\t") for line in everything[1].splitlines()]
    assert [(row[0], row[1], row[2], row[5], row[6]) for row in rows] == [
        ("run_3", "QUEUED", "mail", "3/10 30% writing", "-"),
        ("run_2", "EXECUTING", "resize", "-", "a,b"),
        ("run_1", "FAILED", "resize", "ValueError: no?[2J room", "a"),
    ]
    assert ids(tagged[1]) == ["run_2"]
    assert ids(tasks[1]) == ["run_2", "run_1"]
    assert ids(batch[1]) == ["run_1"]
    assert ids(status[1]) == ["run_2", "run_1"]
    assert ids(limited[1]) == ["run_3", "run_2"]
    assert "--all-pages" in limited[2]
    assert none == (0, "", "")


async def test_all_pages_are_read(gateway: ServedGateway, tmp_path: Path) -> None:
    for number in range(120):
        gateway.publisher.create("resize", id=f"run_{number}")
    pages, some = await asyncio.gather(
        runcast(gateway, tmp_path, "runs", "--all-pages", "--json"),
        runcast(gateway, tmp_path, "runs", "-n", "110", "--json-lines"),
    )

    document = json.loads(pages[1])
    assert (document["v"], document["more"]) == (1, False)
    assert [told["id"] for told in document["runs"]] == [f"run_{number}" for number in reversed(range(120))]
    lines = [json.loads(line) for line in some[1].splitlines()]
    assert [(line["v"], line["type"], line["run"]["id"]) for line in lines] == [
        (1, "run", f"run_{number}") for number in range(119, 9, -1)
    ]


@pytest.mark.usefixtures("some_runs")
async def test_on_a_terminal_it_is_a_table(gateway: ServedGateway, tmp_path: Path) -> None:
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    async with on_a_terminal("runs", directory=tmp_path, environ=environ) as command:
        code, seen, _ = await command.ends()
    async with on_a_terminal("runs", directory=tmp_path, environ=environ | {"NO_COLOR": "1"}) as command:
        _, plain, _ = await command.ends()

    assert code == 0
    lines = _STYLE.sub("", seen).splitlines()
    assert lines[0].split() == ["RUN", "STATUS", "TASK", "CREATED", "DURATION", "PROGRESS", "TAGS"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["run_3", "QUEUED", "mail"],
        ["run_2", "EXECUTING", "resize"],
        ["run_1", "FAILED", "resize"],
    ]
    assert len({line.index(word) for line, word in zip(lines, ("STATUS", "QUEUED", "EXECUTING"), strict=False)}) == 1
    assert "\x1b[31m" in seen
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", plain)


@pytest.mark.usefixtures("some_runs")
async def test_watching_adds_a_row_for_each_new_status(gateway: ServedGateway, tmp_path: Path) -> None:
    """Of the runs that are chosen; what was listed is not told again."""
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    arguments = ("runs", "-w", "--tag", "a", "--task", "resize", "--limit", "1")
    async with running(*arguments, directory=tmp_path, **environ) as command:
        await gateway.followed("tag:a")
        await command.writes("run_2\tEXECUTING")
        gateway.publisher.run("run_2").set("step", 3)
        gateway.publisher.create("mail", id="run_4", tags=["a"])
        gateway.publisher.create("resize", id="run_5", tags=["a"])
        await command.writes("run_5\tQUEUED")
        gateway.publisher.run("run_2").complete()
        await command.writes("run_2\tCOMPLETED")
        command.interrupt()
        code, output, _ = await command.ends()

    assert code == 130
    assert ids(output) == ["run_2", "run_5", "run_2"]


@pytest.mark.usefixtures("some_runs")
async def test_a_run_is_shown_as_it_is(gateway: ServedGateway, tmp_path: Path) -> None:
    (code, shown, errors), as_json, failed = await asyncio.gather(
        runcast(gateway, tmp_path, "get", "run_2"),
        runcast(gateway, tmp_path, "get", "run_2", "--json"),
        runcast(gateway, tmp_path, "get", "run_1"),
    )

    assert (code, errors) == (0, "")
    lines = [re.split(r"  +", line, maxsplit=1) for line in shown.splitlines()]
    assert lines[:2] == [["run", "run_2"], ["status", "EXECUTING"]]
    assert ["tags", "a, b"] in lines
    assert ["payload", '{"large": 1}'] in lines
    assert [value.split()[1] for name, value in lines if name == "was"] == ["QUEUED", "EXECUTING"]
    document = json.loads(as_json[1])
    assert (document["v"], document["run"]["id"], document["run"]["payload"]) == (1, "run_2", {"large": 1})
    assert "error     ValueError: no?[2J room\n" in failed[1]


async def test_refusals_have_their_exit_codes(gateway: ServedGateway, tmp_path: Path) -> None:
    token = gateway.token({"read": {"tags": "a"}})
    secret = gateway.secret
    nobody = f"http://127.0.0.1:{free_port()}"
    missing, denied, away, wrong, nowhere, no_token, both, typo = await asyncio.gather(
        runcast(gateway, tmp_path, "get", "nothing"),
        run("runs", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=token),
        run("runs", "--url", nobody, directory=tmp_path, RUNCAST_TOKEN=secret),
        run("get", "run_1", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN="what"),
        run("get", "run_1", directory=tmp_path, RUNCAST_URL=f"{gateway.url}/elsewhere", RUNCAST_TOKEN=secret),
        run("get", "run_1", directory=tmp_path, RUNCAST_URL=gateway.url),
        runcast(gateway, tmp_path, "runs", "--json", "--json-lines"),
        runcast(gateway, tmp_path, "runs", "--status", "RUNNING"),
    )

    assert (missing[0], missing[2]) == (3, "runcast: there is no run 'nothing'\n")
    assert denied[0] == 4
    assert "read:runs" in denied[2]
    assert away[0] == 6
    assert f"can't reach {nobody}" in away[2]
    assert wrong[0] == 4
    assert "what" not in wrong[2].replace("whatever", "")
    assert nowhere[0] == 3
    assert "there is nothing at /elsewhere/v1/runs/run_1" in nowhere[2]
    assert no_token[0] == 4
    assert "RUNCAST_TOKEN" in no_token[2]
    assert (both[0], typo[0]) == (2, 2)
    assert "EXECUTING" in typo[2]
