"""What a token opens, for how long, and what it never shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from auth import EnvironmentKeys, mint
from tests.journeys.gateway_process import SECRET, GatewayProcess, running_gateway, token
from tests.journeys.jobs import LIFE, Jobs
from tests.journeys.model import LATE_SECONDS
from tests.journeys.viewers import VIEWERS, WebSocketViewer, assert_lives
from tests.redis_server import RedisServer, binaries, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER_SECRET = "tr_test_the_secret_of_another_tenant_0002"
OTHER = EnvironmentKeys.of("other", OTHER_SECRET)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis"), binaries()["valkey"], "--appendonly", "no") as server:
        yield server


@pytest.fixture(scope="module")
def gateway(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for two environments, `default` and `other`."""
    directory = tmp_path_factory.mktemp("gateway")
    environments = directory / "environments.toml"
    environments.write_text(
        f'[environments.default]\nsecret_key = "{SECRET}"\n\n[environments.other]\nsecret_key = "{OTHER_SECRET}"\n'
    )
    settings = {"RUNCAST_SECRET_KEY": "", "RUNCAST_ENVIRONMENTS_FILE": str(environments)}
    with running_gateway(directory / "log", server.url, **settings) as gateway:
        yield gateway


@pytest.fixture
def jobs(server: RedisServer) -> Iterator[Jobs]:
    with Jobs(server.url) as jobs:
        yield jobs
        with server.client() as client:
            client.flushall()


@pytest.mark.parametrize(("transport", "code"), [("websocket", 4410), ("events", 200)])
async def test_an_expired_token_ends_what_it_opened(
    gateway: GatewayProcess, jobs: Jobs, transport: str, code: int
) -> None:
    """Within about a second, with an error that names the reason; what it opened before is shown until then."""
    jobs.create("run_1")
    ends = int(time.time()) + 2
    async with VIEWERS[transport](gateway, token(expires=float(ends)), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        await viewer.until_gone(code)
        assert ends <= time.time() < ends + 1 + LATE_SECONDS
        (error,) = (message for message in viewer.model.said if message["type"] == "error")
        assert error["code"] == "token_expired"
        # Coming back with the same token does not help, and says so.
        await viewer.until_gone({"websocket": 4410, "events": 401}[transport])


async def test_a_renewed_token_goes_on_without_a_gap(gateway: GatewayProcess, jobs: Jobs) -> None:
    """Another `authenticate` on the same socket: no message is missed, none repeated, no snapshot comes again."""
    jobs.create("run_1")
    ends = int(time.time()) + 2
    async with WebSocketViewer(gateway, token(expires=float(ends)), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        jobs.say("run_1", "DEQUEUED")
        await viewer.say(type="authenticate", token=token(expires=float(ends + 60)))
        jobs.say("run_1", "EXECUTING")
        await viewer.model.until(lambda: viewer.model.counts.get("welcome") == 2, "another welcome")
        tick = 0
        while time.time() < ends + 1.5:  # beyond the end of the first token
            tick += 1
            jobs.say("run_1", set={"tick": tick})
            await viewer.model.until_metadata("run_1", "tick", tick)
        jobs.say("run_1", "COMPLETED")
        await viewer.model.until_status("run_1", "COMPLETED")
        assert viewer.connections == viewer.model.counts["snapshot"] == 1
        assert_lives(viewer, ["run_1"], LIFE)


async def test_a_renewal_that_fails_changes_nothing(gateway: GatewayProcess, jobs: Jobs) -> None:
    """A bad token, or one of another environment, is refused; the old one goes on."""
    jobs.create("run_1")
    async with WebSocketViewer(gateway, token(), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        for credential in ("nonsense", mint("read:runs", OTHER), token(expires="1s", now=1.0)):
            await viewer.say(type="authenticate", token=credential)
        await viewer.model.until(lambda: viewer.model.counts.get("error") == 3, "three errors")
        codes = [message["code"] for message in viewer.model.said if message["type"] == "error"]
        assert codes == ["token_invalid", "token_invalid", "token_expired"]
        jobs.say("run_1", "COMPLETED")
        await viewer.model.until_status("run_1", "COMPLETED")
        assert viewer.connections == 1


async def test_a_renewed_token_that_allows_less(gateway: GatewayProcess, jobs: Jobs) -> None:
    """Feeds that the new token does not allow end, with the reason; nothing of them is told any more."""
    jobs.create("run_1")
    async with WebSocketViewer(gateway, token(), {"run": "run_1"}) as viewer:
        await viewer.model.until_live()
        await viewer.say(type="subscribe", run="run_2")
        await viewer.say(type="authenticate", token=token("read:runs:run_2"))
        await viewer.model.until(lambda: viewer.model.counts.get("error") == 1, "an error")
        (error,) = (message for message in viewer.model.said if message["type"] == "error")
        assert (error["code"], error["feed"]) == ("not_allowed", "run:run_1")
        jobs.say("run_1", "COMPLETED")
        jobs.create("run_2")
        await viewer.model.until_status("run_2", "QUEUED")
        assert viewer.model.statuses["run_1"] == ["QUEUED"]


@pytest.mark.parametrize(("transport", "refusal"), [("websocket", None), ("events", 403)])
async def test_a_token_for_a_tag_opens_its_runs(
    gateway: GatewayProcess, jobs: Jobs, transport: str, refusal: int | None
) -> None:
    """A run's feed opens once the run exists and carries the tag, and not before."""
    by_tag = token("read:tags:customer:7")
    async with VIEWERS[transport](gateway, by_tag, {"run": "run_1"}) as viewer:
        if refusal is not None:
            await viewer.until_gone(refusal)
        else:
            await viewer.model.until(lambda: "error" in viewer.model.counts, "an error")
            assert viewer.model.said[-1]["code"] == "not_allowed"
    jobs.create("run_1", tags=["customer:7"])
    jobs.create("run_2", tags=["customer:8"])
    async with VIEWERS[transport](gateway, by_tag, {"run": "run_1"}) as viewer:
        await viewer.model.until_status("run_1", "QUEUED")
    async with VIEWERS[transport](gateway, by_tag, {"tags": ["customer:7"]}) as viewer:
        await viewer.model.until_live()
        assert viewer.model.runs.keys() == {"run_1"}


@pytest.mark.parametrize("transport", VIEWERS)
async def test_columns_that_a_token_hides(gateway: GatewayProcess, jobs: Jobs, transport: str) -> None:
    """They are not in snapshots nor in updates, whatever the viewer asks for; and what it asks to skip is replaced."""
    jobs.create("run_1", columns={"payload": {"card": "4111"}}, set={"shown": 1})
    hiding = token("read:runs", skip_columns=["payload", "output"])
    feed = {"run": "run_1", "skipColumns": ["metadata"]}
    async with VIEWERS[transport](gateway, hiding, feed) as viewer:
        await viewer.model.until_live()
        jobs.say("run_1", "COMPLETED", columns={"output": "secret"}, set={"shown": 2})
        await viewer.model.until_status("run_1", "COMPLETED")
        run = viewer.model.runs["run_1"]
        assert run["metadata"] == {"shown": 2}
        assert "payload" not in run
        assert "output" not in run


@pytest.mark.parametrize("transport", VIEWERS)
async def test_a_secret_key_sees_everything_of_its_environment(
    gateway: GatewayProcess, jobs: Jobs, transport: str
) -> None:
    """A backend may follow with its secret key; there is nothing to expire."""
    jobs.create("run_1")
    async with VIEWERS[transport](gateway, SECRET, {"all": True}) as viewer:
        await viewer.model.until_status("run_1", "QUEUED")
        assert "expiresAt" not in viewer.model.said[0]


@pytest.mark.parametrize("transport", VIEWERS)
@pytest.mark.parametrize("credential", [OTHER_SECRET, mint("read:runs", OTHER, expires="1h")], ids=["secret", "token"])
async def test_another_environment_is_never_seen(
    gateway: GatewayProcess, server: RedisServer, jobs: Jobs, transport: str, credential: str
) -> None:
    """The same run id in two environments: each sees its own run, in snapshots and in what comes."""
    with Jobs(server.url, "other") as others:
        jobs.create("run_1", tags=["a"])
        others.create("run_1", tags=["a"])
        async with VIEWERS[transport](gateway, credential, {"tags": ["a"]}) as viewer:
            await viewer.model.until_live()
            jobs.say("run_1", "EXECUTING")
            jobs.create("run_2", tags=["a"])
            others.say("run_1", "COMPLETED")
            await viewer.model.until_status("run_1", "COMPLETED")
            assert viewer.model.runs.keys() == {"run_1"}
            assert_lives(viewer, ["run_1"], ["QUEUED", "COMPLETED"])
