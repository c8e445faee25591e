"""`runcast wait` and `runcast cancel`, against a real gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.cli.wait import Goal
from gateway.errors import BadInput
from gateway.viewer.viewed import ViewedRun, viewed
from tests.gateway.cli.commands import run, running
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.serving import ServedGateway


async def runcast(gateway: ServedGateway, directory: Path, *arguments: str) -> tuple[int, str, str]:
    return await run(*arguments, directory=directory, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=gateway.secret)


def a_run(status: str, *past: str, **metadata: object) -> ViewedRun:
    transitions = [
        {"status": name, "at": "-", "attempt": 1, "sequence": number} for number, name in enumerate([*past, status])
    ]
    return viewed({"id": "run_1", "status": status, "metadata": metadata, "transitions": transitions})


@pytest.mark.parametrize(
    ("goal", "met", "not_met"),
    [
        ("done", a_run("FAILED"), a_run("EXECUTING")),
        ("exists", a_run("QUEUED"), None),
        ("status=executing", a_run("COMPLETED", "QUEUED", "EXECUTING"), a_run("QUEUED")),
        ("metadata.step=3", a_run("QUEUED", step=3), a_run("QUEUED", step="3")),
        ("metadata.step=1", a_run("QUEUED", step=1), a_run("QUEUED", step=True)),
        ("metadata.phase=ready", a_run("QUEUED", phase="ready"), a_run("QUEUED")),
        ("metadata.a.b=null", a_run("QUEUED", a={"b": None}), a_run("QUEUED", a=1)),
        ('metadata.a="1=2"', a_run("QUEUED", a="1=2"), a_run("QUEUED", a="1")),
    ],
)
def test_a_goal_is_met_or_not(goal: str, met: ViewedRun, not_met: ViewedRun | None) -> None:
    assert Goal.parse(goal).met_by(met)
    assert not_met is None or not Goal.parse(goal).met_by(not_met)


@pytest.mark.parametrize("text", ["", "gone", "status=", "status=RUNNING", "metadata.=1", "metadata=1", "metadata.a"])
def test_what_is_no_goal_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Goal.parse(text)


async def test_it_waits_until_all_have_ended_and_says_how(gateway: ServedGateway, tmp_path: Path) -> None:
    """1 when one failed, whatever the others did; also those that did not exist when it began."""
    gateway.publisher.create("resize", id="run_1").cancel()
    arguments = ("wait", "run_1", "run_2", "run_3")
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    async with running(*arguments, directory=tmp_path, **environ) as command:
        await gateway.followed("run:run_3")
        gateway.publisher.create("resize", id="run_2").fail("no")
        gateway.publisher.create("resize", id="run_3").complete()
        code, output, errors = await command.ends()

    assert (code, errors) == (1, "")
    assert output == "run_1 CANCELED\nrun_2 FAILED\nrun_3 COMPLETED\n"


async def test_each_ending_has_its_exit_code(gateway: ServedGateway, tmp_path: Path) -> None:
    gateway.publisher.create("resize", id="good").complete()
    gateway.publisher.create("resize", id="stopped").cancel()
    gateway.publisher.create("resize", id="at_work").start()
    token = gateway.token({"read": {"runs": "good"}})
    nobody = f"http://127.0.0.1:{free_port()}"
    (good, stopped, any_of_them, began, never, slow, missing, denied, away, typo) = await asyncio.gather(
        runcast(gateway, tmp_path, "wait", "good", "--json"),
        runcast(gateway, tmp_path, "wait", "good", "stopped", "--quiet"),
        runcast(gateway, tmp_path, "wait", "at_work", "good", "--any"),
        runcast(gateway, tmp_path, "wait", "at_work", "--for", "status=EXECUTING"),
        runcast(gateway, tmp_path, "wait", "good", "--for", "metadata.step=3"),
        runcast(gateway, tmp_path, "wait", "at_work", "--timeout", "1s"),
        runcast(gateway, tmp_path, "wait", "good", "nothing", "--must-exist"),
        run("wait", "at_work", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=token),
        runcast(gateway, tmp_path, "wait", "good", "--url", nobody, "--connect-timeout", "1s"),
        runcast(gateway, tmp_path, "wait", "good", "--for", "gone"),
    )

    assert good[0] == 0
    assert json.loads(good[1]) == {
        "v": 1,
        "for": "done",
        "runs": [{"id": "good", "status": "COMPLETED", "met": True}],
    }
    assert stopped == (7, "", "")
    assert any_of_them == (0, "good COMPLETED\n", "")
    assert began == (0, "at_work EXECUTING\n", "")
    assert never[0] == 1
    assert "good ended as COMPLETED, without metadata.step=3" in never[2]
    assert slow[0] == 5
    assert "the run continues; runcast watch at_work" in slow[2]
    assert (missing[0], missing[2]) == (3, "runcast: there is no run nothing\n")
    assert denied[0] == 4
    assert "read:runs:at_work" in denied[2]
    assert away[0] == 6
    assert f"can't connect to {nobody} within 1 s" in away[2]
    assert typo[0] == 2
    assert "--for is done, exists" in typo[2]


async def test_ctrl_c_says_that_the_run_continues(gateway: ServedGateway, tmp_path: Path) -> None:
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    async with running("wait", "run_1", directory=tmp_path, **environ) as command:
        await gateway.followed("run:run_1")
        command.interrupt()
        assert await command.ends() == (130, "", "runcast: the run continues; runcast watch run_1\n")


async def test_cancelling_asks_the_jobs_to_stop(gateway: ServedGateway, tmp_path: Path) -> None:
    """Those that ended stay as they are."""
    gateway.publisher.create("resize", id="run_1").start()
    gateway.publisher.create("resize", id="run_2").complete()
    arguments = ("cancel", "run_1", "run_2", "--reason", "no longer needed")
    asked = await runcast(gateway, tmp_path, *arguments)
    shown = await runcast(gateway, tmp_path, "get", "run_1", "--json")

    assert asked == (0, "run_1 EXECUTING asked to stop\nrun_2 COMPLETED\n", "")
    told = json.loads(shown[1])["run"]
    assert (told["status"], told["cancelReason"]) == ("EXECUTING", "no longer needed")
    assert told["cancelRequestedAt"]


async def test_cancelling_may_wait_for_the_end(gateway: ServedGateway, tmp_path: Path) -> None:
    job = gateway.publisher.create("resize", id="run_1")
    environ = {"RUNCAST_URL": gateway.url, "RUNCAST_TOKEN": gateway.secret}
    async with running("cancel", "run_1", "--wait", "--json", directory=tmp_path, **environ) as command:
        await gateway.followed("run:run_1")
        job.cancel()
        code, output, _ = await command.ends()

    assert code == 0
    assert json.loads(output) == {"v": 1, "runs": [{"id": "run_1", "status": "CANCELED", "asked": True}]}


async def test_what_can_not_be_cancelled_has_its_exit_code(gateway: ServedGateway, tmp_path: Path) -> None:
    gateway.publisher.create("resize", id="run_1")
    token = gateway.token({"read": {"runs": "run_1"}})
    missing, denied, usage = await asyncio.gather(
        runcast(gateway, tmp_path, "cancel", "nothing"),
        run("cancel", "run_1", directory=tmp_path, RUNCAST_URL=gateway.url, RUNCAST_TOKEN=token),
        runcast(gateway, tmp_path, "cancel", "run_1", "--timeout", "1s"),
    )

    assert (missing[0], denied[0], usage[0]) == (3, 4, 2)
    assert "nothing" in missing[2]
    assert "write:runs:run_1" in denied[2]
