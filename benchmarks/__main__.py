"""`python -m benchmarks`: measures Runcast beside others in the same run, and prints all of it. See README.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import report
from benchmarks.bench import Bench
from benchmarks.load import LoadGenerator
from benchmarks.machine import TooFewFiles, choose_cores, description, pin, raise_file_limit
from benchmarks.offering import Offerer
from benchmarks.peers.targets import PEERS
from benchmarks.processes import BenchmarkFailed, Remote, running_redis
from benchmarks.run import Run
from benchmarks.targets import Plain, Runcast, Transport
from benchmarks.work import Plan
from benchmarks.works import WORKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from benchmarks.targets import Target

#: Sockets of the largest work.
MOST_VIEWERS: Final = 10_000
SHORT_VIEWERS: Final = 500
#: The whole run ends after this, whatever hangs.
BOUND_SECONDS: Final = 1500
SHORT_BOUND_SECONDS: Final = 300
#: Who is measured beside Runcast when nobody is asked for.
USUAL: Final = ("plain",)


class TookTooLong(Exception):
    """The time for all works together is up, or somebody does not want to wait any longer."""


def main() -> int:
    arguments = _parse()
    try:
        raise_file_limit(SHORT_VIEWERS if arguments.short else MOST_VIEWERS)
        run, facts, versions = _measure(arguments)
    except (BenchmarkFailed, TooFewFiles) as error:
        print(f"PROBLEM: {error}", file=sys.stderr)
        return 1
    goals = [
        {**goal, "what": " ".join(filter(None, (goal["what"], record["transport"])))}
        for record in run.records
        for goal in record["goals"]
    ]
    print(report.render(run.tables, facts, goals, run.problems))
    if arguments.json:
        kept = {**facts, "targets": versions, "results": run.records, "problems": run.problems}
        arguments.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return 1 if run.problems else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that everything works; the numbers mean little")
    parser.add_argument("--only", action="append", choices=list(WORKS), metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--peers", action="store_true", help="beside Runcast all others that are installed")
    names = ["runcast", *dict.fromkeys(["plain", *(peer.name for peer in PEERS)])]
    parser.add_argument("--peer", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rate", action="append", type=int, help="changes per second, instead of the work's own")
    parser.add_argument(
        "--transport",
        action="append",
        choices=[transport.name.lower() for transport in Transport],
        help="only this one",
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="let `mixed` go on for so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything that was measured to FILE")
    return parser.parse_args()


def _targets(arguments: argparse.Namespace) -> tuple[list[Target], list[str]]:
    """Those to measure, Runcast last; and what can't be, and why."""
    known: list[Target] = [*PEERS, Plain(), Runcast(f"tr_dev_{secrets.token_hex(24)}")]
    others = {target.name for target in known} if arguments.peers else USUAL
    wanted = {*(arguments.peer or others), "runcast"}
    chosen = [target for target in known if target.name in wanted]
    missing = [f"{target.name} ({why})" for target in chosen if (why := target.missing())]
    return [target for target in chosen if not target.missing()], missing


def _measure(arguments: argparse.Namespace) -> tuple[Run, dict[str, str], dict[str, str]]:
    """Start what all works share, and go through them; also return what is to be said of it, and of each target."""
    plan = Plan(
        short=arguments.short,
        rates=tuple(arguments.rate or ()),
        transports=tuple(Transport[name.upper()] for name in arguments.transport or ()),
        minutes=arguments.minutes,
    )
    cases = [case for name, cases in WORKS.items() if name in (arguments.only or WORKS) for case in cases(plan)]
    targets, missing = _targets(arguments)
    # Plain Starlette is two: what streams has versions to say, what answers polls stands on the same.
    versions = {target.name: said for target in targets if (said := target.versions())}
    cores = choose_cores()
    pin(0, cores.others)
    with contextlib.ExitStack() as stack:
        redis, redis_version = stack.enter_context(running_redis(cores.others))
        facts = description(cores, redis_version)
        if missing:
            facts["missing"] = "; ".join(missing)
        generator = stack.enter_context(Remote(LoadGenerator, cores.others))
        offerer = stack.enter_context(Remote(Offerer, cores.others))
        run = Run(Bench(redis, cores, generator, offerer), targets)
        try:
            with _bounded(SHORT_BOUND_SECONDS if plan.short else BOUND_SECONDS + int(plan.minutes * 60)):
                run.go(cases)
        except TookTooLong as error:
            run.problems.append(str(error))  # what was measured until then is worth printing
    return run, facts, versions


@contextlib.contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    """End the block after so many seconds, or on SIGTERM, in a way that lets it end what it started."""

    def late(number: int, frame: FrameType | None) -> Any:
        raise TookTooLong(f"the rest is missing: it took longer than {seconds} seconds")

    def terminated(number: int, frame: FrameType | None) -> Any:
        raise TookTooLong("the rest is missing: it was asked to end")

    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGTERM, terminated)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())
