"""A span for each HTTP request of the API. Streams have one that ends when they begin: nobody waits for their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.monitoring.requests import API, is_stream, route_of
from gateway.transports.admission import headers_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.tracing import Tracing


class TraceRequests:
    """Middleware around the routes. Never with a path or a query as it was sent: ids are not names, tokens secret."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(API):
            await self.app(scope, receive, send)
            return
        with self._tracing.request(scope["method"][:20], headers_of(scope)) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _answered(span, scope, message)
                await send(message)

            await self.app(scope, receive, noting)


def _answered(span: Span, scope: Scope, start: Message) -> None:
    route = route_of(scope)
    span.update_name(f"{scope['method'][:20]} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", start["status"])
    if is_stream(start):
        span.end()
