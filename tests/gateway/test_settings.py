"""Settings: what each variable says, and that whatever is wrong is refused by its name before anything starts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.changes import Limits
from gateway.errors import Misconfigured
from gateway.settings import DEFAULT_PORT, Settings, from_environ
from gateway.store.redis_keys import Retention
from gateway.transports.origins import Origins
from gateway.transports.sinks import SocketLimits

URL = "redis://localhost/0"


def settings(**environ: str) -> Settings:
    return from_environ(environ, redis_url=URL)


def test_an_empty_environment_is_enough() -> None:
    """Everything but Redis has a default, and a variable that is set to nothing is not set."""
    names = [
        "HOST",
        "PORT",
        "WORKERS",
        "ALLOWED_ORIGINS",
        "RETENTION",
        "METADATA_BYTES",
        "PAYLOAD_BYTES",
        "OUTPUT_BYTES",
    ]

    for blank in ("", "  "):
        assert settings(**{f"RUNCAST_{name}": blank for name in names}) == settings() == Settings(redis_url=URL)
    assert (settings().host, settings().port, settings().workers) == ("127.0.0.1", DEFAULT_PORT, 1)
    assert settings().origins == Origins()


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("RUNCAST_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("RUNCAST_HOST", "::1", "host", "::1"),
        ("HOST", "example.com", "host", "example.com"),
        ("RUNCAST_PORT", " 9000 ", "port", 9000),
        ("RUNCAST_PORT", "0", "port", 0),
        ("PORT", "65535", "port", 65535),
        ("RUNCAST_WORKERS", "4", "workers", 4),
        ("WEB_CONCURRENCY", "2", "workers", 2),
        ("RUNCAST_ALLOWED_ORIGINS", "https://a.example", "origins", Origins(frozenset({"https://a.example"}))),
        ("RUNCAST_RETENTION", "2d12h", "retention", Retention(finished_seconds=216_000.0)),
        ("RUNCAST_RETENTION", "90", "retention", Retention(finished_seconds=90.0)),
        ("RUNCAST_METADATA_BYTES", "1000", "limits", Limits(metadata_bytes=1000)),
        ("RUNCAST_PAYLOAD_BYTES", "1000", "limits", Limits(payload_bytes=1000)),
        ("RUNCAST_OUTPUT_BYTES", "1000", "limits", Limits(output_bytes=1000)),
    ],
)
def test_each_variable_sets_what_it_names(variable: str, text: str, field: str, value: object) -> None:
    """And nothing else."""
    changed: dict[str, Any] = {field: value}

    assert settings(**{variable: text}) == dataclasses.replace(settings(), **changed)


@pytest.mark.parametrize(
    ("ours", "general"), [("RUNCAST_HOST", "HOST"), ("RUNCAST_PORT", "PORT"), ("RUNCAST_WORKERS", "WEB_CONCURRENCY")]
)
def test_our_own_variable_wins_over_the_general_one(ours: str, general: str) -> None:
    """Platforms set the general ones, people ours."""
    assert settings(**{ours: "7", general: "8"}) == settings(**{ours: "7"})


NO_NUMBERS = ["x", "-1", "+1", "1.5", "1e3", "1_000", "0x10", "\u0661", "9" * 400, "1 2", "one", "\0"]
WRONG = {
    "RUNCAST_HOST": ["http://0.0.0.0", "0.0.0.0/0", "a b", "a\nb"],
    "HOST": ["http://localhost:80"],
    "RUNCAST_PORT": [*NO_NUMBERS, "65536", "8787/tcp"],
    "PORT": [*NO_NUMBERS, "99999"],
    "RUNCAST_WORKERS": [*NO_NUMBERS, "0"],
    "WEB_CONCURRENCY": [*NO_NUMBERS, "0"],
    "RUNCAST_ALLOWED_ORIGINS": ["app.example.com", "https://a.example, nonsense", "https://a.*.example", "null"],
    "RUNCAST_RETENTION": ["x", "0", "-1h", "1y", "1h!", "9" * 400, "h", "1.5h"],
    "RUNCAST_METADATA_BYTES": [*NO_NUMBERS, "0", "256KB"],
    "RUNCAST_PAYLOAD_BYTES": [*NO_NUMBERS, "0", "3MB"],
    "RUNCAST_OUTPUT_BYTES": [*NO_NUMBERS, "0", "-5"],
}


@pytest.mark.parametrize(("variable", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(variable: str, text: str) -> None:
    """The one that was set, not another; with what it says, shortened, and what would be right."""
    with pytest.raises(Misconfigured) as refused:
        settings(**{variable: text})

    assert re.match(rf"{variable}\b", str(refused.value))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 250


def _refusal(variable: str, text: str) -> str | None:
    try:
        settings(**{variable: text})
    except Misconfigured as error:
        return str(error)
    return None


@hypothesis.settings(deadline=None)
@given(st.sampled_from(sorted(WRONG)), st.text())
def test_any_value_is_a_setting_or_misconfigured(variable: str, text: str) -> None:
    """Nothing else comes out, whatever stands in the environment."""
    refusal = _refusal(variable, text)

    assert refusal is None or refusal.startswith(variable)


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", -1), ("port", 65536), ("workers", 0)]
    + [
        (name, value)
        for name in (
            *("heartbeat_seconds", "unsent_limit_bytes", "stuck_seconds", "handshake_seconds"),
            *("feeds_per_connection", "message_bytes"),
        )
        for value in (0, -1, float("nan"))
    ],
)
def test_settings_of_a_program_are_checked_too(field: str, value: Any) -> None:
    """Whoever builds them learns which one can't be right."""
    with pytest.raises(Misconfigured, match=field):
        Settings(redis_url=URL, **{field: value})


def test_settings_do_not_change() -> None:
    """One object for all, so nobody may."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().port = 1  # type: ignore[misc]


def test_what_a_socket_may_hold_is_part_of_the_settings() -> None:
    """As the servers take it."""
    assert Settings(redis_url=URL, unsent_limit_bytes=5, message_bytes=7).socket_limits == SocketLimits(5, 7)


def test_every_variable_is_documented() -> None:
    """docs/settings.md has a line for each that is read here."""
    documented = (Path(__file__).parents[2] / "docs/settings.md").read_text(encoding="utf-8")

    assert [variable for variable in WRONG if f"`{variable}`" not in documented] == []
