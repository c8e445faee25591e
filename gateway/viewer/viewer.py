"""`Viewer`: follow runs from Python, over one WebSocket that stays connected."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from gateway.errors import Misconfigured
from gateway.feeds import ALL_RUNS, FeedId
from gateway.viewer.address import is_loopback, websocket_url
from gateway.viewer.conversation import StreamSubscription, Subscription
from gateway.viewer.lines import Lines
from gateway.viewer.surroundings import credential, gateway_url
from gateway.viewer.tokens import Tokens
from gateway.viewer.updates import RunUpdates, StreamUpdates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from gateway.viewer.following import State, StateChanged
    from gateway.viewer.viewed import ViewedRun

log = logging.getLogger("runcast.viewer")

_NO_CREDENTIAL = (
    "no token: give one to the Viewer, or a callable that makes one; or set RUNCAST_TOKEN to a public token or "
    "RUNCAST_SECRET_KEY to a secret key"
)


class Viewer:
    """
    Follows runs, tags, batches, tasks and streams, for as long as an `async with` block lasts.

    Everything goes over one WebSocket, which is opened when it is first needed. When it breaks another one goes on
    where it was: after a pause that is drawn anew each time, so that viewers don't come back all at once. Nothing that
    happened meanwhile is missed. Belongs to the event loop it is used in; `BlockingViewer` is for everywhere else.

    Args:
        url: Where the gateway is, as `https://runs.example.com`; by default RUNCAST_URL, else this machine.
        token: A public token or a secret key; or a callable that makes one, plain or `async`. It is asked again before
            the token ends, which then goes on without a new connection. A plain one is called in a thread. By default
            RUNCAST_TOKEN or RUNCAST_SECRET_KEY, or for a gateway on this machine what `runcast dev` left here.
        on_state: Told in what state the connection is, whenever that changes or it failed once more to change. Called
            in the event loop, so it must not block.

    Raises:
        Misconfigured: When *url* or *token* can't be one, or there is no token.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        *,
        on_state: Callable[[StateChanged], None] | None = None,
    ) -> None:
        self.url = gateway_url(url)
        websocket_url(self.url)  # tells at once what is wrong with it
        self._tokens = _tokens(self.url, token)
        self._tell = on_state
        self._lines = Lines(self.url, self._tokens, self._on_state)

    @property
    def state(self) -> State:
        """Whether what is shown is the truth: live, stale, connecting, reconnecting or denied. A str."""
        return self._lines.state

    @property
    def as_of(self) -> datetime | None:
        """When what is shown was last known to be true, by the gateway's clock; None before anything was."""
        told = self._lines.as_of
        return None if told is None else datetime.fromisoformat(told)

    def run(self, run: str, *, skip_columns: Sequence[str] = ()) -> RunUpdates:
        """
        One run, until it ended: as it is now, and whenever it changes. Waits for a run that does not exist yet.

        Raises:
            BadFeed: When *run* can't be an id. While iterating: `NotAllowed`, `TokenExpired` and others of
                `gateway.errors` when the token is refused, `Denied` when there is no gateway at the address, and
                what the callable for tokens raises.
        """
        return self._runs(Subscription(feed=FeedId.run(run), skip_columns=tuple(skip_columns)), ends=True)

    def tags(
        self,
        *tags: str,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> RunUpdates:
        """
        The runs that carry all of *tags*: those there are, and each that changes or comes. Never ends by itself.

        Args:
            skip_columns: What not to send, such as `payload` and `output`.
            since: Only runs created within this age when it begins: `1h`, seconds, or a timedelta.
            limit: At most so many to begin with, those that changed last.
        """
        return self._feed(FeedId.tags(*tags), skip_columns, since, limit)

    def batch(
        self,
        batch: str,
        *,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> RunUpdates:
        """The runs of a batch; as `tags`."""
        return self._feed(FeedId.batch(batch), skip_columns, since, limit)

    def task(
        self,
        task: str,
        *,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> RunUpdates:
        """The runs of a task; as `tags`."""
        return self._feed(FeedId.task(task), skip_columns, since, limit)

    def all(
        self,
        *,
        skip_columns: Sequence[str] = (),
        since: str | float | timedelta | None = None,
        limit: int | None = None,
    ) -> RunUpdates:
        """All runs of the environment; as `tags`."""
        return self._feed(ALL_RUNS, skip_columns, since, limit)

    def stream(self, run: str, key: str, *, after: str | None = None, from_now: bool = False) -> StreamUpdates:
        """
        The chunks that *run* writes under *key*, from the first one on, until the run ended and all were told.

        Each comes once and in order, whatever happens to connections in between; one that is not taken is waited for.

        Args:
            after: Go on after the chunk with this `cursor`, which may come from another process.
            from_now: Only chunks that are written from now on.
        """
        FeedId.stream(run, key)
        return StreamUpdates(
            self._lines,
            self._lines.read_stream(StreamSubscription(run=run, key=key, after=after, from_now=from_now)),
        )

    async def get(self, run: str, *, skip_columns: Sequence[str] = ()) -> ViewedRun | None:
        """The run as it is now; None when it does not exist. Raises as iterating over `run` does."""
        async with self.run(run, skip_columns=skip_columns) as updates:
            await updates.until_caught_up()
            return updates.runs.get(run)

    async def wait_for_completion(self, run: str, *, timeout: float | None = None) -> ViewedRun:
        """
        Wait until the run ended, however it did, and return it as it ended: look at `is_success`, `status`, `error`.

        Also for a run that does not exist yet.

        Args:
            timeout: Seconds; None for as long as it takes.

        Raises:
            TimeoutError: When it has not ended in time. The run goes on.
            GatewayError: As iterating over `run` does.
        """
        states: list[ViewedRun] = []
        try:
            async with asyncio.timeout(timeout) as deadline, self.run(run) as updates:
                async for state in updates:
                    states = [state]
        except TimeoutError:
            if not deadline.expired():
                raise
            raise TimeoutError(f"run {run!r} has not ended within {timeout:g} s; it goes on") from None
        return states[0]

    async def aclose(self) -> None:
        """Close the connection. What is still iterated raises ViewerClosed. Harmless when it was closed already."""
        await self._lines.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _feed(
        self, feed: FeedId, skip_columns: Sequence[str], since: str | float | timedelta | None, limit: int | None
    ) -> RunUpdates:
        age = since.total_seconds() if isinstance(since, timedelta) else since
        subscription = Subscription(feed=feed, skip_columns=tuple(skip_columns), since=age, limit=limit)
        return self._runs(subscription, ends=False)

    def _runs(self, subscription: Subscription, *, ends: bool) -> RunUpdates:
        return RunUpdates(self._lines, self._lines.read_runs(subscription, ends=ends))

    def _on_state(self, event: StateChanged) -> None:
        if self._tell is None:
            return
        try:
            self._tell(event)
        except Exception:
            log.exception("what is told the state of the connection failed")


def _tokens(url: str, token: str | Callable[[], str | Awaitable[str]] | None) -> Tokens:
    if callable(token):
        return Tokens(None, token)
    given = token if token is not None else credential(own_machine=is_loopback(url))
    if given is None:
        raise Misconfigured(_NO_CREDENTIAL)
    return Tokens(given)
