"""Keys and origins that change while a gateway runs: read again, and put to use all at once or not at all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from auth import AuthError, Keyring
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transports.origins import Origins

_log = logging.getLogger("runcast.reload")


class KeysAndOrigins(NamedTuple):
    """What can change while a gateway runs; all other settings hold until its end."""

    keyring: Keyring
    origins: Origins


class Reloading:
    """
    Reads keys and origins again when it is called, as SIGHUP asks, and hands them to all who hold some.

    Args:
        read: Raises GatewayError or AuthError when something is wrong. None: they are fixed.
    """

    def __init__(self, read: Callable[[], KeysAndOrigins] | None = None) -> None:
        self._read = read
        self._takers: list[Callable[[KeysAndOrigins], None]] = []

    def tell(self, take: Callable[[KeysAndOrigins], None]) -> None:
        """Call *take*, which must not raise, with whatever is read from now on."""
        self._takers.append(take)

    def __call__(self) -> None:
        """Never raises: what is wrong is logged, and everything stays as it was."""
        if self._read is None:
            _log.warning("nothing is reloaded: keys and origins are fixed since the start")
            return
        try:
            found = self._read()
        except (GatewayError, AuthError) as error:
            for line in str(error).splitlines():
                _log.error("nothing is reloaded: %s", line)
            return
        except Exception:
            _log.exception("nothing is reloaded: it is our fault")
            return
        for take in self._takers:
            take(found)
        _log.info("keys and origins are reloaded, for %s", ", ".join(found.keyring.environments))
