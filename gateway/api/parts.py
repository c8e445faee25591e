"""The values that several operations take and answer with: ids, tags, statuses, the run, a problem."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.api.calls import Parameter
from gateway.api.forms import Document, Either, Field, Json, ListOf, Moment, Number, Object, Tagged, Text, short, wrong
from gateway.changes import Operation, Operator
from gateway.durations import parse_duration
from gateway.errors import BadInput, TooManyTags
from gateway.feeds import MAX_ID_LENGTH, MAX_TAG_LENGTH, MAX_TAGS_PER_RUN, check_id, check_tag, check_task
from gateway.metadata import checked
from gateway.runs import PUBLIC_STATUS, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.api.forms import Schema

# What gateway/feeds.py refuses, for those who read schemas.
_FORBIDDEN: Final = r'\u0000-\u001f\u007f"\\,\u2028\u2029'
_SPACES: Final = r"\u0020\u0085\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
ID_PATTERN: Final = f"^[^{_FORBIDDEN}{_SPACES}]+$"
NAME_PATTERN: Final = f"^[^{_FORBIDDEN}]+$"


def _id(kind: str) -> Text:
    return Text(least=1, most=MAX_ID_LENGTH, pattern=ID_PATTERN, check=lambda text: check_id(kind, text))


RUN_ID: Final = _id("run")
BATCH_ID: Final = _id("batch")
TASK: Final = Text(least=1, most=MAX_ID_LENGTH, pattern=NAME_PATTERN, check=check_task)
TAG: Final = Text(least=1, most=MAX_TAG_LENGTH, pattern=NAME_PATTERN, check=check_tag)

STATUSES: Final = tuple(status.value for status in Status)
#: To say of a run; readers see the public ones only.
STATUS: Final = Text(choices=tuple(dict.fromkeys([*STATUSES, *PUBLIC_STATUS])))
PUBLIC: Final = Text(choices=STATUSES)

SECONDS: Final = Number(least=0.001, most=366 * 24 * 3600, fraction=True)
#: At most some sixty years in all.
_SPAN: Final = "^(?=.*[1-9])([0-9]{1,3}w)?([0-9]{1,4}d)?([0-9]{1,5}(h|hr))?([0-9]{1,6}m)?([0-9]{1,8}s)?$"
SPAN: Final = Text(pattern=_SPAN, words="a span of time such as 30m or 2d12h")
SPAN_OR_SECONDS: Final = Either((SPAN, SECONDS), "a span of time such as 30m or 2d12h, or a number of seconds")

#: The variable part of most paths.
RUN_PATH: Final = Parameter(name="id", form=RUN_ID, description="The run's id, percent-encoded.", required=True)


@dataclass(frozen=True, slots=True)
class Tags:
    """Tags for one run."""

    least: int = 0

    def read(self, value: Any, where: str) -> Any:
        if isinstance(value, list) and len(value) > MAX_TAGS_PER_RUN:
            error = TooManyTags(limit=MAX_TAGS_PER_RUN)
            error.field = where
            raise error
        return ListOf(TAG, least=self.least).read(value, where)

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        return ListOf(TAG, least=self.least, most=MAX_TAGS_PER_RUN).schema


@dataclass(frozen=True, slots=True)
class Since:
    """The beginning of a window of time that ends now: a moment, or the age of what is oldest in it."""

    def read(self, value: Any, where: str) -> Any:
        return self.parse(str(value), where)

    def parse(self, text: str, where: str) -> Any:
        """Milliseconds since 1970."""
        if re.search(_SPAN, text):
            return max(1, int((time.time() - parse_duration(text)) * 1000))
        try:
            return Moment().parse(text, where)
        except BadInput:
            raise wrong(
                where, f"must be an age such as 1h, or a moment such as 2026-01-31T10:00:00Z, not {short(text)}"
            ) from None

    @property
    def schema(self) -> Schema:
        return {"anyOf": [SPAN.schema, *Moment().schema["anyOf"]]}


def words(choices: tuple[str, ...]) -> ListOf:
    """Some words of a few, in a query: repeated, or joined by commas."""
    return ListOf(Text(choices=choices), least=1, most=len(choices), commas=True)


ERROR: Final = Either(
    (
        Text(most=10_000),
        Object(
            {
                "name": Field(Text(most=1_000), "The kind of error."),
                "message": Field(Text(most=10_000), "What was wrong.", required=True),
                "stackTrace": Field(Text(most=100_000), "Where it happened."),
            }
        ),
    ),
    "text, or an object with name, message and stackTrace",
)

PROGRESS: Final = Object(
    {
        "current": Field(Number(fraction=True), "How far the run is.", required=True),
        "total": Field(Number(least=0, fraction=True), "How far it goes; then there is a `percent`, too."),
        "text": Field(Text(most=10_000), "What it is doing."),
    },
    example={"current": 3, "total": 10, "text": "resizing"},
)

_KEY: Final = Field(Text(least=1, most=1_024), "A top-level key; one that starts with `$.` is a path.", required=True)


def _operation(operator: Operator, **fields: Field) -> Object:
    kind = Field(Text(choices=(operator.value,)), "What is done.", required=True)
    return Object({"type": kind, **fields})


_ANY: Final = Field(Json(), "Any JSON value.", required=True)
OPERATION: Final = Tagged(
    "type",
    {
        "set": _operation(Operator.SET, key=_KEY, value=_ANY),
        "delete": _operation(Operator.DELETE, key=_KEY),
        "append": _operation(Operator.APPEND, key=_KEY, value=_ANY),
        "remove": _operation(Operator.REMOVE, key=_KEY, value=_ANY),
        "increment": _operation(
            Operator.INCREMENT, key=_KEY, value=Field(Number(fraction=True), "How much.", required=True)
        ),
        "update": _operation(Operator.UPDATE, value=Field(Document(), "The whole new metadata.", required=True)),
    },
)


def operation(said: Mapping[str, Any]) -> Operation:
    """A metadata operation, from what OPERATION has checked."""
    return checked(Operation(Operator(said["type"]), said.get("key", ""), said.get("value")))


def error_column(said: str | Mapping[str, Any]) -> dict[str, Any]:
    """An error as the row keeps it (Trigger.dev realtime protocol, section 3.5), from what ERROR has checked."""
    if isinstance(said, str):
        return {"type": "STRING_ERROR", "raw": said}
    return {"type": "BUILT_IN_ERROR", **said}
