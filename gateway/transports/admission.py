"""Who is let in, and to what: credential → what it grants; feed → whether that covers it. Shared by all transports."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import auth
from auth import Grant, Keyring, Resource
from gateway.codec import decode_json
from gateway.errors import NotAllowed, NotAuthenticated, OriginNotAllowed, TokenExpired, TokenInvalid
from gateway.feeds import EnvironmentId, FeedId
from gateway.runs import hidden_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.codec import Row
    from gateway.transports.origins import Origins
    from gateway.transports.sinks import Scope

#: Tokens whose signature need not be looked at again: long-polls and reconnects come with the same ones.
_CACHED_TOKENS: Final = 10_000
_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Admitted:
    """What somebody may do, and until when."""

    environment: EnvironmentId
    grant: Grant
    #: Unix seconds; None for a secret key, which does not expire.
    expires_at: float | None
    #: Columns that the token hides, instead of those that the viewer names; None when it does not say.
    hidden: frozenset[str] | None

    def check_time(self, now: float) -> None:
        """
        Raises:
            TokenExpired: When the token's time is over.
        """
        if self.expires_at is not None and now >= self.expires_at:
            raise TokenExpired


class RowFinder(Protocol):
    """What admission needs of the store: a run's tags, task and batch."""

    async def read_row(self, environment: EnvironmentId, run: str, columns: Sequence[str]) -> Row | None: ...


class Admission:
    """Knows the keys and the allowed origins. Errors never contain a credential."""

    def __init__(self, keyring: Keyring, origins: Origins, rows: RowFinder) -> None:
        self._keyring = keyring
        self._origins = origins
        self._rows = rows
        self._verified: dict[bytes, Admitted] = {}

    def check_origin(self, origin: str | None) -> None:
        """
        Raises:
            OriginNotAllowed: When a page from there may not talk to us.
        """
        if origin is not None and not self._origins.allow(origin):
            raise OriginNotAllowed(origin)

    def admit(self, credential: str | None) -> Admitted:
        """
        What a public token or a secret key allows.

        Raises:
            NotAuthenticated: Without a credential.
            TokenInvalid, TokenExpired: When it does not hold.
        """
        if not credential:
            raise NotAuthenticated
        now = time.time()
        digest = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None:
            known.check_time(now)
            return known
        if not auth.looks_like_public_token(credential):
            return self._admit_secret(credential, now)
        return self._admit_token(credential, digest, now)

    def _admit_secret(self, credential: str, now: float) -> Admitted:
        environment = self._keyring.environment_of(credential, now=now)
        if environment is None:
            raise TokenInvalid("this is neither a public token nor a secret key of an environment here")
        return Admitted(EnvironmentId(environment), Grant.everything(), None, None)

    def _admit_token(self, token: str, digest: bytes, now: float) -> Admitted:
        try:
            verified = auth.verify(token, self._keyring, now=now)
        except auth.TokenExpired as error:
            raise TokenExpired(str(error)) from error
        except auth.TokenError as error:
            raise TokenInvalid(str(error)) from error
        skipped = verified.grant.skip_columns
        admitted = Admitted(
            EnvironmentId(verified.environment),
            verified.grant,
            verified.valid_until,
            None if skipped is None else hidden_columns(frozenset(skipped), lenient=True),
        )
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()  # cheaper than keeping an order, and no more than a verification each
        self._verified[digest] = admitted
        return admitted

    async def check_feed(self, admitted: Admitted, feed: FeedId) -> None:
        """
        Whether the grant covers *feed* (docs/protocol.md, "Tokens"; Trigger.dev realtime protocol, section 2.5).

        Raises:
            NotAllowed: Naming the scopes of which any would do.
            Unavailable: When the run must be looked at and can't be.
        """
        resources = _resources(feed)
        if admitted.grant.allows("read", resources):
            return
        if feed.kind == "run":
            # A token for a tag, task or batch opens the runs that have it, once they exist.
            resources += await self._resources_of_run(admitted.environment, feed.names[0])
            if admitted.grant.allows("read", resources):
                return
        raise NotAllowed(str(feed), ", ".join(_scope(resource) for resource in resources))

    async def _resources_of_run(self, environment: EnvironmentId, run: str) -> list[Resource]:
        row = await self._rows.read_row(environment, run, ("taskIdentifier", "runTags", "batchId"))
        if row is None:
            return []
        found = {name: decode_json(text) for name, text in row.columns.items()}
        resources = [Resource("tasks", found["taskIdentifier"])] if "taskIdentifier" in found else []
        resources += [Resource("tags", tag) for tag in found.get("runTags", ())]
        return resources + ([Resource("batch", found["batchId"])] if "batchId" in found else [])


def _resources(feed: FeedId) -> list[Resource]:
    match feed.kind:
        case "run":
            return [Resource("runs", feed.names[0])]
        case "tag":
            return [Resource("runs"), Resource("tags"), *_named("tags", feed.names)]
        case "batch":
            return [Resource("runs"), *_named("batch", feed.names)]
        case "task":
            return [Resource("runs"), *_named("tasks", feed.names)]
        case _:
            return [Resource("runs")]


def _named(kind: str, names: Iterable[str]) -> list[Resource]:
    return [Resource(kind, name) for name in names]


def _scope(resource: Resource) -> str:
    return f"read:{resource.type}:{resource.id}" if resource.id is not None else f"read:{resource.type}"


def headers_of(scope: Scope) -> dict[str, str]:
    """
    A request's headers. One that came several times is one list (RFC 9110, section 5.2): none of several origins or
    credentials vouches for the others.
    """
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def bearer(header: str | None) -> str | None:
    """The credential of an Authorization header (RFC 6750, section 2.1), if it has one."""
    if header is None or header[: len(_BEARER)].lower() != _BEARER:
        return None
    return header[len(_BEARER) :].strip() or None
