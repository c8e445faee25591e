"""
Where keys are written down: the process environment, or a TOML or JSON file. Text in, plain entries out.

Whether a secret is good enough is not judged here; see `auth.keys`. No error shows what a secret is.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from auth.errors import BadKeyring, NoSecretKey, shown

SECRET_KEY = "RUNCAST_SECRET_KEY"  # noqa: S105 - the name of a variable
#: What the official SDK reads; one variable then serves both.
FALLBACK_SECRET_KEY = "TRIGGER_SECRET_KEY"  # noqa: S105 - the name of a variable
PREVIOUS_SECRET_KEYS = "RUNCAST_PREVIOUS_SECRET_KEYS"  # noqa: S105 - the name of a variable
ENVIRONMENT = "RUNCAST_ENVIRONMENT"
ENVIRONMENTS_FILE = "RUNCAST_ENVIRONMENTS_FILE"
DEFAULT_ENVIRONMENT = "default"
#: Behind the name of a variable that holds secrets: the path of a file with them, as Docker and Kubernetes mount it.
FILE_SUFFIX = "_FILE"
#: Longer than any list of keys.
_FILE_LIMIT_BYTES = 1024 * 1024

_TIME_EXAMPLE = "2026-01-31T10:00:00Z"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A secret key as it was written down, with the aware time at which it was retired, if any."""

    secret: str = field(repr=False)
    retired_at: datetime | None = None
    #: Where it is written: the name of a variable or a file.
    source: str = ""


@dataclass(frozen=True, slots=True)
class EnvironmentEntry:
    """An environment as it was written down."""

    environment: str
    current: KeyEntry
    previous: tuple[KeyEntry, ...] = ()


def read_environ(environ: Mapping[str, str]) -> list[EnvironmentEntry]:
    """The environments that these variables name. A variable that is blank counts as not set."""
    path = environ.get(ENVIRONMENTS_FILE, "").strip()
    if path:
        # The fallback may well be set beside a file, for the SDK; ours beside it is a contradiction.
        ours = (SECRET_KEY, PREVIOUS_SECRET_KEYS)
        for name in (*ours, *(name + FILE_SUFFIX for name in ours)):
            if environ.get(name, "").strip():
                raise BadKeyring(source=name, reason=f"it is set, and so is {ENVIRONMENTS_FILE}; keep one")
        return read_file(Path(path))
    return [_one_environment(environ)]


def _one_environment(environ: Mapping[str, str]) -> EnvironmentEntry:
    found = _read_variable(environ, SECRET_KEY) or _read_variable(environ, FALLBACK_SECRET_KEY)
    if found is None:
        reason = f"no secret key is set, nor {SECRET_KEY}{FILE_SUFFIX}, nor {ENVIRONMENTS_FILE}"
        raise NoSecretKey(source=SECRET_KEY, reason=reason)
    secret, source = found
    previous = _read_variable(environ, PREVIOUS_SECRET_KEYS)
    return EnvironmentEntry(
        environment=environ.get(ENVIRONMENT, "").strip() or DEFAULT_ENVIRONMENT,
        current=KeyEntry(secret, source=source),
        previous=() if previous is None else read_previous_keys(previous[0], source=previous[1]),
    )


def _read_variable(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """What the variable *name* says, or the file that NAME_FILE names, and which of them it was."""
    text, path = environ.get(name, "").strip(), environ.get(name + FILE_SUFFIX, "").strip()
    if text and path:
        raise BadKeyring(source=name, reason=f"it is set, and so is {name}{FILE_SUFFIX}; keep one")
    if not path:
        return (text, name) if text else None
    source = f"{name}{FILE_SUFFIX} ({path})"
    return read_secret_file(Path(path), source=source), source


def read_secret_file(path: Path, *, source: str) -> str:
    """
    What a file with a secret in it says, without the line break at its end.

    Raises:
        BadKeyring: When it can't be read, is empty, or is no file of that kind.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_LIMIT_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadKeyring(source=source, reason=f"it cannot be read: {reason}") from None
    if not text:
        raise BadKeyring(source=source, reason="it is empty")
    return text


def read_previous_keys(written: object, *, source: str) -> tuple[KeyEntry, ...]:
    """
    Earlier keys: text with commas or line breaks between `key` and `key@time`, or a list as a file has it.

    Raises:
        BadKeyring: When they can't be understood.
    """
    if isinstance(written, str):
        listed = (one.strip() for line in written.splitlines() for one in line.split(","))
        return tuple(_previous_key(one, source=source) for one in listed if one)
    if not isinstance(written, list):
        raise BadKeyring(source=source, reason="previous_secret_keys must be a list")
    return tuple(_previous_entry(one, source=source) for one in written)


def _previous_key(written: str, *, source: str) -> KeyEntry:
    """A key from `key` or `key@time`."""
    secret, at, time = written.rpartition("@")
    if not at:
        return KeyEntry(written, source=source)
    # What follows may be the end of a secret, so the error must not repeat it.
    hint = f"what follows '@' must be a time such as {_TIME_EXAMPLE}; a secret with an '@' belongs in a file"
    return KeyEntry(secret.strip(), _aware_time(time.strip(), source=source, hint=hint), source)


def read_file(path: Path) -> list[EnvironmentEntry]:
    """
    The environments that a file lists.

    Raises:
        BadKeyring: When it cannot be read, is not TOML or JSON, or holds something unexpected.
    """
    document = _table(_parse(path), source=str(path), known={"environments"})
    return read_environments(document.get("environments", {}), source=str(path))


def read_environments(written: object, *, source: str) -> list[EnvironmentEntry]:
    """
    The environments of a table that was read already, as `environments` in a file.

    Raises:
        BadKeyring: When it holds something unexpected, or nothing.
    """
    listed = _table(written, source=f"{source}, environments")
    if not listed:
        raise NoSecretKey(source=source, reason="it lists no environments")
    return [_environment(id_, body, source=f"{source}, environment {shown(id_)}") for id_, body in listed.items()]


def _parse(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadKeyring(source=str(path), reason=f"it cannot be read: {reason}") from None
    try:
        match path.suffix.lower():
            case ".toml":
                return tomllib.loads(text)
            case ".json":
                return json.loads(text)
            case _:
                raise BadKeyring(source=str(path), reason="its name must end in .toml or .json")
    except (ValueError, RecursionError) as error:
        # Not chained: a parser's error carries the whole text, and with it the secrets.
        raise BadKeyring(source=str(path), reason=_where(error)) from None


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON: line {error.lineno}, column {error.colno}"
    place = str(error).rpartition("(at ")[2].rstrip(")")
    return f"it is not valid: {place}" if place.startswith("line ") else "it is not valid"


def _environment(environment: str, body: object, *, source: str) -> EnvironmentEntry:
    table = _table(body, source=source, known={"secret_key", "previous_secret_keys"})
    previous = table.get("previous_secret_keys", [])
    if not isinstance(previous, list):
        raise BadKeyring(source=source, reason="previous_secret_keys must be a list")
    return EnvironmentEntry(
        environment=environment,
        current=KeyEntry(_secret(table, source=source), source=source),
        previous=read_previous_keys(previous, source=source),
    )


def _previous_entry(written: object, *, source: str) -> KeyEntry:
    if isinstance(written, str):
        return KeyEntry(written, source=source)
    table = _table(written, source=f"{source}, previous_secret_keys", known={"secret_key", "retired_at"})
    secret, retired_at = _secret(table, source=source), table.get("retired_at")
    if retired_at is None:
        return KeyEntry(secret, source=source)
    hint = f"retired_at must be a time such as {_TIME_EXAMPLE}, with its time zone"
    return KeyEntry(secret, _aware_time(retired_at, source=source, hint=hint), source)


def _secret(table: Mapping[str, object], *, source: str) -> str:
    secret = table.get("secret_key")
    if not isinstance(secret, str):
        raise BadKeyring(source=source, reason="secret_key must be set, and be text")
    return secret


def _aware_time(written: object, *, source: str, hint: str) -> datetime:
    time = written
    if isinstance(written, str):
        try:
            time = datetime.fromisoformat(written)
        except ValueError:
            raise BadKeyring(source=source, reason=hint) from None
    # Without a zone it would mean another moment on each machine.
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise BadKeyring(source=source, reason=hint)
    return time


def _table(value: object, *, source: str, known: set[str] | None = None) -> dict[str, object]:
    """*value* as a table; a name that is not *known* is refused, since it may be a typing error."""
    if not isinstance(value, dict):
        raise BadKeyring(source=source, reason="a table is expected")
    unknown = sorted(set(value) - known) if known else []
    if unknown:
        expected = ", ".join(sorted(known or ()))
        raise BadKeyring(source=source, reason=f"{shown(unknown[0])} is not known here; expected: {expected}")
    return value
