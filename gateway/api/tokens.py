"""`/v1/tokens`: mint tokens and take them back; and give an open connection another one (docs/tokens.md)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import auth
from gateway.api import access
from gateway.api.calls import Answer, Call, Operation, Parameter, Reply, json_answer
from gateway.api.endpoint import mount
from gateway.api.forms import Field, Flag, ListOf, Moment, Number, Object, Text, short, wrong
from gateway.api.parts import TAG
from gateway.codec import rfc3339
from gateway.errors import BadMessage, NoSuchConnection, TokenInvalid, TokenRevoked, TooManyRevocations
from gateway.revocations import FUTURE_SECONDS, KEPT_SECONDS, By, Revocation
from gateway.runs import COLUMNS, METADATA

if TYPE_CHECKING:
    from auth import Expires
    from gateway.api.endpoint import ApiRoute
    from gateway.api.forms import Schema
    from gateway.transports.viewing import Services

#: No token that is minted here outlives what is remembered of those that were revoked.
LONGEST_SECONDS: Final = KEPT_SECONDS
MOST_SCOPES: Final = 500
_MOST_NAME: Final = 255

# A part of a scope that is blank is mostly a variable that was not set (auth/scopes.py).
_VISIBLE: Final = r"[^\u0000-\u0020\u007f\u0085\u00a0\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]"
SCOPE: Final = Text(
    most=400,
    pattern=rf"^([A-Za-z]+|\*)(:[A-Za-z]+(:{_VISIBLE}+( {_VISIBLE}+)*)?)?$(?!\n)",
    words="a scope, as in read:runs:run_1: an action, a type, and an id, none of them blank",
)
_NAME: Final = Text(
    least=1,
    most=_MOST_NAME,
    pattern=rf"^{_VISIBLE}+( {_VISIBLE}+)*$(?!\n)",  # Python's $ would let a line break pass
    words="a name without control characters, and without spaces at its ends",
)


@dataclass(frozen=True, slots=True)
class Ends:
    """When a token ends, as the official SDK takes it: a span, a date, or unix seconds."""

    def read(self, value: Any, where: str) -> Any:
        expires = _date(value) if isinstance(value, str) else value
        try:
            auth.expires_at(expires, now=time.time())
        except auth.BadExpiry as error:
            raise wrong(where, str(error)) from None
        return expires

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        # The numbers and dates that are in the future now; what else is taken, the description says.
        now = int(time.time())
        spans = {"type": "string", "pattern": "^[1-9][0-9]{0,2} ?(s|m|h)$|^[1-9][0-9]? ?d$"}
        return {"anyOf": [spans, {"type": "integer", "minimum": now + 86_400, "maximum": now + 300 * 86_400}]}


def _date(text: str) -> str | datetime:
    """*text* as a date, or as it is when it is none: then it should be a span."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class _Since:
    """A moment in unix seconds, or as RFC 3339; read as milliseconds since 1970."""

    def read(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            try:
                moment = Moment().read(value, where)
            except BadMessage:
                raise wrong(
                    where, f"must be a moment such as 2026-01-31T10:00:00Z, or unix seconds, not {short(value)}"
                ) from None
        else:
            moment = Number(least=1, most=1e11).read(value, where) * 1000
        if moment > (time.time() + FUTURE_SECONDS) * 1000:
            raise wrong(where, "lies in the future, and nobody knows what will be issued; are these milliseconds?")
        return moment

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 1}]}


@dataclass(frozen=True, slots=True)
class _Token:
    """A token. Whatever comes instead is not shown: it may be a secret in the wrong wrapping."""

    def read(self, value: Any, where: str) -> Any:
        if not isinstance(value, str) or not value:
            raise wrong(where, "must be a token, as text")
        return value

    def parse(self, text: str, where: str) -> Any:
        return self.read(text, where)

    @property
    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


class _OneOf(Object):
    """An object with exactly one of its fields."""

    def read(self, value: Any, where: str) -> Any:
        found = super().read(value, where)
        if len(found) != 1:
            named = ", ".join(found) or "none"
            raise wrong(where, f"exactly one of {', '.join(self.fields)} is needed, not {named}")
        return found

    @property
    def schema(self) -> Schema:
        return {**super().schema, "minProperties": 1, "maxProperties": 1}


_COLUMNS: Final = tuple(sorted({column.public for column in COLUMNS.values()} | {METADATA} | set(COLUMNS)))
_REALTIME: Final = Object(
    {"skipColumns": Field(ListOf(Text(choices=_COLUMNS), most=len(_COLUMNS)), "Columns that are never sent.")}
)
_MINT: Final = Object(
    {
        "scopes": Field(ListOf(SCOPE, least=1, most=MOST_SCOPES), "What the token allows.", required=True),
        "expirationTime": Field(
            Ends(),
            "When it ends: a span such as `15m`, `1.5 hours` or `2 days`, a date with a time zone, or unix seconds. "
            "Fifteen minutes if nothing is said, 366 days at most.",
        ),
        "oneTimeUse": Field(Flag(), "Whether it opens one connection, or makes one request, and no more."),
        "realtime": Field(_REALTIME, "How feeds are shown."),
        "subject": Field(_NAME, "Whom it is for, by a name of yours; all tokens of a subject can be revoked together."),
    },
    example={"scopes": ["read:tags:customer:7"], "expirationTime": "1h", "subject": "user_7"},
)
_REVOKE: Final = _OneOf(
    {
        "token": Field(_Token(), "This token. It is kept only until the token ends."),
        "jti": Field(_NAME, "The token of this name."),
        "subject": Field(_NAME, "All tokens for this subject that were issued up to now."),
        "tag": Field(TAG, "All tokens with a scope for this tag that were issued up to now."),
        "issuedBefore": Field(_Since(), "All tokens that were issued before this moment: RFC 3339, or unix seconds."),
    },
    example={"subject": "user_7"},
)
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}


async def _mint(call: Call) -> Answer:
    said = call.body
    subject = said.get("subject")
    minted = mint_token(
        call,
        said["scopes"],
        expires=said.get("expirationTime", auth.DEFAULT_EXPIRES),
        one_time=said.get("oneTimeUse"),
        skip_columns=said.get("realtime", {}).get("skipColumns"),
        subject=subject,
    )
    answer = {"token": minted.token, "expiresAt": rfc3339(minted.expires_at * 1000), "jti": minted.jti}
    return json_answer(201, answer if subject is None else {**answer, "subject": subject})


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token, when it ends (unix seconds), and its name."""

    token: str
    expires_at: int
    jti: str | None


def mint_token(
    call: Call,
    scopes: list[str],
    *,
    expires: Expires,
    one_time: bool | None = None,
    skip_columns: list[str] | None = None,
    subject: str | None = None,
    longest_seconds: float = LONGEST_SECONDS,
) -> Minted:
    """
    A public token of the call's environment, issued late enough that no revocation up to now means it.

    Raises:
        BadMessage: Naming the field of the body that no token can be minted with.
    """
    keys = call.services.admission.keyring.keys_of(call.environment)
    tags = [scope.id for scope in map(auth.Scope.parse, scopes) if scope.type == "tags" and scope.id]
    now = call.services.revocations.first_issue(call.environment, subject, tags, time.time())
    try:
        if auth.expires_at(expires, now=now) > now + longest_seconds:
            raise wrong("/expirationTime", f"must be at most {longest_seconds // 86400:.0f} days from now")
        token = auth.mint(
            scopes,
            keys,
            expires=expires,
            one_time=one_time,
            skip_columns=skip_columns,
            subject=subject,
            precise=True,
            now=now,
        )
    except auth.AuthError as error:
        raise _mistake(error) from None
    minted = auth.verify(token, auth.Keyring([keys]), now=now)
    return Minted(token, minted.expires_at, minted.jti)


def _mistake(error: auth.AuthError) -> BadMessage:
    """What is wrong with a wish for a token, with the field that it is in."""
    if isinstance(error, (auth.BadExpiry, auth.ExpiryPassed)):
        return wrong("/expirationTime", str(error))
    if isinstance(error, auth.MalformedToken):
        return wrong("/realtime/skipColumns", str(error))
    return wrong("/scopes", str(error))


async def _revoke(call: Call) -> Answer:
    ((by, value),) = call.body.items()
    now = time.time()
    revocation = _revocation(call, By(by), value, now)
    if revocation.until > now * 1000:  # a token that has ended needs nothing
        revocation = await call.services.revocations.revoke(call.environment, revocation)
    answer = {"revoked": by, "keptUntil": rfc3339(revocation.until)}
    return json_answer(200, {**answer, "issuedBefore": rfc3339(revocation.before)} if revocation.before else answer)


def _revocation(call: Call, by: By, value: Any, now: float) -> Revocation:
    said_at, until = int(now * 1000), int((now + KEPT_SECONDS) * 1000)
    match by:
        case By.TOKEN:
            digest, ends = _read_token(call, value)
            return Revocation(by, digest, 0, said_at, ends * 1000)
        case By.JTI:
            return Revocation(by, value, 0, said_at, until)
        case By.BEFORE:
            return Revocation(by, "", value, said_at, until)
        case _:
            return Revocation(by, value, call.services.revocations.last_issue(call.environment, now), said_at, until)


def _read_token(call: Call, token: str) -> tuple[str, int]:
    """Digest and end of a token of the call's environment, whenever it is good."""
    keyring = auth.Keyring([call.services.admission.keyring.keys_of(call.environment)])
    try:
        verified = auth.verify(token, keyring)
    except auth.TokenExpired as error:
        return "", error.expired_at
    except auth.NotYetValid as error:
        verified = auth.verify(token, keyring, now=error.not_before)
    except auth.TokenError as error:
        raise wrong("/token", f"is not a token of this environment: {error}") from None
    return verified.digest, verified.expires_at


async def _renew(call: Call) -> Answer:
    await call.services.renewals.renew(call.path["connection"], call.admitted)
    answer = {"connection": call.path["connection"]}
    if call.admitted.expires_at is not None:
        answer["expiresAt"] = rfc3339(int(call.admitted.expires_at * 1000))
    return json_answer(200, answer)


_MINTING: Final = Operation(
    id="mintToken",
    method="POST",
    summary="Mint a token",
    description="A public token of the caller's environment, signed with its current secret key.",
    tag="tokens",
    allow=access.secret_key_only,
    handle=_mint,
    body=_MINT,
    idempotent=True,
    remembered=False,
    replies=(
        Reply(
            status=201,
            description="The token.",
            schema={
                "type": "object",
                "properties": {
                    "token": {"type": "string"},
                    "expiresAt": _TIME,
                    "jti": {"type": "string", "description": "Its name, by which it can be revoked."},
                    "subject": {"type": "string"},
                },
                "required": ["token", "expiresAt", "jti"],
            },
        ),
    ),
)
_REVOKING: Final = Operation(
    id="revokeTokens",
    method="POST",
    summary="Revoke tokens",
    description="What they opened ends within a second, everywhere. Tokens that are issued later are not meant.",
    tag="tokens",
    allow=access.secret_key_only,
    handle=_revoke,
    body=_REVOKE,
    idempotent=True,
    replies=(
        Reply(
            status=200,
            description="They are revoked; again, if they were already.",
            schema={
                "type": "object",
                "properties": {
                    "revoked": {"type": "string", "enum": [by.value for by in By]},
                    "keptUntil": {**_TIME, "description": "When the revocation may be forgotten."},
                    "issuedBefore": {**_TIME, "description": "Tokens that were issued before this are meant."},
                },
                "required": ["revoked", "keptUntil"],
            },
        ),
    ),
    errors=(TooManyRevocations,),
)
_RENEWING: Final = Operation(
    id="renewConnection",
    method="POST",
    summary="Give an open connection another token",
    description="The new token is that of the request. The connection goes on without a gap, and is told `welcome`.",
    tag="tokens",
    scopes="Any; feeds of the connection that the new token does not allow end.",
    allow=access.anybody,
    handle=_renew,
    uses_token=True,
    path=(
        Parameter(
            name="connection",
            form=Text(least=1, most=100),
            description="Its id, from its `welcome` message.",
            required=True,
        ),
    ),
    replies=(
        Reply(
            status=200,
            description="The connection has it.",
            schema={
                "type": "object",
                "properties": {"connection": {"type": "string"}, "expiresAt": _TIME},
                "required": ["connection"],
            },
        ),
    ),
    errors=(NoSuchConnection, TokenInvalid, TokenRevoked),
)


def routes(services: Services) -> list[ApiRoute]:
    """Minting, revoking, renewing."""
    return mount(
        services,
        [
            ("/v1/tokens", _MINTING),
            ("/v1/tokens/revoke", _REVOKING),
            ("/v1/connections/{connection}/token", _RENEWING),
        ],
    )
