"""What `runcast watch` does, between its options and its output: follow, until there is a reason to stop."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cli import describe
from gateway.cli.exits import ExitCode
from gateway.runs import Status
from gateway.viewer.conversation import Refused, StreamSubscription, Subscription, Welcomed
from gateway.viewer.following import State, StateChanged, follow
from gateway.viewer.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from gateway.cli.output import Output
    from gateway.viewer.conversation import Wanted
    from gateway.viewer.following import Event

_TICK_SECONDS: Final = 0.1
#: Why a gateway or a proxy denies us that has to do with who we are.
_ABOUT_US: Final = frozenset(
    {
        *("not_authenticated", "token_invalid", "token_expired", "token_revoked", "token_used"),
        *("not_allowed", "origin_not_allowed", "http_401", "http_403"),
    }
)


class Stopped(Exception):
    """Watching ended otherwise than by the end of the runs."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What to watch, where, and for how long."""

    url: str
    token: str
    subscriptions: tuple[Subscription, ...]
    #: What its runs write, shown beside.
    streams: tuple[StreamSubscription, ...] = ()
    fresh_token: Callable[[], Awaitable[str]] | None = None
    #: Seconds; None for as long as it takes.
    timeout: float | None = None
    #: How long to try before there was ever a connection. A later loss is no reason to stop.
    connect_timeout: float = 10.0

    @property
    def may_end(self) -> bool:
        """Whether only runs are watched: it ends with the last of them. Other feeds never do."""
        return all(subscription.feed.kind == "run" for subscription in self.subscriptions)


async def watch_runs(watch: Watch, output: Output) -> list[Status]:
    """
    Show what happens until every run ended, and return how each did.

    Raises:
        Stopped: When it ends otherwise; with the exit code, and the text that explains it.
    """
    try:
        async with asyncio.timeout(watch.timeout), _redrawing(output):
            return await _until_ended(watch, output)
    except TimeoutError:
        raise Stopped(ExitCode.TIMEOUT, f"{watch.timeout:g} s are over; {what_goes_on(watch)}") from None
    finally:
        output.close()


def what_goes_on(watch: Watch) -> str:
    """That looking away ends nothing."""
    if not watch.may_end:
        return "the runs continue"
    runs = [describe.clean(subscription.feed.names[0]) for subscription in watch.subscriptions]
    return f"the run{' continues' if len(runs) == 1 else 's continue'}; runcast watch {' '.join(runs)}"


@asynccontextmanager
async def _redrawing(output: Output) -> AsyncGenerator[None, None]:
    """The output's clock ticks for as long as the block lasts. What fails in either comes out as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(_tick(output), name="redrawing")
            try:
                yield
            finally:
                ticking.cancel()
    except BaseExceptionGroup as failures:  # whoever called knows nothing of a group: it is what happened first
        raise failures.exceptions[0] from None


async def _until_ended(watch: Watch, output: Output) -> list[Status]:
    mirror = Mirror()
    wanted: list[Wanted] = [*watch.subscriptions, *watch.streams]
    events = follow(watch.url, watch.token, wanted, fresh_token=watch.fresh_token, mirror=mirror)
    last_reason = "no answer"
    try:
        async with asyncio.timeout(watch.connect_timeout) as connecting, aclosing(events):
            async for event in events:
                output.show(event)
                match event:
                    case Welcomed():
                        connecting.reschedule(None)
                    case StateChanged(reason=reason) if reason:
                        last_reason = reason
                _look_for_refusal(event)
                endings = [feed.ended for feed in mirror.feeds.values()]
                endings += [stream.ended for stream in mirror.streams.values()]
                if watch.may_end and all(endings):
                    break
    except TimeoutError:
        if not connecting.expired():
            raise
        text = f"can't connect to {watch.url} within {watch.connect_timeout:g} s: {describe.clean(last_reason)}"
        raise Stopped(ExitCode.NO_CONNECTION, text) from None
    return [Status(feed.ended) for feed in mirror.feeds.values() if feed.ended]


def _look_for_refusal(event: Event) -> None:
    match event:
        case Refused(code=code, message=message):
            raise Stopped(ExitCode.AUTH if code in _ABOUT_US else ExitCode.USAGE, describe.clean(message))
        case StateChanged(state=State.DENIED, code=code, reason=reason):
            text = describe.clean(reason)
            if code == "token_expired":
                text += " (in RUNCAST_TOKEN, or in a --token-file, which is read again by itself)"
            raise Stopped(ExitCode.AUTH if code in _ABOUT_US else ExitCode.NO_CONNECTION, text)


async def _tick(output: Output) -> None:
    while True:
        output.tick()
        await asyncio.sleep(_TICK_SECONDS)
