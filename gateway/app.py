"""Puts the parts together: store, hub, routes, and how long each lives."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from auth import Keyring
from gateway.feed.hub import Hub
from gateway.feeds import EnvironmentId
from gateway.health import Readiness, livez
from gateway.logs import configure_logging
from gateway.settings import from_environ
from gateway.store.redis_store import RedisStore
from gateway.transports import refusals
from gateway.transports.admission import Admission
from gateway.transports.sse import EventsEndpoint
from gateway.transports.viewing import Expirations, Services
from gateway.transports.websocket import WebSocketEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

    from gateway.settings import Settings
    from gateway.transports.sinks import Receive, Scope, Send


def create_app(settings: Settings, keyring: Keyring, *, routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """
    The gateway as an ASGI app, for any server; `gateway.server` serves it fastest.

    Args:
        routes: More routes, before ours: a page, say.
    """
    store = RedisStore(settings.redis_url, settings.retention)
    environments = [EnvironmentId(name) for name in keyring.environments]
    hub = Hub(store, settings.redis_url, environments, settings.heartbeat_seconds)
    admission = Admission(keyring, settings.origins, store)
    services = Services(settings, store, hub, admission, Expirations())

    app = Starlette(
        routes=[
            *routes,
            WebSocketRoute("/v1/ws", WebSocketEndpoint(services)),
            Route("/v1/events", EventsEndpoint(services)),
            Route("/livez", livez),
            Route("/healthz", livez),
            Route("/readyz", Readiness(services).readyz),
            WebSocketRoute("/{path:path}", _NoSocketHere()),
        ],
        lifespan=_lifespan(services),
        exception_handlers={404: _not_found, 405: _method_not_allowed},
    )
    # It would answer /v1/events/?token=… with a Location that repeats the token, in front of whoever logs those.
    app.router.redirect_slashes = False
    app.state.services = services
    return _with_cors(app, settings)


def _lifespan(services: Services) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with services.running():
            yield

    return lifespan


async def _not_found(request: Request, error: Exception) -> Response:
    status, body = refusals.not_found(request.url.path)
    return Response(body, status, media_type="application/problem+json")


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    status, body = refusals.method_not_allowed(request.method)
    return Response(body, status, headers={"allow": "GET, HEAD"}, media_type="application/problem+json")


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


def _with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Outermost, so that errors too can be read by the pages that may."""
    origins = settings.origins
    return CORSMiddleware(
        app,
        allow_origins=["*"] if origins.any else sorted(origins.exact),
        allow_origin_regex="|".join(pattern.pattern for pattern in origins.patterns) or None,
        allow_methods=["GET", "HEAD", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=["retry-after"],
        max_age=600,
    )


def from_environment() -> ASGIApp:
    """
    The app as the process environment describes it: what each worker process of `runcast serve` makes for itself.

    Raises:
        Misconfigured: When a setting can't be right.
        AuthError: When a secret key is missing or unusable.
    """
    configure_logging()
    settings = from_environ(os.environ, redis_url=os.environ["RUNCAST_REDIS_URL"])
    return create_app(settings, Keyring.from_environ(os.environ))
