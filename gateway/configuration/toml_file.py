"""runcast.toml, or the table [tool.runcast] of a pyproject.toml."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

from gateway.configuration.kinds import ORIGINS, SWITCH
from gateway.configuration.sources import Written
from gateway.configuration.table import SETTINGS
from gateway.configuration.unknown import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.configuration.table import Setting

FILE_NAME: Final = "runcast.toml"
PROJECT_FILE_NAME: Final = "pyproject.toml"
#: The tables of environments, in the same form as in an environments file.
ENVIRONMENTS: Final = "environments"
#: Of secret_key beside it; a list there may hold tables, which only auth reads.
PREVIOUS: Final = "previous_secret_keys"


class TomlFile:
    """What one file says. A key that is no setting is a problem: it would have been meant to do something."""

    def __init__(self, name: str, table: Mapping[str, Any] | None = None, problem: str = "") -> None:
        self.name = name
        self.problems: list[str] = [f"{name}: {problem}"] if problem else []
        self.unknown: list[str] = []
        self._table = table or {}
        allowed = {key for key, setting in SETTINGS.items() if setting.in_file} | {ENVIRONMENTS}
        for key in self._table.keys() - allowed:
            self.problems.append(f"{_shown(key)} in {name} is not a setting{did_you_mean(key, allowed)}")

    @property
    def environments(self) -> Any:
        """As it was written, for auth to read; None when there are none."""
        return self._table.get(ENVIRONMENTS)

    def find(self, setting: Setting) -> Written | None:
        if not setting.in_file or setting.key not in self._table:
            return None
        written, source = self._table[setting.key], f"{setting.key} in {self.name}"
        if setting.key == PREVIOUS and isinstance(written, list):
            return Written(written, source)
        text = _text(written, setting)
        if text is None:
            expected = "true or false" if setting.kind is SWITCH else "text or a number"
            self.problems.append(f"{source} is {expected}, not a {_type_name(written)}")
            return None
        return Written(text.strip(), source) if text.strip() else None


def _text(written: object, setting: Setting) -> str | None:
    """A TOML value as one would write it into a variable; None when it is of no kind that can be."""
    match written:
        case str():
            return written
        case bool():
            return str(written).lower() if setting.kind is SWITCH else None
        case int():
            return str(written) if setting.kind is not SWITCH and abs(written) < 10**18 else None
        case float():
            return f"{written:.9f}".rstrip("0").rstrip(".")
        case list() if setting.kind is ORIGINS and all(isinstance(one, str) for one in written):
            return ", ".join(written)
        case _:
            return None


def _type_name(written: object) -> str:
    names = {bool: "boolean", int: "number", dict: "table", list: "list"}
    return names.get(type(written), "time")


def _shown(key: str) -> str:
    return key[:60] if key.isprintable() else ascii(key[:60])


def find_toml(named: Written | None, directory: Path) -> TomlFile | None:
    """The file that is *named*, else runcast.toml, else the table of pyproject.toml; None when there is none."""
    if named is not None:
        path = directory / named.value
        if not path.is_file():
            return TomlFile(named.value, problem=f"there is no such file; {named.source} names it")
        return TomlFile(named.value, *_parse(path))
    if (directory / FILE_NAME).exists():
        return TomlFile(FILE_NAME, *_parse(directory / FILE_NAME))
    if (directory / PROJECT_FILE_NAME).is_file():
        return _of_project(directory / PROJECT_FILE_NAME)
    return None


def _of_project(path: Path) -> TomlFile | None:
    document, problem = _parse(path)
    if problem:
        return TomlFile(path.name, problem=problem)
    tools = document.get("tool")
    table = tools.get("runcast") if isinstance(tools, dict) else None
    if table is None:
        return None
    if not isinstance(table, dict):
        return TomlFile(path.name, problem="[tool.runcast] is a table")
    return TomlFile(path.name, table)


def _parse(path: Path) -> tuple[dict[str, Any], str]:
    """The document, or why there is none. Not in the parser's words, which may repeat a secret."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), ""
    except OSError as error:
        return {}, f"it can't be read: {error.strerror}"
    except UnicodeDecodeError:
        return {}, "it is not UTF-8"
    except (ValueError, RecursionError) as error:
        place = str(error).rpartition("(at ")[2].rstrip(")")
        return {}, f"it is not valid TOML{': ' + place if place.startswith(('line ', 'end of ')) else ''}"
