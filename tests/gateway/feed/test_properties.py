"""
Whatever happens in whatever order, viewers end with what Redis has, and saw every status on the way.

Real Redis, hub, store and subscription; generated schedules of changes, viewers who come, go and are slow, reads that
take long, changes that come faster than they may or can be told, viewers that are told one after the other, a
subscription that is late or killed, restarts that keep the data or lose some. The viewers' models
(tests/doubles.py) hold every message against what was told before.

RUNCAST_EXAMPLES sets how many schedules are tried.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.feed.run_schedules import breaking_scenes, run_schedule, schedules, viewers, well_scenes
from tests.gateway.feed.schedules import Step, profile, told

if TYPE_CHECKING:
    from gateway.feed.view import View
    from tests.redis_server import RedisServer


@pytest.mark.timeout(0)
class TestWhateverHappens:
    """Each viewer ends with what Redis has, having seen every status in order and nothing older than it had."""

    @profile(0.4)
    @given(seen=viewers, schedule=schedules(*well_scenes), one_by_one=st.booleans())
    def test_while_all_is_well(
        self, redis_server: RedisServer, seen: list[list[View]], schedule: list[Step], one_by_one: bool
    ) -> None:
        """Changes, viewers who come, go and are slow, reads and messages that are late."""
        with told(one_by_one=one_by_one):
            asyncio.run(run_schedule(redis_server, seen, schedule))

    @profile(0.6)
    @given(seen=viewers, schedule=schedules(*well_scenes, *breaking_scenes), one_by_one=st.booleans())
    def test_while_things_break(
        self, redis_server: RedisServer, seen: list[list[View]], schedule: list[Step], one_by_one: bool
    ) -> None:
        """The same with killed connections, restarts, and data that is lost in part or altogether."""
        with told(one_by_one=one_by_one):
            asyncio.run(run_schedule(redis_server, seen, schedule))
