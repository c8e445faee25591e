"""Who may do what over HTTP: a secret key everything, a public token what its scopes say (docs/http.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auth import Resource
from gateway.errors import NotAllowed, SecretKeyNeeded
from gateway.feeds import FeedId
from gateway.runs import ALWAYS_SHOWN, COLUMNS, METADATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.api.calls import Call

_EVERYTHING: frozenset[str] = frozenset({*COLUMNS, METADATA}) - ALWAYS_SHOWN


async def anybody(call: Call) -> None:
    """What everybody may have, or everybody with a valid credential."""


async def secret_key_only(call: Call) -> None:
    """
    Whether the call comes with the secret key itself.

    Raises:
        SecretKeyNeeded: For a public token, whatever its scopes.
    """
    if not call.admitted.is_secret_key:
        raise SecretKeyNeeded(call.operation.summary)


async def may_read_run(call: Call) -> None:
    """
    Whether the call may see the run of its path, by the rules of the run's feed.

    Raises:
        NotAllowed, Unavailable: As `Admission.check_feed`.
    """
    await call.services.admission.check_feed(call.admitted, FeedId.run(call.path["id"]))


async def may_write_run(call: Call) -> None:
    """As `may_read_run`, for a `write:` scope of the run, its task, one of its tags, or its batch."""
    await check_write(call, call.path["id"])


async def check_write(call: Call, run: str) -> None:
    """As `may_write_run`, for any run."""
    await call.services.admission.check_feed(call.admitted, FeedId.run(run), "write")


async def check_create(call: Call, run: str, said: Mapping[str, Any]) -> None:
    """
    Whether the call may create *run*, or say it again.

    For a run that exists the scopes must cover it as it is: what the call says of its task does not count.

    Raises:
        NotAllowed, Unavailable: As `Admission.check_feed`.
    """
    grant = call.admitted.grant
    if grant.allows("write", [Resource("runs", run)]):
        return
    exists = await call.services.store.read_row(call.environment, run, ("taskIdentifier",)) is not None
    if exists:
        await check_write(call, run)
    elif not grant.allows("trigger", [Resource("tasks", said["taskIdentifier"])]):
        task = said["taskIdentifier"]
        raise NotAllowed(f"creating run:{run}", f"write:runs, write:runs:{run}, write:tasks:{task}")


async def may_list(call: Call) -> None:
    """
    Whether the call may see a list: by the scopes of any of the feeds that it names, for the list is part of each.

    Raises:
        NotAllowed: Naming the scopes of which any would do.
    """
    refusals = []
    for feed in _feeds(call.query):
        try:
            await call.services.admission.check_feed(call.admitted, feed)
        except NotAllowed as error:
            refusals.append(error)
        else:
            return
    needed = dict.fromkeys(scope for error in refusals for scope in error.needed.split(", "))
    raise NotAllowed(", ".join(error.feed for error in refusals), ", ".join(needed))


def _feeds(query: Mapping[str, Any]) -> Iterable[FeedId]:
    named = []
    if query.get("tag"):
        named.append(FeedId.tags(*query["tag"]))
    if "task" in query:
        named.append(FeedId.task(query["task"]))
    if "batch" in query:
        named.append(FeedId.batch(query["batch"]))
    return named or [FeedId("all")]


async def hidden_from(call: Call, run: str, wished: Iterable[str] = ()) -> frozenset[str]:
    """
    The columns of *run* that an answer to this call leaves out.

    What a token hides replaces what the caller wishes, as in feeds. Writing does not imply reading: who may only write
    is shown what no view hides.
    """
    hidden = call.admitted.hidden
    try:
        await call.services.admission.check_feed(call.admitted, FeedId.run(run))
    except NotAllowed:
        return _EVERYTHING
    return frozenset(wished) if hidden is None else hidden
