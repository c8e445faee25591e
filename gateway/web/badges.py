"""
`/badge/…`: how a run, or the runs of a tag, task or batch are, as a picture for a README or as JSON for Shields
(docs/embedding.md).

Whoever shows a picture has no use for an error: what can't be said, for whatever reason, is answered with a grey badge
that says so, since image proxies keep error images for long. The reason is in a header, for who looks into it. Nothing
is kept by proxies without asking again, and one request is one read of Redis (two, when a token is for a tag of a run).
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.api.calls import Answer
from gateway.codec import decode_json, encode_message
from gateway.errors import BadFeed, GatewayError, NotAuthenticated, NotFound, TokenUsed, TooManyRequests
from gateway.feeds import EnvironmentId, FeedId
from gateway.limits import Bucket
from gateway.runs import METADATA
from gateway.store.listing import Listing
from gateway.transports.admission import bearer
from gateway.web.badge_svg import Badge, draw, shortened
from gateway.web.headers import PLAIN, picture_policy
from gateway.web.pages import PageRoute, etag_of, unchanged
from gateway.web.states import State, percent_of, percent_text, state_of, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.api.calls import Header
    from gateway.codec import Row
    from gateway.transports.viewing import Services
    from gateway.web.pages import Request

#: Runs that are looked at to count those of a tag, task or batch: the newest.
MOST_COUNTED: Final = 100
#: Badges without a token that are made in a second, by one process; for all who ask.
_PUBLIC_PER_SECOND: Final = 50.0
#: Shields keeps what it was told for so long; it takes no shorter time.
_SHIELDS_SECONDS: Final = 300

#: White text can be read on each of them (WCAG 2.2, criterion 1.4.3).
_GREEN, _BLUE, _RED, _AMBER, _GREY = "#1a7f37", "#0969da", "#cf222e", "#9a6700", "#59636e"
_COLOURS: Final = {
    State.RUNNING: _BLUE,
    State.WAITING: _GREY,
    State.FAILED: _RED,
    State.CANCELED: _AMBER,
    State.COMPLETED: _GREEN,
}
_NEVER: Final = "Thu, 01 Jan 1970 00:00:00 GMT"
_REASON: Final = "runcast-refusal"

_FEEDS: Final[dict[str, Callable[[str], FeedId]]] = {
    "runs": FeedId.run,
    "tags": lambda text: FeedId.tags(*text.split(",")),
    "tasks": FeedId.task,
    "batches": FeedId.batch,
}
_SVG, _JSON = ".svg", ".json"


class _Admission(NamedTuple):
    """Whose runs are looked at, and whether their metadata may be."""

    environment: EnvironmentId
    shows_metadata: bool


class Badges:
    """Makes badges; keeps nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._public = Bucket(_PUBLIC_PER_SECOND, time.monotonic())

    async def answer(self, kind: str, request: Request) -> Answer:
        """
        Raises:
            NotFound: When the path is that of no badge.
        """
        name, suffix = _name_of(request.path["name"])
        reason: tuple[Header, ...] = ()
        try:
            badge = await self._badge(kind, name, request)
        except GatewayError as error:
            self._services.counters.refusals[error.code] += 1
            badge, reason = Badge(name or kind, "unknown", _GREY, known=False), ((_REASON, error.code),)
        label = request.query.get("label", "")
        if label.strip():
            badge = replace(badge, label=label)
        return _spelled(badge, suffix, request, reason)

    async def _badge(self, kind: str, name: str, request: Request) -> Badge:
        feed = _FEEDS[kind](name)
        admitted = await self._admit(feed, request)
        if feed.run_id is None and request.query.get("show") != "latest":
            return await self._count(admitted, feed, name)
        row = await (self._latest(admitted, feed) if feed.run_id is None else self._run(admitted, feed))
        if row is None:
            return Badge(name, "unknown", _GREY, known=False)
        return _of_run(row, decode_json(row.columns["taskIdentifier"]) if feed.run_id is not None else name)

    async def _admit(self, feed: FeedId, request: Request) -> _Admission:
        """
        Raises:
            GatewayError: When the request may not see *feed*; nothing was read of it then.
        """
        services = self._services
        credential = bearer(request.headers.get("authorization")) or request.query.get("token")
        if credential is None:
            return self._admit_everybody(request.query.get("environment"))
        admitted = services.admission.admit(credential)
        services.quotas.check_request(admitted.environment, admitted.token)
        if admitted.one_time:
            raise TokenUsed  # a picture is asked for again and again
        await services.admission.check_feed(admitted, feed)
        return _Admission(admitted.environment, METADATA not in (admitted.hidden or ()))

    def _admit_everybody(self, named: str | None) -> _Admission:
        services = self._services
        if not services.settings.public_badges:
            raise NotAuthenticated
        environments = services.admission.environments
        environment = named or (environments[0] if len(environments) == 1 else "")
        if environment not in environments:
            raise BadFeed("name one of the environments: ?environment=…")
        wait = self._public.take(time.monotonic())
        if wait:
            # Not the environment's own limit: who has no token must not use up what those have who do.
            raise TooManyRequests(whose="everybody together", limit=_PUBLIC_PER_SECOND, retry_after_seconds=wait)
        return _Admission(EnvironmentId(environment), True)

    async def _run(self, admitted: _Admission, feed: FeedId) -> Row | None:
        page = await self._services.store.read_page(
            admitted.environment,
            feed,
            "",
            after=0,
            since=0,
            columns=("taskIdentifier", "status"),
            metadata=admitted.shows_metadata,
        )
        return page.rows[0] if page.rows else None

    async def _latest(self, admitted: _Admission, feed: FeedId) -> Row | None:
        page = await self._services.store.list_runs(
            admitted.environment,
            _listing(feed),
            limit=1,
            columns=("status",),
            metadata=admitted.shows_metadata,
        )
        return page.rows[0] if page.rows else None

    async def _count(self, admitted: _Admission, feed: FeedId, name: str) -> Badge:
        page = await self._services.store.list_runs(
            admitted.environment, _listing(feed), limit=MOST_COUNTED, columns=("status",), metadata=False
        )
        return _of_runs(page.rows, name, more=bool(page.next))


def _name_of(part: str) -> tuple[str, str]:
    for suffix in (_SVG, _JSON):
        if part.endswith(suffix):
            return part.removesuffix(suffix), suffix
    raise NotFound(f"a badge ends with {_SVG} or {_JSON}")


def _listing(feed: FeedId) -> Listing:
    match feed.kind:
        case "task":
            return Listing(tasks=feed.names)
        case "batch":
            return Listing(batch=feed.names[0])
        case _:
            return Listing(tags=feed.names)


def _of_run(row: Row, label: str) -> Badge:
    state = state_of(row.status)
    text = row.metadata.get(b"progress")
    percent = percent_of(decode_json(text)) if state is State.RUNNING and text is not None else None
    message = words_of(row.status) + (f" {percent_text(percent)}" if percent is not None else "")
    return Badge(label, message, _COLOURS[state], percent)


def _of_runs(rows: Sequence[Row], label: str, *, more: bool) -> Badge:
    """How many of them are how. *more*: they are only the newest."""
    counts = Counter(state_of(row.status) for row in rows)
    if not counts:
        return Badge(label, "unknown" if more else "no runs", _GREY, known=not more)
    message = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    if more:
        message += f" of the newest {len(rows)}"
    worst = State.FAILED if counts[State.FAILED] else next(state for state in State if counts[state])
    return Badge(label, message, _COLOURS[worst])


def _spelled(badge: Badge, suffix: str, request: Request, reason: tuple[Header, ...]) -> Answer:
    if suffix == _SVG:
        body, media_type = draw(badge), "image/svg+xml; charset=utf-8"
    else:
        body, media_type = _for_shields(badge), "application/json"
    tag = etag_of(body)
    headers = (
        # With all three GitHub's proxy asks again each time; without an `ETag` it keeps a picture for hours.
        *(("cache-control", "no-cache, max-age=0"), ("etag", tag), ("expires", _NEVER)),
        ("content-security-policy", picture_policy()),
        ("cross-origin-resource-policy", "cross-origin"),
        *(*PLAIN, *reason),
    )
    return unchanged(headers, media_type) if request.has(tag) else Answer(200, body, headers, media_type)


def _for_shields(badge: Badge) -> bytes:
    """What Shields' endpoint badges are made of."""
    return encode_message(
        {
            "schemaVersion": 1,
            "label": shortened(badge.label),
            "message": shortened(badge.message),
            "color": badge.colour,
            "isError": not badge.known,
            "cacheSeconds": _SHIELDS_SECONDS,
        }
    )


def routes(services: Services) -> list[PageRoute]:
    """A path for each kind of feed."""
    badges = Badges(services)

    def route(kind: str) -> PageRoute:
        async def answer(request: Request) -> Answer:
            return await badges.answer(kind, request)

        return PageRoute(services, f"/badge/{kind}/{{name}}", answer)

    return [route(kind) for kind in _FEEDS]
