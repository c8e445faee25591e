"""What a browser asks for that is no operation of the API: a path, and a function that answers it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from gateway.api.calls import Answer
from gateway.api.dialect import OURS
from gateway.api.endpoint import ApiRoute, send_answer
from gateway.errors import GatewayError
from gateway.transports.admission import headers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.api.calls import Header
    from gateway.transports.sinks import Receive, Scope, Send
    from gateway.transports.viewing import Services


@dataclass(frozen=True)
class Request:
    """A `GET` or `HEAD`."""

    scope: Scope
    #: Names in small letters.
    headers: Mapping[str, str]
    #: The variable parts of the path, decoded.
    path: Mapping[str, str]

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query. Of one that is given twice the first counts."""
        pairs = parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace")
        return dict(reversed(pairs))

    @property
    def root(self) -> str:
        """The path that the gateway stands under, as it stands in addresses: empty, or as in `/runcast`."""
        return quote(self.scope.get("root_path", ""), safe="/")

    def accepts_gzip(self) -> bool:
        """Whether the body may come packed (RFC 9110, section 12.5.3)."""
        for offer in self.headers.get("accept-encoding", "").lower().split(","):
            coding, _, weight = offer.replace(" ", "").partition(";q=")
            if coding in ("gzip", "*"):
                return weight.strip("0.") != "" if weight else True
        return False

    def has(self, *tags: str) -> bool:
        """Whether the browser has one of these already (RFC 9110, section 13.1.2)."""
        had = [tag.strip().removeprefix("W/") for tag in self.headers.get("if-none-match", "").split(",")]
        return "*" in had or any(tag in had for tag in tags)


class PageRoute(ApiRoute):
    """
    A path whose variable parts are decoded one by one, as those of the API. Everybody may ask, and says who he is, if
    that matters, in a way that suits a browser.
    """

    def __init__(self, services: Services, template: str, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        super().__init__(services, template, ())
        self._answer = answer

    @property
    def methods(self) -> list[str]:
        return ["GET", "HEAD"]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method not in self.methods:
            await send_answer(send, method, OURS.method_not_allowed(method, ", ".join(self.methods)))
            return
        path = {name: unquote(text, errors="replace") for name, text in scope["path_params"].items()}
        try:
            answer = await self._answer(Request(scope, headers_of(scope), path))
        except GatewayError as error:
            self.services.counters.refusals[error.code] += 1
            answer = OURS.refused(error)
        await send_answer(send, method, answer)


def etag_of(body: bytes) -> str:
    """What names this content."""
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def unchanged(headers: tuple[Header, ...], media_type: str) -> Answer:
    """That what the browser has is what it would be sent."""
    return Answer(304, b"", headers, media_type)


def page(text: str, policy: str, *more: Header) -> Answer:
    """HTML of ours. Kept by nobody: it names versions of files."""
    headers: list[Any] = [("content-security-policy", policy), ("cache-control", "no-cache"), *more]
    return Answer(200, text.encode(), tuple(headers), "text/html; charset=utf-8")
