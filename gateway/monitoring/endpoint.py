"""
`GET /metrics`: what the gateway has counted, for Prometheus and all who read its format.

With `metrics_port` set it is served at that port and nowhere else, to whoever can reach it, as Prometheus expects.
Without, it is beside everything else, where viewers come from anywhere, so it wants the secret key. A key is of one
environment, and the counts are of all of them: where there are several, only the port of its own will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response

import auth
from gateway.errors import GatewayError, NotAllowed
from gateway.metrics.exposition import expose
from gateway.transports import refusals
from gateway.transports.admission import bearer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.monitoring.monitor import Monitor
    from gateway.transports.viewing import Services


class MetricsNotShown(NotAllowed):
    """Metrics were asked for in a way that does not show them to everybody who may come that way."""

    def __init__(self, detail: str) -> None:
        GatewayError.__init__(self, detail)


class MetricsEndpoint:
    """The document. *guarded*: only for whoever has the secret key."""

    def __init__(self, monitor: Monitor, services: Services, *, guarded: bool) -> None:
        self._monitor = monitor
        self._services = services
        self._guarded = guarded

    async def metrics(self, request: Request) -> Response:
        if self._guarded:
            try:
                self._check(request)
            except GatewayError as error:
                self._services.counters.refusals[error.code] += 1
                status, body = refusals.problem(error)
                headers = {name.decode(): value.decode() for name, value in refusals.problem_headers(error)}
                return Response(body, status, headers)
        document, content_type = expose(await self._monitor.take(), request.headers.get("accept", ""))
        return Response(document, headers={"content-type": content_type, "cache-control": "no-store"})

    def _check(self, request: Request) -> None:
        credential = bearer(request.headers.get("authorization"))
        if credential is not None and auth.looks_like_public_token(credential):
            raise MetricsNotShown("metrics want the secret key, not a public token; or set RUNCAST_METRICS_PORT")
        self._services.admission.admit(credential)
        if len(self._services.admission.environments) > 1:
            raise MetricsNotShown(
                "metrics are of all environments together, so no secret key opens them; set RUNCAST_METRICS_PORT to "
                "serve them at a port that only you can reach"
            )


class PrivatePort:
    """Middleware: at one of the ports that we listen on there is another app, with only these routes."""

    def __init__(self, app: ASGIApp, port: int, routes: Sequence[BaseRoute], handlers: Mapping[Any, Any]) -> None:
        self.app = app
        self._port = port
        self._private = Starlette(routes=list(routes), exception_handlers=handlers)
        self._private.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        is_private = scope["type"] != "lifespan" and server is not None and server[1] == self._port
        await (self._private if is_private else self.app)(scope, receive, send)
