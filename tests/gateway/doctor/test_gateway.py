"""A gateway and the way to it: each fault that is planted there is found, and nothing where nothing is wrong."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from auth import mint
from gateway.doctor.examination import Place, Wishes, examine_gateway
from gateway.doctor.findings import Finding, Severity
from gateway.doctor.gateway_checks import check_gateway
from gateway.doctor.http import Target
from gateway.doctor.lines import BUFFERING, COMPRESSION, IDLE, LONG_HEADERS, POLLS, ROUTES, UPGRADE
from gateway.transports.origins import Origins
from tests.gateway.serving import ServedGateway
from tests.nginx import RIGHT, running_nginx
from tests.redis_server import binaries, free_port, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

APP = "https://app.example.com"
#: Long for what is on this machine and not held back, even when it does much else.
PATIENCE = 2.0
#: A place of its own for event streams, in which nginx does what it does by itself.
EVENTS = "location /v1/events { proxy_pass http://127.0.0.1:TARGET; "


@pytest.fixture
async def gateway(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[ServedGateway]:
    async with ServedGateway(redis_server, environment, heartbeat_seconds=0.3, origins=Origins.parse(APP)) as gateway:
        yield gateway


class Doctor:
    """Somebody beside a gateway, with its keys and its Redis."""

    def __init__(self, gateway: ServedGateway, **environ: str) -> None:
        keys = {"RUNCAST_SECRET_KEY": gateway.secret, "RUNCAST_ENVIRONMENT": gateway.keys.environment}
        self.place = Place(environ=keys | environ, redis_url=gateway.settings.redis_url)

    async def examines(self, port: int, **wishes: Any) -> list[Finding]:
        """Everything that is found at *port*."""
        found: list[Finding] = []
        given: dict[str, Any] = {"patience": PATIENCE, "idle": 0.6} | wishes
        await examine_gateway(f"http://127.0.0.1:{port}", self.place, Wishes(**given), found.extend)
        return found


def wrong(found: list[Finding]) -> dict[str, Finding]:
    """By their checks."""
    return {finding.check: finding for finding in found if finding.severity > Severity.NOTE}


async def test_nothing_is_wrong_with_a_gateway_that_is_reached_directly(gateway: ServedGateway) -> None:
    found = await Doctor(gateway).examines(gateway.settings.port, origins=[APP], publish=True)

    assert wrong(found) == {}
    assert {finding.check for finding in found} >= {
        *("gateway.reachable", "gateway.http", "gateway.clock", "gateway.ready", "gateway.headers", "gateway.origin"),
        *("gateway.buffering", "gateway.idle", "gateway.upgrade", "gateway.polls"),
        *("gateway.same_redis", "gateway.publishing"),
    }


async def test_nothing_is_wrong_behind_an_nginx_that_is_set_right(gateway: ServedGateway, tmp_path: Path) -> None:
    async with running_nginx(tmp_path, gateway.settings.port) as port:
        assert wrong(await Doctor(gateway).examines(port, origins=[APP], publish=True)) == {}


@pytest.mark.parametrize(
    ("location", "server", "check", "lines"),
    [
        # As nginx is by itself, when it is told to ignore that the gateway asks it not to buffer.
        (RIGHT, f"{EVENTS} proxy_ignore_headers X-Accel-Buffering; }}", "gateway.buffering", BUFFERING),
        (f"{RIGHT} gzip on; gzip_types text/event-stream;", "", "gateway.compression", COMPRESSION),
        ("proxy_read_timeout 1h;", "", "gateway.upgrade", UPGRADE),
        (RIGHT.replace("1h", "1s"), "", "gateway.idle", IDLE),
    ],
)
async def test_each_fault_of_nginx_is_found(
    redis_server: RedisServer,
    environment: EnvironmentId,
    tmp_path: Path,
    location: str,
    server: str,
    check: str,
    lines: tuple[str, ...],
) -> None:
    """With the lines to change, and without blaming anything else."""
    idle = 4.0 if check == "gateway.idle" else 0.1
    async with ServedGateway(redis_server, environment, heartbeat_seconds=60) as gateway:
        server = server.replace("TARGET", str(gateway.settings.port))
        async with running_nginx(tmp_path, gateway.settings.port, location, server=server) as port:
            found = wrong(await Doctor(gateway).examines(port, idle=idle))

    assert set(found) == {check}
    assert found[check].severity is Severity.ERROR
    assert found[check].change == lines


@pytest.mark.parametrize(
    ("lines", "says", "change", "idle"),
    [
        # On a slow machine a second takes longer, and is looked at for longer.
        ("proxy_pass http://127.0.0.1:TARGET; proxy_read_timeout 1s;", "was answered with 504 after", POLLS, 5.0),
        ("return 404;", "answers 404", ROUTES, 0.1),
        (
            f"{RIGHT} proxy_pass http://127.0.0.1:TARGET; proxy_hide_header electric-handle;",
            *("without their", ROUTES, 0.1),
        ),
    ],
)
async def test_what_stands_in_the_way_of_polls_is_found(
    gateway: ServedGateway, tmp_path: Path, lines: str, says: str, change: tuple[str, ...], idle: float
) -> None:
    """A proxy that is right for streams may still cut a poll, or know nothing of the paths of the official clients."""
    server = f"location /realtime/ {{ {lines} }}".replace("TARGET", str(gateway.settings.port))
    async with running_nginx(tmp_path, gateway.settings.port, server=server) as port:
        found = wrong(await Doctor(gateway).examines(port, idle=idle))

    assert set(found) == {"gateway.polls"}
    assert says in found["gateway.polls"].says
    assert found["gateway.polls"].change == change


async def test_a_token_that_opens_no_tag_leaves_polls_alone(gateway: ServedGateway) -> None:
    """Nothing is known of them then; and one that opens a tag is asked for that."""
    for scope, expected in (("read:runs:run_1", False), ("read:tags:customer", True)):
        doctor = Doctor(gateway, RUNCAST_TOKEN=mint(scope, gateway.keys))
        found = await doctor.examines(gateway.settings.port, idle=0.1)
        assert wrong(found) == {}
        assert ("gateway.polls" in {finding.check for finding in found}) is expected


async def test_short_header_buffers_are_found(gateway: ServedGateway, tmp_path: Path) -> None:
    async with running_nginx(tmp_path, gateway.settings.port, server="large_client_header_buffers 4 4k;") as port:
        found = wrong(await Doctor(gateway).examines(port, idle=0.1))

    assert set(found) == {"gateway.headers"}
    assert found["gateway.headers"].change == LONG_HEADERS


async def test_an_origin_that_is_not_allowed_is_found(gateway: ServedGateway) -> None:
    other = "https://other.example.com"
    found = wrong(await Doctor(gateway).examines(gateway.settings.port, origins=[APP, other], idle=0.1))

    assert set(found) == {"gateway.origin"}
    assert found["gateway.origin"].change[0].startswith(f"RUNCAST_ALLOWED_ORIGINS={other} ")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (f"{RIGHT} add_header Access-Control-Allow-Origin {APP} always;", "comes 2 times"),
        (f"{RIGHT} proxy_hide_header Access-Control-Allow-Origin;", "answered by somebody else"),
        (f"{RIGHT} if ($request_method = OPTIONS) {{ return 204; }}", "answered by somebody else"),
    ],
)
async def test_a_proxy_that_meddles_with_origins_is_found(
    gateway: ServedGateway, tmp_path: Path, location: str, words: str
) -> None:
    async with running_nginx(tmp_path, gateway.settings.port, location) as port:
        found = wrong(await Doctor(gateway).examines(port, origins=[APP], idle=0.1))

    assert set(found) == {"gateway.origin"}
    assert words in found["gateway.origin"].says


@pytest.mark.parametrize(("hours", "word"), [(1, "behind"), (-1, "ahead of")])
async def test_a_clock_that_is_wrong_is_found(gateway: ServedGateway, hours: int, word: str) -> None:
    target = Target.parse(gateway.url)
    found = wrong(await check_gateway(target, patience=PATIENCE, now=lambda: time.time() + hours * 3600))

    assert set(found) == {"gateway.clock"}
    assert f"{word} ours" in found["gateway.clock"].says
    assert found["gateway.clock"].severity is Severity.ERROR


async def test_other_keys_than_those_of_the_gateway_are_found(gateway: ServedGateway) -> None:
    """Once, though every transport is refused."""
    doctor = Doctor(gateway, RUNCAST_SECRET_KEY="another-secret-key-of-forty-characters--")

    found = await doctor.examines(gateway.settings.port)

    assert set(wrong(found)) == {"gateway.token"}
    assert sum(finding.check == "gateway.token" for finding in found) == 1
    assert "token_invalid" in wrong(found)["gateway.token"].says


async def test_a_token_of_ones_own_is_used_for_what_it_allows(gateway: ServedGateway) -> None:
    """RUNCAST_TOKEN as a viewer has it: it need not allow everything."""
    token = gateway.token(["read:tags:user:7"])

    assert wrong(await Doctor(gateway, RUNCAST_TOKEN=token).examines(gateway.settings.port)) == {}


async def test_a_token_that_expired_is_found(gateway: ServedGateway) -> None:
    token = gateway.token(["read:runs"], expires=time.time() - 60, now=time.time() - 120)

    found = wrong(await Doctor(gateway, RUNCAST_TOKEN=token).examines(gateway.settings.port))

    assert "token_expired" in found["gateway.token"].says


async def test_another_redis_than_the_gateways_is_found(
    gateway: ServedGateway, tmp_path: Path, environment: EnvironmentId
) -> None:
    """Workers that publish there would be seen by nobody."""
    with running_server(tmp_path, binaries()["valkey"]) as other:
        doctor = Doctor(gateway)
        doctor.place = Place(environ=doctor.place.environ, redis_url=other.url)
        found = wrong(await doctor.examines(gateway.settings.port, publish=True))

    assert set(found) == {"gateway.same_redis", "gateway.publishing"}


async def test_a_gateway_that_lost_its_redis_is_found(tmp_path: Path, environment: EnvironmentId) -> None:
    """As /readyz says it, with the line."""
    with running_server(tmp_path, binaries()["valkey"]) as server:
        async with ServedGateway(server, environment, heartbeat_seconds=0.3) as gateway:
            server.stop(kill=True)
            async with asyncio.timeout(10):
                while gateway._hub.hears:
                    await asyncio.sleep(0.02)
            found = wrong(await Doctor(gateway).examines(gateway.settings.port))

    assert found["gateway.ready"].severity is Severity.ERROR
    assert "Redis does not answer" in found["gateway.ready"].says
    assert found["gateway.ready"].change[0].startswith("RUNCAST_REDIS_URL=")
    assert "gateway.stale" in found


async def test_nobody_there_and_somebody_else_there_are_found(gateway: ServedGateway, tmp_path: Path) -> None:
    nobody = wrong(await Doctor(gateway).examines(free_port()))
    async with running_nginx(tmp_path, gateway.settings.port, "return 200 hello;") as port:
        somebody = wrong(await Doctor(gateway).examines(port))

    assert "can't be reached" in nobody["gateway.reachable"].says
    assert "/livez answers 200" in somebody["gateway.reachable"].says
