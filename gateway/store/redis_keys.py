"""Every key and channel in Redis, how long each lives, and the scripts that use them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId, FeedId

#: A column whose JSON is larger is published without its value; readers fetch it once.
LARGE_COLUMN_BYTES: Final = 4096

_SCRIPTS: Final = files("gateway.store") / "scripts"
_INCLUDE: Final = re.compile(r"^-- include (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long runs are kept, in seconds: after they finished, and after the last word of one that did not."""

    finished_seconds: float = 24 * 3600.0
    #: A job may be silent for long; what ends it when its worker died is its lease, not this.
    unfinished_seconds: float = 7 * 24 * 3600.0
    #: A stream is kept as long as its run, but not longer than this after its last chunk or its run's last renewal.
    streams_seconds: float = 28 * 24 * 3600.0

    @property
    def finished_ms(self) -> int:
        return int(self.finished_seconds * 1000)

    @property
    def unfinished_ms(self) -> int:
        return int(max(self.unfinished_seconds, self.finished_seconds) * 1000)

    @property
    def streams_ms(self) -> int:
        return int(self.streams_seconds * 1000)

    @property
    def history_ms(self) -> int:
        """The history of an environment outlives every row whose number it gave (lib/retention.lua: key_lifetime)."""
        return self.unfinished_ms * 9 // 8 + 1000


def prefix(environment: EnvironmentId) -> str:
    """What all keys and channels of an environment begin with. The braces keep them in one cluster slot."""
    return f"runcast:{{{environment}}}:"


def history_key(environment: EnvironmentId) -> str:
    """Hash: the epoch and the number of the newest change. Lives longer than every run."""
    return f"{prefix(environment)}history"


def run_key(environment: EnvironmentId, run: str) -> str:
    """Hash: a run's columns as JSON; the scripts' own fields start with an underscore. Lives as long as the run."""
    return f"{prefix(environment)}run:{run}"


def metadata_key(environment: EnvironmentId, run: str) -> str:
    """Hash: a run's metadata, JSON by top-level key. Lives as long as the run."""
    return f"{prefix(environment)}metadata:{run}"


def index_key(environment: EnvironmentId, feed: FeedId) -> str:
    """
    Sorted set of a feed's runs by the number of their last change (for a run feed, its row; for a stream, its state).

    Lives as long as its last run.

    For several tags it is the index of one of them; readers sift by the others.
    """
    if feed.kind == "run":
        return run_key(environment, feed.names[0])
    if feed.kind == "stream":
        return stream_state_key(environment, *feed.names)
    return f"{prefix(environment)}feed:{feed.channel}"


def stream_key(environment: EnvironmentId, run: str, stream: str) -> str:
    """Redis stream: a run's chunks by their numbers, each with its index. Lives as long as the run; see Retention."""
    return f"{prefix(environment)}stream:{run},{stream}"


def stream_state_key(environment: EnvironmentId, run: str, stream: str) -> str:
    """Hash: the next index, bytes, what was trimmed, where each writer is, its renewal. Lives as long as the stream."""
    return f"{prefix(environment)}stream-state:{run},{stream}"


def once_key(environment: EnvironmentId, writer: str) -> str:
    """String: that a writer that writes once has written. Kept for as long as it said (append_chunks.lua)."""
    return f"{prefix(environment)}once:{writer}"


def created_key(environment: EnvironmentId, feed: FeedId) -> str:
    """
    Sorted set of a feed's runs by the number of their first change, for lists. Lives as long as its last run.

    For several tags it is that of one of them.
    """
    return f"{prefix(environment)}created:{feed.channel}"


def deadlines_key(environment: EnvironmentId) -> str:
    """Sorted set: run ids by the next moment (ms) at which they are overdue. Lives as long as its last run."""
    return f"{prefix(environment)}deadlines"


def due_key(environment: EnvironmentId) -> str:
    """Sorted set: run ids by the time at which they are removed. Lives as long as its last run."""
    return f"{prefix(environment)}due"


def answer_key(environment: EnvironmentId, digest: str) -> str:
    """String: what a request with an idempotency key asked, and how it was answered. Kept for a day."""
    return f"{prefix(environment)}answer:{digest}"


def revocations_key(environment: EnvironmentId) -> str:
    """Sorted set: what was revoked, by the time (ms) at which it may be forgotten. Lives as long as its last one."""
    return f"{prefix(environment)}revocations"


def revocation_words_key(environment: EnvironmentId) -> str:
    """Hash: what each revocation says. Lives as long as the sorted set."""
    return f"{prefix(environment)}revocations:words"


def revocation_channel(environment: EnvironmentId) -> str:
    """The channel on which gateways hear what is revoked."""
    return f"{prefix(environment)}revoked"


def used_token_key(environment: EnvironmentId, digest: str) -> str:
    """Text: that a one-time token was used. Lives a minute longer than the token."""
    return f"{prefix(environment)}used:{digest}"


def process_channel(process: str) -> str:
    """The channel on which one gateway process hears what others ask of it (gateway/transports/renewing.py)."""
    return f"runcast:process:{process}"


def change_channel(environment: EnvironmentId, feed: FeedId) -> str:
    """The channel on which a feed's changes are published."""
    return f"{prefix(environment)}changes:{feed.channel}"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script of this package, whole, with the digest that Redis knows it by."""

    text: str
    sha1: str


@cache
def script(name: str) -> Script:
    """Load `scripts/<name>.lua`, with the library files it includes put in their place."""

    def include(match: re.Match[str]) -> str:
        return (_SCRIPTS / match[1]).read_text(encoding="utf-8")

    text = _INCLUDE.sub(include, (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8"))
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
