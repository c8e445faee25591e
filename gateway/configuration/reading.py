"""Asks every place for every setting, and says all that is wrong, not only the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import Limits
from gateway.configuration.keys import NO_KEY, Keys, read_keys
from gateway.configuration.sources import DEVELOPMENT, DotEnv, Given, Sources, Variables, Written
from gateway.configuration.table import SETTINGS
from gateway.configuration.toml_file import find_toml
from gateway.errors import BadInput, Misconfigured
from gateway.settings import Settings, check
from gateway.store.redis_keys import Retention

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auth import Keyring
    from gateway.configuration.sources import Source
    from gateway.configuration.table import Setting
    from gateway.transports.origins import Origins

#: Settings that are made of several.
_PARTS: Final[Mapping[str, Any]] = {"limits": Limits, "retention": Retention}

NO_REDIS: Final = "no Redis is named: set RUNCAST_REDIS_URL=redis://…, RUNCAST_REDIS_URL_FILE, or start with --embedded"


class BadConfiguration(Misconfigured):
    """Settings that we refuse to run with: all that is wrong with them, a line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What all places together say."""

    #: By key; only what somebody wrote down.
    written: Mapping[str, Written]
    #: By key, read and checked; what is wrong is not there.
    values: Mapping[str, Any]
    keys: Keys
    #: What we refuse to run with, each naming its place and what would be right. Never with a secret.
    problems: tuple[str, ...]
    #: What may be a mistake.
    warnings: tuple[str, ...]
    #: Variables of the environment that look like ours and are none. They may be somebody else's.
    unknown: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What a gateway needs for production and nobody wrote down."""
        embedded = self.values.get("embedded", False)
        no_redis = "redis_url" not in self.written and not embedded
        no_key = not self.keys.source and not self.keys.problems
        return (*([NO_KEY] if no_key else []), *([NO_REDIS] if no_redis else []))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is right for development, and seldom for production."""
        doubts = []
        origins = self.values.get("allowed_origins")
        if origins is not None and origins.any:
            source = self.source_of("allowed_origins")
            doubts.append(f"{source}: pages of every origin may talk to the gateway; name those that are yours")
        if self.values.get("embedded") and "redis_url" not in self.values:
            source = self.source_of("embedded")
            doubts.append(f"{source}: the embedded Redis is for one machine, and its data are in nobody's backup")
        return tuple(doubts)

    def refuse_problems(self, *, and_missing: bool = False) -> None:
        """
        Raises:
            BadConfiguration: With all of them, when there are any.
        """
        if found := (*self.problems, *(self.missing if and_missing else ())):
            raise BadConfiguration(found)

    def source_of(self, key: str) -> str:
        """Where a setting is written, for whoever must correct it; its variable when nobody wrote it."""
        return self.written[key].source if key in self.written else SETTINGS[key].variable

    def keyring(self) -> Keyring:
        """
        Raises:
            BadConfiguration: When there are no keys.
        """
        if not self.keys.source:
            raise BadConfiguration([NO_KEY])
        self.refuse_problems()
        return self.keys.keyring

    @property
    def origins(self) -> Origins:
        return self.settings(redis_url="").origins

    def settings(self, **found: Any) -> Settings:
        """
        The settings; *found* are fields that were decided otherwise.

        Raises:
            BadConfiguration: When something is wrong, or no Redis is named.
        """
        self.refuse_problems()
        fields = {SETTINGS[key].field: value for key, value in self.values.items() if SETTINGS[key].field} | found
        if "redis_url" not in fields:
            raise BadConfiguration([NO_REDIS])
        whole = {name: value for name, value in fields.items() if "." not in name}
        for name, kind in _PARTS.items():
            parts = {field.partition(".")[2]: value for field, value in fields.items() if field.startswith(f"{name}.")}
            whole.setdefault(name, kind(**parts))
        return Settings(**whole)


def read_configuration(sources: Sources | None = None, *, allow_weak: bool = False) -> Configuration:
    """
    What the *sources* say: by default the environment and the files of this directory.

    Never raises for what they say: that is among the problems.

    Args:
        allow_weak: Whether short secret keys are good enough, as in development.
    """
    sources = sources or Sources()
    asked = _sources(sources)
    written, values, problems = dict[str, Written](), dict[str, Any](), list[str]()
    for key, setting in SETTINGS.items():
        found = _first(asked, setting)
        if found is None:
            continue
        written[key] = found
        try:
            values[key] = read_value(setting, found)
        except Misconfigured as error:
            problems.append(str(error))
    keys = read_keys(asked, values.get("environment"), allow_weak=allow_weak)
    # A source is asked several times for some, and says its problem each time.
    problems = list(dict.fromkeys([*(text for one in asked for text in one.problems), *problems, *keys.problems]))
    unknown = [text for one in asked for text in one.unknown]
    warnings = list(keys.warnings)
    if values.get("embedded") and "redis_url" in written:
        source = written["redis_url"].source
        warnings.append(f"{written['embedded'].source} does not count: {source} names a Redis")
    return Configuration(written, values, keys, tuple(problems), tuple(warnings), tuple(unknown))


def _sources(sources: Sources) -> list[Source]:
    asked: list[Source] = [Given(sources.flags), Variables(sources.environ)]
    if sources.development:
        asked.append(DotEnv(sources.directory / ".env"))
    file = find_toml(_first(asked, SETTINGS["config"]), sources.directory)
    if file is not None:
        asked.append(file)
    if sources.development:
        asked.append(Given(DEVELOPMENT, "the default of runcast dev"))
    return asked


def _first(sources: Iterable[Source], setting: Setting) -> Written | None:
    return next(filter(None, (source.find(setting) for source in sources)), None)


def read_value(setting: Setting, written: Written) -> Any:
    """
    The value that was written down.

    Raises:
        Misconfigured: With its place, what it says (unless that may be secret), and what would be right.
    """
    try:
        value = setting.kind.parse(written.value) if isinstance(written.value, str) else written.value
    except BadInput as error:
        raise Misconfigured(f"{written.source}: {error}") from None
    if setting.field:
        try:
            check(setting.field, value)
        except BadInput as error:
            raise Misconfigured(f"{written.source} {error}") from None
    return value
