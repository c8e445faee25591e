"""Each metric moves by what it counts, and by nothing that a peer could make up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from websockets.asyncio.client import ClientConnection, connect

from auth import EnvironmentKeys, generate_secret_key
from gateway.metrics.families import FAMILIES, Kind
from tests.gateway.monitoring.scraping import Scrape, scrape
from tests.gateway.serving import ServedGateway
from tests.journeys.in_process import serving, until
from tests.redis_server import running_server, valkey_binary
from tests.soon import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer


@pytest.fixture
async def gateway(redis_server: RedisServer, environment: EnvironmentId) -> AsyncIterator[ServedGateway]:
    async with ServedGateway(redis_server, environment) as served:
        yield served


async def now(gateway: ServedGateway) -> Scrape:
    return await scrape(gateway.url, gateway.secret)


async def until_shown(gateway: ServedGateway, holds: Callable[[Scrape], object]) -> Scrape:
    """Ask until what is shown *holds*; it is, as soon as it is counted."""
    async with asyncio.timeout(15):
        while not holds(found := await now(gateway)):
            await asyncio.sleep(0.01)
    return found


@contextlib.asynccontextmanager
async def socket(gateway: ServedGateway, **options: Any) -> AsyncIterator[ClientConnection]:
    """A WebSocket that was let in."""
    token = gateway.token(["read:runs"], **options)
    url = gateway.url.replace("http", "ws") + "/v1/ws"
    async with connect(url, additional_headers={"authorization": f"Bearer {token}"}, proxy=None) as viewer:
        assert json.loads(await viewer.recv())["type"] == "welcome"
        yield viewer


async def follow(viewer: ClientConnection, **feed: Any) -> None:
    """Subscribe, and return when the snapshot is complete."""
    await viewer.send(json.dumps({"type": "subscribe", **feed}))
    await until_kind(viewer, "snapshot")


async def until_kind(viewer: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            message: dict[str, Any] = json.loads(await viewer.recv())
            if message["type"] == kind:
                return message


async def test_every_family_is_shown_and_readable(gateway: ServedGateway) -> None:
    """Prometheus's own parser finds each of them, under its name, type and meaning, and nothing else."""
    found = (await now(gateway)).families

    assert {name: family.type for name, family in found.items()} == {
        family.name: family.kind.value for family in FAMILIES.values()
    }
    assert all(found[family.name].documentation == family.help for family in FAMILIES.values())


async def test_openmetrics_is_spoken_to_who_asks_for_it(gateway: ServedGateway) -> None:
    """Both formats hold the same families."""
    headers = {"authorization": f"Bearer {gateway.secret}", "accept": "application/openmetrics-text; version=1.0.0"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{gateway.url}/metrics", headers=headers)

    parse: Any = parse_openmetrics
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in parse(answer.text)} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_names_follow_the_conventions(family: Any) -> None:
    """Our prefix, base units, `_total` only for counters and by the library; a sentence of help."""
    assert re.fullmatch(r"runcast(_[a-z]+)+", family.name)
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
    assert not re.search(r"milliseconds|_ms$|minutes|kilobytes|percent", family.name)
    assert family.kind is not Kind.HISTOGRAM or family.name.endswith("_seconds")
    assert family.help.endswith(".")
    assert not {"run", "user", "tag", "token", "path", "feed", "stream", "batch", "task"} & set(family.labels)


async def test_viewers_come_and_go(gateway: ServedGateway) -> None:
    """They are counted while they are here, by transport; how they left stays."""
    async with socket(gateway) as viewer:
        await follow(viewer, all=True)
        await follow(viewer, run="run_1")
        during = await now(gateway)
    headers = {"authorization": f"Bearer {gateway.token(['read:runs'])}"}
    async with (
        httpx2.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{gateway.url}/v1/events?all=true", headers=headers),
    ):
        await until_shown(gateway, lambda found: found.value("runcast_viewers", transport="sse") == 1)
    after = await until_shown(gateway, lambda found: not found.value("runcast_viewers"))

    assert during.value("runcast_viewers", transport="websocket") == 1
    assert during.value("runcast_feeds_followed") == 2
    assert after.value("runcast_feeds_followed") == 0
    assert after.value("runcast_connections_total", transport="websocket") == 1
    assert after.value("runcast_connections_total", transport="sse") == 1
    assert after.value("runcast_connections_closed_total", reason="viewer_left") == 2
    assert after.value("runcast_http_requests_total", route="/v1/events", status="2xx") == 1
    assert (
        after.value("runcast_http_request_seconds_count", route="/v1/events") == 0
    )  # it would be how long it was here


async def test_a_change_is_counted_on_its_way(gateway: ServedGateway) -> None:
    """Heard once, told to each, and timed once, by Redis's clock; it took some time, but not the age of the run."""
    async with socket(gateway) as one, socket(gateway) as other:
        await follow(one, all=True)
        await follow(other, all=True)
        before = await now(gateway)
        await asyncio.to_thread(gateway.publisher.create, "resize", id="run_1")
        await until_kind(one, "update")
        await until_kind(other, "update")
        after = await now(gateway)

    def rose(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert rose("runcast_changes_heard_total") == 1
    assert rose("runcast_deliveries_total") == 2
    assert rose("runcast_delivery_lag_seconds_count") == 1
    assert rose("runcast_delivery_lag_seconds_sum") < 5
    assert before.value("runcast_catch_ups_total", reason="joined") == 2
    assert 1 <= before.value("runcast_catch_up_waves_total") <= 2
    assert after.value("runcast_redis_round_trip_seconds_count", question="read") >= 2
    await until_shown(gateway, lambda found: found.value("runcast_redis_round_trip_seconds_count", question="canary"))


async def test_who_returns_is_told_from_who_is_new(gateway: ServedGateway) -> None:
    """A cursor says that a viewer was here before."""
    async with socket(gateway) as viewer:
        await viewer.send(json.dumps({"type": "subscribe", "all": True}))
        cursor = (await until_kind(viewer, "snapshot"))["cursor"]
    async with socket(gateway) as viewer:
        await follow(viewer, all=True, cursor=cursor)
        found = await now(gateway)

    assert found.value("runcast_catch_ups_total", reason="joined") == 1
    assert found.value("runcast_catch_ups_total", reason="returned") == 1


async def test_what_is_too_large_to_publish_is_read_once_for_all(gateway: ServedGateway) -> None:
    """Each viewer catches up, and that is why."""
    async with socket(gateway) as viewer:
        await follow(viewer, all=True)
        run = await asyncio.to_thread(gateway.publisher.create, "resize", id="run_1")
        await asyncio.to_thread(run.complete, output="x" * 100_000)
        await until_shown(gateway, lambda found: found.value("runcast_catch_ups_total", reason="large_value"))


async def test_refusals_are_counted_by_their_code(gateway: ServedGateway) -> None:
    """On each transport: of a request, of a connection, of a message."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{gateway.url}/v1/events?all=true")).status_code == 401
        forged = {"authorization": "Bearer tr_dev_nobodys_key"}
        assert (await client.get(f"{gateway.url}/v1/runs", headers=forged)).status_code == 401
        assert (await client.get(f"{gateway.url}/no/such/{'x' * 50}")).status_code == 404
    async with socket(gateway) as viewer:
        await viewer.send(json.dumps({"type": "subscribe", "run": "no spaces"}))
        await until_kind(viewer, "error")
    found = await now(gateway)

    assert found.value("runcast_refusals_total", code="not_authenticated") == 1
    assert found.value("runcast_refusals_total", code="token_invalid") == 1
    assert found.value("runcast_refusals_total", code="bad_feed") == 1
    assert found.value("runcast_http_requests_total", route="/v1/events", status="4xx") == 1
    assert found.value("runcast_http_requests_total", route="/v1/runs", status="4xx") == 1
    assert found.value("runcast_http_requests_total", route="other", status="4xx") == 1
    assert "xxx" not in found.text


async def test_writes_over_http_are_counted_by_what_became_of_them(gateway: ServedGateway) -> None:
    """And by their route as it is written down, never by the run."""
    headers = {"authorization": f"Bearer {gateway.secret}"}
    async with httpx2.AsyncClient(trust_env=False, headers=headers) as client:
        created = await client.post(f"{gateway.url}/v1/runs", json={"taskIdentifier": "resize", "id": "run_1"})
        assert created.status_code == 201, created.text
        for _ in range(2):
            await client.patch(f"{gateway.url}/v1/runs/run_1", json={"status": "EXECUTING"})
    found = await now(gateway)

    assert found.value("runcast_changes_written_total", outcome="applied") == 2
    assert found.value("runcast_changes_written_total", outcome="unchanged") == 1
    assert found.value("runcast_http_requests_total", method="PATCH", route="/v1/runs/{id}", status="2xx") == 2
    assert found.value("runcast_http_request_seconds_count", route="/v1/runs/{id}") == 2
    assert found.value("runcast_redis_round_trip_seconds_count", question="write") >= 3
    assert "run_1" not in found.text


async def test_streams_are_counted_on_their_own(gateway: ServedGateway) -> None:
    """Those that somebody follows, and the chunks that came over HTTP."""
    headers = {"authorization": f"Bearer {gateway.secret}"}
    await asyncio.to_thread(gateway.publisher.create, "resize", id="run_1")
    async with socket(gateway) as viewer, httpx2.AsyncClient(trust_env=False, headers=headers) as client:
        await follow(viewer, all=True)
        await viewer.send(json.dumps({"type": "subscribe", "stream": {"run": "run_1", "key": "log"}}))
        await until_shown(gateway, lambda found: found.value("runcast_streams_followed") == 1)
        answer = await client.post(f"{gateway.url}/v1/runs/run_1/streams/log", json={"chunks": ["a", "b", "c"]})
        assert answer.status_code == 200, answer.text
        found = await now(gateway)

    assert found.value("runcast_feeds_followed") == 1
    assert found.value("runcast_chunks_written_total", outcome="appended") == 3


async def test_a_limit_that_is_hit_is_counted_for_its_environment(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Whoever is held back can be told so."""
    async with ServedGateway(redis_server, environment, requests_per_second=1.0) as gateway:
        async with httpx2.AsyncClient(trust_env=False, headers={"authorization": f"Bearer {gateway.secret}"}) as client:
            asked = await asyncio.gather(*(client.get(f"{gateway.url}/v1/runs") for _ in range(20)))
            answers = [answer.status_code for answer in asked]
        found = await now(gateway)

    assert 429 in answers
    hit = found.value("runcast_limits_hit_total", limit="requests_per_second", environment=environment)
    assert hit == answers.count(429)
    assert found.value("runcast_refusals_total", code="too_many_requests") == hit


async def test_a_run_that_a_deadline_ends_is_counted(gateway: ServedGateway) -> None:
    """Once, by the gateway that ended it, and by which deadline."""
    await asyncio.to_thread(gateway.publisher.create, "resize", id="run_1", ttl=0.5)
    found = await until_shown(
        gateway, lambda found: found.value("runcast_runs_ended_by_deadline_total", deadline="ttl")
    )

    assert found.value("runcast_runs_ended_by_deadline_total") == 1


async def test_a_deaf_subscription_is_counted(tmp_path: Path, environment: EnvironmentId) -> None:
    """It is connected and hears nothing: a network that swallows. Here somebody has taken its channels from it."""
    with running_server(tmp_path, valkey_binary()) as redis:
        async with ServedGateway(redis, environment) as gateway, socket(gateway) as viewer:
            await follow(viewer, all=True)
            await until(lambda: all(e.settled for e in gateway._hub._environments.values()), "a canary")
            connection = gateway._hub._subscription._connection
            assert connection is not None
            connection.ask(b"UNSUBSCRIBE", gateway._hub._canaries.channel)
            found = await until_shown(gateway, lambda found: found.value("runcast_subscriptions_deaf_total"))

    assert found.value("runcast_subscriptions_deaf_total") == 1


async def test_the_end_of_a_token_and_its_lateness_are_counted(gateway: ServedGateway) -> None:
    """It ended what it opened, and within the second that is promised."""
    async with socket(gateway, expires=soon()) as viewer:
        await until_kind(viewer, "error")
        await viewer.wait_closed()
    await until(lambda: not gateway._hub._environments, "the viewer's end")
    found = await now(gateway)

    assert found.value("runcast_tokens_ended_total", reason="expired") == 1
    assert found.value("runcast_token_end_lateness_seconds_count", reason="expired") == 1
    assert found.value("runcast_token_end_lateness_seconds_bucket", reason="expired", le="2.0") == 1
    assert found.value("runcast_connections_closed_total", reason="token_expired") == 1


async def test_a_viewer_that_takes_nothing_shows_in_what_is_unsent(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """Its bytes are counted while they wait; that it fell behind, and that it caught up, stays."""
    async with (
        ServedGateway(redis_server, environment, unsent_limit_bytes=20_000) as gateway,
        socket(gateway) as viewer,
    ):
        await follow(viewer, all=True)
        viewer.transport.pause_reading()
        connection = next(found for part in gateway._hub.connections() for found in part)
        async with asyncio.timeout(20):
            for count in range(10_000):
                if connection.full:
                    break
                large = {"text": "x" * 50_000}
                await asyncio.to_thread(gateway.publisher.create, "resize", id=f"run_{count}", metadata=large)
        stuck = await now(gateway)
        viewer.transport.resume_reading()
        await until_shown(gateway, lambda found: found.value("runcast_catch_ups_total", reason="fell_behind"))
        viewer.transport.abort()  # a polite end would wait for it to take all that came

    assert stuck.value("runcast_unsent_bytes") > 20_000
    assert stuck.value("runcast_unsent_bytes_largest") == stuck.value("runcast_unsent_bytes")
    assert stuck.value("runcast_fell_behind_total") == 1


async def test_a_subscription_that_breaks_is_counted(tmp_path: Path, environment: EnvironmentId) -> None:
    """It is down while it is, and all who were live catch up afterwards."""
    with running_server(tmp_path, valkey_binary()) as redis:
        async with ServedGateway(redis, environment) as gateway, socket(gateway) as viewer:
            await follow(viewer, all=True)
            redis.stop(kill=True)
            down = await until_shown(gateway, lambda found: not found.value("runcast_subscription_up"))
            redis.start()
            up = await until_shown(gateway, lambda found: found.value("runcast_subscription_up"))
            # The loss of the connection is what makes it catch up; a restart with all its data is a new epoch too.
            caught_up = sum(up.value("runcast_catch_ups_total", reason=why) for why in ("resubscribed", "epoch"))

    assert down.value("runcast_subscriptions_lost_total") >= 1
    assert caught_up >= 1


async def test_viewers_that_are_sent_away_are_counted(gateway: ServedGateway) -> None:
    """When the server stops, each is told to come back."""
    async with socket(gateway) as viewer:
        await follow(viewer, all=True)
        services = gateway._services
        await asyncio.gather(gateway.stop(), until_kind(viewer, "reconnect"))

    assert services.counters.reconnects_told["stopping"] == 1
    assert services.counters.closed["websocket", "going_away"] == 1


async def test_a_loop_that_is_held_up_is_noticed(gateway: ServedGateway) -> None:
    """In the histogram, in the largest of the last time, and by the readiness check."""
    await until(lambda: gateway._services.counters.loop_lag.histogram.count, "a first look")
    time.sleep(1.2)
    async with httpx2.AsyncClient(trust_env=False) as client:
        ready = await client.get(f"{gateway.url}/readyz")
    found = await now(gateway)

    assert ready.status_code == 503
    assert "behind" in ready.json()["checks"]["loop"]
    assert found.value("runcast_event_loop_lag_largest_seconds") > 1
    assert found.value("runcast_event_loop_lag_seconds_bucket", le="1.0") < found.value(
        "runcast_event_loop_lag_seconds_count"
    )


async def test_a_public_token_does_not_open_them(gateway: ServedGateway) -> None:
    """It is in a browser; what all viewers do is not for that."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        for credential, status in ((gateway.token(["read:runs", "admin"]), 403), ("tr_dev_wrong", 401), (None, 401)):
            headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
            answer = await client.get(f"{gateway.url}/metrics", headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_one_environment_does_not_see_the_others(redis_server: RedisServer) -> None:
    """With several there is no key for all of them."""
    keys = [EnvironmentKeys.of(name, generate_secret_key()) for name in ("env_one", "env_two")]
    async with serving(redis_server.url, keys=keys) as inside, httpx2.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {keys[0].current.secret}"}
        answer = await client.get(f"{inside.url}/metrics", headers=headers)

    assert answer.status_code == 403
    assert "RUNCAST_METRICS_PORT" in answer.json()["detail"]


async def test_a_connection_has_one_line_in_the_log_when_it_ends(
    gateway: ServedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """With who it was, how long, and why it ended, each a field of its own."""
    with caplog.at_level(logging.INFO, logger="runcast.viewers"):
        async with socket(gateway) as viewer:
            await follow(viewer, all=True)
        await until(lambda: "ended after" in caplog.text, "the line")

    (line,) = [vars(record) for record in caplog.records if record.name == "runcast.viewers"]
    assert line["transport"] == "websocket"
    assert line["environment"] == gateway.publisher.environment
    assert (line["feeds"], line["reason"], line["code"]) == (1, "viewer_left", None)
    assert 0 < line["seconds"] < 60


async def test_a_request_has_a_line_without_its_query(gateway: ServedGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Health checks have none, nor have the polls of the Trigger.dev clients, of which there is no end."""
    with caplog.at_level(logging.INFO, logger="runcast.http"):
        async with httpx2.AsyncClient(trust_env=False) as client:
            await client.get(f"{gateway.url}/livez")
            await client.get(f"{gateway.url}/realtime/v1/runs/run_1?offset=-1")
            await client.get(f"{gateway.url}/v1/events?all=true&token=a-secret")
            await client.post(f"{gateway.url}/realtime/v1/streams/run_1/self/text/append?token=a-secret")

    line, writing = [record for record in caplog.records if record.name == "runcast.http"]
    assert line.getMessage() == "GET /v1/events: 401"
    assert writing.getMessage() == "POST /realtime/v1/streams/run_1/self/text/append: 401"
    assert (vars(line)["route"], vars(line)["status"]) == ("/v1/events", 401)
