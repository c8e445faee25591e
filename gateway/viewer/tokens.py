"""The token that a viewer shows: one that it was given, or the newest that a callable made."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

from gateway.errors import Misconfigured
from gateway.viewer.address import checked_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    #: Makes a token, at once or by and by.
    TokenMaker = Callable[[], str | Awaitable[str]]


class Tokens:
    """
    What all connections of one viewer show. The maker is asked once, however many of them need another token.

    A maker that is a plain function is called in a thread of its own: it may ask a backend, and wait for it.
    """

    def __init__(self, given: str | None, make: TokenMaker | None = None) -> None:
        self._current = None if given is None else checked_token(given)
        self._make = make
        self._making = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        return self._make is not None

    async def current(self) -> str:
        """The token to show now. Raises what the maker raises, when it has to make the first one."""
        return self._current if self._current is not None else await self.other_than(None)

    async def other_than(self, known: str | None) -> str:
        """
        Another token than *known*, which is over; the same again only when the maker has no other.

        Raises:
            Misconfigured: When what the maker makes is no token.
        """
        async with self._making:
            if self._current is None or self._current == known:
                self._current = await self._made()
            return self._current

    async def _made(self) -> str:
        if self._make is None:
            raise Misconfigured("there is no token, and nothing that makes one")
        at_once = inspect.iscoroutinefunction(self._make)
        made = self._make() if at_once else await asyncio.to_thread(self._make)
        token = await made if inspect.isawaitable(made) else made
        if not isinstance(token, str):
            raise Misconfigured(f"what makes tokens returned {type(token).__name__} instead of text")
        return checked_token(token.strip())
