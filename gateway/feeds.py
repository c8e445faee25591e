"""
What a viewer can follow, and the names of things: runs, tags, batches, tasks.

Names are checked here once, at the edge, so that everything behind may join them into keys, channels and JSON
without escaping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from gateway.errors import BadFeed

EnvironmentId = NewType("EnvironmentId", str)
RunId = NewType("RunId", str)

MAX_ID_LENGTH = 255
MAX_TAG_LENGTH = 128
MAX_TAGS_PER_RUN = 10  # Trigger.dev realtime protocol, section 1.3

# No control characters, quotes or backslashes (so a name is its own JSON), no comma (tags are comma-joined in
# queries: Trigger.dev realtime protocol, section 4.3), and no lone surrogates, which have no UTF-8.
_FORBIDDEN = re.compile('[\x00-\x1f\x7f"\\\\,\u2028\u2029\ud800-\udfff]')
_WHITE_SPACE = re.compile(r"\s")


def check_tag(tag: str) -> str:
    """
    Return *tag* if it can be one: 1 to 128 characters, none of them a control character, quote, backslash or comma.

    Raises:
        BadFeed: Saying what is wrong with it.
    """
    if not 1 <= len(tag) <= MAX_TAG_LENGTH:
        raise BadFeed(f"a tag has 1 to {MAX_TAG_LENGTH} characters, this one has {len(tag)}")
    return _without_forbidden("tag", tag)


def check_id(kind: str, text: str) -> str:
    """
    Return *text* if it can be the id of a run, batch or environment: a tag's characters, no white space, at most 255.

    Raises:
        BadFeed: Saying what is wrong with it.
    """
    if _WHITE_SPACE.search(text):
        raise BadFeed(f"a {kind} id has no white space: {text[:80]!r}")
    return check_task(text, kind=kind)


def check_task(text: str, *, kind: str = "task") -> str:
    """As `check_id`, but a task's name may contain spaces."""
    if not 1 <= len(text) <= MAX_ID_LENGTH:
        raise BadFeed(f"a {kind} id has 1 to {MAX_ID_LENGTH} characters, this one has {len(text)}")
    return _without_forbidden(f"{kind} id", text)


def check_stream(key: str) -> str:
    """As `check_task`, for the key of a stream: what JavaScript calls one may be several words."""
    return check_task(key, kind="stream")


def _without_forbidden(what: str, text: str) -> str:
    found = _FORBIDDEN.search(text)
    if found is not None:
        raise BadFeed(f"a {what} can't contain {found[0]!r}: {text[:80]!r}")
    return text


@dataclass(frozen=True, slots=True)
class FeedId:
    """
    What a viewer follows. Its text is the name that messages carry, and the name of its channel.

    A run, a batch, a task, the runs that carry a tag or all of several, all runs of the environment; or one stream of
    a run.
    """

    kind: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(self.names)}" if self.names else self.kind

    @classmethod
    def run(cls, run: str) -> FeedId:
        return cls("run", (check_id("run", run),))

    @classmethod
    def batch(cls, batch: str) -> FeedId:
        return cls("batch", (check_id("batch", batch),))

    @classmethod
    def task(cls, task: str) -> FeedId:
        return cls("task", (check_task(task),))

    @classmethod
    def tags(cls, *tags: str) -> FeedId:
        """Runs that carry all of *tags*, in whatever order they are named."""
        if not 1 <= len(tags) <= MAX_TAGS_PER_RUN:
            raise BadFeed(f"1 to {MAX_TAGS_PER_RUN} tags can be followed together, not {len(tags)}")
        return cls("tag", tuple(sorted({check_tag(tag) for tag in tags})))

    @classmethod
    def stream(cls, run: str, key: str) -> FeedId:
        """The log of chunks that *run* writes under *key*."""
        return cls("stream", (check_id("run", run), check_stream(key)))

    @classmethod
    def parse(cls, text: str) -> FeedId:
        """Read the name of a feed back: `run:ID`, `tag:A,B`, `batch:ID`, `task:ID`, `all`, `stream:RUN,KEY`."""
        kind, _, name = text.partition(":")
        if text == "all":
            return ALL_RUNS
        if kind == "tag":
            return cls.tags(*name.split(","))
        if kind == "stream" and name.count(",") == 1:
            return cls.stream(*name.split(","))
        makers = {"run": cls.run, "batch": cls.batch, "task": cls.task}
        if kind not in makers:
            raise BadFeed(f"a feed is run:ID, tag:TAG, batch:ID, task:ID, stream:RUN,KEY or all, not {text[:80]!r}")
        return makers[kind](name)

    @property
    def channel(self) -> str:
        """The one channel that brings every change of this feed; for several tags, and streams, with others to sift."""
        if self.kind == "tag":
            return f"tag:{self.names[0]}"
        return f"streams:{self.names[0]}" if self.kind == "stream" else str(self)

    @property
    def run_id(self) -> RunId | None:
        """The one run that this feed is about; None when it may be about several."""
        return RunId(self.names[0]) if self.kind in ("run", "stream") else None


ALL_RUNS = FeedId("all")
