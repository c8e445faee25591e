"""`runcast token inspect` and `runcast token revoke`: what a token says, and taking it back."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from auth import EnvironmentKeys, Scope, generate_secret_key, mint
from gateway.cli import main
from gateway.cli.inspection import scope_in_words
from gateway.viewer.requests import RequestRefused, Requests
from tests.gateway.cli.commands import run
from tests.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.serving import ServedGateway

SECRET = generate_secret_key()
KEYS = EnvironmentKeys.of("acme", SECRET)
KNOWN = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_ENVIRONMENT": "acme"}
SCOPES = ["read:runs:run_1", "write:tags:user:7", "read:batch", "admin", "trigger:tasks:x"]


def token_command(*arguments: str, directory: Path, **environ: str) -> tuple[int, str, str]:
    """`runcast token …` in this process."""
    nothing = {"RUNCAST_STATE_DIR": str(directory), "RUNCAST_SECRET_KEY": "", "RUNCAST_TOKEN": ""}
    with contextlib.chdir(directory):
        done = CliRunner().invoke(main, ["token", *arguments], env=nothing | environ)
    return done.exit_code, done.stdout, done.stderr


def test_what_a_token_says_is_said_in_words(tmp_path: Path) -> None:
    token = mint(SCOPES, KEYS, expires="1h", subject="user_7", jti="the-name", skip_columns=["payload"], one_time=True)

    code, output, errors = token_command("inspect", token, directory=tmp_path, **KNOWN)

    assert (code, errors) == (0, "")
    for line in (
        "environment:    acme",
        "subject:        user_7",
        "jti:            the-name",
        "signature:      good",
        "one-time:       yes",
        "hidden columns: payload",
        "read:runs:run_1   may see the run run_1",
        "write:tags:user:7   may change runs with the tag user:7",
        "read:batch   may see the runs of any one batch",
        "admin   may everything",
        "trigger:tasks:x   may nothing that a gateway asks for",
    ):
        assert line in output
    assert "(in 59m" in output or "(in 1h 00m" in output


def test_a_scope_with_an_empty_part_is_said_to_allow_nothing() -> None:
    """Whoever looks at a token looks for this."""
    assert scope_in_words(Scope.parse("read:runs:")).startswith("nothing: a part of it is empty")


def test_neither_signature_nor_key_is_ever_shown(tmp_path: Path) -> None:
    token = mint(["read:runs"], KEYS)

    for options in ((), ("--json",)):
        _, output, errors = token_command("inspect", token, *options, directory=tmp_path, **KNOWN)
        assert token.rpartition(".")[2] not in output + errors
        assert SECRET not in output + errors


@pytest.mark.parametrize("way", ["argument", "file", "environment"])
def test_a_token_comes_from_an_argument_a_file_or_the_environment(tmp_path: Path, way: str) -> None:
    token = mint(["read:runs"], KEYS, jti="the-name")
    (tmp_path / "token").write_text(token + "\n")
    arguments = {"argument": [token], "file": ["--token-file", "token"], "environment": []}[way]
    environ = {"RUNCAST_TOKEN": token} if way == "environment" else {}

    code, output, _ = token_command("inspect", *arguments, "--json", directory=tmp_path, **environ)

    assert code == 0
    document = json.loads(output)
    assert (document["v"], document["jti"], document["signature"]) == (1, "the-name", "unknown")


def test_what_no_gateway_would_take_exits_with_4_and_says_why(tmp_path: Path) -> None:
    """Another key, another time; without the key it can't be known."""
    past = time.time() - 7200
    expired = mint(["read:runs"], KEYS, now=past, expires="1h")
    forged = mint(["read:runs"], EnvironmentKeys.of("acme", generate_secret_key()))
    foreign = mint(["read:runs"], EnvironmentKeys.of("beta", generate_secret_key()))

    code, output, _ = token_command("inspect", expired, directory=tmp_path, **KNOWN)
    assert (code, "signature:      good" in output, "it expired at" in output) == (4, True, True)
    code, output, _ = token_command("inspect", forged, directory=tmp_path, **KNOWN)
    assert (code, "signature:      bad" in output) == (4, True)
    code, output, _ = token_command("inspect", foreign, directory=tmp_path, **KNOWN)
    assert (code, "signature:      unknown" in output, "those of acme" in output) == (0, True, True)


def test_a_secret_key_in_the_arguments_is_refused_and_not_repeated(tmp_path: Path) -> None:
    code, output, errors = token_command("inspect", SECRET, directory=tmp_path)

    assert (code, output) == (4, "")
    assert SECRET not in errors


def test_a_subject_is_part_of_what_is_minted(tmp_path: Path) -> None:
    _, token, _ = token_command("mint", "--run", "run_1", "--subject", "user_7", directory=tmp_path, **KNOWN)
    _, output, _ = token_command("inspect", token.strip(), "--json", directory=tmp_path, **KNOWN)

    assert json.loads(output)["subject"] == "user_7"


class TestRevoke:
    """It is the gateway that revokes; the command asks it with the secret key."""

    @staticmethod
    async def revoke(gateway: ServedGateway, directory: Path, *options: str) -> tuple[int, str, str]:
        environ = {"RUNCAST_SECRET_KEY": gateway.secret, "RUNCAST_URL": gateway.url}
        return await run("token", "revoke", *options, directory=directory, **environ)

    @pytest.mark.parametrize("by", ["--jti", "--subject", "--tag", "--token", "--issued-before"])
    async def test_a_token_that_was_revoked_opens_nothing_any_more(
        self, gateway: ServedGateway, tmp_path: Path, by: str
    ) -> None:
        # Issued a moment ago: revoking by subject means those that were issued up to now.
        token = gateway.token(["read:tags:user:7"], jti="the-name", subject="user_7", now=time.time() - 5)
        requests = Requests(gateway.url, token)
        await _asked(requests)
        tokens = {"--jti": "the-name", "--subject": "user_7", "--tag": "user:7", "--token": token}

        named = tokens.get(by) or str(int(time.time()))
        code, output, errors = await self.revoke(gateway, tmp_path, by, named)

        assert (code, errors) == (0, "")
        assert output.startswith("revoked by ")
        with pytest.raises(RequestRefused) as refused:
            await _asked(requests)
        assert refused.value.problem == "token_revoked"

    @pytest.mark.parametrize("options", [(), ("--jti", "a", "--subject", "b")])
    async def test_exactly_one_thing_is_revoked(
        self, gateway: ServedGateway, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        code, output, errors = await self.revoke(gateway, tmp_path, *options)

        assert (code, output) == (2, "")
        assert "--issued-before" in errors

    async def test_without_the_secret_key_it_exits_with_4(self, gateway: ServedGateway, tmp_path: Path) -> None:
        nothing = {"RUNCAST_URL": gateway.url}
        code, _, errors = await run("token", "revoke", "--jti", "a", directory=tmp_path, **nothing)
        assert (code, "RUNCAST_SECRET_KEY" in errors) == (4, True)

        wrong = nothing | {"RUNCAST_SECRET_KEY": generate_secret_key()}
        code, _, _ = await run("token", "revoke", "--jti", "a", directory=tmp_path, **wrong)
        assert code == 4

    async def test_without_a_gateway_it_exits_with_6(self, tmp_path: Path) -> None:
        environ = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_URL": f"http://127.0.0.1:{free_port()}"}
        code, _, errors = await run("token", "revoke", "--jti", "a", directory=tmp_path, **environ)

        assert (code, "can't reach" in errors) == (6, True)


async def _asked(requests: Requests) -> None:
    """Ask for what the token allows; a tag that nobody has."""
    import asyncio

    await asyncio.to_thread(requests.get, "/v1/runs", [("tag", "user:7")])
