"""
Django Channels: a group per feed in the layer that uses Redis pub/sub.

Events come in as the layer's own messages, as `group_send` in another process publishes them. It runs under uvicorn,
where a delivery took less than two thirds of the processor time that it took under Daphne 4.2.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import django
from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path

from benchmarks.peers.serving import arguments, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def group_of(feed: str) -> str:
    """Colons are not allowed in the name of a group."""
    return feed.replace(":", ".")


class Viewer(AsyncWebsocketConsumer):  # type: ignore[misc]  # the library says no types
    async def connect(self) -> None:
        (feed,) = parse_qs(self.scope["query_string"].decode())["feed"]
        await self.channel_layer.group_add(group_of(feed), self.channel_name)
        await self.accept()

    async def dispatch(self, message: dict[str, Any]) -> None:
        # What it inherits visits a thread before each message, to close old connections to a database, and needs three
        # times as long. There is no database.
        await getattr(self, get_handler_name(message))(message)

    async def event(self, message: dict[str, Any]) -> None:
        await self.send(text_data=message["text"])


async def events(request: HttpRequest) -> StreamingHttpResponse:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group_of(request.GET["feed"]), channel)

    async def body() -> AsyncIterator[str]:
        while True:
            message = await layer.receive(channel)
            yield f"data: {message['text']}\n\n"

    return StreamingHttpResponse(body(), content_type="text/event-stream")


urlpatterns = [path("events", events)]


def create_app(redis_url: str) -> Callable[..., Any]:
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    settings.configure(
        ALLOWED_HOSTS=["*"], CHANNEL_LAYERS={"default": layer}, DEBUG=False, MIDDLEWARE=[], ROOT_URLCONF=__name__
    )
    django.setup()
    router: Callable[..., Any] = ProtocolTypeRouter(
        {"http": get_asgi_application(), "websocket": URLRouter([path("ws", Viewer.as_asgi())])}
    )
    return router


if __name__ == "__main__":
    given = arguments(__doc__)
    serve(create_app(given.redis_url), given.port)
