"""`runcast explain`: what it says is what a gateway does."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from auth import EnvironmentKeys, generate_secret_key, mint
from gateway.cli import main
from gateway.viewer.requests import Requests
from tests.gateway.cli.commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.serving import ServedGateway

SECRET = generate_secret_key()
KEYS = EnvironmentKeys.of("acme", SECRET)
KNOWN = {"RUNCAST_SECRET_KEY": SECRET, "RUNCAST_ENVIRONMENT": "acme", "RUNCAST_STATE_DIR": "none"}


async def explain(directory: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    return await run("explain", *arguments, directory=directory, **(KNOWN | environ))


def explained(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """As `explain`, in this process: for cases of which there are many."""
    environ = KNOWN | {"RUNCAST_STATE_DIR": str(directory), "RUNCAST_REDIS_URL": "", "REDIS_URL": ""}
    done = CliRunner().invoke(main, ["explain", *arguments], env=environ)
    return done.exit_code, done.stdout, done.stderr


def test_the_scope_that_allows_it_is_named(tmp_path: Path) -> None:
    token = mint(["read:tags:user:7", "read:runs:run_1"], KEYS, skip_columns=["payload"])

    code, output, errors = explained(tmp_path, token, "run:run_1")

    assert (code, errors) == (0, "")
    assert output.startswith("allowed: read run:run_1\n  by the scope read:runs:run_1\n")
    assert "signature: good" in output
    assert "scope read:tags:user:7: does not match" in output
    assert "hidden columns: payload" in output


@pytest.mark.parametrize(
    ("scope", "feed", "options", "why"),
    [
        ("read:tags:user:8", "tag:user:7", (), "the feed is none of that, but runs, tags, tags:user:7"),
        ("write:tags:user:7", "tag:user:7", (), "it is about write, not read"),
        ("read:tags:user:7", "tag:user:7", ("--write",), "it is about read, not write"),
        ("read:runs:", "run:run_1", (), "a part of it is empty"),
        ("read:runs:run_1", "all", (), "the feed is none of that, but runs"),
    ],
)
def test_what_is_denied_says_what_would_do(
    tmp_path: Path, scope: str, feed: str, options: tuple[str, ...], why: str
) -> None:
    token = mint(["read:tasks:other"], KEYS) if scope.endswith(":") else mint([scope], KEYS)
    if scope.endswith(":"):
        token = _with_an_empty_part(scope)

    code, output, _ = explained(tmp_path, token, feed, *options)

    assert code == 4
    assert output.startswith("denied: ")
    assert why in output
    assert "any of these would do: " in output


def _with_an_empty_part(scope: str) -> str:
    """Minting refuses such a scope; other libraries don't."""
    from auth import Grant
    from auth.claims import Claims, write_claims
    from auth.tokens import _sign

    claims = Claims(subject="acme", grant=Grant.parse([scope]), expires_at=int(time.time()) + 60)
    return _sign(write_claims(claims), KEYS.current)


def test_a_token_that_is_over_or_forged_is_denied_whatever_it_says(tmp_path: Path) -> None:
    expired = mint(["read:runs"], KEYS, now=time.time() - 7200, expires="1h")
    forged = mint(["read:runs"], EnvironmentKeys.of("acme", generate_secret_key()))

    for token, why in ((expired, "it expired at"), (forged, "was not signed with a key of environment 'acme'")):
        code, output, _ = explained(tmp_path, token, "all", "--json")
        document = json.loads(output)
        assert (code, document["allowed"], document["rule"]) == (4, False, "read:runs")
        assert why in document["reasons"][0]


async def test_without_the_key_the_scopes_are_judged_and_the_signature_is_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(mint(["read:runs"], KEYS))

    code, output, _ = await explain(tmp_path, "--token-file", "token", "all", RUNCAST_SECRET_KEY="")

    assert code == 0
    assert "signature: unknown" in output
    assert "no secret key is known here" in output


async def test_it_says_what_the_gateway_does(gateway: ServedGateway, tmp_path: Path) -> None:
    """A run opens by its tag once it exists: the same answer from both, before and after."""
    token = gateway.token(["read:tags:user:7"])
    environ = {
        "RUNCAST_SECRET_KEY": gateway.secret,
        "RUNCAST_ENVIRONMENT": gateway.keys.environment,
        "RUNCAST_REDIS_URL": gateway.settings.redis_url,
    }

    before = await explain(tmp_path, token, "run:run_1", **environ)
    gateway.publisher.create("resize", id="run_1", tags=["user:7"])
    after = await explain(tmp_path, token, "run:run_1", **environ)

    assert before[0] == 4
    assert "there is no such run" in before[1]
    assert after[0] == 0
    assert "by the scope read:tags:user:7" in after[1]
    seen = await asyncio.to_thread(Requests(gateway.url, token).get, "/v1/runs/run_1")
    assert seen["id"] == "run_1"


async def test_a_revoked_token_is_denied_where_a_gateway_is_asked(gateway: ServedGateway, tmp_path: Path) -> None:
    token = gateway.token(["read:runs"], jti="the-name")
    environ = {"RUNCAST_SECRET_KEY": gateway.secret, "RUNCAST_ENVIRONMENT": gateway.keys.environment}
    assert (await explain(tmp_path, token, "all", "--url", gateway.url, **environ))[0] == 0

    await asyncio.to_thread(Requests(gateway.url, gateway.secret).post, "/v1/tokens/revoke", {"jti": "the-name"})

    code, output, _ = await explain(tmp_path, token, "all", "--url", gateway.url, **environ)
    assert code == 4
    assert "revoked" in output


@pytest.mark.parametrize("arguments", [("all",), ("a.b.c", "all"), ("-", "run:"), ("x", "y", "z")])
def test_wrong_usage_is_told_apart_from_a_denial(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, output, errors = explained(tmp_path, *arguments)

    assert (code in (2, 4), output) == (True, "")
    assert errors
