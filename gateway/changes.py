"""
A change: what a publisher says happened to a run. Some columns, never the whole row.

Checked here, once, for every way in (publisher, integrations, HTTP); the script behind it takes names and sizes for
granted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import encode_json
from gateway.durations import parse_duration
from gateway.errors import BadChange, BadInput, TooLarge
from gateway.feeds import MAX_TAGS_PER_RUN, check_id, check_stream, check_tag, check_task
from gateway.runs import COLUMNS, Kind, RawStatus, raw_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Ignored wherever metadata is written: in a JavaScript client it would reach the object's prototype (section 5.2).
UNSAFE_KEY: Final = "__proto__"

_LIMITED: Final = {"payload": "payload_bytes", "output": "output_bytes", "context": "metadata_bytes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a run may hold, in bytes of JSON (Trigger.dev realtime protocol, sections 1.3 and 5.1)."""

    metadata_bytes: int = 256 * 1024
    payload_bytes: int = 3 * 1024 * 1024
    output_bytes: int = 10 * 1024 * 1024
    #: One chunk of a stream; and what is kept of a whole stream, whose oldest chunks go when there is more.
    chunk_bytes: int = 1024 * 1024
    stream_bytes: int = 300 * 1024 * 1024


class Operator(StrEnum):
    """What a metadata operation does (section 5.2)."""

    SET = "set"
    DELETE = "delete"
    APPEND = "append"
    REMOVE = "remove"
    INCREMENT = "increment"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One metadata operation. `key` is a top-level key, taken literally, or a path when it starts with `$.`.

    `value` is any JSON value; a number for `increment`; the whole new document for `update`; nothing for `delete`.
    """

    operator: Operator
    key: str = ""
    value: Any = None


class Outcome(StrEnum):
    """What became of a change. None of these is an error: a job is never hurt by what it says."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"  # it was so already
    STALE = "stale"  # a later status or attempt is known
    MISSING = "missing"  # there is no such run
    DEFERRED = "deferred"  # kept here, to be sent soon
    DROPPED = "dropped"  # Redis is away, or a limit was hit; counted


# Not frozen, as values are elsewhere: setting so many fields costs a frozen class three times as much, and a job pays
# for each change. Nobody changes one.
@dataclass(slots=True, kw_only=True)
class Change:
    """
    What happened to one run. Built by `change()`, which checks it.

    `columns` and `initial` are JSON by column name. With `create` the run is made if it does not exist, and `initial`
    and `initial_metadata` fill what it does not have yet: a worker may have been faster than whoever created the run.
    """

    run: str
    create: bool = False
    attempt: int | None = None
    status: RawStatus | None = None
    columns: Mapping[str, bytes] = field(default_factory=dict)
    initial: Mapping[str, bytes] = field(default_factory=dict)
    initial_metadata: Mapping[str, bytes] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    #: How long ago it happened, for a change that could not be sent at once.
    age_ms: int = 0
    #: The worker's word that it lives, and that silence for longer than this means that it does not.
    lease_ms: int | None = None
    #: How long the run may wait to be started, and how long it may take; for a run that has no such limit yet.
    ttl_ms: int | None = None
    max_duration_ms: int | None = None
    #: Nobody said `status`: a deadline has passed (store/scripts/overdue.lua).
    overdue: bool = False
    #: The key of a stream that the run has.
    stream: str = ""

    def aged(self, age_ms: int) -> Change:
        """The same, as of something that happened so long ago."""
        # By hand, because `replace` takes four times as long, and a job pays for that with each change that waited.
        return Change(
            run=self.run,
            create=self.create,
            attempt=self.attempt,
            status=self.status,
            columns=self.columns,
            initial=self.initial,
            initial_metadata=self.initial_metadata,
            tags=self.tags,
            operations=self.operations,
            age_ms=age_ms,
            lease_ms=self.lease_ms,
            ttl_ms=self.ttl_ms,
            max_duration_ms=self.max_duration_ms,
            overdue=self.overdue,
            stream=self.stream,
        )


def change(
    run: str,
    *,
    create: bool = False,
    attempt: int | None = None,
    status: str | None = None,
    columns: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    operations: Sequence[Operation] = (),
    lease_seconds: float | None = None,
    stream: str = "",
    limits: Limits | None = None,
) -> Change:
    """
    Check what is said of a run and put it into the form that the store takes.

    Args:
        status: A public or raw name.
        columns: Values by column name; times as milliseconds since 1970.
        initial, metadata: What a run that is created begins with.
        lease_seconds: The worker lives; when it says nothing for so long, the run is CRASHED.
        stream: The key of a stream that the run has.

    Raises:
        BadChange: Saying what is wrong and what would be right.
        TooLarge: When payload, output, context or metadata is over its limit.
        BadFeed: When an id or tag can't be one.
    """
    limits = limits or Limits()
    run = check_run(run)
    if attempt is not None:
        check_attempt(attempt)
    if len(tags) > MAX_TAGS_PER_RUN:
        raise BadChange(f"a run carries at most {MAX_TAGS_PER_RUN} tags, not {len(tags)}")
    if lease_seconds is not None:
        _check_seconds("a lease", lease_seconds)
    said = {**(initial or {}), **(columns or {})}
    return Change(
        run=run,
        create=create,
        attempt=attempt,
        status=_status(status) if status is not None else None,
        columns=_encode(columns or {}, limits, fixed=_ORIGIN),
        initial=_encode(initial or {}, limits),
        initial_metadata=_encode_metadata(metadata or {}, limits),
        tags=tuple(dict.fromkeys(check_tag(tag) for tag in tags)),
        operations=tuple(operations),
        lease_ms=_milliseconds(lease_seconds),
        ttl_ms=_ttl_ms(said.get("ttl")),
        max_duration_ms=_milliseconds(said.get("maxDuration")),
        stream=check_stream(stream) if stream else "",
    )


def status_change(
    origin: Change,
    status: str,
    *,
    attempt: int | None = None,
    columns: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    lease_seconds: float | None = None,
    limits: Limits,
) -> Change:
    """
    A status of a run, whose *origin* was checked and encoded before: each status says it again, in case that nobody
    has created the run, or that Redis has lost it. The rest is as for `change`.

    Raises:
        As `change`.
    """
    if attempt is not None:
        check_attempt(attempt)
    if lease_seconds is not None:
        _check_seconds("a lease", lease_seconds)
    carried = origin.tags
    if tags:
        carried = tuple(dict.fromkeys((*origin.tags, *map(check_tag, tags))))
        if len(carried) > MAX_TAGS_PER_RUN:
            raise BadChange(f"a run carries at most {MAX_TAGS_PER_RUN} tags, not {len(carried)}")
    return Change(
        run=origin.run,
        create=origin.create,
        attempt=attempt,
        status=_status(status),
        columns=_encode(columns, limits, fixed=_ORIGIN) if columns else _NOTHING,
        initial={**origin.initial, **_encode(initial, limits)} if initial else origin.initial,
        initial_metadata=_encode_metadata(metadata, limits) if metadata else _NOTHING,
        tags=carried,
        lease_ms=_milliseconds(lease_seconds),
        ttl_ms=_ttl_ms(initial.get("ttl")) if initial else None,
        max_duration_ms=_milliseconds(initial.get("maxDuration")) if initial else None,
    )


def cancel_request(run: str, reason: str | None = None) -> Change:
    """
    Somebody asks a run to stop; it is CANCELED when its job says so. Who asks first is remembered, and an ended run is
    asked nothing.

    Raises:
        BadChange: When *reason* is no text of at most a thousand characters.
        BadFeed: When *run* can't be one.
    """
    if reason is not None and not (isinstance(reason, str) and len(reason) <= _LONGEST_REASON):
        raise BadChange(f"a reason is text of at most {_LONGEST_REASON} characters, not {reason!r}"[:400])
    return change(run, columns={"cancelRequestedAt": time.time_ns() // 1_000_000, "cancelReason": reason})


_LONGEST_REASON: Final = 1_000
_LONGEST_SECONDS: Final = 366 * 24 * 3600


def check_chunks(chunks: Iterable[bytes], limits: Limits) -> None:
    """
    Raises:
        TooLarge: For a chunk of a stream with more bytes than it may have.
    """
    for chunk in chunks:
        if len(chunk) > limits.chunk_bytes:
            raise TooLarge("a chunk", size=len(chunk), limit=limits.chunk_bytes)


#: Shared, so never to be changed.
_NOTHING: Final[Mapping[str, bytes]] = {}


def check_run(run: str) -> str:
    """
    Return *run*, if it can be the id of one.

    Raises:
        BadChange, BadFeed: When it can't.
    """
    if not isinstance(run, str):
        raise BadChange(f"a run id is text, not {run!r}")
    return check_id("run", run)


def check_attempt(attempt: object) -> None:
    """
    Raises:
        BadChange: When *attempt* can't be the number of one.
    """
    if isinstance(attempt, bool) or not isinstance(attempt, int) or not 1 <= attempt <= 1_000_000:
        raise BadChange(f"an attempt is a number from 1 to 1000000, not {attempt!r}")


def _check_seconds(what: str, seconds: object) -> None:
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0.001 <= seconds <= _LONGEST_SECONDS:  # type: ignore[operator]
        raise BadChange(f"{what} is a number of seconds from 0.001 to {_LONGEST_SECONDS}, not {seconds!r}")


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _ttl_ms(ttl: str | None) -> int | None:
    if ttl is None:
        return None
    try:
        return max(1, int(parse_duration(ttl) * 1000))
    except BadInput as error:
        raise BadChange(f"ttl: {error.detail}") from error


#: Columns that only the script sets: they follow from the status and the order of changes.
_DERIVED: Final = frozenset(
    {"status", "attempt", "createdAt", "updatedAt", "runTags", "transitions", "realtimeStreams"}
    | {"queuedAt", "startedAt", "completedAt", "expiredAt"}
)
#: Where a run comes from is known when it is created, or not yet known; it never changes.
_ORIGIN: Final = frozenset({"taskIdentifier", "batchId", "parentRunId", "rootRunId"})


def _status(name: str) -> RawStatus:
    try:
        return raw_status(name)
    except BadInput as error:
        raise BadChange(error.detail) from None


def _encode(values: Mapping[str, Any], limits: Limits, *, fixed: frozenset[str] = frozenset()) -> dict[str, bytes]:
    encoded = {}
    for name, value in values.items():
        if name not in COLUMNS or name in _DERIVED:
            raise BadChange(f"{name!r} is not a column that can be set")
        if name in fixed:
            raise BadChange(f"{name} is part of a run's origin (`initial`) and never changes")
        encoded[name] = encode_json(_checked(name, value), what=name)
        if name in _LIMITED:
            limit = getattr(limits, _LIMITED[name])
            if len(encoded[name]) > limit:
                raise TooLarge(name, size=len(encoded[name]), limit=limit)
    return encoded


def _encode_metadata(values: Mapping[str, Any], limits: Limits) -> dict[str, bytes]:
    encoded, size = {}, 0
    for key, value in values.items():
        if not isinstance(key, str):
            raise BadChange(f"a metadata key is text, not {key!r}")
        encode_json(key, what="a metadata key")
        if key != UNSAFE_KEY:
            encoded[key] = encode_json(value, what=f"metadata {key[:80]!r}")
            size += len(key.encode()) + len(encoded[key]) + 4
        if size > limits.metadata_bytes:  # now, not after all of a million keys
            whole = len(encode_json(values, what="metadata"))
            raise TooLarge("metadata", size=max(size, whole), limit=limits.metadata_bytes)
    return encoded


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _ORIGIN and not isinstance(value, str):
        raise BadChange(f"{name} is text, not {value!r}")
    if name == "taskIdentifier":
        return check_task(value)
    if name in _ORIGIN:
        return check_id("batch" if name == "batchId" else "run", value)
    if name == "maxDuration":
        _check_seconds("maxDuration", value)
    if name == "ttl" and not isinstance(value, str):
        raise BadChange(f"ttl is text such as 10m, not {value!r}")
    if COLUMNS[name].kind is Kind.TIME and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadChange(f"{name} is milliseconds since 1970, not {value!r}")
    return value
