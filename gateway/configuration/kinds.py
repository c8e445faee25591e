"""How the text of a setting is read, for each kind of setting. One parser for each, whatever the source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.durations import parse_duration
from gateway.errors import BadInput
from gateway.sizes import parse_size
from gateway.transports.origins import Ancestors, Origins

if TYPE_CHECKING:
    from collections.abc import Callable

# Longer ones mean nothing here. No signs, underscores or digits of other scripts, which `int` would take.
_WHOLE: Final = re.compile(r"\d{1,15}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_ENVIRONMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_ON: Final = frozenset({"true", "1", "yes", "on"})
_OFF: Final = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Kind:
    """
    What the text of a setting may be.

    `parse` raises BadInput with what would be right. What it can't read but `gateway.settings.check` explains better,
    it returns as it is.
    """

    parse: Callable[[str], Any]


def _whole(text: str) -> int | str:
    return int(text) if _WHOLE.fullmatch(text) else text[:40]


def _number(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text[:40]


def _span_or_none(text: str) -> float:
    return 0.0 if text.strip() in ("0", "0s") else parse_duration(text)


def _word(text: str) -> str:
    # Other programs write WARN and INFO into the same variable.
    word = text.lower()[:40]
    return "warning" if word == "warn" else word


def _text(text: str) -> str:
    return text


def _switch(text: str) -> bool:
    if text.lower() not in _ON | _OFF:
        raise BadInput(f"it is true or false, not {text[:40]!r}")
    return text.lower() in _ON


def _redis_url(text: str) -> str:
    # Never shown: whatever it is, a password may be in it.
    try:
        scheme = urlsplit(text).scheme
    except ValueError:
        scheme = ""
    if scheme not in _REDIS_SCHEMES:
        raise BadInput("it must begin with redis://, rediss:// or unix://")
    return text


def _origins(text: str) -> Origins:
    # As lines too: in a file or a manifest a long list is one an entry.
    return Origins.parse(",".join(text.splitlines()))


def _ancestors(text: str) -> Ancestors:
    return Ancestors.parse(",".join(text.splitlines()))


def _environment(text: str) -> str:
    if not _ENVIRONMENT.fullmatch(text):
        raise BadInput(f"it is up to 128 letters, digits, and '_', '.' or '-' after the first, not {text[:40]!r}")
    return text


WHOLE: Final = Kind(_whole)
NUMBER: Final = Kind(_number)
SIZE: Final = Kind(parse_size)
SPAN: Final = Kind(parse_duration)
SPAN_OR_NONE: Final = Kind(_span_or_none)
WORD: Final = Kind(_word)
TEXT: Final = Kind(_text)
SWITCH: Final = Kind(_switch)
REDIS_URL: Final = Kind(_redis_url)
ORIGINS: Final = Kind(_origins)
ANCESTORS: Final = Kind(_ancestors)
ENVIRONMENT: Final = Kind(_environment)
