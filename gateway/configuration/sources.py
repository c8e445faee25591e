"""
The places that are asked for settings, the first of them first:

    flags                       --port 9000
    the environment             RUNCAST_PORT, else PORT
    files of secrets            RUNCAST_SECRET_KEY_FILE=/run/secrets/key
    .env, in development        the same names
    runcast.toml                port = 9000; else [tool.runcast] in pyproject.toml

What none of them names keeps its default.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.configuration.table import KNOWN_VARIABLES, PREFIX
from gateway.configuration.unknown import did_you_mean
from gateway.errors import BadInput
from gateway.secret_files import FILE_SUFFIX, read_secret_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.configuration.table import Setting

#: Variables of others that describe how *this* process listens. In an .env they describe the app beside us.
_OF_THE_PROCESS: Final = frozenset({"HOST", "PORT", "WEB_CONCURRENCY", "LOG_LEVEL"})
#: What the demo and the benchmarks tell their own processes.
_FOREIGN: Final = ("RUNCAST_DEMO_", "RUNCAST_BENCHMARK_")
# A Kubernetes service named runcast, or runcast-redis, puts these into every pod beside it.
_SERVICE_LINK: Final = re.compile(r"\w+_SERVICE_(?:HOST|PORT(?:_\w+)?)|\w+_PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?")
_SERVICE_PORT: Final = re.compile(r"\w+_PORT")
_SERVICE_ADDRESS: Final = re.compile(r"(?:tcp|udp|sctp)://\S+")
#: What holds in development when nobody says otherwise.
DEVELOPMENT: Final = MappingProxyType({"allowed_origins": "*"})


@dataclass(frozen=True, slots=True)
class Written:
    """A setting as somebody wrote it down, and where."""

    value: Any = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Which places are asked. Holds no more than names and texts, so it can be sent to a worker, and asked again."""

    #: Texts by the key of the setting; the flags that were given.
    flags: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    #: Where runcast.toml, pyproject.toml and .env are looked for.
    directory: Path = field(default_factory=Path)
    #: As `runcast dev`: a .env counts, and pages of all origins are welcome.
    development: bool = False


class Source(Protocol):
    """One place."""

    problems: list[str]
    #: Names that look like settings and are none, and may be somebody else's.
    unknown: list[str]

    def find(self, setting: Setting) -> Written | None:
        """What it says of *setting*. What is wrong with that is added to `problems`."""


class Given:
    """Texts by key that a program hands over: flags, or what holds in development."""

    def __init__(self, texts: Mapping[str, str], where: str = "") -> None:
        self.problems: list[str] = []
        self.unknown: list[str] = []
        self._texts = texts
        self._where = where

    def find(self, setting: Setting) -> Written | None:
        text = self._texts.get(setting.key, "").strip()
        return Written(text, self._where or setting.option) if text else None


class Variables:
    """The environment, and the files of secrets that it names. A blank variable is not set."""

    def __init__(self, environ: Mapping[str, str], where: str = "the environment") -> None:
        self.problems: list[str] = []
        self.unknown = list(_unknown(environ, where))
        self._environ = environ
        self._where = where

    def find(self, setting: Setting) -> Written | None:
        for name in setting.variables:
            text = self._text(name)
            path = self._text(name + FILE_SUFFIX) if setting.secret else ""
            if text and path:
                self.problems.append(f"{name} and {name}{FILE_SUFFIX} are both set in {self._where}; keep one")
            if text:
                return Written(text, f"{name} in {self._where}")
            if path:
                return self._in_file(path, f"{name}{FILE_SUFFIX} ({path})")
        return None

    def _text(self, name: str) -> str:
        text = self._environ.get(name, "").strip()
        return "" if _is_service_link(name, text) else text

    def _in_file(self, path: str, source: str) -> Written | None:
        try:
            text = read_secret_file(path)
        except BadInput as error:
            self.problems.append(f"{source}: {error}")
            return None
        return Written(text, source)


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes set it, because of a service that is named as we are: RUNCAST_PORT=tcp://10.0.0.1:8787."""
    if _SERVICE_LINK.fullmatch(name):
        return True
    return bool(_SERVICE_PORT.fullmatch(name) and _SERVICE_ADDRESS.fullmatch(text))


def _unknown(environ: Mapping[str, str], where: str) -> Iterator[str]:
    """A sentence for each variable that looks like one of ours and is none."""
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in KNOWN_VARIABLES or name.startswith(_FOREIGN):
            continue
        if not _is_service_link(name, environ[name]):
            yield f"{name} in {where} is not a setting{did_you_mean(name, KNOWN_VARIABLES, prefix=PREFIX)}"


class DotEnv(Variables):
    """The .env of a project in development. Only what can't be meant for the app beside us counts."""

    def __init__(self, path: Path) -> None:
        environ, problem = _read_dotenv(path)
        super().__init__(environ, path.name)
        if problem:
            self.problems.append(f"{path.name}: {problem}")

    def _text(self, name: str) -> str:
        return "" if name in _OF_THE_PROCESS else super()._text(name)


def _read_dotenv(path: Path) -> tuple[Mapping[str, str], str]:
    if not path.is_file():
        return MappingProxyType({}), ""
    from dotenv import dotenv_values  # only in development

    try:
        values = dotenv_values(path)
    except OSError as error:
        return {}, f"it can't be read: {error.strerror}"
    except ValueError:
        return {}, "it is not UTF-8"
    return {name: value for name, value in values.items() if value is not None}, ""
