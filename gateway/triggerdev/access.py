"""
Who may do what of the official clients' requests: exactly the scopes of Trigger.dev realtime protocol, section 2.5.

First whether there is what was asked for, then whether the caller may: a 404 is what those clients repeat, or end by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from auth import Resource
from gateway.codec import decode_json
from gateway.errors import NotAllowed, NotFound, NotFoundYet
from gateway.feeds import FeedId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.api.calls import Call
    from gateway.codec import Row

#: The columns that say what a run is in the words of scopes.
SCOPED: Final = ("taskIdentifier", "runTags", "batchId")


def require(call: Call, action: str, what: str, resources: Iterable[Resource]) -> None:
    """
    Whether the call's token allows *action* on any of *resources*.

    Raises:
        NotAllowed: Naming the scopes of which any would do, as far as they follow from *what* was asked for.
    """
    wanted = tuple(resources)
    if not call.admitted.grant.allows(action, wanted):
        # Never the others: of a run that would be its tags, for whoever may not see them.
        raise NotAllowed(what, f"{action}:{wanted[0].type}, {action}:{wanted[0]}")


def resources_of(row: Row) -> list[Resource]:
    """What a run is in the words of scopes; the row has the columns SCOPED."""
    found = {name: decode_json(row.columns[name]) for name in SCOPED if name in row.columns}
    resources = [Resource("runs", row.run)]
    if "taskIdentifier" in found:
        resources.append(Resource("tasks", found["taskIdentifier"]))
    resources += [Resource("tags", tag) for tag in found.get("runTags", ())]
    return resources + ([Resource("batch", found["batchId"])] if "batchId" in found else [])


def may_read(call: Call, row: Row) -> bool:
    """Whether the call may see a run, by the run itself, its task, one of its tags, or its batch."""
    return call.admitted.grant.allows("read", resources_of(row))


async def read_row(call: Call, run: str, columns: Sequence[str], *, metadata: bool = False) -> Row | None:
    """
    Columns of a run, with or without its metadata; None when there is no such run.

    Raises:
        Unavailable: When it can't be read now.
    """
    feed, wanted = FeedId.run(run), tuple(dict.fromkeys((*columns, *SCOPED)))
    page = await call.services.store.read_page(
        call.environment, feed, "", after=0, since=0, columns=wanted, metadata=metadata
    )
    return page.rows[0] if page.rows else None


async def find_row(call: Call, columns: Sequence[str], *, metadata: bool = False, patient: bool = False) -> Row:
    """
    As `read_row`, of the run that the call's path names.

    Args:
        patient: Whoever asks should ask again for a while: a publisher may not have sent the run yet.

    Raises:
        NotFound, NotFoundYet: When there is none.
        Unavailable: When it can't be read now.
    """
    run = call.path["id"]
    row = await read_row(call, run, columns, metadata=metadata)
    if row is None:
        raise (NotFoundYet if patient else NotFound)(f"there is no run {run[:80]!r}")
    return row
