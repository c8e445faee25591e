"""
Stays connected to a gateway, and says what happens: `follow`.

A connection that ends, for whatever reason, is followed by another one that goes on where the mirror stands; what it
says in between is what changed meanwhile. The talk itself is in `conversation.py`, the socket
is in `link.py`, what an ending calls for in `endings.py`; here are the token and the state that people are told.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gateway.viewer.address import websocket_url
from gateway.viewer.conversation import Conversation, Refused, Subscription, Welcomed
from gateway.viewer.endings import Ending, Pauses, Verdict
from gateway.viewer.link import SUBPROTOCOL, Link
from gateway.viewer.mirror import Change, Mirror
from gateway.viewer.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from gateway.viewer.conversation import Heard, Wanted

__all__ = ["SUBPROTOCOL", "Event", "Following", "State", "StateChanged", "follow"]

log = logging.getLogger("runcast.viewer")

#: How long before its end a token is replaced, or a third of its life when that is shorter.
RENEW_AHEAD_SECONDS: Final = 60.0
#: So often may what makes tokens fail in a row, once a gateway has let us in, before its error is the viewer's.
TOKEN_FAILURES: Final = 5


class State(StrEnum):
    """What a person may be told of the connection."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"  # connected, but the gateway has lost sight of the data
    RECONNECTING = "reconnecting"
    DENIED = "denied"  # it makes no sense to try again


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """The connection is in another state, or failed once more to leave the one it is in."""

    state: State
    #: When what is known was last known to be true (RFC 3339), if a gateway ever said so.
    as_of: str | None = None
    #: Why, in words, and for `DENIED` as a code: one of the protocol's, `http_404`, or `close_1009`.
    reason: str = ""
    code: str = ""
    #: When the next attempt is made.
    retry_seconds: float | None = None


Event = Change | Welcomed | Refused | StateChanged


class Following:
    """What outlives the connections: the mirror, the token, the pauses, and what was last said of the state."""

    def __init__(
        self, url: str, tokens: Tokens, subscriptions: Iterable[Wanted], mirror: Mirror, *, stays: bool = False
    ) -> None:
        self._url = websocket_url(url)
        self._tokens = tokens
        self._mirror = mirror
        #: Whether a connection is kept while no feed is wanted. One that ends then is not followed by another.
        self._stays = stays
        self._wanted: dict[str, Wanted] = {subscription.name: subscription for subscription in subscriptions}
        self._link: Link | None = None
        self._renewing: asyncio.Task[None] | None = None
        #: The token that was refused, or expired.
        self._spent: str | None = None
        self._asked = False
        self._failures = 0
        self._pauses = Pauses()
        self._state = State.CONNECTING
        self._known_good = False
        self._last_refusal = Refused("", "", "")

    def subscribe(self, subscription: Wanted) -> None:
        """Follow another feed, which the mirror follows already."""
        self._wanted[subscription.name] = subscription
        if self._link is not None:
            self._link.talk.subscribe(subscription.name)
            self._link.poke()

    def leave(self, name: str) -> None:
        """Follow a feed no more."""
        if self._wanted.pop(name, None) is not None and self._link is not None:
            self._link.talk.unsubscribe(name)
            self._link.poke()

    async def events(self) -> AsyncGenerator[Event, None]:
        """As `follow`. Ends also when its connection does while nothing is wanted."""
        try:
            yield StateChanged(state=State.CONNECTING)
            while True:
                token, failure = await self._token()
                if failure is not None:
                    away = self._away(
                        Ending(Verdict.COME_BACK, f"no token: {failure}", "no_token"), self._pauses.next()
                    )
                    yield away
                    await asyncio.sleep(away.retry_seconds or 0)
                    continue
                conversation = Conversation(self._mirror, self._wanted, stays=self._stays)
                self._link = link = Link(self._url, token, conversation, known_good=self._known_good)
                async with aclosing(link.heard()) as heard:
                    async for told in heard:
                        for event in (*map(self._noted, told), *self._state_changes()):
                            yield event
                ending = self._judge(self._end_of(link))
                if ending.verdict is Verdict.STAY_AWAY:
                    yield self._denied(ending)
                    return
                if not self._wanted:
                    return
                pause = self._pause(ending, conversation)
                yield self._away(ending, pause)
                await asyncio.sleep(pause)
        finally:
            self._stop_renewing()

    async def _token(self) -> tuple[str, Exception | None]:
        """
        The token for the next connection, or why there is none now.

        What makes tokens may fail when whoever it asks is away for a moment; but not for the first time, or for ever.
        """
        try:
            token = await (self._tokens.other_than(self._spent) if self._spent else self._tokens.current())
        except Exception as error:
            self._failures += 1
            if not self._known_good or self._failures >= TOKEN_FAILURES:
                raise
            log.warning("no fresh token: %r", error)
            return "", error
        self._spent, self._failures = None, 0
        return token, None

    def _noted(self, heard: Heard) -> Heard:
        match heard:
            case Welcomed(seconds=seconds):
                self._known_good = True
                self._renew_within(seconds)
            case Refused():
                self._last_refusal = heard
        return heard

    def _renew_within(self, seconds: float | None) -> None:
        self._stop_renewing()
        if seconds is not None and self._link is not None and self._tokens.renewable:
            self._renewing = asyncio.create_task(self._renew(self._link, seconds), name="token renewal")

    async def _renew(self, link: Link, seconds_left: float) -> None:
        """Show another token on the same connection before this one ends."""
        ahead = min(RENEW_AHEAD_SECONDS, seconds_left / 3)
        # Viewers that came together need not all come for a token at once.
        await asyncio.sleep((seconds_left - ahead) * random.uniform(0.9, 1))
        while link is self._link:
            try:
                token = await self._tokens.other_than(link.token)
            except Exception as error:
                log.warning("no fresh token: %r", error)
            else:
                if token != link.token:
                    link.token = token
                    link.talk.authenticate(token)
                    link.poke()
                    return
            await asyncio.sleep(max(0.2, ahead / 5))

    def _stop_renewing(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    def _state_changes(self) -> list[StateChanged]:
        """The state, if it is another one than was last told. While feeds catch up it stays what it was."""
        mirror = self._mirror
        state = State.STALE if mirror.stale else State.LIVE if self._wanted and mirror.live else self._state
        if state is self._state:
            return []
        self._state = state
        return [StateChanged(state=state, as_of=mirror.as_of)]

    def _end_of(self, link: Link) -> Ending:
        self._link = None
        self._stop_renewing()
        self._mirror.disconnected()
        if link.talk.got_data:
            self._pauses.reset()
            self._asked = False
        if link.ending.verdict is Verdict.NEW_TOKEN:
            self._spent = link.token
        return link.ending

    def _judge(self, ending: Ending) -> Ending:
        """What to do, now that a connection ended like this. A refused token is replaced once."""
        if not self._wanted and not self._stays:
            return Ending(Verdict.STAY_AWAY, self._last_refusal.message, self._last_refusal.code)
        if ending.verdict is not Verdict.NEW_TOKEN:
            return ending
        if not self._tokens.renewable or self._asked:
            return Ending(Verdict.STAY_AWAY, ending.reason, ending.code)
        self._asked = True
        return ending

    def _pause(self, ending: Ending, conversation: Conversation) -> float:
        if ending.verdict is Verdict.NEW_TOKEN:
            return 0.0  # what was wrong is replaced
        asked = conversation.come_back_seconds
        return self._pauses.next() if asked is None else asked

    def _away(self, ending: Ending, pause: float) -> StateChanged:
        self._state = State.RECONNECTING if self._known_good else State.CONNECTING
        return StateChanged(
            state=self._state,
            as_of=self._mirror.as_of,
            reason=ending.reason,
            code=ending.code,
            retry_seconds=pause,
        )

    def _denied(self, ending: Ending) -> StateChanged:
        self._state = State.DENIED
        return StateChanged(state=State.DENIED, as_of=self._mirror.as_of, reason=ending.reason, code=ending.code)


async def follow(
    url: str,
    credential: str,
    subscriptions: Iterable[Wanted],
    *,
    fresh_token: Callable[[], Awaitable[str]] | None = None,
    mirror: Mirror | None = None,
) -> AsyncGenerator[Event, None]:
    """
    What happens to the feeds, for as long as it is iterated.

    Reconnects for ever, and goes on where it was; whoever wants to give up stops iterating. Ends by itself only after
    it said `DENIED`. Use it in `contextlib.aclosing`, so that leaving the loop closes the connection at once.

    Args:
        url: Where the gateway is: http, https, ws or wss.
        credential: A public token, or a secret key.
        subscriptions: The feeds, each once.
        fresh_token: Asked for another token in time before this one ends, and when it was refused or expired; then not
            again before the one it gave has brought data. What it raises comes out of here, when it does so again
            and again.
        mirror: Where to keep what is known, to look at it in between.

    Raises:
        Misconfigured: When *url* is not the address of a gateway, or a token can't be one.
    """
    mirror = mirror if mirror is not None else Mirror()
    wanted = list(subscriptions)
    for subscription in wanted:
        (mirror.follow if isinstance(subscription, Subscription) else mirror.follow_stream)(subscription.name)
    following = Following(url, Tokens(credential, fresh_token), wanted, mirror)
    async with aclosing(following.events()) as events:
        async for event in events:
            yield event
