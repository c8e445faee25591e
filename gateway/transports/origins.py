"""Which web pages may talk to the gateway, the same for CORS and for WebSockets; and which may show ours in a frame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.errors import BadInput

#: What a page says that has no origin (RFC 6454, section 7.1).
OPAQUE: Final = "null"
# scheme://host[:port], the host perhaps with a leading wildcard label (RFC 6454, section 6.2)
_ORIGIN: Final = re.compile(r"(https?)://((?:\*\.)?[a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Origins:
    """
    The origins that are allowed; none by default. A browser page from elsewhere is refused.

    Requests without an Origin header do not come from a page of another origin, and are not asked.
    """

    exact: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()
    any: bool = False
    #: Whether pages that have none are allowed: those in a sandboxed frame (`Origin: null`).
    opaque: bool = False

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
        if origin == OPAQUE:
            return self.any or self.opaque
        return self.any or origin in self.exact or any(pattern.fullmatch(origin) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Ancestors:
    """The pages that may stand around our page for iframes."""

    #: As `frame-ancestors` of a policy spells them (W3C Content Security Policy, section 6.4.2).
    policy: str = "'self'"

    @classmethod
    def parse(cls, text: str) -> Ancestors:
        """
        Read a comma list as of `Origins`; `self` is the gateway's own origin, and `none` alone is nobody.

        Raises:
            BadInput: Naming the entry that is none of these.
        """
        entries = [entry.strip().removesuffix("/") for entry in text.split(",") if entry.strip()]
        if "none" in entries and len(entries) > 1:
            raise BadInput("`none` stands alone, or not at all")
        sources = []
        for entry in entries:
            if entry in _WORDS:
                sources.append(_WORDS[entry])
            elif _ORIGIN.fullmatch(entry):
                sources.append(entry.lower())
            else:
                raise BadInput(f"{entry!r} is not an origin; write https://app.example.com, self, none or *")
        return cls(" ".join(dict.fromkeys(sources)) or "'none'")

    @property
    def are_others(self) -> bool:
        """Whether pages of other origins are among them."""
        return bool(set(self.policy.split()) - {"'self'", "'none'"})

    def __str__(self) -> str:
        return self.policy


_WORDS: Final = {"self": "'self'", "none": "'none'", "*": "*"}
