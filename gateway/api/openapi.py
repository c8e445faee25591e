"""
`/openapi.json`: every HTTP route of the gateway, from the descriptions that the routes themselves work by; and `/docs`,
the same as a page.
"""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, Final

from gateway.api import access, elsewhere
from gateway.api.calls import Answer, Call, Operation, Reply
from gateway.api.endpoint import mount
from gateway.api.forms import Object, Text
from gateway.api.idempotency import HEADER, MAX_KEY_LENGTH, REPLAYED
from gateway.api.page import STYLE_HASH, page
from gateway.api.replies import SCHEMAS
from gateway.codec import encode_message
from gateway.errors import (
    BadChange,
    BadFeed,
    BadMessage,
    GatewayError,
    InProgress,
    KeyReused,
    NotAllowed,
    NotAuthenticated,
    OriginNotAllowed,
    OverLimit,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    TokenUsed,
    TooLarge,
    TooManyChanges,
    TooManyRequests,
    TooSlow,
    Unavailable,
    UnsupportedMedia,
)
from gateway.transports.refusals import PROBLEM_TYPE, http_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.api.calls import Parameter
    from gateway.api.endpoint import ApiRoute
    from gateway.api.forms import Form, Schema
    from gateway.transports.viewing import Services

    _Handle = Callable[[Call], Awaitable[Answer]]

_INTRODUCTION: Final = """\
Runs, batches, streams and tokens of Runcast over plain HTTP. Every request needs `Authorization: Bearer …` with the \
secret key of an environment, or with a public token whose scopes allow it. Errors are `application/problem+json` \
(RFC 9457): `code` for programs, `detail` for people, `field` when one value was wrong, and `retry` when the same \
request may succeed later."""

_TAGS: Final = {
    "runs": "Creating runs, saying what happened to them, reading them.",
    "batches": "Runs that belong together.",
    "streams": "Ordered logs of chunks that belong to a run.",
    "tokens": "Public tokens: minting, renewing, revoking.",
    "feeds": "What happens, as it happens.",
    "service": "Of the gateway itself.",
}


def document(routes: Iterable[ApiRoute], *, root: str = "") -> Schema:
    """
    The OpenAPI document.

    Args:
        root: The path that the gateway stands under, when a proxy put it under one.
    """
    paths: dict[str, Schema] = {}
    schemas = dict(SCHEMAS)
    for route in routes:
        item = paths.setdefault(route.template, {})
        for method, operation in route.operations.items():
            item[method.lower()] = _described(operation, schemas)
        if "get" in item and "head" not in item:
            item["head"] = _head_of(item["get"])
    for path, described in elsewhere.PATHS.items():
        paths[path] = {
            **described,
            **({"head": _head_of(described["get"])} if path not in elsewhere.WITHOUT_HEAD else {}),
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Runcast",
            "version": installed_version("runcast"),
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root or "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The secret key of an environment, or a public token.",
                },
                "token": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "A public token, for an EventSource, which can't send headers. Never logged.",
                },
            },
        },
    }


def _described(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    described: Schema = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": _description(operation),
        "tags": [operation.tag],
        "parameters": [
            *(_parameter(parameter, "path") for parameter in operation.path),
            *(_parameter(parameter, "query") for parameter in operation.query),
        ],
        "responses": {
            **{str(reply.status): _response(reply) for reply in operation.replies},
            **_problems(operation),
        },
    }
    if operation.idempotent or operation.takes_key:
        described["parameters"].append(_KEY)
    if operation.idempotent:
        for reply in operation.replies:
            headers = described["responses"][str(reply.status)].setdefault("headers", {})
            headers[REPLAYED[0].title()] = _header("`true`: this answer was given before.")
    if operation.body is not None or operation.body_types:
        described["requestBody"] = _request_body(operation, schemas)
    if operation.public:
        described["security"] = []
    elif operation.token_in_query:
        described["security"] = [{"bearer": []}, {"token": []}]
    return described


def _description(operation: Operation) -> str:
    if operation.public:
        return operation.description
    scopes = operation.scopes.rstrip(".")
    return f"{operation.description}\n\nPublic tokens: {scopes}.".strip()


def _parameter(parameter: Parameter, place: str) -> Schema:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter.form.schema,
    }


_KEY: Final[Schema] = {
    "name": HEADER,
    "in": "header",
    "description": "A name of your own for this request: sent again within a day, it is done once, and answered alike.",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[!-~]+$"},
}


def _request_body(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    types: dict[str, Any] = {media: {"schema": schema} for media, schema in operation.body_types.items()}
    if operation.body is not None:
        types["application/json"] = {"schema": _named(operation.body, schemas)}
        if isinstance(operation.body, Object) and operation.body.example is not None:
            types["application/json"]["example"] = operation.body.example
    return {"required": operation.body_required, "content": types}


def _named(form: Form, schemas: dict[str, Schema]) -> Schema:
    if not isinstance(form, Object) or not form.name:
        return form.schema
    schemas[form.name] = form.schema
    return {"$ref": f"#/components/schemas/{form.name}"}


def _response(reply: Reply) -> Schema:
    response: Schema = {"description": reply.description}
    if reply.schema is not None:
        content: Schema = {"schema": reply.schema}
        if reply.example is not None:
            content["example"] = reply.example
        response["content"] = {reply.media_type: content}
    if reply.headers:
        response["headers"] = {name: _header(description) for name, description in reply.headers.items()}
    return response


def _header(description: str) -> Schema:
    return {"description": description, "schema": {"type": "string"}}


def _problems(operation: Operation) -> dict[str, Schema]:
    """The responses of all errors that an operation may end in, those of one status together."""
    kinds: dict[int, list[type[GatewayError]]] = {}
    for kind in (*_errors_of_all(operation), *operation.errors):
        kinds.setdefault(http_status(kind.__new__(kind))[0], []).append(kind)
    return {str(status): problem_response(of_status) for status, of_status in sorted(kinds.items())} | {
        "500": _problem("Our fault.")
    }


def problem_response(kinds: Sequence[type[GatewayError]]) -> Schema:
    """The response of errors that have the same status."""
    told = {kind.code: str(kind.__doc__).strip().partition("\n")[0] for kind in kinds}
    response = _problem("\n\n".join(f"`{code}`: {what}" for code, what in told.items()))
    if any(http_status(kind.__new__(kind))[0] == 401 for kind in kinds):
        response["headers"] = {"WWW-Authenticate": _header("`Bearer`.")}
    if any(kind.retry_after_seconds is not None or issubclass(kind, OverLimit) for kind in kinds):
        response["headers"] = {"Retry-After": _header("When to come back, in seconds.")}
    return response


def _problem(description: str) -> Schema:
    return {
        "description": description,
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _errors_of_all(operation: Operation) -> Iterable[type[GatewayError]]:
    # A path or query that can't be read, an origin that may not: nobody is spared those.
    yield from (BadMessage, OriginNotAllowed)
    if operation.path or operation.query:
        yield BadFeed
    if not operation.public:
        yield from (NotAuthenticated, TokenInvalid, TokenExpired, TokenRevoked, TokenUsed)
        yield from (NotAllowed, TooManyRequests, Unavailable)
    if operation.body is not None or operation.body_types:
        yield from (BadChange, TooSlow, TooLarge, UnsupportedMedia)
    if operation.idempotent:
        yield from (InProgress, KeyReused, TooManyChanges)


def _head_of(described: Schema) -> Schema:
    """The same without bodies."""
    responses = {
        status: {name: value for name, value in response.items() if name != "content"}
        for status, response in described["responses"].items()
    }
    head = {**described, "operationId": f"{described['operationId']}Head", "responses": responses}
    return {**head, "summary": f"{described['summary']}: the headers alone"}


def routes(services: Services, described: Sequence[ApiRoute]) -> list[ApiRoute]:
    """The document of *described* and of itself, and the page."""
    known: dict[str, tuple[bytes, bytes]] = {}

    def written(call: Call) -> tuple[bytes, bytes]:
        root = call.root
        if root not in known:
            made = document([*described, *own], root=root)
            known.clear()  # one is enough; whatever a client sends must not pile up here
            known[root] = encode_message(made), page(made, root=root)
        return known[root]

    async def read_document(call: Call) -> Answer:
        return Answer(200, written(call)[0], (("cache-control", "no-cache"),))

    async def read_page(call: Call) -> Answer:
        headers = (("cache-control", "no-cache"), *PAGE_HEADERS)
        return Answer(200, written(call)[1], headers, "text/html; charset=utf-8")

    own = mount(services, _operations(read_document, read_page))
    return own


def _operations(read_document: _Handle, read_page: _Handle) -> list[tuple[str, Operation]]:
    """What the document says of itself, and of the page."""
    return [
        (
            "/openapi.json",
            Operation(
                id="readOpenApi",
                method="GET",
                summary="This document",
                tag="service",
                public=True,
                allow=access.anybody,
                handle=read_document,
                replies=(Reply(status=200, description="OpenAPI 3.1.", schema={"type": "object"}),),
            ),
        ),
        (
            "/docs",
            Operation(
                id="readDocs",
                method="GET",
                summary="This document as a page",
                tag="service",
                public=True,
                allow=access.anybody,
                handle=read_page,
                replies=(Reply(status=200, description="HTML.", schema=Text().schema, media_type="text/html"),),
            ),
        ),
    ]


#: The page runs no script, loads nothing, sends nothing, and stands in no frame.
PAGE_HEADERS: Final = (
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
