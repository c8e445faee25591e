"""Everything that is looked at, in order: this place, its Redis, a gateway and the way to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import redis

from gateway.doctor.findings import Finding, Severity, error, note
from gateway.doctor.gateway_checks import Unreachable, check_gateway
from gateway.doctor.http import PATIENCE_SECONDS, Target
from gateway.doctor.origin_checks import check_origin
from gateway.doctor.place import check_place
from gateway.doctor.poll_checks import check_polls
from gateway.doctor.probes import Probe, find_probe
from gateway.doctor.redis_access import check_access
from gateway.doctor.redis_checks import OLDEST, check_facts, parse_version
from gateway.doctor.redis_facts import connect, read_facts
from gateway.doctor.round_trip import check_publishing, compare_histories
from gateway.doctor.socket_checks import check_socket
from gateway.doctor.stream_checks import check_stream
from gateway.feeds import EnvironmentId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auth import Keyring

_DEFAULT_ENVIRONMENT: Final = "default"
_NO_REDIS: Final = (
    "runcast doctor looks at it with RUNCAST_REDIS_URL=redis://…, or beside a gateway that brought its own"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is known here."""

    environ: Mapping[str, str] = field(repr=False)
    #: The secret keys of runcast.toml, for when the environment has none.
    keyring: Keyring | None = None
    #: None when no Redis is known.
    redis_url: str | None = field(default=None, repr=False)

    @property
    def environment(self) -> str:
        return self.environ.get("RUNCAST_ENVIRONMENT", "").strip() or _DEFAULT_ENVIRONMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is to be looked at of a gateway."""

    origins: Sequence[str] = ()
    #: For how many seconds streams are kept open; None for a little more than a heartbeat takes.
    idle: float | None = None
    #: Whether a run may be published.
    publish: bool = False
    #: Seconds to wait for what should come at once.
    patience: float = PATIENCE_SECONDS


def examine_place(place: Place) -> tuple[list[Finding], bool]:
    """What is found here and in the Redis of this place, and whether that was reached."""
    found = check_place(place.environ, place.keyring)
    if place.redis_url is None:
        return [*found, note("redis.reachable", "no Redis is named here", _NO_REDIS)], False
    try:
        client = connect(place.redis_url)
    except ValueError:
        # Not with the error's text: of a password that is not percent-encoded it quotes a part.
        why = "nothing can be published or seen"
        line = "RUNCAST_REDIS_URL=redis://user:password@host:6379/0   # the password percent-encoded"
        return [*found, error("redis.reachable", "RUNCAST_REDIS_URL is not a Redis URL", why, line)], False
    with client:
        return _examine_redis(client, place, place.redis_url, found)


def _examine_redis(client: redis.Redis, place: Place, url: str, found: list[Finding]) -> tuple[list[Finding], bool]:
    try:
        facts = read_facts(client, url)
        found = [*found, *check_facts(facts)]
        version = parse_version(str(facts.info.get("redis_version", "6.2")))
        if version >= OLDEST and facts.info.get("role") != "slave":
            found += check_access(client, EnvironmentId(place.environment), facts.user)
    except redis.exceptions.AuthenticationError as refused:
        why, line = "nothing can be published or seen", "RUNCAST_REDIS_URL=redis://user:password@host:6379/0"
        return [*found, error("redis.reachable", f"Redis does not let us in: {refused}", why, line)], True
    except redis.exceptions.NoPermissionError as refused:
        line = "ACL SETUSER USER +select +ping"
        return [*found, error("redis.acl", str(refused), "not even to begin is allowed", line)], True
    except (redis.RedisError, OSError) as wrong:
        why = "nothing can be published or seen; workers keep the newest status of each run meanwhile"
        line = "RUNCAST_REDIS_URL=redis://host:6379/0   # rediss:// for one with TLS"
        return [*found, error("redis.reachable", f"Redis can't be reached: {wrong}", why, line)], False
    return found, True


async def examine_gateway(url: str, place: Place, wishes: Wishes, tell: Callable[[list[Finding]], None]) -> bool:
    """
    Look at the gateway at *url*, and *tell* what is found as soon as it is. Returns whether somebody answered.

    Raises:
        Misconfigured: When *url* is not the address of a gateway.
    """
    target, patience = Target.parse(url), wishes.patience
    try:
        tell(await check_gateway(target, patience=patience))
    except Unreachable as unreachable:
        tell([unreachable.finding])
        return unreachable.answered
    for origin in wishes.origins:
        tell(await check_origin(target, origin, patience=patience))
    probe = find_probe(place.environ, place.keyring)
    if isinstance(probe, Finding):
        tell([probe])
    else:
        await _examine_streams(target, probe, place, wishes, tell)
    return True


async def _examine_streams(
    target: Target, probe: Probe, place: Place, wishes: Wishes, tell: Callable[[list[Finding]], None]
) -> None:
    """All are held open at the same time."""
    (found, seen), of_socket, of_polls = await asyncio.gather(
        check_stream(target, probe.query, probe.token, idle=wishes.idle, patience=wishes.patience),
        check_socket(target, probe.token, idle=wishes.idle, patience=wishes.patience),
        _examine_polls(target, probe, wishes),
    )
    found = list(dict.fromkeys([*found, *of_socket]))  # both may say the same of the token
    wrong = {finding.check for finding in found if finding.severity is Severity.ERROR}
    # What cuts silent streams, or refuses the token, does so to polls, too.
    tell([*found, *([] if wrong & {"gateway.idle", "gateway.token"} else of_polls)])
    if place.redis_url is None:
        return
    if seen.cursor:
        with connect(place.redis_url) as client:
            tell(await asyncio.to_thread(compare_histories, client, probe.environment, seen.cursor))
    if wishes.publish:
        tell(await check_publishing(target, probe, place.redis_url, patience=wishes.patience))


async def _examine_polls(target: Target, probe: Probe, wishes: Wishes) -> list[Finding]:
    if probe.tag is None:
        return []
    return await check_polls(target, probe.tag, probe.token, idle=wishes.idle, patience=wishes.patience)
