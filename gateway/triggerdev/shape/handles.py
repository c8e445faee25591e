"""
The handle of a shape: what a client gives back with each request, so that the server need not remember it.

    epoch.since.base.nonce.seal.binding

Which rows may be read follows from the URL and the token alone. A handle only says where among them its owner stands:
the history that its offset belongs to, the moment at which the window of its feed begins, and how far a cut-off
snapshot reached.

The nonce makes each one new: one that was refused once is never given out again, also not after a restart. The seal
says that we made it for this feed and these columns, so that nobody can make one up. The binding says that we made it
for this token; it decides nothing but whether a feed may outlive its token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.codec import encode_message

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId, FeedId
    from gateway.transports.admission import Admitted

_HANDLE: Final = re.compile(
    r"([0-9a-f]{1,16})\.([0-9]{1,9})\.([0-9]{1,16})\.([\w-]{8})\.([\w-]{16})\.([\w-]{16})", re.ASCII
)
#: Windows begin on a whole minute.
SINCE_STEP_MS: Final = 60_000
#: In place of the epoch and the window, while neither is known.
_NO_EPOCH: Final = "0"
#: What a key signs here can't be taken for anything else that it signs.
_LABEL: Final = b"runcast shape handle 1"


@dataclass(frozen=True, slots=True)
class Handle:
    """One handle, taken apart."""

    epoch: str
    #: Only runs created at or after this moment (ms since 1970); 0 for all.
    since: int
    #: Its owner knows every run that changed after this number; older ones only if this is 0.
    base: int
    nonce: str
    seal: str
    binding: str

    def __str__(self) -> str:
        return f"{self._sealed}.{self.seal}.{self.binding}"

    @property
    def _sealed(self) -> str:
        return f"{self.epoch}.{self.since // SINCE_STEP_MS}.{self.base}.{self.nonce}"

    @classmethod
    def parse(cls, text: str) -> Handle | None:
        """Read a handle; None when it is none of ours. Nothing says yet that we made it."""
        match = _HANDLE.fullmatch(text)
        if match is None:
            return None
        return cls(match[1], int(match[2]) * SINCE_STEP_MS, int(match[3]), match[4], match[5], match[6])

    @classmethod
    def issue(
        cls, definition: str, admitted: Admitted, *, epoch: str = _NO_EPOCH, since: int = 0, base: int = 0
    ) -> Handle:
        """A new handle for whoever was *admitted*, to what `definition_of` names."""
        said = cls(epoch, since, base, secrets.token_urlsafe(6), "", "")
        seal = _seal(said._sealed, definition, admitted)
        return cls(epoch, since, base, said.nonce, seal, _binding(said._sealed, seal, admitted))

    def is_of(self, definition: str, admitted: Admitted) -> bool:
        """Whether we made it for this feed, whoever has it, with the key that *admitted* stands for."""
        return hmac.compare_digest(self.seal, _seal(self._sealed, definition, admitted))

    def binds(self, admitted: Admitted) -> bool:
        """Whether we made it for exactly this token."""
        return hmac.compare_digest(self.binding, _binding(self._sealed, self.seal, admitted))


def definition_of(environment: EnvironmentId, feed: FeedId, hidden: frozenset[str]) -> str:
    """A name for what a shape shows: environment, feed and columns."""
    text = encode_message({"environment": environment, "feed": str(feed), "hidden": sorted(hidden)})
    return _short(hashlib.sha256(text).digest())


def _seal(text: str, definition: str, admitted: Admitted) -> str:
    return _short(hmac.digest(_key(admitted.secret), f"{text} {definition}".encode(), "sha256"))


def _binding(text: str, seal: str, admitted: Admitted) -> str:
    return _short(hmac.digest(_key(admitted.secret), f"{text}.{seal} for {admitted.token or ''}".encode(), "sha256"))


@lru_cache(maxsize=256)
def _key(secret: str) -> bytes:
    """A key of our own, derived from the secret key behind a token."""
    return hmac.digest(secret.encode(), _LABEL, "sha256")


def _short(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest[:12]).decode()
