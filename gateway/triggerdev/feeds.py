"""
The feeds of the official clients: `GET /realtime/v1/runs/:id`, `/realtime/v1/runs` and `/realtime/v1/batches/:id`
(Trigger.dev realtime protocol, section 4; shape protocol).

Every request says again who asks and for what; a shape (triggerdev/shape) answers it. Nothing is sent before the whole
answer is known: a connection that dies before is tried again quietly, and one that dies after ends the subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from auth import Resource
from gateway.errors import GatewayError, NotAllowed, NotFound, OverLimit, Unavailable
from gateway.feeds import ALL_RUNS, FeedId
from gateway.transports.admission import bearer, foreign_origin, headers_of
from gateway.triggerdev.refusals import internal_error, method_not_allowed, refusal
from gateway.triggerdev.shape.answers import Answer, send_answer
from gateway.triggerdev.shape.desk import ShapeDesk
from gateway.triggerdev.shape.events import EventStream
from gateway.triggerdev.shape.handles import Handle, definition_of
from gateway.triggerdev.shape.poll import Asked, Poll, disconnected
from gateway.triggerdev.shape.requests import hidden_by, parse_request, read_query, tags_of, window_of
from gateway.triggerdev.shape.shapes import Shapes
from gateway.triggerdev.shape.view import ShapeView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.routing import BaseRoute

    from gateway.transports.admission import Admitted
    from gateway.transports.sinks import Receive, Scope, Send
    from gateway.transports.viewing import Services

_log = logging.getLogger("runcast.shapes")

#: Who finds no place, or no data, waits here before being told, as long as is said in the answer but not longer than
#: this: some clients come again a tenth of a second after a 429 or a 503, whatever the answer says.
REFUSAL_SECONDS: Final = 3.0


def routes(services: Services) -> list[BaseRoute]:
    """The three feeds."""
    shapes = Shapes(services.hub, services.store)
    desk = ShapeDesk(services, shapes)
    services.desk.add(desk)
    return [
        _FeedRoute("/realtime/v1/runs/{id:path}", FeedEndpoint(services, shapes, desk, _run)),
        _FeedRoute("/realtime/v1/runs", FeedEndpoint(services, shapes, desk, _tags)),
        _FeedRoute("/realtime/v1/batches/{id:path}", FeedEndpoint(services, shapes, desk, _batch)),
    ]


class _FeedRoute(Route):
    """A route by the name that metrics show; an id may have a `/` in it."""

    def __init__(self, path: str, endpoint: FeedEndpoint) -> None:
        super().__init__(path, endpoint)
        self.template = path.replace(":path", "")


def _run(path: Mapping[str, Any], query: Mapping[str, str]) -> FeedId:
    return FeedId.run(path["id"])


def _tags(path: Mapping[str, Any], query: Mapping[str, str]) -> FeedId:
    return tags_of(query)


def _batch(path: Mapping[str, Any], query: Mapping[str, str]) -> FeedId:
    return FeedId.batch(path["id"])


class FeedEndpoint:
    """The ASGI app of a feed's route."""

    def __init__(
        self,
        services: Services,
        shapes: Shapes,
        desk: ShapeDesk,
        feed_of: Callable[[Mapping[str, Any], Mapping[str, str]], FeedId],
    ) -> None:
        self._services = services
        self._shapes = shapes
        self._desk = desk
        self._feed_of = feed_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await send_answer(send, method_not_allowed(scope["method"], "GET"))
            return
        begun = False

        async def noticed(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            answer = await self._answer(scope, receive, noticed)
        except GatewayError as error:
            self._services.counters.refusals[error.code] += 1
            if isinstance(error, OverLimit | Unavailable):
                await _unless_gone(receive, min(error.retry_after_seconds or 0.0, REFUSAL_SECONDS))
            answer = refusal(error)
        except Exception:
            if begun:
                raise
            _log.exception("a feed failed")
            answer = internal_error()
        if answer is not None:
            await send_answer(send, answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """What is answered; None when that has been sent, or nobody waits for it."""
        asked = self._read(scope)
        asked.check_time()
        await self._check_allowed(asked.admitted, asked.feed)
        if not asked.bound:
            await self._services.admission.use(asked.admitted)
        if asked.has_lost_its_place:
            return asked.refetch()
        place, view = asked.place, ShapeView(asked.feed, asked.hidden, asked.window)
        with self._shapes.using(asked.admitted.environment, view) as shape:
            poll = Poll(self._services, shape, asked)
            if place is None or not asked.request.live:
                return await poll.read(place)
            if asked.request.events:
                return await EventStream(poll, asked, place).send(receive, send)
            if asked.bound and self._services.admission.covers(asked.admitted, asked.feed):
                await self._desk.leave_pass(scope, asked.admitted, shape, asked.handle)
            return await poll.follow(place, receive)

    def _read(self, scope: Scope) -> Asked:
        """
        What a request asks for, and who asks.

        Raises:
            GatewayError: Saying what is wrong with it.
        """
        services, headers = self._services, headers_of(scope)
        services.admission.check_origin(foreign_origin(headers))
        query = read_query(scope["query_string"])
        # With a handle it may be a feed that outlives its token; `Asked.check_time` looks at that.
        overdue = services.settings.shape_handle_grace_seconds if query.get("handle") else 0.0
        admitted = services.admission.admit(bearer(headers.get("authorization")), overdue=overdue)
        feed = self._feed_of(scope["path_params"], query)
        request = parse_request(query)
        hidden = hidden_by(query, admitted.grant.skip_columns)
        definition = definition_of(admitted.environment, feed, hidden)
        handle = Handle.parse(request.handle)
        if handle is not None and not handle.is_of(definition, admitted):
            handle = None
        return Asked(
            admitted,
            feed,
            request,
            hidden,
            since=window_of(query) if feed.kind in ("tag", "all") else 0,
            definition=definition,
            handle=handle,
            bound=handle is not None and handle.binds(admitted),
        )

    async def _check_allowed(self, admitted: Admitted, feed: FeedId) -> None:
        """
        Whether the token's scopes cover the feed (realtime protocol, section 2.5).

        Raises:
            NotAllowed: When none does.
            NotFound: When the feed is about a run that there is not, whatever the scopes.
        """
        if feed == ALL_RUNS and admitted.grant.allows("read", [Resource("tags")]):
            return
        try:
            await self._services.admission.check_feed(admitted, feed)
        except NotAllowed:
            if feed.run_id is not None:
                row = await self._services.store.read_row(admitted.environment, feed.run_id, ("status",))
                if row is None:
                    raise NotFound("Not found") from None
            raise


async def _unless_gone(receive: Receive, seconds: float) -> None:
    """Wait so long, but not after the client has gone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await disconnected(receive)
