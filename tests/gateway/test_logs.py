"""What is logged can be read by people and machines, and has no secret in it, whoever logs it."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auth import EnvironmentKeys, generate_secret_key, mint
from gateway.logs import JsonLines, Redaction, TextLines, configure_logging, hide_secrets, redact, set_level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = generate_secret_key()
ODD_SECRET = "correct-horse-battery-staple-and-more!"
KEYS = EnvironmentKeys.of("default", SECRET)
TOKEN = mint(["read:runs", "read:tags:customer_7"], KEYS)
ODD_TOKEN = mint(["read:runs"], EnvironmentKeys.of("default", ODD_SECRET))
REDIS_URL = "redis://worker:p4ss%40word@redis.internal:6379/0"
#: What must not be found in any line, whole or the part that is worth something.
SECRETS = (
    SECRET,
    SECRET[8:],
    ODD_SECRET,
    TOKEN,
    TOKEN.split(".")[2],
    ODD_TOKEN,
    ODD_TOKEN.split(".")[1],
    "p4ss%40word",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Logging belongs to the process, and so to the other tests too."""
    root, names = logging.getLogger(), ("", "runcast", "uvicorn.error")
    handlers, levels = list(root.handlers), [logging.getLogger(name).level for name in names]
    yield
    root.handlers[:] = handlers
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


class Errors:
    """What went to standard error."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._captured.readouterr().err
        return self._text


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Errors:
    return Errors(capsys)


def plant(log: logging.Logger) -> None:
    """Secrets in a message, in arguments of all kinds, in fields, and in exceptions with their causes."""
    log.warning(f"GET /v1/events?all=true&token={TOKEN} HTTP/1.1")
    log.warning("handshake %s with %r", f"ws://127.0.0.1/v1/ws?token={TOKEN}", {"authorization": f"Bearer {TOKEN}"})
    log.warning("headers: %s", [(b"authorization", f"Bearer {SECRET}".encode()), (b"x", TOKEN.encode())])
    log.warning("subprotocols %s", ["runcast.v1", f"token.{TOKEN}"], extra={"url": REDIS_URL, "key": ODD_SECRET})
    log.warning("Error connecting to %s; RUNCAST_SECRET_KEY=%s", REDIS_URL, SECRET)
    try:
        try:
            raise ConnectionError(f"can't reach {REDIS_URL} as {ODD_SECRET}")
        except ConnectionError as error:
            raise ValueError(f"bad token {TOKEN} and {ODD_TOKEN}") from error
    except ValueError:
        log.exception("it failed with %s", SECRET, stack_info=True)


@pytest.mark.parametrize("format", ["json", "text"])
@pytest.mark.parametrize("name", ["runcast.viewers", "uvicorn.error", "websockets.server", "redis", "asyncio", "a.b"])
def test_no_secret_gets_out(errors: Errors, format: str, name: str) -> None:
    """Of ours and of libraries, in messages, arguments, fields and tracebacks."""
    hide_secrets([ODD_SECRET])
    configure_logging(format, "debug")
    plant(logging.getLogger(name))
    written = errors.getvalue()

    assert written.count("it failed with") >= 1
    assert "Traceback" in written
    assert "ConnectionError" in written
    for secret in SECRETS:
        assert secret not in written
    for shown in ("[token]", "secret]", "[query]", "redis.internal:6379"):
        assert shown in written


def test_a_secret_is_hidden_even_when_another_handler_has_formatted_the_exception(errors: Errors) -> None:
    """The standard formatter leaves its text in the record; ours doesn't trust it."""
    configure_logging("text")
    record = logging.LogRecord("lib", logging.ERROR, __file__, 1, "it failed", None, None)
    record.exc_text = f"Traceback (most recent call last):\nValueError: {TOKEN}"
    logging.getLogger("lib").handle(record)

    assert "[token]" in errors.getvalue()
    assert TOKEN not in errors.getvalue()


def test_a_line_that_can_not_be_written_tells_nothing_of_its_arguments(errors: Errors) -> None:
    """The standard way prints all of them."""
    configure_logging("json")
    root = logging.getLogger()
    root.handlers[:] = root.handlers[-1:]  # those of the test run would fail the test
    logging.getLogger("runcast.x").warning("%d", TOKEN)

    assert "could not be written" in errors.getvalue()
    assert TOKEN not in errors.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "is it there? yes=no",
        "websocket of default ended after 1.0 s: the viewer left",
        "Redis is away: Connection refused. Keeping the newest status of each run",
        "can't listen on 0.0.0.0:80: Permission denied",
        "http://127.0.0.1:8787/v1/runs/run_1",
        "the token expired; come back with a new one",
        "redis://127.0.0.1:6379/0",
        "basic auth is not spoken here",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    """A log that hides everything helps nobody."""
    assert Redaction()(text) == text


@given(st.text(), st.text())
@example("x", "?token=")
@example("Bearer ", "\n")
def test_a_token_is_found_wherever_it_stands(before: str, after: str) -> None:
    """Between any characters that can't be a part of it."""
    text = redact(f"{before} {TOKEN} {after}")

    assert TOKEN.split(".")[2] not in text


@given(st.text(), st.dictionaries(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.text()))
def test_each_line_is_one_line(message: str, fields: dict[str, str]) -> None:
    """Whatever a peer sent: it neither begins a line of its own nor moves a cursor."""
    record = logging.makeLogRecord({"msg": "%s", "args": (message,), "levelname": "INFO", "name": "runcast.x"})
    vars(record).update({f"x_{name}": value for name, value in fields.items()})

    text = TextLines().format(record)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)
    document = JsonLines().format(record)
    assert len(document.splitlines()) == 1
    assert json.loads(document)["level"] == "info"


def test_a_json_line_has_its_fields(errors: Errors) -> None:
    """Time as RFC 3339 in UTC, level, logger, message, and what was said with `extra`; errors as one text."""
    configure_logging("json")
    log = logging.getLogger("runcast.viewers")
    log.info("%s ended", "sse", extra={"seconds": 1.5, "feeds": 2, "code": None, "message_": "x", "time": 7})
    log.debug("unheard")
    (line,) = map(json.loads, errors.getvalue().splitlines())

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "runcast.viewers",
        "message": "sse ended",
        "seconds": 1.5,
        "feeds": 2,
        "message_": "x",
        "time_": 7,
    }


def test_a_text_line_has_its_fields_too(errors: Errors) -> None:
    """As key=value, quoted where they need it."""
    configure_logging("text")
    logging.getLogger("runcast.x").warning("slow", extra={"route": "/v1/runs", "why": "too many words"})

    assert re.fullmatch(r'\S+Z WARNING runcast\.x: slow route=/v1/runs why="too many words"\n', errors.getvalue())


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal, {"TERM": "xterm"}, "colour"),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, "plain"),
        (Terminal, {"TERM": "dumb"}, "plain"),
        (io.StringIO, {}, "json"),
    ],
)
def test_auto_is_for_whoever_reads_it(
    monkeypatch: pytest.MonkeyPatch, stream: Callable[[], io.StringIO], environ: dict[str, str], expected: str
) -> None:
    """Colour on a terminal that has some, JSON where machines collect it."""
    monkeypatch.setattr(sys, "stderr", stream())
    configure_logging("auto", environ=environ)
    logging.getLogger("runcast.x").warning("hello")
    written: Any = sys.stderr
    text = written.getvalue()

    assert ("json" if text.startswith("{") else "colour" if "\x1b[" in text else "plain") == expected


def test_the_level_is_ours_and_can_be_changed(errors: Errors) -> None:
    """Libraries stay quiet below WARNING: there they print whole requests."""
    configure_logging("text", "warning")
    ours, theirs = logging.getLogger("runcast.x"), logging.getLogger("some.library")
    ours.info("one")
    set_level("debug")
    ours.debug("two")
    theirs.info("three")
    logging.getLogger("uvicorn.error").info("four")
    set_level("error")
    theirs.warning("five")
    ours.error("six")

    assert re.findall(r": (\w+)\n", errors.getvalue()) == ["two", "six"]
    with pytest.raises(ValueError, match="no log level"):
        set_level("loud")


def test_configuring_twice_writes_once(errors: Errors) -> None:
    """The last one counts."""
    configure_logging("text")
    configure_logging("json")
    logging.getLogger("runcast.x").warning("hello")

    (line,) = errors.getvalue().splitlines()
    assert json.loads(line)["message"] == "hello"
