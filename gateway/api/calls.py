"""
One plain HTTP request on its way: what came in, checked; what goes out. And how each operation describes itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.codec import encode_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.api.dialect import Dialect
    from gateway.api.forms import Form, Schema
    from gateway.errors import GatewayError
    from gateway.feeds import EnvironmentId
    from gateway.transports.admission import Admitted
    from gateway.transports.sinks import Receive, Scope, Send
    from gateway.transports.viewing import Services

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    media_type: str = "application/json"


def json_answer(status: int, message: Mapping[str, Any], *headers: Header) -> Answer:
    """A JSON object; its values may be fragments of text that is JSON already."""
    return Answer(status, encode_message(message), headers)


@dataclass(kw_only=True)
class Call:
    """
    One request that was let in, as its operation's `allow` and `handle` see it.

    An operation that is `raw` answers by `send` itself, and may read its body by `receive`.
    """

    services: Services
    operation: Operation
    dialect: Dialect
    scope: Scope
    receive: Receive
    send: Send
    headers: Mapping[str, str]
    #: Who asks. Of a `public` operation it is nobody, and must not be asked for.
    admitted: Admitted
    #: The parts of the path that are not fixed, decoded and checked.
    path: Mapping[str, Any]
    #: The parameters of the query, checked.
    query: Mapping[str, Any]
    #: The body, checked by the operation's form; None when there is none.
    body: Any = None
    #: The `Idempotency-Key`, when there is one and the operation knows it.
    key: str | None = None
    #: What `allow` found out and `handle` needs.
    found: dict[str, Any] = field(default_factory=dict)
    #: Bytes of its body that are kept, until it is answered.
    kept_bytes: int = 0

    @property
    def environment(self) -> EnvironmentId:
        return self.admitted.environment

    @property
    def root(self) -> str:
        """The path that the gateway stands under, as it stands in addresses: empty, or as in `/runcast`."""
        return quote(self.scope.get("root_path", ""), safe="/")

    @cached_property
    def url(self) -> str:
        """The path as it was asked for."""
        raw = self.scope.get("raw_path")
        return raw.decode("ascii", "replace") if raw else str(self.scope["path"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A part of the path, or a parameter of the query, and what it must be."""

    name: str
    form: Form
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One of an operation's answers, for the document that describes it."""

    status: int
    description: str
    #: JSON Schema of the body; None when there is none.
    schema: Schema | None = None
    media_type: str = "application/json"
    #: Name → what it says.
    headers: Mapping[str, str] = field(default_factory=dict)
    example: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what it takes, who may ask, what it does, and what it answers."""

    id: str
    method: str
    summary: str
    #: Returns None when it has answered by itself, with `send`. A body without a form it reads by itself.
    handle: Callable[[Call], Awaitable[Answer | None]]
    replies: tuple[Reply, ...]
    description: str = ""
    tag: str = "runs"
    #: Raises NotAllowed; a secret key may do everything. Comes before anything is done or remembered.
    allow: Callable[[Call], Awaitable[None]]
    #: For people: which scopes of a public token let it in.
    scopes: str = "The secret key only."
    path: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    body: Form | None = None
    body_required: bool = True
    #: The most bytes of its body; None: as many as the gateway takes.
    body_bytes: int | None = None
    #: Errors of its own; those that every operation may answer with need not be named.
    errors: tuple[type[GatewayError], ...] = ()
    #: Uses a one-time token up by itself, when it knows that nothing is wrong.
    uses_token: bool = False
    #: Whether it is one of the requests that may not come faster than so many a second.
    counted: bool = True
    #: Nobody is asked who they are.
    public: bool = False
    #: The token may come as `?token=`, for a browser's EventSource, which can't send headers.
    token_in_query: bool = False
    #: Knows `Idempotency-Key`: done once, and answered as the first time.
    idempotent: bool = False
    #: Knows it too, but sees to it by itself.
    takes_key: bool = False
    #: Whether its answers may be kept in Redis for a repeated request. One that holds a secret may not.
    remembered: bool = True
    #: Of a body without a form: how the document describes it, by media type.
    body_types: Mapping[str, Schema] = field(default_factory=dict)
