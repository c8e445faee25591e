"""`runcast config`: what would be started with here, and all that is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.cli.config import _without_secrets
from gateway.configuration.table import SETTINGS
from tests.gateway.cli.commands import run

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "tr_test_the_secret_of_the_config_command"
PASSWORD = "pa55word-of-redis"
URL = f"redis://someone:{PASSWORD}@redis.example:6380/2?client_name=x"
GOOD = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_REDIS_URL": URL}


async def shown(directory: Path, *arguments: str, **environ: str) -> dict[str, tuple[str | None, str]]:
    """Value and source by name."""
    code, output, _ = await run("config", "show", "--json", *arguments, directory=directory, **environ)
    assert code == 0
    document = json.loads(output)
    assert document["v"] == 1
    return {row["name"]: (row["value"], row["source"]) for row in document["settings"]}


async def test_show_names_each_setting_with_its_value_and_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "runcast.toml").write_text('heartbeat = "20s"\nallowed_origins = ["https://a.example"]\n')

    settings = await shown(tmp_path, **GOOD, PORT="9000")

    assert set(settings) == {*SETTINGS, "environments"}
    assert settings["port"] == ("9000", "PORT in the environment")
    assert settings["heartbeat"] == ("20s", "heartbeat in runcast.toml")
    assert settings["allowed_origins"] == ("https://a.example", "allowed_origins in runcast.toml")
    assert settings["retention"] == ("24h", "default")
    assert settings["metrics_port"] == (None, "default")
    assert settings["environments"] == ("default", "RUNCAST_SECRET_KEY in the environment")


@pytest.mark.parametrize("arguments", [("show",), ("show", "--json"), ("check",)])
async def test_no_secret_is_shown(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Wherever it comes from, and whether it can be used or not."""
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "runcast.toml").write_text(
        f'redis_url = "{PASSWORD}"\nprevious_secret_keys = ["{SECRET} "]\n[environments.a]\nsecret_key = "{SECRET}"\n'
    )
    for environ in (GOOD, {"RUNCAST_SECRET_KEY_FILE": str(tmp_path / "key")}, {"REDIS_URL": f"{PASSWORD}@host"}, {}):
        _, output, errors = await run("config", *arguments, directory=tmp_path, **environ)
        assert SECRET not in output + errors
        assert PASSWORD not in output + errors


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        (URL, "redis://***@redis.example:6380/2"),
        ("rediss://:secret@[::1]/0", "rediss://***@[::1]/0"),
        ("unix:///run/redis.sock?password=secret", "unix://***@/run/redis.sock"),
        ("redis://h?password=secret", "redis://***@h"),
        ("redis://:se/cret@h:1/0", "***"),
        ("redis://:secret", "***"),
        ("secret", "***"),
        ("redis://[", "***"),
    ],
)
def test_of_a_redis_url_is_shown_what_is_no_secret(url: str, shown: str) -> None:
    """A password in the wrong place is one as well."""
    assert _without_secrets(url) == shown


async def test_as_development_would_start(tmp_path: Path) -> None:
    """With the .env that `serve` does not read."""
    (tmp_path / ".env").write_text("RUNCAST_PORT=9000\n")

    assert (await shown(tmp_path))["port"] == ("8787", "default")
    settings = await shown(tmp_path, "--dev")
    assert settings["port"] == ("9000", "RUNCAST_PORT in .env")
    assert settings["allowed_origins"] == ("*", "the default of runcast dev")
    code, output, _ = await run("config", "check", "--dev", directory=tmp_path)
    assert (code, "error" in output) == (0, False)


async def test_check_says_what_is_fine(tmp_path: Path) -> None:
    """And exits with 0."""
    (tmp_path / "other.toml").write_text("port = 9000")

    code, output, errors = await run("config", "check", "--config", "other.toml", directory=tmp_path, **GOOD)

    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        "ok       config is other.toml: --config",
        "ok       redis_url is redis://***@redis.example:6380/2: RUNCAST_REDIS_URL in the environment",
        "ok       port is 9000: port in other.toml",
        "ok       the secret keys of default can be used: RUNCAST_SECRET_KEY in the environment",
    ]


async def test_check_says_everything_that_is_wrong_at_once(tmp_path: Path) -> None:
    """And exits with 2. A variable that is no setting is wrong here: nobody is kept from starting by it."""
    (tmp_path / "runcast.toml").write_text('prot = 1\nretention = "2y"\n[environments.a]\nsecret_key = "short"\n')

    code, output, _ = await run("config", "check", directory=tmp_path, RUNCAST_WORKRES="2", RUNCAST_PORT="x")

    assert code == 2
    wrong = [line.removeprefix("error    ") for line in output.splitlines() if line.startswith("error")]
    assert wrong[:3] == [
        "prot in runcast.toml is not a setting; did you mean port?",
        "RUNCAST_PORT in the environment is a whole number from 0 to 65535, not 'x'",
        "retention in runcast.toml: a span of time is like 30m, 24h, 2d12h or a number of seconds, not '2y'",
    ]
    assert wrong[3].startswith("runcast.toml, environment 'a': ")
    assert wrong[4] == "RUNCAST_WORKRES in the environment is not a setting; did you mean RUNCAST_WORKERS?"
    assert wrong[5].startswith("no Redis is named")
    assert len(wrong) == 6


async def test_check_doubts_what_is_seldom_right_in_production(tmp_path: Path) -> None:
    """A short key, pages of every origin, a Redis that nobody else knows of; none of it keeps it from starting."""
    environ = {"RUNCAST_SECRET_KEY": SECRET[:25], "RUNCAST_ALLOWED_ORIGINS": "*", "RUNCAST_EMBEDDED": "true"}

    code, output, _ = await run("config", "check", directory=tmp_path, **environ)

    assert code == 0
    doubts = [line for line in output.splitlines() if line.startswith("warning")]
    assert [name for name in environ if any(f"  {name} in the environment" in doubt for doubt in doubts)] == [*environ]


async def test_what_a_file_says_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    """A key of somebody's file with an escape sequence in it is shown harmless."""
    (tmp_path / "runcast.toml").write_text('"po\\u001b[2Jrt" = 1\n')

    _, output, errors = await run("config", "check", directory=tmp_path)

    assert "\x1b" not in output + errors
