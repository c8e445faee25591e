"""`runcast token mint`: what it prints is what it was asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from auth import EnvironmentKeys, Keyring, Resource, generate_secret_key, verify
from tests.gateway.cli.commands import run

if TYPE_CHECKING:
    from pathlib import Path

SECRET = generate_secret_key()
OTHER_SECRET = generate_secret_key()
KEYRING = Keyring([EnvironmentKeys.of("acme", SECRET), EnvironmentKeys.of("beta", OTHER_SECRET)])


async def mint(directory: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    environ = environ or {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_ENVIRONMENT": "acme"}
    return await run("token", "mint", *arguments, directory=directory, **environ)


async def test_what_is_minted_verifies_and_allows_what_was_named(tmp_path: Path) -> None:
    """The token and nothing else is on stdout, so that a script can take it from there."""
    named = ("--run", "run_1", "--run", "run_2", "--tag", "user:7", "--task", "resize", "--batch", "batch_1")
    code, output, errors = await mint(tmp_path, *named, "--expires", "1h")

    assert (code, errors) == (0, "")
    token = verify(output.removesuffix("\n"), KEYRING)
    assert token.environment == "acme"
    assert {str(scope) for scope in token.grant.scopes} == {
        *("read:runs:run_1", "read:runs:run_2", "read:tags:user:7", "read:tasks:resize", "read:batch:batch_1")
    }
    assert 3500 < token.expires_at - time.time() <= 3600
    assert not token.one_time
    assert token.grant.skip_columns is None


async def test_all_runs_once_with_columns_left_out(tmp_path: Path) -> None:
    code, output, _ = await mint(tmp_path, "--all-runs", "--write", "--one-time", "--skip-columns", "payload, output")

    token = verify(output.strip(), KEYRING)
    assert code == 0
    assert token.grant.allows("write", [Resource("runs", "any")])
    assert token.one_time
    assert token.grant.skip_columns == frozenset({"payload", "output"})


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--all-runs"),
        (("--expires", "1h"), "--all-runs"),
        (("--run", ""), "blank"),
        (("--run", "run_1", "--expires", "soon"), "15m"),
        (("--run", "run_1", "--expires", "5m ago"), "already"),
        (("--run", "run_1", "--skip-columns", "payloads"), "payloads"),
    ],
)
async def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    code, output, errors = await mint(tmp_path, *arguments)

    assert (code, output) == (2, "")
    assert word in errors


async def test_without_a_key_it_exits_with_4_and_says_where_one_belongs(tmp_path: Path) -> None:
    code, output, errors = await mint(tmp_path, "--run", "run_1", RUNCAST_ENVIRONMENT="acme")

    assert (code, output) == (4, "")
    assert "RUNCAST_SECRET_KEY" in errors


async def test_a_key_that_must_not_be_used_exits_with_4_and_is_not_shown(tmp_path: Path) -> None:
    code, _, errors = await mint(tmp_path, "--run", "run_1", RUNCAST_SECRET_KEY="guessed")

    assert code == 4
    assert "guessed" not in errors


async def test_the_key_of_runcast_dev_serves_where_none_is_set(tmp_path: Path) -> None:
    """And is not mixed with one that is."""
    (tmp_path / ".runcast").mkdir()
    (tmp_path / ".runcast" / "dev.env").write_text(
        f"# keys\nRUNCAST_SECRET_KEY={OTHER_SECRET}\nRUNCAST_ENVIRONMENT=beta\n"
    )

    _, of_dev, _ = await mint(tmp_path, "--run", "run_1", RUNCAST_REDIS_URL="redis://localhost")
    _, ours, _ = await mint(tmp_path, "--run", "run_1")
    keyring = Keyring([EnvironmentKeys.of("default", SECRET)])
    _, without_a_name, _ = await mint(tmp_path, "--run", "run_1", RUNCAST_SECRET_KEY=SECRET)

    assert verify(of_dev.strip(), KEYRING).environment == "beta"
    assert verify(ours.strip(), KEYRING).environment == "acme"
    assert verify(without_a_name.strip(), keyring).environment == "default"


async def test_of_several_environments_one_must_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text(
        f'[environments.acme]\nsecret_key = "{SECRET}"\n[environments.beta]\nsecret_key = "{OTHER_SECRET}"\n'
    )
    environ = {"RUNCAST_ENVIRONMENTS_FILE": str(file)}

    code, _, errors = await mint(tmp_path, "--run", "run_1", **environ)
    assert code == 2
    assert "acme, beta" in errors

    code, output, _ = await mint(tmp_path, "--run", "run_1", "--environment", "beta", **environ)
    assert code == 0
    assert verify(output.strip(), KEYRING).environment == "beta"

    code, _, _ = await mint(tmp_path, "--run", "run_1", "--environment", "gamma", **environ)
    assert code == 4


async def test_the_keys_of_runcast_toml_are_known(tmp_path: Path) -> None:
    """Beside a gateway that is configured by it; what is in the environment comes first."""
    keys = [EnvironmentKeys.of(name, f"tr_test_the_secret_of_{name}_0123456789") for name in ("acme", "other")]
    tables = (f'[environments.{one.environment}]\nsecret_key = "{one.current.secret}"\n' for one in keys)
    (tmp_path / "runcast.toml").write_text("".join(tables))

    code, token, _ = await run("token", "mint", "--all-runs", "--environment", "other", directory=tmp_path)

    assert code == 0
    assert verify(token.strip(), Keyring(keys)).environment == "other"
    code, _, errors = await run("token", "mint", "--all-runs", directory=tmp_path)
    assert (code, "acme, other" in errors) == (2, True)
