"""
Which tokens were taken back: what a revocation says, and what is known of all of them in one environment.

Does no I/O. Where they are kept is in `gateway/store/revocations.py`, and who acts on them in
`gateway/transports/revoking.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: How long a revocation is remembered that does not know when its tokens end. A token that lives for longer must be
#: revoked by itself, or by rotating the key.
KEPT_SECONDS: Final = 366 * 86400
#: Nobody revokes what was issued later than this many seconds from now; the clocks of two machines differ by less.
FUTURE_SECONDS: Final = 60
#: Of one environment. A read of all of them is some megabytes then.
MAX_REVOCATIONS: Final = 20_000


class By(StrEnum):
    """By what a revocation names its tokens."""

    JTI = "jti"
    #: The digest of the whole token.
    TOKEN = "token"  # noqa: S105 - a word of the protocol, not a secret
    SUBJECT = "subject"
    #: Whatever has a scope for the tag.
    TAG = "tag"
    #: Everything that was issued before a moment.
    BEFORE = "issuedBefore"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One thing that was revoked. Times are milliseconds since 1970."""

    by: By
    #: The jti, digest, subject or tag; empty for all.
    name: str
    #: Tokens issued before this moment are meant; 0 when it does not matter when they were issued.
    before: int
    #: When it was said, by the clock of the gateway that was told.
    said_at: int
    #: When it may be forgotten.
    until: int

    @property
    def key(self) -> str:
        """What it is known by: another one with the same takes its place."""
        return key_of(self.by, self.name)

    def covers(self, issued_at: float | None) -> bool:
        """Whether a token that it names is meant, by its `iat`. One that does not say when it was issued always is."""
        return not self.before or issued_at is None or issued_at * 1000 < self.before


def key_of(by: By, name: str = "") -> str:
    """What a revocation by *name* is known by: in Redis, and in the memory of every process."""
    return f"{by}:{name}"


@dataclass(frozen=True, slots=True)
class TokenMarks:
    """By what a token can be revoked."""

    digest: str
    jti: str | None
    subject: str | None
    #: Unix seconds, mostly whole ones.
    issued_at: float | None

    def keys(self, tags: Iterable[str]) -> Iterator[str]:
        """The key of each revocation that may mean this token; *tags* are those that its scopes name."""
        yield key_of(By.TOKEN, self.digest)
        yield key_of(By.BEFORE)
        if self.jti is not None:
            yield key_of(By.JTI, self.jti)
        if self.subject is not None:
            yield key_of(By.SUBJECT, self.subject)
        for tag in tags:
            yield key_of(By.TAG, tag)


class Revoked:
    """What is known to be revoked in one environment. Only grows, but for what may be forgotten."""

    __slots__ = ("_by_key", "_worth_a_look", "newest")

    def __init__(self) -> None:
        self._by_key: dict[str, Revocation] = {}
        self._worth_a_look = 64
        #: The latest moment before which something counts as revoked (ms since 1970).
        self.newest = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def learn(self, revocation: Revocation, now_ms: int) -> bool:
        """Take *revocation* in, and tell whether it says anything that was not known."""
        known = self._by_key.get(revocation.key)
        if revocation.until <= now_ms or (known is not None and not _says_more(revocation, known)):
            return False
        self._by_key[revocation.key] = revocation
        self.newest = max(self.newest, revocation.before)
        if len(self._by_key) > self._worth_a_look:
            self._by_key = {key: kept for key, kept in self._by_key.items() if kept.until > now_ms}
            self._worth_a_look = max(64, 2 * len(self._by_key))  # so that looking costs nothing on the whole
        return True

    def others(self, found: Iterable[Revocation], now_ms: int) -> list[Revocation]:
        """What is known and holds, and is not among those that were *found*."""
        missing = self._by_key.keys() - {revocation.key for revocation in found}
        return [self._by_key[key] for key in missing if self._by_key[key].until > now_ms]

    def find(self, marks: TokenMarks, tags: Iterable[str]) -> Revocation | None:
        """The revocation that means a token, if there is one. Takes as long as the token has names."""
        by_key = self._by_key
        if not by_key:
            return None
        for key in marks.keys(tags):
            found = by_key.get(key)
            if found is not None and found.covers(marks.issued_at):
                return found
        return None


def _says_more(said: Revocation, known: Revocation) -> bool:
    return said.before > known.before or (said.before == known.before and said.until > known.until)
