"""`python -m benchmarks`: measures Runcast and the plain gateway in the same run, and prints both. See README.md."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import report
from benchmarks.load import LoadGenerator
from benchmarks.machine import TooFewFiles, choose_cores, description, pin, raise_file_limit
from benchmarks.measure import Bench
from benchmarks.offering import Offerer
from benchmarks.plain_gateway import QUEUE_SIZE
from benchmarks.plan import SCENARIOS, SHORT, Plan, Run
from benchmarks.polling import PollBench
from benchmarks.polls import Pollers
from benchmarks.processes import BenchmarkFailed, Remote, running_redis
from benchmarks.publishing import Publishing
from benchmarks.targets import ENVIRONMENT, Plain, Runcast
from benchmarks.ticking import Ticker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class TookTooLong(Exception):
    """The time for all scenarios together is up."""


def main() -> int:
    arguments = _parse()
    plan = SHORT if arguments.short else Plan()
    if arguments.rate:
        plan = dataclasses.replace(plan, rates=tuple(arguments.rate), poll_rates=tuple(arguments.rate))
    try:
        raise_file_limit(max(plan.viewers, plan.idle_viewers))
        run, facts = _measure(plan, arguments)
    except (BenchmarkFailed, TooFewFiles) as error:
        print(f"PROBLEM: {error}", file=sys.stderr)
        return 1
    print(report.render(run.sections, facts, run.problems))
    if arguments.json:
        kept = {**facts, "results": run.results, "problems": run.problems}
        arguments.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return 1 if run.problems else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that everything works; the numbers mean little")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured to FILE")
    parser.add_argument(
        "--rate", action="append", type=int, help="changes per second for the deliveries; may be repeated"
    )
    parser.add_argument(
        "--plain-queue", type=int, default=QUEUE_SIZE, help="queue of the plain gateway, per viewer (%(default)s)"
    )
    return parser.parse_args()


def _measure(plan: Plan, arguments: argparse.Namespace) -> tuple[Run, dict[str, str]]:
    """Start what all scenarios share, and go through them."""
    cores = choose_cores()
    pin(0, cores.others)
    targets = Plain(arguments.plain_queue), Runcast(f"tr_dev_{secrets.token_hex(24)}")
    with contextlib.ExitStack() as stack:
        port, redis_version = stack.enter_context(running_redis(cores.others))
        facts = description(cores, redis_version)
        generator = stack.enter_context(Remote(LoadGenerator, cores.others))
        offerer = stack.enter_context(Remote(Offerer, cores.others))
        # No server runs while it is measured, so the publisher may have that core: Redis has the other one.
        publisher = stack.enter_context(Remote(Publishing, cores.server))
        pollers = stack.enter_context(Remote(Pollers, cores.others))
        ticker = stack.enter_context(Remote(Ticker, cores.others))
        redis_url = f"redis://127.0.0.1:{port}/0"
        offerer.call(Offerer.connect, port, ENVIRONMENT)
        ticker.call(Ticker.connect, redis_url, ENVIRONMENT)
        bench = Bench(redis_url, cores, generator, offerer)
        run = Run(plan, bench, PollBench(bench, pollers, ticker), publisher, redis_url, targets)
        try:
            with _bounded(plan.bound_seconds):
                run.go(arguments.only or SCENARIOS)
        except TookTooLong as error:
            run.problems.append(str(error))  # what was measured until then is worth printing
    return run, facts


@contextlib.contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    """End the block after so many seconds, or on SIGTERM, in a way that lets it end what it started."""

    def late(number: int, frame: FrameType | None) -> Any:
        raise TookTooLong(f"the rest is missing: it took longer than {seconds} seconds")

    def terminated(number: int, frame: FrameType | None) -> Any:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGTERM, terminated)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
