"""`runcast doctor`: looks at everything that status has to pass, and says what is wrong with the line to change."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from auth import AuthError, Keyring, NoSecretKey
from gateway.cli import describe
from gateway.cli.environment import environment, keyring_of_file
from gateway.cli.exits import ExitCode, say, stop
from gateway.doctor.examination import Place, Wishes, examine_gateway, examine_place
from gateway.doctor.findings import Finding, Severity, worst
from gateway.durations import parse_duration
from gateway.errors import BadInput, Misconfigured
from gateway.publisher.configuration import find_redis
from gateway.viewer.address import http_url, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Of the JSON document. Fields may be added within a version.
VERSION: Final = 1


def doctor(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="A gateway, as its viewers reach it.")] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="With URL: are pages of https://app.example.com let in? Repeatable."),
    ] = None,
    idle: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN", help="With URL: keep streams and polls open so long, 90s or 5m [while a gateway is silent]."
        ),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="With URL: publish a test run here, and see it come there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with all findings.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is wrong.")] = False,
) -> None:
    """
    Look at this place and its Redis, and with URL at a gateway and the way to it.

    Each finding says what is so, why that matters, and which line to change. Redis is the one that publishers here
    would find; the gateway is shown RUNCAST_TOKEN, or a token that the secret key here signs for a run that does not
    exist. Nothing is changed or published (but see --publish).

    Exit codes: 0 (warnings included), 1 something is wrong, 2 usage, 6 nothing could be reached.
    """
    try:
        known = _known(url)
        wishes = Wishes(
            origins=[_checked_origin(text) for text in origin or ()],
            idle=parse_duration(idle) if idle is not None else None,
            publish=publish,
        )
        if url is None and (origin or idle or publish):
            raise BadInput("--origin, --idle and --publish look at a gateway: give its URL")
        place = Place(environ=known, redis_url=_redis_url(known), keyring=_keyring_of_file(known))
    except (BadInput, Misconfigured) as error:
        stop(ExitCode.USAGE, str(error))
    raise typer.Exit(_examine(url, place, wishes, _Report(as_json=as_json, quiet=quiet)))


def _known(url: str | None) -> Mapping[str, str]:
    """What counts here. The keys that `runcast dev` left are for gateways on this machine only."""
    if url is not None and not is_loopback(http_url(url)):
        return {name: value for name, value in os.environ.items() if value.strip()}
    return environment()


def _redis_url(known: Mapping[str, str]) -> str | None:
    try:
        return find_redis(None, known).url
    except Misconfigured:
        if any(known.get(f"{name}{suffix}") for name in ("RUNCAST_REDIS_URL", "REDIS_URL") for suffix in ("", "_FILE")):
            raise
        # What publishers don't read, and a gateway that is started here does.
        from gateway.configuration.reading import read_configuration

        url: str | None = read_configuration().values.get("redis_url")
        return url


def _keyring_of_file(known: Mapping[str, str]) -> Keyring | None:
    try:
        Keyring.from_environ(known)
    except NoSecretKey:
        return keyring_of_file()
    except AuthError:
        pass  # which is a finding
    return None


def _checked_origin(text: str) -> str:
    origin = text.strip().removesuffix("/").lower()
    if not origin.startswith(("http://", "https://")) or "/" in origin.partition("://")[2]:
        raise BadInput(f"--origin is like https://app.example.com, not {text[:80]!r}")
    return origin


def _examine(url: str | None, place: Place, wishes: Wishes, report: _Report) -> ExitCode:
    found, reached = examine_place(place)
    report.tell(found)
    if url is not None:
        try:
            reached = asyncio.run(examine_gateway(url, place, wishes, report.tell)) or reached
        except KeyboardInterrupt:
            stop(ExitCode.INTERRUPTED, "interrupted; what was found stands above")
    report.close()
    if not reached:
        return ExitCode.NO_CONNECTION
    return ExitCode.FAILED if worst(report.findings) is Severity.ERROR else ExitCode.OK


class _Report:
    """Findings on stdout: at once as lines, or at the end as one document."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.findings: list[Finding] = []
        self._as_json, self._quiet = as_json, quiet

    def tell(self, found: list[Finding]) -> None:
        self.findings += found
        if self._as_json:
            return
        for finding in found:
            if finding.severity > Severity.NOTE or not self._quiet:
                _print(finding)

    def close(self) -> None:
        if self._as_json:
            told = [finding.public() for finding in self.findings]
            print(json.dumps({"v": VERSION, "worst": worst(self.findings).word, "findings": told}))
            return
        count = {severity: sum(one.severity is severity for one in self.findings) for severity in Severity}
        say(f"{count[Severity.ERROR]} wrong, {count[Severity.WARNING]} to look at, {count[Severity.OK]} well")


def _print(finding: Finding) -> None:
    print(f"{finding.severity.word:8} {finding.check:20} {describe.clean(finding.says)}", flush=True)
    if finding.why:
        print(f"{'':8} {'why':20} {describe.clean(finding.why)}")
    for line in finding.change:
        print(f"{'':8} {'change':20} {describe.clean(line)}", flush=True)
