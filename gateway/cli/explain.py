"""`runcast explain`: which rule lets a token see a feed, or what it lacks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import auth
from gateway.cli import describe
from gateway.cli.environment import environment
from gateway.cli.exits import ExitCode, stop
from gateway.cli.inspection import Inspected, given_token, inspect, known_keys, moment, token_as_json
from gateway.errors import BadInput, Misconfigured, Unavailable
from gateway.feeds import EnvironmentId, FeedId
from gateway.publisher.configuration import find_redis
from gateway.runs import hidden_columns
from gateway.store.redis_keys import Retention
from gateway.store.redis_store import RedisStore
from gateway.transports.admission import Admission, Admitted
from gateway.transports.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auth import Resource, Scope
    from gateway.codec import Row
    from gateway.transports.admission import Judgement

#: Of the JSON document. Fields may be added within a version.
VERSION: Final = 1


def explain(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[TOKEN] FEED", help="FEED is run:ID, tag:A,B, batch:ID, task:ID, stream:RUN,KEY or all."
        ),
    ],
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token; else TOKEN, - or RUNCAST_TOKEN.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="May it change what is named, rather than see it?")] = False,
    url: Annotated[str | None, typer.Option(help="A gateway that is asked whether the token was revoked.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """
    Say whether a token opens a feed, and which of its scopes decides that.

    Judged as a gateway does, by the same code. The signature is checked when the secret key is known here
    (RUNCAST_SECRET_KEY), and what a run carries is read when its Redis is (RUNCAST_REDIS_URL).

    Exit codes: 0 allowed, 2 usage, 4 denied, 6 no connection (with --url).
    """
    if len(arguments) > 2:
        stop(ExitCode.USAGE, "explain takes a token and a feed")
    token = given_token(arguments[0] if len(arguments) == 2 else None, token_file)
    try:
        feed = FeedId.parse(arguments[-1])
        inspected = inspect(token, known_keys())
        explanation = asyncio.run(_judge(inspected, feed, "write" if write else "read"))
    except auth.TokenError as error:
        stop(ExitCode.AUTH, f"denied: {error}")
    except (BadInput, Misconfigured) as error:
        stop(ExitCode.USAGE, str(error))
    explanation.revoked = _revoked(url, token, inspected)
    explanation.tell(as_json=as_json)
    raise typer.Exit(ExitCode.OK if explanation.allowed else ExitCode.AUTH)


class _Explanation:
    """What was found out."""

    def __init__(self, inspected: Inspected, feed: FeedId, judged: Judgement, looked: str) -> None:
        self.inspected, self.feed, self.judged, self._looked = inspected, feed, judged, looked
        #: What a gateway said of the token; empty when it said nothing against it, or was not asked.
        self.revoked = ""

    @property
    def reasons(self) -> list[str]:
        """Everything that speaks against it."""
        lacking = "" if self.judged.scope is not None else "none of its scopes allows it"
        return [reason for reason in (self.inspected.refused, self.revoked, lacking) if reason]

    @property
    def allowed(self) -> bool:
        return not self.reasons

    def tell(self, *, as_json: bool) -> None:
        print(json.dumps(self._document()) if as_json else "\n".join(self._lines()))

    def _document(self) -> dict[str, Any]:
        scopes = self.inspected.claims.grant.scopes
        return {
            "v": VERSION,
            "allowed": self.allowed,
            "feed": str(self.feed),
            "action": self.judged.action,
            "rule": None if self.judged.scope is None else str(self.judged.scope),
            "reasons": self.reasons,
            "scopes": [
                {"scope": str(scope), "matches": matches, "why": why}
                for scope in scopes
                for matches, why in [_match(scope, self.judged)]
            ],
            "needed": self.judged.needed,
            "token": token_as_json(self.inspected),
        }

    def _lines(self) -> list[str]:
        claims = self.inspected.claims
        verdict = "allowed" if self.allowed else "denied"
        lines = [f"{verdict}: {self.judged.action} {describe.clean(self.feed)}"]
        if self.allowed:
            lines.append(f"  by the scope {describe.clean(self.judged.scope)}")
        lines += [f"  because {describe.clean(reason)}" for reason in self.reasons]
        lines.append(f"  token of the environment {describe.clean(claims.subject)}, until {moment(claims.expires_at)}")
        lines.append(f"  signature: {self.inspected.signature}")
        for scope in claims.grant.scopes:
            matches, why = _match(scope, self.judged)
            lines.append(f"  scope {describe.clean(scope)}: {'matches' if matches else 'does not match'}; {why}")
        if not claims.grant.scopes:
            lines.append("  it has no scopes")
        if self.judged.scope is None:
            lines.append(f"  any of these would do: {describe.clean(', '.join(self.judged.needed))}")
        hidden = claims.grant.skip_columns
        if hidden:
            lines.append(f"  hidden columns: {describe.clean(', '.join(sorted(hidden)))}")
        if claims.one_time:
            lines.append("  it can be used once")
        return lines + [f"  note: {text}" for text in (self.inspected.unknown, self._looked) if text]


def _match(scope: Scope, judged: Judgement) -> tuple[bool, str]:
    """Whether a scope alone allows what was asked, and why."""
    covered = next((resource for resource in judged.resources if _grants(scope, judged.action, resource)), None)
    if covered is not None:
        return True, f"it covers {describe.clean(covered)}"
    if scope.has_empty_part:
        return False, "a part of it is empty, so it grants nothing; was a variable unset?"
    if not any(_grants(scope, scope.action, resource) for resource in judged.resources):
        asked = ", ".join(map(str, judged.resources))
        return False, f"the feed is none of that, but {describe.clean(asked)}"
    return False, f"it is about {describe.clean(scope.action)}, not {judged.action}"


def _grants(scope: Scope, action: str, resource: Resource) -> bool:
    return auth.Grant((scope,)).allows(action, [resource])


async def _judge(inspected: Inspected, feed: FeedId, action: str) -> _Explanation:
    claims = inspected.claims
    hidden = claims.grant.skip_columns
    admitted = Admitted(
        EnvironmentId(claims.subject),
        claims.grant,
        claims.expires_at,
        None if hidden is None else hidden_columns(hidden, lenient=True),
    )
    rows = _Rows()
    try:
        judged = await Admission(auth.Keyring([]), Origins(), rows).judge(admitted, feed, action)
    finally:
        await rows.close()
    return _Explanation(inspected, feed, judged, rows.note)


class _Rows:
    """The runs in the Redis of this place, if there is one."""

    def __init__(self) -> None:
        self.note = ""
        self._store: RedisStore | None = None

    async def read_row(self, environment_id: EnvironmentId, run: str, columns: Sequence[str]) -> Row | None:
        try:
            self._store = RedisStore(find_redis(None, environment()).url, Retention())
            row = await self._store.read_row(environment_id, run, columns)
        except (Misconfigured, Unavailable):
            self.note = "no Redis could be asked for the run's tags, task and batch: a scope for these may open it"
            return None
        if row is None:
            self.note = "there is no such run, so only scopes for runs open it"
        return row

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()


def _revoked(url: str | None, token: str, inspected: Inspected) -> str:
    """What a gateway says against the token that we can't know. One that can be used once is not shown to it."""
    if url is None or inspected.refused or inspected.claims.one_time:
        return ""
    from gateway.viewer.requests import NoConnection, RequestRefused, Requests

    try:
        Requests(url, token).get("/v1/runs/runcast-explain")
    except RequestRefused as refused:
        return str(refused) if refused.status == 401 else ""
    except NoConnection as error:
        stop(ExitCode.NO_CONNECTION, str(error))
    except Misconfigured as error:
        stop(ExitCode.USAGE, str(error))
    return ""
