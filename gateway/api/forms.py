"""
What a value in a request looks like. One description does three things: it checks what came, says in words what would
have been right, and is the value's schema in the OpenAPI document.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.errors import BadInput, BadMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_WHOLE: Final = re.compile(r"-?\d{1,18}", re.ASCII)
#: JavaScript's largest exact whole number; what is above it some reader would round.
MOST_WHOLE: Final = 2**53 - 1

Schema = dict[str, Any]


class Form(Protocol):
    """One kind of value. `where` is a JSON pointer, or a parameter's name."""

    def read(self, value: Any, where: str) -> Any:
        """
        The value as the code behind takes it.

        Raises:
            BadInput: When it is not of this form; its `field` is *where*, its text what would be right.
        """

    def parse(self, text: str, where: str) -> Any:
        """As `read`, of a text from a query or header."""

    @property
    def schema(self) -> Schema:
        """JSON Schema, as in OpenAPI 3.1."""


def wrong(where: str, detail: str) -> BadMessage:
    """The error that names the field it is about."""
    error = BadMessage(f"{where}: {detail}" if where else detail)
    error.field = where
    return error


def short(value: object) -> str:
    """A value as an error may show it."""
    # A plain `repr` of what is nested deeply enough to be valid JSON still is an error in Python.
    return "null" if value is None else reprlib.repr(value)[:60]


def nearest(name: str, known: Sequence[str]) -> str:
    """What somebody may have meant, as the end of a sentence."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text, of some length, or one of some words."""

    least: int = 0
    most: int | None = None
    choices: tuple[str, ...] = ()
    #: As in JSON Schema; what it means is said by `words`, or by what `check` raises.
    pattern: str | None = None
    words: str | None = None
    #: Returns the text, or raises BadInput with what would be right.
    check: Callable[[str], str] | None = None
    format: str | None = None

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise wrong(where, f"must be text, not {short(value)}")
        if self.choices and value not in self.choices:
            raise wrong(where, f"must be one of {', '.join(self.choices)}, not {short(value)}")
        if len(value) < self.least or (self.most is not None and len(value) > self.most):
            raise wrong(where, f"must have {self.least} to {self.most or 'any number of'} characters, not {len(value)}")
        if self.words is not None and not re.search(self.pattern or "", value):
            raise wrong(where, f"must be {self.words}, not {short(value)}")
        if self.check is None:
            return value
        try:
            return self.check(value)
        except BadInput as error:
            error.field = where
            raise

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        schema: Schema = {"type": "string"}
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.least:
            schema["minLength"] = self.least
        if self.most is not None:
            schema["maxLength"] = self.most
        if self.pattern is not None:
            schema["pattern"] = self.pattern
        if self.format is not None:
            schema["format"] = self.format
        return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number between two others; a whole one unless it may have a fraction."""

    least: float = -MOST_WHOLE
    most: float = MOST_WHOLE
    fraction: bool = False

    def read(self, value: Any, where: str) -> Any:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if fits and not self.fraction:
            # In JSON Schema, and in JavaScript, 1.0 is a whole number.
            fits = isinstance(value, int) or (math.isfinite(value) and value.is_integer())
        if not fits or not self.least <= value <= self.most:
            raise wrong(where, f"must be a {self._name} from {self.least:.15g} to {self.most:.16g}, not {short(value)}")
        return value if self.fraction else int(value)

    @property
    def _name(self) -> str:
        return "number" if self.fraction else "whole number"

    def parse(self, text: str, where: str) -> Any:
        return self.read(int(text) if _WHOLE.fullmatch(text) else text, where)

    @property
    def schema(self) -> Schema:
        return {"type": "number" if self.fraction else "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, bool):
            raise wrong(where, f"must be true or false, not {short(value)}")
        return value

    def parse(self, text: str, where: str) -> Any:
        return self.read({"true": True, "false": False}.get(text, text), where)

    @property
    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Json:
    """Any JSON value."""

    def read(self, value: Any, where: str) -> Any:
        return value

    def parse(self, text: str, where: str) -> Any:
        return text

    @property
    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True, slots=True)
class Document:
    """Any JSON object."""

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise wrong(where, f"must be an object, not {short(value)}")
        return value

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        return {"type": "object"}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; in a query a parameter that is repeated."""

    item: Form
    least: int = 0
    most: int | None = None
    #: In a query its entries may also stand in one parameter.
    commas: bool = False

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise wrong(where, f"must be a list, not {short(value)}")
        if len(value) < self.least or (self.most is not None and len(value) > self.most):
            raise wrong(where, f"must have {self.least} to {self.most or 'any number of'} entries, not {len(value)}")
        return [self.item.read(entry, f"{where}/{index}") for index, entry in enumerate(value)]

    def parse(self, text: str, where: str) -> Any:
        return [self.item.parse(part, where) for part in (text.split(",") if self.commas else [text])]

    @property
    def schema(self) -> Schema:
        schema: Schema = {"type": "array", "items": self.item.schema}
        if self.least:
            schema["minItems"] = self.least
        if self.most is not None:
            schema["maxItems"] = self.most
        return schema


@dataclass(frozen=True, slots=True)
class Either:
    """One of several forms, told apart by their JSON types; *words* say what would be right."""

    forms: tuple[Form, ...]
    words: str

    def read(self, value: Any, where: str) -> Any:
        for form in self.forms:
            try:
                return form.read(value, where)
            except BadInput:
                continue
        raise wrong(where, f"must be {self.words}, not {short(value)}")

    def parse(self, text: str, where: str) -> Any:
        for form in self.forms:
            try:
                return form.parse(text, where)
            except BadInput:
                continue
        raise wrong(where, f"must be {self.words}, not {short(text)}")

    @property
    def schema(self) -> Schema:
        return {"anyOf": [form.schema for form in self.forms]}


@dataclass(frozen=True, slots=True)
class Field:
    """A named value of an object."""

    form: Form
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """An object with these fields, and no others unless it is `open`: those are passed over then."""

    fields: Mapping[str, Field]
    #: What it is called in the OpenAPI document; one without a name stands where it is used.
    name: str = ""
    example: Any = None
    #: At least so many of its fields are there.
    least: int = 0
    open: bool = False

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise wrong(where, f"{'must be' if where else 'the body must be'} an object, not {short(value)}")
        if self.open:
            value = {name: one for name, one in value.items() if name in self.fields}
        for name in value:
            if name not in self.fields:
                raise wrong(f"{where}/{pointer(name)}", f"there is no such field; {nearest(name, list(self.fields))}")
        for name, known in self.fields.items():
            if known.required and name not in value:
                raise wrong(f"{where}/{name}", f"is missing: {known.description}")
        if len(value) < self.least:
            raise wrong(where, f"must have at least one of {', '.join(self.fields)}")
        return {name: self.fields[name].form.read(one, f"{where}/{name}") for name, one in value.items()}

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        properties = {
            name: {**known.form.schema, "description": known.description} for name, known in self.fields.items()
        }
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": self.open}
        required = [name for name, known in self.fields.items() if known.required]
        if required:
            schema["required"] = required
        if self.least:
            schema["minProperties"] = self.least
        if self.example is not None:
            schema["examples"] = [self.example]
        return schema


@dataclass(frozen=True, slots=True)
class Tagged:
    """An object whose field *tag* says which of several it is."""

    tag: str
    objects: Mapping[str, Object] = field(default_factory=dict)

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise wrong(where, f"must be an object, not {short(value)}")
        kind = value.get(self.tag)
        if not isinstance(kind, str) or kind not in self.objects:
            raise wrong(f"{where}/{self.tag}", f"must be one of {', '.join(self.objects)}, not {short(kind)}")
        return self.objects[kind].read(value, where)

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        return {"oneOf": [one.schema for one in self.objects.values()]}


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment, as RFC 3339 text or milliseconds since 1970; read as the latter."""

    #: The year 9999 ends then.
    most: int = 253_402_300_799_999

    def read(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            return self._of_text(value, where)
        try:
            return Number(least=0, most=self.most).read(value, where)
        except BadInput:
            raise self._wrong(value, where) from None

    def parse(self, text: str, where: str) -> Any:
        return self.read(int(text) if _WHOLE.fullmatch(text) else text, where)

    def _of_text(self, text: str, where: str) -> int:
        if not _RFC3339.fullmatch(text):
            raise self._wrong(text, where)
        try:
            # A leap second has no number of its own in the time that computers count.
            moment = datetime.fromisoformat(_LEAP.sub(r"\g<1>59", text.upper()))
            milliseconds = math.floor((moment - _EPOCH).total_seconds() * 1000)
        except (ValueError, OverflowError):
            raise self._wrong(text, where) from None
        if not 0 <= milliseconds <= self.most:
            raise self._wrong(text, where)
        return milliseconds

    @staticmethod
    def _wrong(value: object, where: str) -> BadMessage:
        return wrong(
            where,
            f"must be a moment since 1970 such as 2026-01-31T10:00:00Z, or milliseconds since 1970, not {short(value)}",
        )

    @property
    def schema(self) -> Schema:
        # The pattern keeps out the years before 1970, which `date-time` alone would allow.
        text = {"type": "string", "format": "date-time", "pattern": "^(19[7-9]|[2-9][0-9][0-9])[0-9]-"}
        return {"anyOf": [text, {"type": "integer", "minimum": 0, "maximum": self.most}]}


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,12})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_LEAP: Final = re.compile(r"^(.{17})60")


def pointer(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901), shortened."""
    return name[:80].replace("~", "~0").replace("/", "~1").encode(errors="replace").decode()
