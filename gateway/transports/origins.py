"""Which web pages may talk to the gateway: an allow-list, the same for CORS and for WebSockets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import BadInput

# scheme://host[:port], the host perhaps with a leading wildcard label (RFC 6454, section 6.2)
_ORIGIN = re.compile(r"(https?)://((?:\*\.)?[a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Origins:
    """
    The origins that are allowed; none by default. A browser page from elsewhere is refused.

    Requests without an Origin header do not come from a page of another origin, and are not asked.
    """

    exact: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()
    any: bool = False

    @classmethod
    def parse(cls, text: str) -> Origins:
        """
        Read a comma list such as `https://app.example.com, https://*.example.com`; `*` allows all.

        Raises:
            BadInput: Naming the entry that is no origin.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        exact, patterns = set(), []
        for entry in entries:
            if entry == "*":
                continue
            match = _ORIGIN.fullmatch(entry.removesuffix("/"))
            if match is None:
                raise BadInput(f"{entry!r} is not an origin; write https://app.example.com or https://*.example.com")
            if "*" in entry:
                host = re.escape(match[2][2:].lower())
                port = re.escape(match[3] or "")
                patterns.append(re.compile(rf"{match[1].lower()}://[a-z0-9-]+(?:\.[a-z0-9-]+)*\.{host}{port}"))
            else:
                exact.add(match[0].lower())
        return cls(frozenset(exact), tuple(patterns), "*" in entries)

    def allow(self, origin: str) -> bool:
        origin = origin.lower()
        return self.any or origin in self.exact or any(pattern.fullmatch(origin) for pattern in self.patterns)
