"""
Who waits for what in this process, and who is to be woken by what is heard. No I/O: the shells bring a subscription.

One channel of each run tells of its streams, of its end, and that it was asked to stop. A message only wakes: what
there is to know is then read. So none has to be understood, and one that is lost costs a look some seconds later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gateway.feeds import FeedId
from gateway.store.redis_keys import change_channel

if TYPE_CHECKING:
    from gateway.feeds import EnvironmentId

#: While it seems that everything is heard, too: a connection may have died without a word.
GUARD_SECONDS: Final = 15.0
#: A channel is heard so long after the last one who waited. Who waits again and again joins it once.
LINGER_SECONDS: Final = 10.0
NAME: Final = "runcast-publisher-subscription"


class _Event(Protocol):
    def set(self) -> None: ...


class Bell:
    """Wakes one who waits, by an event of whatever it waits in."""

    def __init__(self, rung: _Event) -> None:
        self._rung = rung
        self._changed = True  # what happened before there was a bell was not heard

    def ring(self, *, changed: bool) -> None:
        """
        There may be something to read.

        Args:
            changed: It may concern the run itself, not only the stream.
        """
        self._changed = self._changed or changed
        self._rung.set()

    def has_changed(self) -> bool:
        """Whether, since the last time this was asked, it was said that the run itself may have changed."""
        changed, self._changed = self._changed, False
        return changed


class Hears(Protocol):
    """A subscription, of either kind."""

    def join(self, channel: bytes) -> None: ...

    def leave(self, channel: bytes) -> None: ...


@dataclass(slots=True)
class _Channel:
    #: Who waits, and for which stream.
    bells: dict[Bell, bytes] = field(default_factory=dict)
    joined: bool = False
    #: Since when nobody waits.
    idle_since: float = 0.0


class Ears:
    """The listener of a process's or loop's subscription. Times are seconds of one monotonic clock."""

    def __init__(self, environment: EnvironmentId) -> None:
        self._environment = environment
        # Reentrant: a signal handler may wait, too.
        self._lock = threading.RLock()
        self._channels: dict[bytes, _Channel] = {}

    def add(self, run: str, stream: str, bell: Bell, subscription: Hears) -> None:
        """From now on *bell* is rung for what happens to *stream*, and to the run."""
        name = self._channel(run, stream)
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
                subscription.join(name)
            channel.bells[bell] = _letter(stream)

    def remove(self, run: str, stream: str, bell: Bell, now: float) -> None:
        with self._lock:
            channel = self._channels.get(self._channel(run, stream))
            if channel is not None:
                channel.bells.pop(bell, None)
                channel.idle_since = now

    def hears(self, run: str, stream: str) -> bool:
        """Whether everything that happens to it is heard, as far as one can know."""
        with self._lock:
            channel = self._channels.get(self._channel(run, stream))
            return channel is not None and channel.joined

    def nudge(self, run: str, stream: str) -> None:
        """Ring for those who wait for *stream*."""
        wanted = _letter(stream)
        with self._lock:
            channel = self._channels.get(self._channel(run, stream))
            bells = [bell for bell, of in channel.bells.items() if of == wanted] if channel is not None else []
        _ring(bells, changed=False)

    def leave_idle(self, subscription: Hears, now: float) -> bool:
        """Leave what nobody has waited for lately. Returns whether nothing is left."""
        with self._lock:
            for name, channel in list(self._channels.items()):
                if not channel.bells and now - channel.idle_since >= LINGER_SECONDS:
                    del self._channels[name]
                    subscription.leave(name)
            return not self._channels

    def end(self) -> None:
        """Nothing is heard here any more."""
        with self._lock:
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            _ring(list(channel.bells), changed=True)

    # What the subscription tells.

    def heard(self, channel: bytes, payload: bytes) -> None:
        with self._lock:
            known = self._channels.get(channel)
            bells = list(known.bells.items()) if known is not None else []
        # {"s":…,"e":"…","r":"RUN","k":"STREAM",… for chunks; another letter for what happened to the run.
        at = payload.find(b'"', payload.find(b'"r":"') + 5) + 2
        changed = not payload.startswith(b'"k":"', at)
        _ring([bell for bell, stream in bells if changed or payload.startswith(stream, at)], changed=changed)

    def turn_ended(self) -> None:
        pass

    def joined(self, channel: bytes) -> None:
        with self._lock:
            known = self._channels.get(channel)
            if known is None:
                return
            known.joined = True
            bells = list(known.bells)
        _ring(bells, changed=True)  # what happened before was not heard

    def lost(self) -> None:
        with self._lock:
            bells = [bell for channel in self._channels.values() if channel.joined for bell in channel.bells]
            for channel in self._channels.values():
                channel.joined = False
        _ring(bells, changed=False)

    def _channel(self, run: str, stream: str) -> bytes:
        return change_channel(self._environment, FeedId("stream", (run, stream))).encode()


def _letter(stream: str) -> bytes:
    """What a message about its chunks says."""
    return b'"k":"%s"' % stream.encode()


def _ring(bells: list[Bell], *, changed: bool) -> None:
    for bell in bells:
        bell.ring(changed=changed)
