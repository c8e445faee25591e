"""Who is let in, and to what: credential → what it grants; feed → whether that covers it. Shared by all transports."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import auth
from auth import Grant, Keyring, Resource
from gateway.codec import decode_json
from gateway.errors import (
    NotAllowed,
    NotAuthenticated,
    OriginNotAllowed,
    TokenExpired,
    TokenInvalid,
    TokenUsed,
    Unavailable,
)
from gateway.feeds import EnvironmentId, FeedId
from gateway.revocations import TokenMarks
from gateway.runs import hidden_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    #: By what it can be revoked; None for a secret key, which can't.
    marks: TokenMarks | None = None
    #: Whether it is good for one connection or request only: see `Admission.use`.
    one_time: bool = False
    #: The secret key behind it: what signed the token, or was shown itself. It may be taken away: `Admission.end_of`.
    secret: str = field(default="", repr=False, compare=False)

    @property
    def is_secret_key(self) -> bool:
        return self.marks is None

    @property
    def token(self) -> str | None:
        """What names the token, without being it; None for a secret key."""
        return None if self.marks is None else self.marks.digest

    @property
    def tags(self) -> Iterable[str]:
        """The tags that its scopes name, whatever they allow to do there."""
        return (scope.id for scope in self.grant.scopes if scope.type == "tags" and scope.id)

    def check_time(self, now: float, overdue: float = 0.0) -> None:
        """
        Raises:
            TokenExpired: When the token's time has been over for *overdue* seconds.
        """
        if self.expires_at is not None and now >= self.expires_at + overdue:
            raise TokenExpired


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was asked of a grant, and by which of its scopes that is allowed; None when it is not."""

    action: str
    scope: auth.Scope | None
    #: What the feed is, in the words of scopes: to be allowed one of these is enough.
    resources: tuple[Resource, ...]

    @property
    def needed(self) -> list[str]:
        """The scopes of which any would do."""
        return [f"{self.action}:{resource}" for resource in self.resources]


class RowFinder(Protocol):
    """What admission needs of the store: a run's tags, task and batch."""

    async def read_row(self, environment: EnvironmentId, run: str, columns: Sequence[str]) -> Row | None: ...


class Gatekeeper(Protocol):
    """What admission needs of whoever keeps count: what was revoked, and what was used (transports/revoking.py)."""

    def check(self, admitted: Admitted) -> None:
        """
        Raises:
            TokenRevoked: When it was.
            Unavailable: When that is not known yet.
        """

    async def use(self, admitted: Admitted) -> bool:
        """
        Use a one-time token up, and tell whether it was unused.

        Raises:
            Unavailable: When that can't be known.
        """


class Admission:
    """
    Knows the keys and the allowed origins. Errors never contain a credential.

    Without a *gatekeeper* no token counts as revoked, and one-time tokens are not let in.
    """

    def __init__(
        self, keyring: Keyring, origins: Origins, rows: RowFinder, gatekeeper: Gatekeeper | None = None
    ) -> None:
        self._keyring = keyring
        self._origins = origins
        self._rows = rows
        self._gatekeeper = gatekeeper
        self._verified: dict[bytes, Admitted] = {}

    def reload(self, keyring: Keyring, origins: Origins) -> None:
        """From now on these keys and origins count. What was admitted before is to be asked about: `end_of`."""
        self._keyring = keyring
        self._origins = origins
        self._verified.clear()

    @property
    def environments(self) -> Sequence[str]:
        """Whose keys it knows."""
        return self._keyring.environments

    def end_of(self, admitted: Admitted) -> float:
        """When that ends (unix seconds) by the keys as they are now: 0 when its key is gone."""
        ends = math.inf if admitted.expires_at is None else admitted.expires_at
        return min(ends, self._keyring.end_of(admitted.environment, admitted.secret)) if admitted.secret else ends

    def check_origin(self, origin: str | None) -> None:
        """
        Raises:
            OriginNotAllowed: When a page from there may not talk to us.
        """
        if origin is not None and not self._origins.allow(origin):
            raise OriginNotAllowed(origin)

    def admit(self, credential: str | None, *, overdue: float = 0.0) -> Admitted:
        """
        What a public token or a secret key allows.

        Whoever lets somebody in on it, or does what was asked, calls `use` first.

        Args:
            overdue: A token whose time has been over for less than so many seconds is admitted: whoever says so looks
                at its `expires_at`, and lets it have nothing but what it opened before.

        Raises:
            NotAuthenticated: Without a credential.
            TokenInvalid, TokenExpired, TokenRevoked: When it does not hold.
            Unavailable: When it is not known yet what was revoked.
        """
        if not credential:
            raise NotAuthenticated
        now = time.time()
        digest = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None:
            known.check_time(now, overdue)
            if overdue and now >= self._keyring.end_of(known.environment, known.secret):
                raise TokenExpired  # its key's time is over, too, and that has no grace
        elif auth.looks_like_public_token(credential):
            known = self._admit_token(credential, digest, now, overdue)
        else:
            return self._admit_secret(credential, now)
        self.check_revoked(known)
        return known

    @property
    def keyring(self) -> Keyring:
        """The keys that count now."""
        return self._keyring

    def check_revoked(self, admitted: Admitted) -> None:
        """
        As `admit` does. To be called again where whoever hears of a revocation later will find it.

        Raises:
            TokenRevoked, Unavailable
            TokenExpired: When the key behind it was taken away.
        """
        if self.end_of(admitted) == 0:
            raise TokenExpired("the key behind this token was taken away; come back with a new one")
        if self._gatekeeper is not None:
            self._gatekeeper.check(admitted)

    def check_still(self, admitted: Admitted) -> None:
        """
        Whether what was admitted holds on, for what lasts.

        Raises:
            TokenExpired, TokenRevoked, Unavailable: As `admit`.
        """
        self.check_revoked(admitted)
        if time.time() >= self.end_of(admitted):
            raise TokenExpired

    async def use(self, admitted: Admitted) -> None:
        """
        Take what was admitted as used. For all but one-time tokens this does nothing.

        To be called last, when nothing else could refuse what was asked: a mistake in a request does not cost its
        token.

        Raises:
            TokenUsed: When the one-time token was used before.
            Unavailable: When nobody can tell.
        """
        if not admitted.one_time:
            return
        if self._gatekeeper is None:
            raise Unavailable
        if not await self._gatekeeper.use(admitted):
            raise TokenUsed

    def _admit_secret(self, credential: str, now: float) -> Admitted:
        environment = self._keyring.environment_of(credential, now=now)
        if environment is None:
            raise TokenInvalid("this is neither a public token nor a secret key of an environment here")
        ends = self._keyring.end_of(environment, credential)
        expires_at = None if math.isinf(ends) else ends
        return Admitted(EnvironmentId(environment), Grant.everything(), expires_at, None, secret=credential)

    def _admit_token(self, token: str, digest: bytes, now: float, overdue: float) -> Admitted:
        try:
            verified = auth.verify(token, self._keyring, now=now, overdue=overdue)
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
            TokenMarks(verified.digest, verified.jti, verified.user, verified.issued_exactly),
            verified.one_time,
            verified.key.secret,
        )
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()  # cheaper than keeping an order, and no more than a verification each
        self._verified[digest] = admitted
        return admitted

    async def check_feed(self, admitted: Admitted, feed: FeedId, action: str = "read") -> None:
        """
        Whether the grant covers *feed* (docs/protocol.md, "Tokens"; Trigger.dev realtime protocol, section 2.5).

        Args:
            action: What is to be done to it: read or write. Neither implies the other.

        Raises:
            NotAllowed: Naming the scopes of which any would do, as far as they follow from the feed's name.
            Unavailable: When the run must be looked at and can't be.
        """
        judged = await self.judge(admitted, feed, action)
        if judged.scope is None:
            # Never what else would do: of a run that would be its tags, for whoever may not see them.
            raise NotAllowed(str(feed), ", ".join(Judgement(action, None, tuple(_resources(feed))).needed))

    def covers(self, admitted: Admitted, feed: FeedId, action: str = "read") -> bool:
        """Whether *feed* is allowed by its name alone, so that it stays so as long as the token holds."""
        return admitted.grant.granting_scope(action, _resources(feed)) is not None

    async def judge(self, admitted: Admitted, feed: FeedId, action: str = "read") -> Judgement:
        """
        By which rule *feed* is allowed, or what would allow it. Who is let in is decided by this and nothing else.

        Raises:
            Unavailable: When the run must be looked at and can't be.
        """
        resources = _resources(feed)
        scope = admitted.grant.granting_scope(action, resources)
        if scope is None and feed.run_id is not None:
            # A token for a tag, task or batch opens the runs that have it, once they exist.
            resources += await self._resources_of_run(admitted.environment, feed.run_id)
            scope = admitted.grant.granting_scope(action, resources)
        return Judgement(action, scope, tuple(resources))

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
        case "run" | "stream":
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


def foreign_origin(headers: Mapping[str, str]) -> str | None:
    """
    The origin of the page that a request comes from; None when no page sent it, or one of ours did.

    Browsers name the origin of our own pages, too, when they open a WebSocket or send something. A page elsewhere can't
    say that it is at the place that it asks; nor would it gain anything by it that its token does not give.
    """
    origin = headers.get("origin")
    if origin is None:
        return None
    place = origin.partition("://")[2].lower()
    return None if place and place == headers.get("host", "").lower() else origin


def bearer(header: str | None) -> str | None:
    """The credential of an Authorization header (RFC 6750, section 2.1), if it has one."""
    if header is None or header[: len(_BEARER)].lower() != _BEARER:
        return None
    return header[len(_BEARER) :].strip() or None
