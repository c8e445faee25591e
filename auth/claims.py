"""
The claims of a public token: values to a JSON object, and back.

The object comes from a stranger until its signature was checked, and from another implementation after
that. Whatever it holds, reading it ends in `Claims` or in a `TokenError`. See the Trigger.dev realtime
protocol, section 2.2.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auth.errors import (
    MalformedToken,
    MissingClaim,
    NotPublic,
    NotYetValid,
    TokenExpired,
    WrongAudience,
    WrongIssuer,
)
from auth.lifetimes import LATEST_SECONDS
from auth.scopes import Grant

#: Fixed by the protocol; the official SDK writes both into every token.
ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a public token says. Times are unix seconds."""

    subject: str
    grant: Grant
    expires_at: int
    #: As the minting backend's clock had it; None when the token does not say. It may have a fraction.
    issued_at: float | None = None
    not_before: int | None = None
    #: None when the token does not say, which is not the same as False to other readers.
    one_time: bool | None = None
    token_id: str | None = None
    #: The end user that the token was minted for; None when it does not say.
    user: str | None = None

    def check_time(self, now: float, *, overdue: float = 0.0) -> None:
        """
        Return when the token is good at *now* (unix seconds), or ended at most *overdue* seconds ago; there is no
        other tolerance.

        Raises:
            TokenExpired, NotYetValid
        """
        if now >= self.expires_at + overdue:
            raise TokenExpired(expired_at=self.expires_at)
        if self.not_before is not None and now < self.not_before:
            raise NotYetValid(not_before=self.not_before)
        # `iat` in the future is accepted: backends whose clock is a little fast mint such tokens all day,
        # the signature proves that a key's owner made it, and `exp` bounds it either way.


def write_claims(claims: Claims) -> dict[str, Any]:
    """The claims as the official SDK spells them. What was not asked for is absent, not null."""
    skipped = claims.grant.skip_columns
    optional = {
        "scopes": [str(scope) for scope in claims.grant.scopes] or None,
        "otu": claims.one_time,
        "realtime": None if skipped is None else {"skipColumns": sorted(skipped)},
        "jti": claims.token_id,
        # RFC 8693, section 4.1: who acts with the token. Other readers of these tokens take it for attribution only.
        "act": None if claims.user is None else {"sub": claims.user},
        "iat": claims.issued_at,
        "nbf": claims.not_before,
    }
    return {
        "sub": claims.subject,
        "pub": True,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": claims.expires_at,
        **{name: value for name, value in optional.items() if value is not None},
    }


def read_subject(payload: JsonObject) -> str:
    """
    The environment that a token names. Before its signature was checked, it is only a claim.

    Raises:
        MissingClaim, MalformedToken
    """
    return _text(_needed(payload, "sub"), "sub")


def read_claims(payload: JsonObject) -> Claims:
    """
    What the payload of a token with a good signature says.

    Claims that are not ours are ignored, and so is what `realtime` holds beside `skipColumns`.

    Raises:
        WrongIssuer, WrongAudience, NotPublic, MissingClaim, MalformedToken
    """
    if payload.get("iss") != ISSUER:
        raise WrongIssuer(expected=ISSUER)
    if payload.get("aud") != AUDIENCE:
        raise WrongAudience(expected=AUDIENCE)
    if payload.get("pub") is not True:
        raise NotPublic
    return Claims(
        subject=read_subject(payload),
        grant=Grant.parse(_texts(payload.get("scopes", []), "scopes"), skip_columns=_skip_columns(payload)),
        # A token without an end could never be got rid of but by rotating the key, so `exp` is needed.
        expires_at=_seconds(_needed(payload, "exp"), "exp"),
        issued_at=_moment(payload["iat"], "iat") if "iat" in payload else None,
        not_before=_optional_seconds(payload, "nbf"),
        one_time=_optional_flag(payload, "otu"),
        token_id=_text(payload["jti"], "jti") if "jti" in payload else None,
        user=_user(payload),
    )


def _user(payload: JsonObject) -> str | None:
    acts = payload.get("act", {})
    if not isinstance(acts, dict):
        raise MalformedToken("'act' must be an object")
    return _text(acts["sub"], "act.sub") if "sub" in acts else None


def _skip_columns(payload: JsonObject) -> Iterable[str] | None:
    realtime = payload.get("realtime", {})
    if not isinstance(realtime, dict):
        raise MalformedToken("'realtime' must be an object")
    if "skipColumns" not in realtime:
        return None
    return _texts(realtime["skipColumns"], "realtime.skipColumns")


def _needed(payload: JsonObject, claim: str) -> object:
    if claim not in payload:
        raise MissingClaim(claim=claim)
    return payload[claim]


def _optional_seconds(payload: JsonObject, claim: str) -> int | None:
    return _seconds(payload[claim], claim) if claim in payload else None


def _optional_flag(payload: JsonObject, claim: str) -> bool | None:
    value = payload.get(claim)
    if claim in payload and not isinstance(value, bool):
        raise MalformedToken(f"{claim!r} must be true or false")
    return value


def _seconds(value: object, claim: str) -> int:
    return int(_moment(value, claim))


def _moment(value: object, claim: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedToken(f"{claim!r} must be a number of seconds")
    # Compared before it is converted: infinities and NaN fail here, and cannot become integers.
    if not -LATEST_SECONDS <= value <= LATEST_SECONDS:
        raise MalformedToken(f"{claim!r} is beyond the year 9999")
    return value


def _texts(value: object, claim: str) -> list[str]:
    if not isinstance(value, list):
        raise MalformedToken(f"{claim!r} must be a list of texts")
    return [_text(one, claim) for one in value]


def _text(value: object, claim: str) -> str:
    if not isinstance(value, str):
        raise MalformedToken(f"{claim!r} must be text")
    try:
        # JSON can spell half a character ("\ud800"). Let in, it would fail later, wherever it is written.
        value.encode()
    except UnicodeEncodeError:
        raise MalformedToken(f"{claim!r} is not valid Unicode") from None
    return value
