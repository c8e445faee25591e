"""The table of settings: complete, true, and the same as in the documentation and the examples."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.changes import Limits
from gateway.configuration.reading import read_value
from gateway.configuration.sources import Written
from gateway.configuration.table import ELSEWHERE, GATEWAY, KEYS, KNOWN_VARIABLES, SETTINGS, Setting
from gateway.settings import Settings
from gateway.store.redis_keys import Retention
from tests.gateway.configuration.places import SECRET, URL

if TYPE_CHECKING:
    from tests.gateway.configuration.places import Place

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
NOTHING = "\u2013"
#: Of Settings, what nobody sets by a name of its own.
WITHOUT_NAME = {"retention.unfinished_seconds"}


def row(setting: Setting) -> str:
    """Its line in docs/settings.md."""
    names = ", ".join(f"`{name}`" for name in setting.variables)
    key = f"`{setting.key}`" if setting in SETTINGS.values() and setting.in_file else NOTHING
    flag = f"`{setting.option}`" if setting.flag else NOTHING
    default = f"`{setting.default}`" if setting.default else NOTHING
    return f"| {names} | {key} | {flag} | {default} | {setting.meaning} |"


@pytest.mark.parametrize("setting", [*KEYS, *GATEWAY, *ELSEWHERE], ids=lambda setting: setting.key)
def test_the_page_shows_each_setting_as_it_is(setting: Setting) -> None:
    """Its variables, key, flag, default and meaning, word by word."""
    assert row(setting) in PAGE.splitlines()


def test_the_page_shows_nothing_else() -> None:
    """No setting that is gone, and no flag that never was."""
    shown = [line for line in PAGE.splitlines() if line.startswith("| `")]

    assert len(shown) == len(KEYS) + len(GATEWAY) + len(ELSEWHERE)


def test_every_field_of_the_settings_has_a_name() -> None:
    """What can be set can be set from outside."""
    parts = {f"limits.{field.name}" for field in dataclasses.fields(Limits)}
    parts |= {f"retention.{field.name}" for field in dataclasses.fields(Retention)}
    fields = {field.name for field in dataclasses.fields(Settings)} - {"limits", "retention"} | parts

    assert {setting.field for setting in SETTINGS.values() if setting.field} == fields - WITHOUT_NAME


def value_of(settings: object, field: str) -> Any:
    for part in field.split("."):
        settings = getattr(settings, part)
    return settings


@pytest.mark.parametrize("setting", [one for one in GATEWAY if one.field], ids=lambda setting: setting.key)
def test_the_default_that_is_shown_is_the_one_that_holds(setting: Setting) -> None:
    """To write it down changes nothing."""
    if setting.default:
        shown = read_value(setting, Written(setting.default, "the table"))
        assert shown == value_of(Settings(redis_url=URL), setting.field)
    elif setting.field != "redis_url":
        assert not value_of(Settings(redis_url=URL), setting.field) or setting.field == "origins"


def test_every_variable_that_is_read_anywhere_is_known() -> None:
    """Else whoever sets it would be told that it is none."""
    pattern = re.compile(r"\bRUNCAST_[A-Z_]+[A-Z]\b")
    files = [path for room in ("gateway", "auth") for path in (ROOT / room).rglob("*.py")]

    read = {name for path in files for name in pattern.findall(path.read_text(encoding="utf-8"))}

    assert read - KNOWN_VARIABLES == set()


def test_what_the_samples_set_exists() -> None:
    """A name that is mistyped in a manifest or on a page would do nothing, wherever it is copied to."""
    pattern = re.compile(r"\bRUNCAST_[A-Z_]+[A-Z]\b")
    samples = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    samples += [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]

    named = {name for path in samples for name in pattern.findall(path.read_text(encoding="utf-8"))}

    assert named - KNOWN_VARIABLES == set()


def test_the_example_of_the_page_can_be_used_as_it_is(place: Place) -> None:
    """Whoever begins with it begins with something that works, and shows each setting that a file may hold."""
    example = re.findall(r"<!-- runcast.toml -->\n```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(example) == 1
    place.write("runcast.toml", example[0].replace("…", SECRET))

    configuration = place.read()

    assert configuration.problems == ()
    assert configuration.keyring().environments == ("production", "staging")
    assert configuration.settings().port == 8787
