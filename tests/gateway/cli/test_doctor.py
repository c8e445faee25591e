"""`runcast doctor`: how it says what it finds. (What it finds: tests/gateway/doctor.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from auth import generate_secret_key
from gateway.cli import main
from tests.gateway.cli.commands import run
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.serving import ServedGateway
    from tests.redis_server import RedisServer


def surroundings(gateway: ServedGateway) -> dict[str, str]:
    return {
        "RUNCAST_SECRET_KEY": gateway.secret,
        "RUNCAST_ENVIRONMENT": gateway.keys.environment,
        "RUNCAST_REDIS_URL": gateway.settings.redis_url,
        "RUNCAST_ALLOWED_ORIGINS": "https://app.example.com",
    }


async def test_what_is_found_is_data_and_how_it_stands_is_said(gateway: ServedGateway, tmp_path: Path) -> None:
    """The Redis of these tests saves nothing to disk: a warning, with the line to change. That alone is no failure."""
    code, output, errors = await run(
        "doctor", gateway.url, "--idle", "0.3", "--publish", directory=tmp_path, **surroundings(gateway)
    )

    assert code == 0
    lines = output.splitlines()
    (index,) = (number for number, line in enumerate(lines) if line.startswith("warning "))
    assert "redis.persistence" in lines[index]
    assert lines[index + 1].split()[0] == "why"
    assert lines[index + 2].split() == ["change", "CONFIG", "SET", "appendonly", "yes"]
    assert "ok       gateway.publishing" in output
    assert errors.startswith("runcast: 0 wrong, 1 to look at, ")


async def test_an_error_exits_with_1_and_is_in_the_document(gateway: ServedGateway, tmp_path: Path) -> None:
    other = "https://other.example.com"
    code, output, errors = await run(
        *("doctor", gateway.url, "--origin", other, "--idle", "0.1", "--json"),
        directory=tmp_path,
        **surroundings(gateway),
    )

    assert (code, errors) == (1, "")
    document = json.loads(output)
    assert (document["v"], document["worst"]) == (1, "error")
    (wrong,) = (finding for finding in document["findings"] if finding["severity"] == "error")
    assert (wrong["check"], wrong["change"][0].split()[0]) == ("gateway.origin", f"RUNCAST_ALLOWED_ORIGINS={other}")
    assert all(set(finding) == {"check", "severity", "says", "why", "change"} for finding in document["findings"])


async def test_no_secret_is_ever_printed(redis_server: RedisServer, tmp_path: Path) -> None:
    secret = generate_secret_key()
    url = f"redis://somebody:the-password@127.0.0.1:{redis_server.port}/0"
    for options in ((), ("--json",)):
        code, output, errors = await run(
            "doctor", *options, directory=tmp_path, RUNCAST_SECRET_KEY=secret, RUNCAST_REDIS_URL=url
        )
        assert code == 1
        assert "redis.reachable" in output
        assert not {secret, "the-password"} & set((output + errors).replace('"', " ").split())
        assert "the-password" not in output + errors


def doctor(directory: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """In this process: for cases of which there are many."""
    nothing = {"RUNCAST_STATE_DIR": str(directory), "RUNCAST_REDIS_URL": "", "REDIS_URL": "", "RUNCAST_SECRET_KEY": ""}
    done = CliRunner().invoke(main, ["doctor", *arguments], env=nothing | environ)
    return done.exit_code, done.stdout, done.stderr


def test_when_nothing_could_be_reached_it_exits_with_6(tmp_path: Path) -> None:
    url, gateway = f"redis://127.0.0.1:{free_port()}/0", f"http://127.0.0.1:{free_port()}"

    code, output, _ = doctor(tmp_path, RUNCAST_REDIS_URL=url)
    assert (code, "Redis can't be reached" in output) == (6, True)
    code, output, _ = doctor(tmp_path, gateway, "-q")
    assert (code, "gateway.reachable" in output, "note" in output) == (6, True, False)
    code, output, _ = doctor(tmp_path)
    assert (code, "RUNCAST_REDIS_URL=redis://" in output) == (6, True)


@pytest.mark.parametrize(
    ("arguments", "environ", "word"),
    [
        (("--publish",), {}, "give its URL"),
        (("ftp://example.com",), {}, "http://"),
        (("http://user:the-password@example.com",), {}, "http://"),
        (("http://127.0.0.1:1", "--origin", "example.com"), {}, "--origin"),
        (("http://127.0.0.1:1", "--idle", "soon"), {}, "30m"),
        ((), {"RUNCAST_REDIS_URL": "http://127.0.0.1"}, "redis://"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_would_be_right(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], word: str
) -> None:
    code, output, errors = doctor(tmp_path, *arguments, **environ)

    assert (code, output) == (2, "")
    assert word in errors
    assert "the-password" not in errors


async def test_what_runcast_toml_says_counts_too(gateway: ServedGateway, tmp_path: Path) -> None:
    """As for a gateway that is started from this directory."""
    (tmp_path / "runcast.toml").write_text(
        f'redis_url = "{gateway.settings.redis_url}"\n'
        f'[environments.{gateway.keys.environment}]\nsecret_key = "{gateway.secret}"\n'
    )
    code, output, _ = await run("doctor", gateway.url, "--idle", "0.1", directory=tmp_path)

    assert code == 0
    assert "ok       gateway.upgrade" in output
    assert "ok       gateway.same_redis" in output
