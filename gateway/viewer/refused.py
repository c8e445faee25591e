"""What a gateway refuses, as errors that a program can catch."""

from __future__ import annotations

from typing import Final

from gateway import errors
from gateway.errors import GatewayError

_KINDS: Final[dict[str, type[GatewayError]]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GatewayError) and "code" in vars(kind)
}
#: Of the status of a handshake that was answered by a proxy: who we are is what it minds.
_OF_HANDSHAKES: Final = {"http_401": errors.NotAuthenticated, "close_4401": errors.TokenInvalid}


class Denied(GatewayError):
    """There is no gateway that would have us, and trying again makes no sense. `reason` is a code for why."""

    code = "denied"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ViewerClosed(GatewayError):
    """The viewer was closed while something was still read from it, or before."""

    code = "viewer_closed"

    def __init__(self) -> None:
        super().__init__("the viewer is closed")


def error_of(code: str, message: str, feed: str = "") -> GatewayError:
    """What a refusal with this code of the protocol is here; `Denied` for one that is not of the protocol."""
    kind = _KINDS.get(code) or _OF_HANDSHAKES.get(code)
    if kind is None or kind is GatewayError:
        return Denied(code, message or code)
    # The gateway has put the facts into words already; these are the error's text, whatever its kind is made from.
    error: GatewayError = errors.NotAllowed(feed, "") if kind is errors.NotAllowed else _bare(kind)
    error.args = (message,)
    return error


def _bare(kind: type[GatewayError]) -> GatewayError:
    return kind.__new__(kind)
