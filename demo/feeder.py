"""Keeps the demo's worker busy at a gentle pace: never more than a handful of runs at a time, as long as it lives."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from celery import group

from demo import library
from demo.tasks import app, archive_library, factorize, hash_library, index_library
from gateway import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.result import AsyncResult

#: Runs that wait or are at work; more than the worker does at a time, so that some are seen waiting.
MOST_AT_A_TIME = 6
PACE_SECONDS = (1.5, 5.0)
#: What is asked for and not wanted any more; people change their minds.
CANCELED_SHARE = 0.06
#: How long the worker gets to cancel what is still under way when the demo ends.
FAREWELL_SECONDS = 5.0

#: The product of two primes of nine digits: trial division does not get there in its time.
HARD_TO_FACTOR = 674_506_081 * 982_451_653

TEAMS = ("search", "platform", "data")
# Packages that take a moment, but not long.
_SOME = ("asyncio", "ctypes", "email", "encodings", "idlelib", "multiprocessing", "test", "unittest")


def headers(team: str, *tags: str) -> dict[str, Any]:
    return {"run_tags": [f"team:{team}", *tags]}


def hash_everything() -> list[AsyncResult]:
    return [hash_library.apply_async(headers=headers("data", "nightly"))]


def hash_some_packages() -> list[AsyncResult]:
    """A batch: the runs of a Celery group."""
    chosen = random.sample(library.packages(), k=3)
    results = group(hash_library.si(name) for name in chosen).apply_async(headers=headers("platform"))
    return list(results.results)


def index_something() -> list[AsyncResult]:
    package = random.choice([*_SOME, ""])
    return [index_library.apply_async((package,), headers=headers("search", f"package:{package or 'all'}"))]


def archive_twice() -> list[AsyncResult]:
    """The second finds the archive busy and has to come back."""
    return [archive_library.apply_async(headers=headers("platform", "archive")) for _ in range(2)]


def factorize_something() -> list[AsyncResult]:
    number = random.choice([HARD_TO_FACTOR, random.randrange(10**12, 10**13)])
    return [factorize.apply_async((number,), headers=headers("data"))]


def index_later() -> list[AsyncResult]:
    return [index_library.apply_async(("asyncio",), countdown=10, headers=headers("search", "scheduled"))]


#: How often each is asked for, relative to the others.
WISHES: dict[Callable[[], list[AsyncResult]], int] = {
    index_something: 6,
    hash_everything: 4,
    hash_some_packages: 3,
    factorize_something: 3,
    archive_twice: 2,
    index_later: 1,
}


def feed(stop: threading.Event) -> None:
    """Ask for one thing after the other until *stop* is set; wait while enough is under way. Then cancel what is."""
    under_way: list[AsyncResult] = []
    while not stop.wait(random.uniform(*PACE_SECONDS)):
        under_way = [result for result in under_way if not result.ready()]
        if len(under_way) >= MOST_AT_A_TIME:
            continue
        (wish,) = random.choices(list(WISHES), weights=list(WISHES.values()))
        asked = wish()
        under_way += asked
        if random.random() < CANCELED_SHARE:
            stop.wait(1)
            asked[0].revoke(terminate=True)
    cancel(under_way)


def cancel(results: list[AsyncResult]) -> None:
    """Nobody will look after these any more, so they are not left to be queued or executing for ever."""
    open_ones = [result for result in results if not result.ready()]
    app.control.revoke([result.id for result in open_ones], terminate=True)
    deadline = time.monotonic() + FAREWELL_SECONDS
    while open_ones and time.monotonic() < deadline:
        time.sleep(0.1)
        open_ones = [result for result in open_ones if not result.ready()]
    with Publisher() as publisher:
        for result in open_ones:  # a worker drops what waits for its hour only then
            publisher.run(result.id).cancel("the demo ended")


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    feed(stop)


if __name__ == "__main__":
    main()
