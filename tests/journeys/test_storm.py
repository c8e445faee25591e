"""A crowd that comes within some seconds: Redis reads for a few of them, and everybody has the truth."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gateway.feed import reading
from tests.journeys.gateway_process import token
from tests.journeys.in_process import serving, until
from tests.journeys.viewers import VIEWERS

if TYPE_CHECKING:
    from tests.journeys.in_process import Inside
    from tests.journeys.jobs import Jobs
    from tests.redis_server import RedisServer

RUNS, CROWD = 250, 60
PAGES = 3
FEED: dict[str, Any] = {"tags": ["a"]}


def count_reads(inside: Inside) -> Counter[str]:
    """How often each script is asked for from now on."""
    questions: Any = inside.services.store._questions
    counted, send = Counter[str](), questions._send_together

    async def counting(calls: list[Any]) -> list[Any]:
        counted.update(call.question[0] for call in calls)
        answers: list[Any] = await send(calls)
        return answers

    questions._send_together = counting
    return counted


@pytest.mark.parametrize("transport", VIEWERS)
async def test_a_crowd_with_a_token_each_costs_a_handful_of_reads(
    own_redis: RedisServer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """However long they take to come, and whatever happens meanwhile; and all of them go on with what happens then."""
    monkeypatch.setattr(reading, "KEPT_SECONDS", 3600.0)  # a moment that lasts longer than a slow machine takes
    for number in range(RUNS):
        jobs.create(f"run_{number}", tags=["a"])
    async with serving(own_redis.url) as inside, AsyncExitStack() as watching:
        reads = count_reads(inside)
        viewers = []
        for number in range(CROWD):
            viewer = VIEWERS[transport](inside.url, token("read:tags:a", subject=f"user_{number}"), FEED)
            viewers.append(await watching.enter_async_context(viewer))
            if number % 10 == 9:
                await viewer.model.until_live()
                jobs.say(f"run_{number}", "DEQUEUED")
        for viewer in viewers:
            await viewer.model.until_live()
        jobs.say("run_0", "DEQUEUED")
        jobs.say("run_0", "COMPLETED")

        for viewer in viewers:
            await viewer.model.until_status("run_0", "COMPLETED")
            assert len(viewer.model.runs) == RUNS
            for number in range(9, CROWD, 10):
                assert viewer.model.statuses[f"run_{number}"][-1] == "DEQUEUED"
            assert viewer.connections == 1
        # The first one reads alone, and nothing is kept for one; the second one's reading is kept.
        assert reads["place"] <= 3
        assert reads["read_page"] <= 3 * PAGES
        await until(lambda: not inside.server.server_state.tasks, "the end of what is no viewer")
