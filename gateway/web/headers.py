"""What our pages, scripts and pictures say to browsers about themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.api.calls import Header

#: Of everything: it is what its type says, and where it was shown from is nobody's business.
PLAIN: Final[tuple[Header, ...]] = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))
#: Of what has no secrets, and is there to be used by pages of any origin, isolated ones too.
FOR_ALL: Final[tuple[Header, ...]] = (
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
)

#: A host as it may stand in a policy: what else a client sends as its Host names no place (RFC 9110, section 7.2).
_HOST: Final = re.compile(r"(?:[a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


def page_policy(host: str | None, *, ancestors: str) -> str:
    """
    The policy of a page of ours: it runs our scripts, talks to us, and to nobody else. Nothing of it is inline.

    Args:
        host: As the request named us. Older browsers do not take `'self'` for WebSockets.
        ancestors: The pages that may stand around it, as `frame-ancestors` spells them.
    """
    sockets = f" ws://{host} wss://{host}" if host is not None and _HOST.fullmatch(host) else ""
    return _policy(
        {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": f"'self'{sockets}",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": ancestors,
        }
    )


def picture_policy() -> str:
    """The policy of a picture: opened as a page, it loads and runs nothing."""
    return _policy({"default-src": "'none'", "frame-ancestors": "'none'", "sandbox": ""})


def _policy(directives: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {sources}".rstrip() for name, sources in directives.items())
