"""The secret keys among the settings: which place decides, and whether they can be used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from auth import AuthError, Keyring
from auth.key_sources import (
    DEFAULT_ENVIRONMENT,
    EnvironmentEntry,
    KeyEntry,
    read_environments,
    read_file,
    read_previous_keys,
)
from gateway.configuration.sources import Written
from gateway.configuration.table import SETTINGS, Setting
from gateway.configuration.toml_file import ENVIRONMENTS, TomlFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.configuration.sources import Source

#: What the official SDK reads may well be set beside keys of ours, so it counts only where there are none.
_FALLBACK: Final = Setting(variable=SETTINGS["secret_key"].others[0], meaning="", secret=True, in_file=False)
_SECRET_KEY: Final = replace(SETTINGS["secret_key"], others=())
_FILE: Final = SETTINGS["environments_file"]
_PREVIOUS: Final = SETTINGS["previous_secret_keys"]

NO_KEY: Final = (
    "there is no secret key: set RUNCAST_SECRET_KEY (32 random bytes or more), RUNCAST_SECRET_KEY_FILE, "
    "RUNCAST_ENVIRONMENTS_FILE, or [environments.NAME] in runcast.toml"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The environments that were found, and what is wrong or doubtful about them. Empty when there are none."""

    keyring: Keyring = field(default_factory=lambda: Keyring([]))
    #: Where they are written; "" when there are none.
    source: str = ""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Named:
    """One way of naming the keys, as one place has it."""

    written: Written
    read: Callable[[Written], list[EnvironmentEntry]]
    several: bool = False


class _Reader:
    def __init__(self, sources: Sequence[Source], environment: str | None) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._sources = sources
        self._environment = environment or DEFAULT_ENVIRONMENT
        self._previous = next(filter(None, (source.find(_PREVIOUS) for source in sources)), None)

    def read(self) -> tuple[list[EnvironmentEntry], str]:
        """The first place that names keys decides, whatever those behind it say."""
        ways = [self._named_in(source) for source in self._sources]
        decided = [named for named in ways if named] or [self._fallbacks()]
        if not decided[0]:
            return [], ""
        first, *others = decided[0]
        if others:
            both = " and ".join(one.written.source for one in decided[0])
            self.problems.append(f"{both} both name secret keys; keep one")
        for late in (one for named in decided[1:] for one in named):
            self.warnings.append(f"{late.written.source} does not count: {first.written.source} comes before it")
        if first.several and self._previous is not None:
            reason = f"{first.written.source} lists environments, each with its own; keep one"
            self.problems.append(f"{self._previous.source}: {reason}")
        return self._entries(first), first.written.source

    def _named_in(self, source: Source) -> list[_Named]:
        named = []
        if secret := source.find(_SECRET_KEY):
            named.append(_Named(secret, self._one))
        if file := source.find(_FILE):
            named.append(_Named(file, _read_file, several=True))
        if isinstance(source, TomlFile) and source.environments is not None:
            written = Written(source.environments, f"[{ENVIRONMENTS}] in {source.name}")
            named.append(_Named(written, lambda _: self._tables(source.environments, source.name), several=True))
        return named

    def _fallbacks(self) -> list[_Named]:
        found = next(filter(None, (source.find(_FALLBACK) for source in self._sources)), None)
        return [] if found is None else [_Named(found, self._one)]

    def _entries(self, named: _Named) -> list[EnvironmentEntry]:
        try:
            return named.read(named.written)
        except AuthError as error:
            self.problems.append(str(error))
            return []

    def _one(self, secret: Written) -> list[EnvironmentEntry]:
        previous = self._previous
        return [
            EnvironmentEntry(
                self._environment,
                KeyEntry(secret.value, source=secret.source),
                () if previous is None else read_previous_keys(previous.value, source=previous.source),
            )
        ]

    def _tables(self, tables: Any, name: str) -> list[EnvironmentEntry]:
        if not isinstance(tables, dict) or not tables:
            return read_environments(tables, source=name)  # which says what is wrong with that
        entries = []
        for environment, table in tables.items():  # one by one, to hear of every problem
            try:
                entries += read_environments({environment: table}, source=name)
            except AuthError as error:
                self.problems.append(str(error))
        return entries


def _read_file(written: Written) -> list[EnvironmentEntry]:
    return read_file(Path(written.value))


def read_keys(sources: Sequence[Source], environment: str | None, *, allow_weak: bool = False) -> Keys:
    """
    The keys that the *sources* name, those of the first one that names any.

    Args:
        environment: The id of the one environment, where there is only one.
    """
    reader = _Reader(sources, environment)
    entries, source = reader.read()
    for entry in entries:
        try:
            Keyring.from_entries([entry], allow_weak=allow_weak)
        except AuthError as error:
            reader.problems.append(str(error))
    keyring = Keyring([])
    if not reader.problems:
        try:
            keyring = Keyring.from_entries(entries, allow_weak=allow_weak)
        except AuthError as error:  # two of them that are good, but the same
            reader.problems.append(f"{source}: {error}")
    return Keys(keyring, source, reader.problems, [*reader.warnings, *([] if allow_weak else keyring.warnings())])
