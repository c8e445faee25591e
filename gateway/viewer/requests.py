"""
Plain HTTP requests to a gateway: what commands and scripts ask once, where nothing has to be followed.

With the standard library alone: what serves viewers needs no HTTP client, and a command should start fast.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote, urlencode

from gateway.codec import decode_json, encode_json
from gateway.errors import GatewayError
from gateway.viewer.address import checked_token, http_url, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TIMEOUT_SECONDS: Final = 30.0
#: A page of a thousand runs with their payloads is large; what is larger is no answer of ours.
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024


class RequestRefused(GatewayError):
    """The gateway, or what stands before it, answered with an error. `problem` is its stable code, if it has one."""

    def __init__(self, *, status: int, problem: str, detail: str, come_back: bool = False) -> None:
        super().__init__(detail)
        self.status, self.problem, self.come_back = status, problem, come_back


class NoConnection(GatewayError):
    """Nobody answered, or not in time. Whether a request that changes something was carried out is unknown."""

    code = "no_connection"
    retry = True

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"can't reach {url}: {reason}")
        self.url, self.reason = url, reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: an HTTP status under 400, the headers with their names in lower case, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """
        The body's value; None when there is no body.

        Raises:
            RequestRefused: When it is not JSON: whoever answered is no gateway.
        """
        if not self.body:
            return None
        try:
            return decode_json(self.body)
        except ValueError:
            text = "the answer is not JSON; is this the address of a gateway?"
            raise RequestRefused(status=self.status, problem="no_gateway", detail=text) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token along, to whoever it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Requests:
    """
    Asks the gateway at *url*, each request on a connection of its own. For any thread.

    Args:
        url: Where it is: http or https, with or without a path before `/v1`.
        credential: A public token or a secret key; None for what needs neither.
        timeout: Seconds for which nothing may come.

    Raises:
        Misconfigured: When *url* or *credential* can't be one.
    """

    def __init__(self, url: str, credential: str | None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.url = http_url(url)
        self._credential = None if credential is None else checked_token(credential)
        self._timeout = timeout
        # Proxies of the environment are for other machines.
        proxies = urllib.request.ProxyHandler({} if is_loopback(url) else None)
        self._opener = urllib.request.build_opener(proxies, _NoRedirects)

    def get(self, path: str, query: Iterable[tuple[str, str]] = ()) -> Any:
        """The JSON at *path* (begins with `/`, its parts quoted as by `quoted`). Raises as `send`."""
        return self.send("GET", path, query=query).json()

    def post(self, path: str, body: Any = None) -> Any:
        """Send *body* as JSON, and return the JSON that comes back. Raises as `send`."""
        return self.send("POST", path, body=body).json()

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        One request, and its answer.

        Raises:
            RequestRefused: When it is answered with an error, or a redirect.
            NoConnection: When nobody answers in time.
            BadChange: When *body* has no JSON form.
        """
        request = self._request(method, path, query, body, headers or {})
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = response.read(MAX_ANSWER_BYTES)
                if response.length:  # what was announced, and did not come
                    raise NoConnection(self.url, f"the answer ended after {len(content)} bytes")
                return Answer(response.status, _headers(response.headers), content)
        except urllib.error.HTTPError as error:
            with error:
                _refuse(error)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise NoConnection(self.url, str(reason) or type(reason).__name__) from None

    def _request(
        self, method: str, path: str, query: Iterable[tuple[str, str]], body: Any, headers: Mapping[str, str]
    ) -> urllib.request.Request:
        pairs = urlencode(list(query))
        sent = {"Accept": "application/json", "User-Agent": "runcast", **headers}
        if self._credential is not None:
            sent["Authorization"] = f"Bearer {self._credential}"
        data = None
        if body is not None:
            data = encode_json(body, what="the request")
            sent["Content-Type"] = "application/json"
        elif method in ("POST", "PATCH", "PUT"):
            data = b""
        address = f"{self.url}{path}{'?' if pairs else ''}{pairs}"
        return urllib.request.Request(address, data=data, headers=sent, method=method)  # noqa: S310 - http_url checks


def quoted(part: str) -> str:
    """A part of a path, such as a run's id, with everything escaped that would end it."""
    return quote(part, safe="")


def _headers(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _refuse(error: urllib.error.HTTPError) -> NoReturn:
    told = _problem(error)
    detail = told.get("detail") or told.get("title")
    if not isinstance(detail, str):
        detail = f"HTTP {error.code}; is this the address of a gateway?"
    problem = told.get("code")
    raise RequestRefused(
        status=error.code,
        problem=problem if isinstance(problem, str) else f"http_{error.code}",
        detail=detail,
        come_back=told.get("retry") is True or error.code in (429, 502, 503, 504),
    ) from None


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    """What the body says of it (RFC 9457); nothing when it is of another kind."""
    try:
        told = decode_json(error.read(64 * 1024))
    except (ValueError, OSError, http.client.HTTPException):
        return {}
    return told if isinstance(told, dict) else {}
