"""
Stays connected to a gateway, and says what happens: `follow`.

A connection that ends, for whatever reason, is followed by another one that goes on where the mirror stands; what it
says in between is what changed meanwhile. The talk itself is in `conversation.py`, what an ending calls for in
`endings.py`; here are the socket and the state that people are told.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from gateway.errors import BadMessage
from gateway.viewer import endings
from gateway.viewer.address import checked_token, is_loopback, websocket_url
from gateway.viewer.conversation import Conversation, Refused, Subscription, Welcomed
from gateway.viewer.endings import Ending, Pauses, Verdict
from gateway.viewer.mirror import Change, Mirror

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from websockets.asyncio.client import ClientConnection

    from gateway.viewer.conversation import Heard

SUBPROTOCOL: Final = Subprotocol("runcast.v1")

#: Connecting, and being welcomed.
OPEN_SECONDS: Final = 10.0
#: What the other end gets to say goodbye. A connection that is dead never does.
CLOSE_SECONDS: Final = 1.0
#: After so many silent heartbeat intervals a connection is dead (docs/protocol.md, "heartbeat").
SILENT_INTERVALS: Final = 2
#: A page of a snapshot is half a megabyte, or one run that is larger: 3 MiB of payload and 10 of output by default.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


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


class _Link:
    """One connection, from its opening to its end."""

    def __init__(self, url: str, token: str, conversation: Conversation, *, known_good: bool) -> None:
        self._url = url
        self._token = token
        self._conversation = conversation
        #: Whether a gateway has answered at this address before.
        self._known_good = known_good
        self.ending = Ending(Verdict.COME_BACK, "")

    async def heard(self) -> AsyncGenerator[list[Heard], None]:
        """What the gateway says, message by message, until the connection ends; then `ending` says how."""
        talk = self._conversation
        try:
            async with self._open() as socket:
                while not talk.over:
                    yield talk.receive(await self._next(socket))
                    for message in talk.take_messages():
                        await socket.send(message)
            self.ending = Ending(Verdict.COME_BACK, talk.broken or talk.reason)
        except ConnectionClosed as error:
            closing = error.rcvd
            code, said = (closing.code, closing.reason) if closing is not None else (1006, "")
            self.ending = endings.of_close(code, talk.reason or said, talk.code)
        except InvalidStatus as error:
            self.ending = endings.of_status(error.response.status_code, known_good=self._known_good)
        except (WebSocketException, OSError, EOFError, BadMessage) as error:
            self.ending = Ending(Verdict.COME_BACK, str(error) or type(error).__name__)

    def _open(self) -> connect:
        return connect(
            self._url,
            subprotocols=[SUBPROTOCOL],
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,  # the gateway never compresses
            ping_interval=None,  # its heartbeats say that it is there
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            proxy=None if is_loopback(self._url) else True,
        )

    async def _next(self, socket: ClientConnection) -> str | bytes:
        try:
            async with asyncio.timeout(self._patience()):
                return await socket.recv()
        except TimeoutError:
            raise TimeoutError("the gateway has gone silent") from None

    def _patience(self) -> float:
        talk = self._conversation
        return SILENT_INTERVALS * talk.heartbeat_seconds if talk.welcomed else OPEN_SECONDS


class _Following:
    """What outlives the connections: the mirror, the token, the pauses, and what was last said of the state."""

    def __init__(
        self,
        url: str,
        token: str,
        subscriptions: Iterable[Subscription],
        fresh_token: Callable[[], Awaitable[str]] | None,
        mirror: Mirror,
    ) -> None:
        self._url = websocket_url(url)
        self._token = checked_token(token)
        self._wanted = {str(subscription.feed): subscription for subscription in subscriptions}
        self._fresh_token = fresh_token
        self._asked = False
        self._mirror = mirror
        self._pauses = Pauses()
        self._state = State.CONNECTING
        self._known_good = False
        self._last_refusal = Refused("", "", "")
        for feed in self._wanted:
            mirror.follow(feed)

    async def events(self) -> AsyncGenerator[Event, None]:
        yield StateChanged(state=State.CONNECTING)
        while True:
            conversation = Conversation(self._mirror, self._wanted)
            link = _Link(self._url, self._token, conversation, known_good=self._known_good)
            async with aclosing(link.heard()) as heard:
                async for told in heard:
                    for event in (*map(self._noted, told), *self._state_changes()):
                        yield event
            self._mirror.disconnected()
            if conversation.got_data:
                self._pauses.reset()
                self._asked = False
            ending = await self._judge(link.ending)
            if ending.verdict is Verdict.STAY_AWAY:
                yield self._denied(ending)
                return
            pause = self._pause(ending, conversation)
            yield self._away(ending, pause)
            await asyncio.sleep(pause)

    def _noted(self, heard: Heard) -> Heard:
        match heard:
            case Welcomed():
                self._known_good = True
            case Refused():
                self._last_refusal = heard
        return heard

    def _state_changes(self) -> list[StateChanged]:
        """The state, if it is another one than was last told. While feeds catch up it stays what it was."""
        mirror = self._mirror
        state = State.STALE if mirror.stale else State.LIVE if self._wanted and mirror.live else self._state
        if state is self._state:
            return []
        self._state = state
        return [StateChanged(state=state, as_of=mirror.as_of)]

    async def _judge(self, ending: Ending) -> Ending:
        """What to do, now that a connection ended like this. A refused token is replaced here, once."""
        if not self._wanted:
            return Ending(Verdict.STAY_AWAY, self._last_refusal.message, self._last_refusal.code)
        if ending.verdict is not Verdict.NEW_TOKEN:
            return ending
        if self._fresh_token is None or self._asked:
            return Ending(Verdict.STAY_AWAY, ending.reason, ending.code)
        self._asked = True
        self._token = checked_token(await self._fresh_token())
        return ending

    def _pause(self, ending: Ending, conversation: Conversation) -> float:
        if ending.verdict is Verdict.NEW_TOKEN:
            return 0.0  # we have one
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
    subscriptions: Iterable[Subscription],
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
        fresh_token: Asked for another token when this one was refused or expired, and not again before the one it
            gave has brought data. What it raises comes out of here.
        mirror: Where to keep what is known, to look at it in between.

    Raises:
        Misconfigured: When *url* is not the address of a gateway, or a token can't be one.
    """
    following = _Following(url, credential, subscriptions, fresh_token, mirror if mirror is not None else Mirror())
    async with aclosing(following.events()) as events:
        async for event in events:
            yield event
