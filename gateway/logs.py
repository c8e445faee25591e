"""
Logging of the server processes: to standard error, one line each, as JSON for machines or as text for people.

Whoever logs, a library too, and whatever it logs, a traceback too: what goes out has no token, no secret key, no
password of a URL and no query in it. That is done to the finished text, at the one place where all of it comes by.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What the record of a line has by itself; everything else was put there with `extra`, and is a field.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED: Final = frozenset({"time", "level", "logger", "message", "error"})

# What is a secret by its looks, and what is written instead.
_REPLACED: Final = (
    # Three parts of base64, the first one of a JSON object: a public token, or anybody's JWT.
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+\.[\w-]*"), "[token]"),
    # Secret keys of ours and of the official SDK.
    (re.compile(r"\b(tr_[a-z]{2,10})_\w{8,}"), r"\1_[secret]"),
    # The password of a URL; up to the last @ before a path, for one that was not percent-encoded.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/?#@]*):[^\s/?#]+@", re.IGNORECASE), r"\1:[password]@"),
    (re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE), r"\1[credential]"),
    # A query, wherever a path or a host ends with one.
    (re.compile(r"(?<=[\w/%.~:\])-])\?[\w%.~\[\]-]+=[^\s\"'<>]*"), "?[query]"),
    (
        re.compile(
            r"(\b(?:token|access_token|password|passwd|secret|secret_key|api_key|authorization)[\"']?\s*"
            r"(?:=|(?<=[\"']):)\s*b?[\"']?)[^\s\"',;&)}\]]{4,}",
            re.IGNORECASE,
        ),
        r"\1[hidden]",
    ),
)
#: Shorter ones would be found in words that have nothing to do with them.
_SHORTEST_SECRET: Final = 6

_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
}


class Redaction:
    """Takes secrets out of text: those that look like one, and those that were told."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these, too, whatever they look like."""
        self._known |= {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub("[secret]", text)
        for pattern, instead in _REPLACED:
            text = pattern.sub(instead, text)
        return text


redact: Final = Redaction()


def hide_secrets(secrets: Iterable[str]) -> None:
    """Never write these: secret keys and passwords may look like anything."""
    redact.hide(secrets)


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339), `level`, `logger`, `message`, and the fields of the line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        line |= {name: _plain(value) for name, value in _fields(record).items()}
        trace = _trace_of(record)
        if trace:
            line["error"] = redact(trace)
        return json.dumps(line)


class TextLines(logging.Formatter):
    """For people: `time level logger: message key=value`, in colour on a terminal that has some."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        # A message may hold what a peer sent, and must not end its line or move the cursor.
        message = redact(record.getMessage()).translate(_CONTROLS)
        fields = "".join(f" {name}={_value(value)}" for name, value in _fields(record).items())
        if self._colour and fields:
            fields = f"\x1b[2m{fields}\x1b[0m"
        trace = _trace_of(record)
        return f"{_time_of(record)} {level} {record.name}: {message}{fields}" + (f"\n{redact(trace)}" if trace else "")


def _time_of(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.created * 1000) % 1000:03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in _OWN and value is not None}
    return {f"{name}_" if name in _RESERVED else name: value for name, value in fields.items()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else redact(str(value))


def _value(value: Any) -> str:
    text = redact(str(value)).translate(_CONTROLS)
    return json.dumps(text) if " " in text or '"' in text or not text else text


def _trace_of(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        # Not the text that the record may carry already: another handler made that, and for others.
        parts.append(logging.Formatter().formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


class _StandardError(logging.StreamHandler[Any]):
    """Writes to what is standard error at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> IO[str]:
        return sys.stderr

    @stream.setter
    def stream(self, stream: IO[str]) -> None:
        pass

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        # The standard way prints the message with its arguments, and whatever secret is in them.
        if logging.raiseExceptions:
            where = f"{record.pathname}:{record.lineno}"
            sys.stderr.write(f"a log line could not be written: {where}: {type(sys.exc_info()[1]).__name__}\n")


def configure_logging(format: str = "auto", level: str = "info", *, environ: Mapping[str, str] = os.environ) -> None:
    """
    Write what is logged to standard error. Doing it again changes how.

    Args:
        format: `json`, `text`, or `auto`: text on a terminal, JSON elsewhere.
        level: As `set_level`.
        environ: Where NO_COLOR and FORCE_COLOR are looked up.
    """
    terminal = sys.stderr.isatty()
    formatter: logging.Formatter
    if format == "json" or (format == "auto" and not terminal):
        formatter = JsonLines()
    else:
        formatter = TextLines(colour=_has_colour(terminal, environ))
    handler = _StandardError()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for before in [found for found in root.handlers if isinstance(found, _StandardError)]:
        root.removeHandler(before)
    root.addHandler(handler)
    set_level(level)


def _has_colour(terminal: bool, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (terminal and environ.get("TERM") != "dumb")


def set_level(level: str) -> None:
    """
    Say what we say from *level* on (`debug`, `info`, `warning`, `error`, `critical`), and what libraries say from
    WARNING on, or from there if that is higher.

    Raises:
        ValueError: When there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"there is no log level {level!r}")
    logging.getLogger("runcast").setLevel(number)
    logging.getLogger().setLevel(max(number, logging.WARNING))
    # At INFO uvicorn prints the whole path of each WebSocket, with its query.
    logging.getLogger("uvicorn.error").setLevel(max(number, logging.WARNING))
