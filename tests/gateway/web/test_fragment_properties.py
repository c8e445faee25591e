"""
As tests/gateway/feed/test_properties.py, for viewers of HTML: whatever happens in whatever order, each run that they
are told is whole and as Redis has it, though changes bring only parts. Here the HTML is a spelling that tests can read.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import decode_json
from gateway.cursors import Cursor
from gateway.feed.connection import Connection
from gateway.web import cards
from gateway.web.fragment_view import BETWEEN, FragmentView
from gateway.web.fragments import COLUMNS
from tests.doubles import RecordingSink, Watcher
from tests.gateway.feed.acting import World
from tests.gateway.feed.run_schedules import breaking_scenes, run_schedule, schedules, viewers, well_scenes
from tests.gateway.feed.schedules import profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.feed.view import View
    from gateway.feeds import FeedId
    from tests.redis_server import RedisServer

_END = b"\x00"
#: A key that the schedules write; it stands for `progress`.
_KEY = "x"


def spelled(run: str, values: Mapping[str, Any], progress: Any) -> bytes:
    """What is known of a run, in place of its HTML."""
    shown = {name: value for name, value in values.items() if value is not None}
    return json.dumps({"run": run, "values": shown, "progress": progress}).encode() + _END


class LineFraming:
    """One message a line."""

    def frame(self, kind: str, body: bytes, cursor: str) -> bytes:
        if kind == "heartbeat":
            return b""
        head, _, rest = body.partition(BETWEEN)
        runs = [json.loads(text) for text in rest.split(_END) if text]
        return json.dumps({"type": kind, "head": json.loads(head), "runs": runs, "cursor": cursor}).encode() + b"\n"

    def wrap(self, frames: bytes) -> bytes:
        return frames


LINES = LineFraming()


class PageModel:
    """A page that does what the events say."""

    def __init__(self, feed: FeedId) -> None:
        self.feed = feed
        self.runs: dict[str, dict[str, Any]] = {}
        self.cursor: Cursor | None = None
        self.complete = False

    def reconnect(self) -> Cursor | None:
        self.complete = False
        return self.cursor

    def take(self, message: dict[str, Any]) -> None:
        assert message["head"]["feed"] == str(self.feed)
        if message["type"] == "snapshot":
            self.runs.clear()
            assert len({run["run"] for run in message["runs"]}) == len(message["runs"])
        for run in message["runs"]:
            before = self.runs.get(run["run"])
            if before is not None and message["type"] == "update":
                had, has = (told["values"].get("transitions", []) for told in (before, run))
                assert [entry[0] for entry in has] == sorted(entry[0] for entry in has)
                assert not had or not has or has[-1][0] >= had[-1][0], f"{run} is older than {before}"
            self.runs[run["run"]] = run
        self.cursor = Cursor.parse(message["cursor"])

    def check_end(self) -> None:
        """Nothing more than what `difference` looks at."""


class PageWatcher(Watcher):
    """A viewer of HTML."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        super().__init__(*arguments, **words)
        self.models: dict[str, Any] = {str(view.feed): PageModel(view.feed) for view in self.views}

    def connect(self) -> PageWatcher:
        self.sink = RecordingSink(self._limit)
        self.connection = self.sink.connection = Connection(self._hub, self.sink, LINES, self._environment)
        self._hub.open(self.connection)
        for view in self.views:
            self.follow(view)
        return self

    def follow(self, view: View) -> None:
        assert self.connection is not None
        cursor = self.models[str(view.feed)].reconnect()
        shown = FragmentView(view.feed, view.hidden, view.since, view.limit)
        self.followers.append(self._hub.follow(self.connection, shown, cursor))

    def look(self) -> Any:
        for message in self.sink.take():
            self.models[message["head"]["feed"]].take(message)
        return self.model


class PageWorld(World):
    """Holds what pages show against the rows."""

    def difference(self, viewer: Watcher, view: View) -> str:
        shown = viewer.models[str(view.feed)].runs
        stored = self.rows(view)
        expected = {run: self._card(run, view) for run in stored[-view.limit :]}
        for run in shown.keys() - expected.keys():
            # Beyond its limit a page keeps what it was told before.
            expected[run] = self._card(run, view) if run in stored else {}
        return "" if shown == expected else f"{view} shows {shown}, Redis has {expected}"

    def _card(self, run: str, view: View) -> dict[str, Any]:
        row, metadata = self.changing.stored(run), self.changing.raw_metadata(run)
        columns = [name for name in COLUMNS if name not in view.hidden]
        values = {name: decode_json(row[name]) for name in columns if name in row and row[name] != "null"}
        progress = decode_json(metadata[_KEY]) if view.shows_metadata and _KEY in metadata else None
        return {"run": run, "values": values, "progress": progress}


@pytest.mark.timeout(0)
class TestWhateverHappens:
    """A page ends with what Redis has."""

    @profile(0.15)
    @given(
        seen=viewers,
        schedule=schedules(*well_scenes, *breaking_scenes),
        most=st.sampled_from([1, 2, 1000]),
    )
    def test_pages_show_whole_runs_that_are_so(
        self, redis_server: RedisServer, seen: list[list[View]], schedule: list[Any], most: int
    ) -> None:
        """Also when there is room for fewer runs than there are: what is not known is read."""
        with (
            mock.patch.object(cards, "run_fragment", spelled),
            mock.patch.object(cards, "PROGRESS", _KEY),
            mock.patch.object(cards, "MOST_CARDS", most),
        ):
            asyncio.run(run_schedule(redis_server, seen, schedule, watcher=PageWatcher, world=PageWorld))
