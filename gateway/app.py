"""Puts the parts together: store, hub, routes, and how long each lives."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from gateway.api import batches, changes, openapi, overview, runs, streams, tokens
from gateway.api.endpoint import merged
from gateway.feed.hub import Hub
from gateway.feeds import EnvironmentId
from gateway.health import Readiness, livez
from gateway.limits import Quotas
from gateway.logs import hide_secrets
from gateway.metrics.counters import Counters
from gateway.monitoring.endpoint import MetricsEndpoint, PrivatePort
from gateway.monitoring.monitor import Monitor
from gateway.monitoring.requests import CountRequests
from gateway.monitoring.spans import TraceRequests
from gateway.store.deadlines import Deadlines
from gateway.store.redis_store import RedisStore
from gateway.store.revocations import RevocationStore
from gateway.store.run_writer import RunWriter
from gateway.tracing import tracing
from gateway.transports import refusals
from gateway.transports.admission import Admission
from gateway.transports.events_desk import EventsDesk
from gateway.transports.expirations import Expirations
from gateway.transports.origins import OPAQUE
from gateway.transports.poll import PollEndpoint
from gateway.transports.reloading import Reloading
from gateway.transports.renewing import Renewals
from gateway.transports.revoking import RevocationWatch
from gateway.transports.sse import PATH as EVENTS_PATH
from gateway.transports.sse import EventsEndpoint
from gateway.transports.viewing import Services
from gateway.transports.websocket import PATH as SOCKET_PATH
from gateway.transports.websocket import SocketDesk, WebSocketEndpoint
from gateway.triggerdev import batches as batches_of_theirs
from gateway.triggerdev import elsewhere, feeds, inputs, later, listing, metadata
from gateway.triggerdev import runs as runs_of_theirs
from gateway.triggerdev import streams as streams_of_theirs
from gateway.triggerdev import tokens as tokens_of_theirs
from gateway.web import routes as web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from auth import Keyring
    from gateway.api.endpoint import ApiRoute
    from gateway.settings import Settings
    from gateway.transports.desk import FrontDesk
    from gateway.transports.origins import Origins
    from gateway.transports.reloading import KeysAndOrigins
    from gateway.transports.sinks import ASGIMessage, Receive, Scope, Send


def create_app(
    settings: Settings,
    keyring: Keyring,
    *,
    routes: Sequence[BaseRoute] = (),
    reload: Callable[[], KeysAndOrigins] | None = None,
) -> ASGIApp:
    """
    The gateway as an ASGI app, for any server; `gateway.server` serves it fastest.

    Args:
        routes: More routes, before ours: a page, say.
        reload: Reads keys and origins again, for `services.reload()`; raises GatewayError or AuthError if it can't.
    """
    store = RedisStore(settings.redis_url, settings.retention)
    environments = [EnvironmentId(name) for name in keyring.environments]
    counters = Counters()
    quotas = _quotas(settings, counters)
    hub = Hub(store, settings.redis_url, environments, settings.heartbeat_seconds, quotas.hearing)
    expirations = Expirations()
    revocations = RevocationWatch(RevocationStore(store), hub, environments, expirations)
    origins = _origins(settings, settings.origins)
    admission = Admission(keyring, origins, store, revocations)
    renewals = Renewals(hub, store, admission)
    writer = RunWriter(settings.redis_url, settings.retention, settings.limits)
    deadlines = Deadlines(store, writer, environments)
    services = Services(
        *(settings, store, hub, admission, expirations, revocations, renewals, writer, deadlines, quotas),
        counters=counters,
        reload=Reloading(reload),
    )
    monitor = Monitor(services)
    _hide_secrets(settings, keyring)
    events_desk = EventsDesk(services)
    if not routes:  # of which one might be before ours
        services.desk.add(events_desk)
        services.desk.add_for_sockets(SocketDesk(services))

    app = Starlette(
        routes=[*routes, *_routes(services, monitor, events_desk)],
        lifespan=_lifespan(services, monitor),
        middleware=_middleware(services, monitor),
        exception_handlers=_HANDLERS,
    )
    # It would answer /v1/events/?token=… with a Location that repeats the token, in front of whoever logs those.
    app.router.redirect_slashes = False
    app.state.services = services
    cors = _Cors(app, origins)
    services.desk.private_port, services.desk.lines_for = settings.metrics_port, cors.lines_for
    # Spans are made by middleware, where what the desk takes does not come by.
    cors.desk = services.desk if tracing() is None else None
    services.reload.tell(partial(_take, services, cors))
    return cors


def _routes(services: Services, monitor: Monitor, events_desk: EventsDesk) -> list[BaseRoute]:
    """All that is answered, in the order in which it is looked through."""
    return [
        *_triggerdev(services),  # first, because polls come most often
        *_api(services, monitor),
        WebSocketRoute(SOCKET_PATH, WebSocketEndpoint(services)),
        Route(EVENTS_PATH, EventsEndpoint(services, events_desk, web.FORMS)),
        Route("/v1/poll", PollEndpoint(services)),
        *_watching(services, monitor, beside=services.settings.metrics_port is None),
        *web.routes(services),
        WebSocketRoute("/{path:path}", _NoSocketHere()),
    ]


def _quotas(settings: Settings, counters: Counters) -> Quotas:
    return Quotas(
        connections_per_environment=settings.connections_per_environment,
        connections_per_token=settings.connections_per_token,
        requests_per_second=settings.requests_per_second,
        token_requests_per_second=settings.token_requests_per_second,
        changes_per_second=settings.changes_per_second,
        hits=counters.limits_hit,
    )


def _origins(settings: Settings, allowed: Origins) -> Origins:
    """
    The origins whose pages may talk to us.

    Our page for iframes has none when its frame is sandboxed, as it should be; it can't be told from anybody's then.
    So whoever opens embedding for other sites lets in pages without an origin: their tokens say what they may see.
    """
    return replace(allowed, opaque=settings.embed_origins.are_others)


def _take(services: Services, cors: _Cors, found: KeysAndOrigins) -> None:
    """Put other keys and origins to use. Whoever's key is gone is sent away."""
    environments = [EnvironmentId(name) for name in found.keyring.environments]
    services.hub.know(environments)
    services.deadlines.environments = tuple(dict.fromkeys([*services.deadlines.environments, *environments]))
    services.revocations.watch(environments)
    origins = _origins(services.settings, found.origins)
    services.admission.reload(found.keyring, origins)
    _hide_secrets(services.settings, found.keyring)
    services.expirations.keys_changed()
    cors.allow(origins)
    services.desk.forget()


def _api(services: Services, monitor: Monitor) -> list[ApiRoute]:
    """The plain requests, one route for each path, and the document that describes them."""
    rooms = (runs, changes, batches, streams, tokens)
    plain = merged([route for room in rooms for route in room.routes(services)])
    plain += overview.routes(services, monitor.take)
    return [*plain, *openapi.routes(services, plain)]


_THEIR_ROOMS: Final = (batches_of_theirs, listing, metadata, runs_of_theirs, tokens_of_theirs)


def _triggerdev(services: Services) -> list[BaseRoute]:
    """What the official clients of Trigger.dev ask for, no part of our own interface. The first that fits answers."""
    return [
        *feeds.routes(services),
        *merged([route for room in _THEIR_ROOMS for route in room.routes(services)]),
        *inputs.routes(services),
        *streams_of_theirs.routes(services),
        *later.routes(services),
        *elsewhere.routes(services),
    ]


def _hide_secrets(settings: Settings, keyring: Keyring) -> None:
    """No log line may have one in it, whatever it looks like."""
    known = [keyring.keys_of(environment) for environment in keyring.environments]
    secrets = {key.secret for keys in known for key in (keys.current, *keys.previous)}
    password = urlsplit(settings.redis_url).password
    hide_secrets(secrets | ({password, unquote(password)} if password else set()))


def _watching(services: Services, monitor: Monitor, *, beside: bool) -> list[Route]:
    """
    The routes of whoever watches the gateway.

    Args:
        beside: At the port where everything else is, too; /metrics is not for everybody there.
    """
    metrics = MetricsEndpoint(monitor, services, guarded=beside)
    return [
        Route("/livez", livez),
        Route("/healthz", livez),
        Route("/readyz", Readiness(services).readyz),
        *([Route("/metrics", metrics.metrics)] if beside else []),
    ]


def _middleware(services: Services, monitor: Monitor) -> list[Middleware]:
    found = [Middleware(CountRequests, services.counters)]
    traced = tracing()
    if traced is not None:
        found.append(Middleware(TraceRequests, traced))
    port = services.settings.metrics_port
    if port is None:
        return found
    metrics = MetricsEndpoint(monitor, services, guarded=False)
    routes = [*_watching(services, monitor, beside=False), Route("/metrics", metrics.metrics)]
    return [*found, Middleware(PrivatePort, port, routes, _HANDLERS)]


def _lifespan(services: Services, monitor: Monitor) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with monitor.running(), services.running():
            yield

    return lifespan


async def _not_found(request: Request, error: Exception) -> Response:
    status, body = refusals.not_found(request.url.path)
    return Response(body, status, media_type="application/problem+json")


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    status, body = refusals.method_not_allowed(request.method)
    return Response(body, status, headers={"allow": "GET, HEAD"}, media_type="application/problem+json")


_HANDLERS: Final[dict[Any, Any]] = {404: _not_found, 405: _method_not_allowed}


class _NoSocketHere:
    """A WebSocket at any other path: 404, where closing before accepting would say 403 and look like a refusal."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": refusals.NORMAL})
            return
        status, body = refusals.not_found(scope["path"])
        headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})


#: What a page may read of an answer: ours, and what the official Trigger.dev clients look at (electric-shape, section
#: 13; Trigger.dev realtime protocol, section 0.4). Named one by one: not every browser takes `*` for all of them.
_EXPOSED: Final = (
    *("etag", "idempotency-replayed", "link", "location"),
    *("retry-after", "runcast-connection", "www-authenticate"),
    *("electric-offset", "electric-handle", "electric-cursor", "electric-schema", "electric-up-to-date"),
    *("x-trigger-jwt", "x-trigger-jwt-claims", "x-stream-version", "x-session-settled", "x-last-chunk-index"),
    *("x-should-retry", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
)


class _Cors:
    """Outermost, so that errors too can be read by the pages that may."""

    #: For a server that shows requests to it first (transports/desk.py).
    desk: FrontDesk | None = None

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self.app = app
        self.allow(origins)

    def allow(self, origins: Origins) -> None:
        """From now on only these."""
        self._answering = CORSMiddleware(
            self.app,
            allow_origins=["*"] if origins.any else sorted(origins.exact | ({OPAQUE} if origins.opaque else set())),
            allow_origin_regex="|".join(pattern.pattern for pattern in origins.patterns) or None,
            allow_methods=["GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "DELETE"],
            allow_headers=["*"],  # whatever is asked for
            expose_headers=_EXPOSED,
            max_age=600,
        )

    async def lines_for(self, origin: str) -> bytes:
        """The header lines that an answer gets here, for a page of *origin* or, when that is empty, for no page."""
        start: ASGIMessage = {"type": "http.response.start", "headers": []}
        await self._answering.send(start, _send_nowhere, Headers({"origin": origin} if origin else {}))
        return b"".join([b"%b: %b\r\n" % header for header in start["headers"]])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answering(scope, receive, send)


async def _send_nowhere(message: ASGIMessage) -> None:
    """What is sent is only looked at."""
