"""Whether what is published here is what a gateway's viewers see."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import redis

from gateway.cursors import Cursor
from gateway.doctor.events import EventReader
from gateway.doctor.findings import Finding, error, note, ok
from gateway.doctor.http import NotHttp, asking
from gateway.errors import BadCursor
from gateway.feeds import EnvironmentId
from gateway.publisher import Publisher
from gateway.store.redis_keys import history_key

if TYPE_CHECKING:
    from gateway.doctor.http import Answer, Target
    from gateway.doctor.probes import Probe

_CHECK: Final = "gateway.same_redis"
_WHY: Final = "workers publish here, and its viewers never see it"
_LINE: Final = "RUNCAST_REDIS_URL=redis://…   # the same for the gateway and for the workers"
#: The test run is gone after that.
_KEPT_SECONDS: Final = 60


def compare_histories(client: redis.Redis, environment: str, cursor: str) -> list[Finding]:
    """Whether the place that a gateway told (*cursor*) is one of the history in this Redis."""
    try:
        told = Cursor.parse(cursor)
        epoch = client.hget(history_key(EnvironmentId(environment)), "epoch")
    except (BadCursor, redis.RedisError, OSError):
        return []
    if epoch == told.epoch:
        return [ok(_CHECK, f"the gateway reads the Redis that is named here (environment {environment})")]
    says = f"the gateway reads another Redis, or another database of it, than is named here (environment {environment})"
    return [error(_CHECK, says, _WHY, _LINE)]


async def check_publishing(target: Target, probe: Probe, redis_url: str, *, patience: float) -> list[Finding]:
    """Publish a run that lasts for a minute, and see it come."""
    if probe.run is None:
        return [note("gateway.publishing", "the token opens no run of our own", "nothing was published")]
    headers = [("Accept", "text/event-stream"), ("Authorization", f"Bearer {probe.token}")]
    try:
        async with asking(target, "GET", f"/v1/events?{probe.query}", headers, patience=patience) as answer:
            reader = EventReader()
            async with asyncio.timeout(patience):
                await _until("snapshot", answer, reader)
            began = time.monotonic()
            await asyncio.to_thread(_publish, redis_url, probe.environment, probe.run)
            async with asyncio.timeout(patience):
                await _until("update", answer, reader)
    except TimeoutError:
        says = f"a run that was published here did not come within {patience:g} s"
        return [error("gateway.publishing", says, _WHY, _LINE)]
    except (NotHttp, OSError):
        return []  # `stream_checks` says what is wrong with streams
    took = (time.monotonic() - began) * 1000
    return [ok("gateway.publishing", f"a run that was published here came after {took:.0f} ms")]


async def _until(kind: str, answer: Answer, reader: EventReader) -> None:
    while data := await answer.piece():
        if any(event.kind == kind for event in reader.feed(data)):
            return
    raise NotHttp("the stream ended")


def _publish(redis_url: str, environment: str, run: str) -> None:
    with Publisher(redis_url, environment=environment, retention=_KEPT_SECONDS) as publisher:
        publisher.create("runcast-doctor", id=run, is_test=True).complete()
