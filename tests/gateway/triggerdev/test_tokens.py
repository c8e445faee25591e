"""Claims and tokens that the official clients ask for."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

import auth
from auth import Keyring, generate_secret_key
from auth.tokens import _sign

if TYPE_CHECKING:
    from tests.gateway.triggerdev.asking import TheirAsking


def read(api: TheirAsking, token: str) -> auth.VerifiedToken:
    return auth.verify(token, Keyring([api.gateway.keys]))


async def test_the_claims_make_a_token_of_this_environment(api: TheirAsking) -> None:
    """What their SDK signs with the secret key around them is let in."""
    claims = await api.ask("POST", "/api/v1/auth/jwt/claims")
    assert claims == {"sub": api.gateway.keys.environment, "pub": True}
    now = int(time.time())
    fixed = {"iss": "https://id.trigger.dev", "aud": "https://api.trigger.dev", "iat": now, "exp": now + 900}
    token = _sign({**claims, "scopes": ["read:runs:run_1"], "otu": False, **fixed}, api.gateway.keys.current)
    await api.create()

    answer = await api.client.get("/api/v3/runs/run_1", headers={"authorization": f"Bearer {token}"})

    assert answer.status_code == 200


def test_a_key_of_ours_signs_by_itself() -> None:
    """The form that makes their SDK ask the server for every token is never ours (section 2.1)."""
    restricted = re.compile(r"^tr_(dev|stg|prod|preview)_sk_[0-9a-zA-Z]{24}$")

    assert not any(restricted.match(generate_secret_key(kind)) for kind in ("dev", "stg", "prod", "preview"))


async def test_a_public_token_is_minted_as_asked(api: TheirAsking) -> None:
    """Fifteen minutes unless something is said; what it does not know of columns is passed over."""
    plain = read(api, (await api.ask("POST", "/api/v1/auth/public-tokens", {"scopes": ["read:tags:a:b"]}))["token"])
    said = {
        "scopes": ["read:runs:run_1", "write:inputStreams:run_1"],
        "expirationTime": "1h",
        "oneTimeUse": True,
        "realtime": {"skipColumns": ["payload", "columnOfTheFuture"]},
    }
    full = read(api, (await api.ask("POST", "/api/v1/auth/public-tokens", said))["token"])

    assert [str(scope) for scope in plain.grant.scopes] == ["read:tags:a:b"]
    assert plain.expires_at - time.time() == pytest.approx(900, abs=5)
    assert (plain.one_time, full.one_time) == (False, True)
    assert [str(scope) for scope in full.grant.scopes] == said["scopes"]
    assert full.expires_at - time.time() == pytest.approx(3600, abs=5)
    assert full.grant.skip_columns == frozenset({"payload", "columnOfTheFuture"})


REFUSED: list[dict[str, Any]] = [
    {},
    {"scopes": []},
    {"scopes": "read:runs"},
    {"scopes": ["read:runs:"]},
    {"scopes": ["read:runs"], "expirationTime": "31d"},
    {"scopes": ["read:runs"], "expirationTime": "soon"},
    {"scopes": ["read:runs"], "expirationTime": "1h ago"},
    {"scopes": ["read:runs"], "expirationTime": 1_000_000},
    {"scopes": ["read:runs"], "oneTimeUse": "yes"},
]


async def test_a_token_that_can_t_be_is_refused(api: TheirAsking) -> None:
    """400 with what would be right."""
    for said in REFUSED:
        await api.fails(400, "POST", "/api/v1/auth/public-tokens", said)


async def test_a_token_of_claims_lasts_an_hour(api: TheirAsking) -> None:
    """With the scopes of its claims, or none; also asked for without a body."""
    scopes = ["read:runs"]
    with_scopes = read(api, (await api.ask("POST", "/api/v1/auth/jwt", {"claims": {"scopes": scopes}}))["token"])
    without = read(api, (await api.ask("POST", "/api/v1/auth/jwt"))["token"])
    short = read(api, (await api.ask("POST", "/api/v1/auth/jwt", {"expirationTime": "1m"}))["token"])

    assert [str(scope) for scope in with_scopes.grant.scopes] == scopes
    assert without.grant.scopes == ()
    assert without.expires_at - time.time() == pytest.approx(3600, abs=5)
    assert short.expires_at - time.time() == pytest.approx(60, abs=5)


async def test_what_claims_hold_back_is_held_back(api: TheirAsking) -> None:
    """A token never allows more than was asked for; other claims are passed over."""
    claims = {"scopes": ["read:runs"], "otu": True, "realtime": {"skipColumns": ["payload"]}, "sub": "somebody"}
    token = read(api, (await api.ask("POST", "/api/v1/auth/jwt", {"claims": claims}))["token"])

    assert token.one_time
    assert token.grant.skip_columns == frozenset({"payload"})
    for wrong in ({"otu": "yes"}, {"realtime": {"skipColumns": "payload"}}):
        await api.fails(400, "POST", "/api/v1/auth/jwt", {"claims": {"scopes": ["read:runs"], **wrong}})


async def test_a_one_time_token_is_good_for_one_request(api: TheirAsking) -> None:
    """The second one is 422; a request that is refused does not cost it."""
    await api.create()
    said = {"scopes": ["read:runs"], "oneTimeUse": True}
    token = (await api.ask("POST", "/api/v1/auth/public-tokens", said))["token"]
    headers = {"authorization": f"Bearer {token}"}

    await api.fails(404, "GET", "/api/v3/runs/none", headers=headers)
    await api.ask("GET", "/api/v3/runs/run_1", headers=headers)
    await api.fails(422, "GET", "/api/v3/runs/run_1", headers=headers)
