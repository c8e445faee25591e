"""
Tokens for browsers: `auth.createPublicToken` and its siblings (Trigger.dev realtime protocol, section 2.6).

With a key of ours those sign by themselves, and only ask whom for: the claims.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import auth
from gateway.api import access
from gateway.api.calls import Answer, Call, Operation, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Field, Flag, ListOf, Object, Text
from gateway.api.tokens import MOST_SCOPES, SCOPE, Ends, mint_token
from gateway.triggerdev.dialect import TRIGGERDEV

if TYPE_CHECKING:
    from gateway.api.endpoint import ApiRoute
    from gateway.transports.viewing import Services

_LONGEST_SECONDS: Final = 30 * 86_400
_DEFAULT_OF_JWT: Final = "1h"
_TOKEN: Final = {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}

_COLUMNS: Final = ListOf(Text(most=100), most=100)  # those that we don't have are passed over when it is read
_EXPIRES: Final = Field(Ends(), "When it ends: a span such as `15m`, a date with a time zone, or unix seconds.")
_REALTIME: Final = Field(
    Object({"skipColumns": Field(_COLUMNS, "Columns that are never sent.")}, open=True), "How feeds are shown."
)
_PUBLIC_TOKEN: Final = Object(
    {
        "scopes": Field(ListOf(SCOPE, least=1, most=MOST_SCOPES), "What the token allows.", required=True),
        "expirationTime": _EXPIRES,
        "oneTimeUse": Field(Flag(), "Whether it may be used once only."),
        "realtime": _REALTIME,
    },
    open=True,
)
_JWT: Final = Object(
    {
        "claims": Field(
            Object(
                {
                    "scopes": Field(ListOf(SCOPE, most=MOST_SCOPES), "What the token allows."),
                    # Passed over, these would make a token that allows more than was asked for.
                    "otu": Field(Flag(), "Whether it may be used once only."),
                    "realtime": _REALTIME,
                },
                open=True,
            ),
            "What the token says.",
        ),
        "expirationTime": _EXPIRES,
    },
    open=True,
)


async def _claims(call: Call) -> Answer:
    return json_answer(200, {"sub": call.environment, "pub": True})


async def _mint(call: Call) -> Answer:
    said = call.body
    minted = mint_token(
        call,
        said["scopes"],
        expires=said.get("expirationTime", auth.DEFAULT_EXPIRES),
        one_time=said.get("oneTimeUse"),
        skip_columns=said.get("realtime", {}).get("skipColumns"),
        longest_seconds=_LONGEST_SECONDS,
    )
    return json_answer(200, {"token": minted.token})


async def _mint_jwt(call: Call) -> Answer:
    said = call.body or {}
    claims = said.get("claims", {})
    minted = mint_token(
        call,
        claims.get("scopes", []),
        expires=said.get("expirationTime", _DEFAULT_OF_JWT),
        one_time=claims.get("otu"),
        skip_columns=claims.get("realtime", {}).get("skipColumns"),
    )
    return json_answer(200, {"token": minted.token})


_CLAIMS: Final = Operation(
    id="triggerdevClaims",
    method="POST",
    summary="What a public token of this environment says of itself",
    allow=access.secret_key_only,
    handle=_claims,
    replies=(Reply(status=200, description="Its claims.", schema={"type": "object"}),),
)
_PUBLIC_TOKENS: Final = Operation(
    id="triggerdevPublicToken",
    method="POST",
    summary="Mint a public token",
    allow=access.secret_key_only,
    handle=_mint,
    body=_PUBLIC_TOKEN,
    replies=(Reply(status=200, description="The token.", schema=_TOKEN),),
)
_JWTS: Final = Operation(
    id="triggerdevJwt",
    method="POST",
    summary="Mint a public token, from claims",
    allow=access.secret_key_only,
    handle=_mint_jwt,
    body=_JWT,
    body_required=False,
    replies=(Reply(status=200, description="The token.", schema=_TOKEN),),
)


def routes(services: Services) -> list[ApiRoute]:
    """Claims and tokens, for the secret key only."""
    return mount(
        services,
        [
            ("/api/v1/auth/jwt/claims", _CLAIMS),
            ("/api/v1/auth/public-tokens", _PUBLIC_TOKENS),
            ("/api/v1/auth/jwt", _JWTS),
        ],
        TRIGGERDEV,
    )
