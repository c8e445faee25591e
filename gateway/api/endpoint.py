"""
The one way in for plain HTTP requests: origin, credential, parameters, body, permission, in this order; and the one way
out: an answer, or a problem that says what was wrong and what would be right.
"""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

from starlette.routing import BaseRoute, Match

from auth import Grant
from gateway.api import idempotency
from gateway.api.calls import Answer, Call, Operation
from gateway.api.dialect import OURS
from gateway.api.forms import ListOf, nearest, pointer, wrong
from gateway.codec import decode_json
from gateway.errors import BadMessage, GatewayError, TooLarge, TooSlow, Unavailable, UnsupportedMedia
from gateway.feeds import EnvironmentId
from gateway.transports.admission import Admitted, bearer, foreign_origin, headers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.api.calls import Header, Parameter
    from gateway.api.dialect import Dialect
    from gateway.api.forms import Form
    from gateway.transports.sinks import ASGIMessage, Receive, Scope, Send
    from gateway.transports.viewing import Services

log = logging.getLogger("runcast.api")

#: How long a body may take. Sixteen mebibytes at five megabits a second fit in.
BODY_SECONDS: Final = 30.0
#: Of all bodies together. Sixteen that are as large as may be fit in, and any number of usual ones.
MOST_KEPT_BYTES: Final = 256 * 1024 * 1024
#: A larger body is looked through in another thread, so that nobody waits for it.
LARGE_BYTES: Final = 64 * 1024
_JSON: Final = "application/json"
_IN_QUERY: Final = "token"
_BELOW: Final = "/*"


class Bodies:
    """What is kept of all bodies, from their first byte to their answer. A process has one memory, so one of these."""

    def __init__(self) -> None:
        self.kept_bytes = 0

    def keep(self, call: Call, size: int) -> None:
        """
        Raises:
            Unavailable: When it would be more than all may have together.
        """
        if self.kept_bytes + size > MOST_KEPT_BYTES:
            raise Unavailable("too many large requests at once; come back in a moment")
        self.kept_bytes += size
        call.kept_bytes += size

    def forget(self, call: Call) -> None:
        self.kept_bytes -= call.kept_bytes
        call.kept_bytes = 0


BODIES: Final = Bodies()


class Gone(Exception):
    """The client left before its request was whole; nobody hears an answer."""


class ApiRoute(BaseRoute):
    """
    A path with all its methods. Its variable parts are decoded one by one, so that an id may contain `/`.

    Args:
        template: As in `/v1/runs/{id}`; one that ends in `/*` is of everything below.
    """

    def __init__(
        self, services: Services, template: str, operations: Sequence[Operation], dialect: Dialect = OURS
    ) -> None:
        self.services = services
        self.template = template
        self.dialect = dialect
        self.operations = {operation.method: operation for operation in operations}
        self._parts = template.removesuffix(_BELOW).split("/")
        self._is_above = template.endswith(_BELOW)

    @property
    def methods(self) -> list[str]:
        """What may be done here, as in the header `Allow`."""
        implied = ["HEAD"] if "GET" in self.operations and "HEAD" not in self.operations else []
        return [*self.operations, *implied]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        parts = _path_of(scope).split("/")
        depth = len(self._parts)
        if len(parts) != depth and not (self._is_above and len(parts) > depth):
            return Match.NONE, {}
        found = {}
        for part, known in zip(parts[:depth], self._parts, strict=True):
            if known.startswith("{"):
                found[known[1:-1]] = part
            elif unquote(part) != known:
                return Match.NONE, {}
        if not all(found.values()):
            return Match.NONE, {}  # a slash too many names nothing
        return Match.FULL, {"path_params": found}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        operation = self.operations.get(method)
        if operation is None and method == "HEAD":
            operation = self.operations.get("GET")
        if operation is None:
            await send_answer(send, method, self.dialect.method_not_allowed(method, ", ".join(self.methods)))
            return
        await _Exchange(self.services, operation, self.dialect, scope, receive, send).carry_out()


def mount(services: Services, operations: Iterable[tuple[str, Operation]], dialect: Dialect = OURS) -> list[ApiRoute]:
    """The routes of some operations, each with the path that it belongs to."""
    by_path: dict[str, list[Operation]] = {}
    for path, operation in operations:
        by_path.setdefault(path, []).append(operation)
    return [ApiRoute(services, path, of_path, dialect) for path, of_path in by_path.items()]


def merged(routes: Iterable[ApiRoute]) -> list[ApiRoute]:
    """The same, with one route for each path: several files may have methods of one."""
    by_path: dict[str, ApiRoute] = {}
    for route in routes:
        known = by_path.setdefault(route.template, ApiRoute(route.services, route.template, (), route.dialect))
        known.operations |= route.operations
    return list(by_path.values())


class _Exchange:
    """One request and its answer."""

    def __init__(
        self,
        services: Services,
        operation: Operation,
        dialect: Dialect,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._services = services
        self._operation = operation
        self._dialect = dialect
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = headers_of(scope)
        self._started = False
        self._call: Call | None = None

    async def carry_out(self) -> None:
        """Answer, whatever happens."""
        method = self._scope["method"]
        try:
            answer = await self._answer()
        except GatewayError as error:
            self._services.counters.refusals[error.code] += 1
            answer = self._dialect.refused(error)
        except Gone:
            return
        except Exception:
            # What went wrong is for the log; its text may hold what nobody outside should read.
            log.exception("%s failed", self._operation.id)
            answer = self._dialect.internal_error()
        finally:
            if self._call is not None:
                BODIES.forget(self._call)
        if answer is not None and not self._started:
            await send_answer(self._send, method, answer)

    async def _answer(self) -> Answer | None:
        operation = self._operation
        self._services.admission.check_origin(foreign_origin(self._headers))
        pairs = _pairs(self._scope)
        admitted = self._admit(pairs)
        call = self._call = Call(
            services=self._services,
            operation=operation,
            dialect=self._dialect,
            scope=self._scope,
            receive=self._receive,
            send=self._noticed,
            headers=self._headers,
            admitted=admitted,
            path=_read_path(operation.path, self._scope["path_params"]),
            query=_read_query(operation, pairs, self._dialect),
            key=self._key(),
        )
        raw = b""
        if operation.body is not None:
            raw = await read_body(call)
            if raw or operation.body_required:
                call.body = await _read_json(operation.body, raw)
        await operation.allow(call)
        if operation.idempotent:
            return await idempotency.once(call, raw)
        if not operation.public and not operation.uses_token:
            await self._services.admission.use(call.admitted)
        return await operation.handle(call)

    def _key(self) -> str | None:
        if not (self._operation.idempotent or self._operation.takes_key):
            return None
        return idempotency.key_of(self._headers, self._dialect.key_header)

    def _admit(self, pairs: Sequence[tuple[str, str]]) -> Admitted:
        if self._operation.public:
            return NOBODY
        credential = bearer(self._headers.get("authorization"))
        if credential is None and self._operation.token_in_query:
            credential = next((value for name, value in pairs if name == _IN_QUERY), None)
        admitted = self._services.admission.admit(credential)
        if self._operation.counted:
            self._services.quotas.check_request(admitted.environment, admitted.token)
        return admitted

    async def _noticed(self, message: ASGIMessage) -> None:
        self._started = True
        await self._send(message)


#: Whoever asks for what everybody may have.
NOBODY: Final = Admitted(EnvironmentId(""), Grant(), None, None)


def _path_of(scope: Scope) -> str:
    """The path as it was sent, without what the server stands under: `%2F` is no `/` yet."""
    raw = scope.get("raw_path")
    path: str = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
    root: str = scope.get("root_path", "").rstrip("/")
    parts = path.split("/")
    depth = root.count("/") + 1
    above, below = parts[:depth], parts[depth:]
    return "/" + "/".join(below) if root and unquote("/".join(above)) == root else path


def _pairs(scope: Scope) -> list[tuple[str, str]]:
    try:
        text = scope["query_string"].decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise BadMessage(f"the query can't be read: {error}") from error


def _read_path(known: Sequence[Parameter], found: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for parameter in known:
        try:
            text = unquote(found[parameter.name], errors="strict")
        except UnicodeDecodeError:
            raise wrong(parameter.name, "must be UTF-8, percent-encoded") from None
        values[parameter.name] = parameter.form.parse(text, parameter.name)
    return values


def _read_query(operation: Operation, pairs: Sequence[tuple[str, str]], dialect: Dialect) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in operation.query}
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name == _IN_QUERY and operation.token_in_query:
            continue
        if name not in known:
            if dialect.ignores(name):
                continue
            hint = nearest(name, list(known)) if known else "there are none here"
            raise wrong(pointer(name), f"there is no such parameter; {hint}")
        form = known[name].form
        if isinstance(form, ListOf):
            values.setdefault(name, []).extend(form.parse(text, name))
        elif name in values:
            raise wrong(name, "may be given once")
        else:
            values[name] = form.parse(text, name)
    for name, parameter in known.items():
        if parameter.required and name not in values:
            raise wrong(name, f"is missing: {parameter.description}")
        if isinstance(parameter.form, ListOf) and name in values:
            count, most = len(values[name]), parameter.form.most
            if most is not None and count > most:
                raise wrong(name, f"may be given {most} times, not {count}")
    return values


async def read_body(call: Call, *, limit: int | None = None) -> bytes:
    """
    The whole body.

    Raises:
        TooLarge: When it is over *limit*, or over the operation's or the gateway's; before it is read, if it says so.
        TooSlow: When it does not come in time.
    """
    most = _most_bytes(call) if limit is None else limit
    declared = call.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise TooLarge("the body", size=int(declared), limit=most)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await call.receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    raise TooLarge("the body", size=size, limit=most)
                BODIES.keep(call, len(chunk))
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise TooSlow(seconds=BODY_SECONDS) from None
    body = b"".join(chunks)
    if body:
        _check_media(call)
    return body


def _most_bytes(call: Call) -> int:
    own, of_all = call.operation.body_bytes, call.services.settings.body_bytes
    return of_all if own is None else min(own, of_all)


def _check_media(call: Call) -> None:
    headers = call.headers
    encoding = headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise UnsupportedMedia(f"the body must come as it is, without Content-Encoding, not {encoding[:40]!r}")
    if not call.dialect.needs_media_type:
        return
    media, *parameters = [part.strip().lower() for part in headers.get("content-type", "").split(";")]
    if media != _JSON:
        named = repr(media[:80]) if media else "something without a Content-Type"
        raise UnsupportedMedia(f"the body must be {_JSON}, not {named}")
    for parameter in parameters:
        if parameter and parameter.replace('"', "") not in ("charset=utf-8", "charset=utf8"):
            raise UnsupportedMedia(f"the body must be {_JSON} in UTF-8, not {parameter[:40]!r}")


async def _read_json(form: Form, raw: bytes) -> Any:
    return form.read(await parse_json_aside(raw), "")


async def parse_json_aside(raw: bytes) -> Any:
    """As `parse_json`; a large one in another thread, one after the other, so that nobody else waits for them."""
    if len(raw) <= LARGE_BYTES:
        return parse_json(raw)
    return await asyncio.get_running_loop().run_in_executor(_READER, parse_json, raw)


#: One thread for all: several would take turns with the event loop, and leave it a smaller part each.
_READER: Final = ThreadPoolExecutor(1, "large bodies")


def parse_json(raw: bytes, what: str = "the body") -> Any:
    """
    JSON that somebody sent, read strictly; *what* is what errors call it.

    Raises:
        BadMessage: When it is not JSON (RFC 8259), or names a key of an object twice, which each reader would
            understand in another way.
    """
    if not raw:
        raise BadMessage(f"{what} must be JSON; it is empty")
    try:
        value = decode_json(raw)
    except ValueError as error:
        raise BadMessage(f"{what} must be JSON: {error}") from None
    try:
        json.loads(raw, object_pairs_hook=_unique)
    except RecursionError:
        raise BadMessage(f"{what} is nested too deeply") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise BadMessage(f"the body names {name[:80].encode(errors='replace').decode()!r} twice in one object")
        seen.add(name)


async def send_answer(send: Send, method: str, answer: Answer) -> None:
    """Send it, with the headers that every answer has; to `HEAD` without its body."""
    headers: list[Header] = [*answer.headers]
    names = {name for name, _ in headers}
    if answer.status != 204:
        headers.append(("content-length", str(len(answer.body))))
        headers.append(("content-type", answer.media_type))
    if "cache-control" not in names:
        headers.append(("cache-control", "no-store"))
    spelled = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": spelled})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
