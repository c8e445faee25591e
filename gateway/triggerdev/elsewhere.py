"""Below the official clients' paths, where there is nothing: 404 as they read it. Comes after all other routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api.endpoint import ApiRoute, send_answer
from gateway.errors import NotFound
from gateway.triggerdev.dialect import TRIGGERDEV

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from gateway.transports.sinks import Receive, Scope, Send
    from gateway.transports.viewing import Services

_ABOVE: Final = ("/api/*", "/realtime/*", "/engine/*")


class _Nothing(ApiRoute):
    """Everything below a path, whatever the method."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = NotFound(f"there is nothing at {scope['path'][:200]} for {scope['method'][:20]}")
        await send_answer(send, scope["method"], self.dialect.refused(error))


def routes(services: Services) -> list[BaseRoute]:
    """One for each of the paths that these clients' requests begin with."""
    return [_Nothing(services, path, (), TRIGGERDEV) for path in _ABOVE]
