"""What a viewer is refused, by a gateway or before it asks one, and what it says then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway import Viewer
from gateway.errors import BadFeed, Misconfigured, NotAllowed, TokenExpired, TokenInvalid, TokenRevoked
from gateway.viewer.following import State
from gateway.viewer.refused import Denied, ViewerClosed
from gateway.viewer.requests import Requests
from tests.gateway.viewer.reading_runs import PATIENCE_SECONDS, eventually, feeds_of, next_of
from tests.redis_server import free_port

if TYPE_CHECKING:
    from gateway.viewer.following import StateChanged
    from tests.gateway.serving import ServedGateway


async def test_a_feed_that_the_token_does_not_allow_raises_and_the_others_go_on(gateway: ServedGateway) -> None:
    token = gateway.token({"read": {"runs": "run_1"}})
    gateway.publisher.create("resize", id="run_1")
    async with Viewer(gateway.url, token) as viewer:
        mine, other = viewer.run("run_1"), viewer.tags("a")
        assert (await next_of(mine)).status == "QUEUED"
        with pytest.raises(NotAllowed, match="read:tags:a") as refused:
            await next_of(other)
        with pytest.raises(NotAllowed):
            await viewer.wait_for_completion("run_2", timeout=PATIENCE_SECONDS)
        gateway.publisher.run("run_1").complete()
        assert [run.status async for run in mine] == ["COMPLETED"]

    assert refused.value.feed == "tag:a"


async def test_a_token_that_is_refused_raises_for_all_and_the_next_try_is_a_new_one(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, "no-token") as viewer:
        for _ in range(2):
            waiting = [asyncio.create_task(viewer.wait_for_completion(f"run_{number}")) for number in range(2)]
            for task in waiting:
                with pytest.raises(TokenInvalid, match="neither a public token nor a secret key"):
                    await task
            assert viewer.state is State.DENIED


async def test_a_token_that_expires_raises_when_nothing_makes_another(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.token(["read:runs"], expires="1s")) as viewer:
        with pytest.raises(TokenExpired):
            await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)


async def test_a_token_that_is_revoked_raises_unless_there_is_another_one(gateway: ServedGateway) -> None:
    """What makes tokens is asked: whoever may see no more gets none there."""
    tokens = iter([gateway.token(["read:runs"], subject="user_7"), gateway.token(["read:runs"])])
    requests = Requests(gateway.url, gateway.secret)
    async with (
        Viewer(gateway.url, gateway.token(["read:runs"], subject="user_7")) as stays_away,
        Viewer(gateway.url, lambda: next(tokens)) as comes_back,
    ):
        gone = asyncio.create_task(stays_away.wait_for_completion("run_1"))
        goes_on = asyncio.create_task(comes_back.wait_for_completion("run_1", timeout=PATIENCE_SECONDS))
        await eventually(lambda: sum(map(len, gateway._hub.connections())) == 2)
        await asyncio.to_thread(requests.post, "/v1/tokens/revoke", {"subject": "user_7"})
        with pytest.raises(TokenRevoked):
            await gone
        gateway.publisher.create("resize", id="run_1").complete()
        assert (await goes_on).is_success


async def test_what_makes_tokens_fails_at_first_for_whoever_reads(gateway: ServedGateway) -> None:
    def broken() -> str:
        raise LookupError("nobody is signed in")

    async with Viewer(gateway.url, broken) as viewer:
        with pytest.raises(LookupError, match="nobody is signed in"):
            await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)


async def test_an_address_without_a_gateway_is_an_error_and_one_without_anybody_is_tried_again(
    gateway: ServedGateway,
) -> None:
    async with Viewer(f"{gateway.url}/elsewhere", gateway.secret) as viewer:
        with pytest.raises(Denied, match="is this the address of a gateway") as denied:
            await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)
    assert denied.value.reason == "http_404"

    told: list[StateChanged] = []
    async with Viewer(f"http://127.0.0.1:{free_port()}", "token", on_state=told.append) as viewer:
        viewer_waits = asyncio.create_task(viewer.wait_for_completion("run_1"))
        await eventually(lambda: len(told) >= 3)
        assert not viewer_waits.done()
        assert viewer.state is State.CONNECTING
        viewer_waits.cancel()


@pytest.mark.parametrize(
    ("url", "token", "word"),
    [
        ("ftp://example.com", "token", "address of a gateway"),
        ("http://me:secret@example.com", "token", "address of a gateway"),
        ("http://example.com:port", "token", "address of a gateway"),
        ("http://example.com", "to\nken", "printable"),
        ("http://example.com", None, "RUNCAST_TOKEN"),
    ],
)
def test_what_can_not_be_right_is_told_at_once(url: str, token: str | None, word: str) -> None:
    with pytest.raises(Misconfigured, match=word) as wrong:
        Viewer(url, token)
    assert "secret@" not in str(wrong.value)


def test_without_an_event_loop_it_says_so() -> None:
    """`BlockingViewer` is for there."""
    viewer = Viewer("http://example.com", "token")
    with pytest.raises(RuntimeError, match="no running event loop"):
        viewer.run("run_1")


async def test_a_name_that_can_not_be_one_is_told_at_once(gateway: ServedGateway) -> None:
    async with Viewer(gateway.url, gateway.secret) as viewer:
        for begin in (lambda: viewer.run("run 1"), lambda: viewer.tags(), lambda: viewer.stream("run_1", "a,b")):
            with pytest.raises(BadFeed):
                begin()


async def test_closing_ends_what_is_still_read(gateway: ServedGateway) -> None:
    viewer = Viewer(gateway.url, gateway.secret)
    waiting = asyncio.create_task(viewer.wait_for_completion("run_1"))
    await gateway.followed("run:run_1")
    await viewer.aclose()
    await viewer.aclose()

    with pytest.raises(ViewerClosed):
        await waiting
    with pytest.raises(ViewerClosed):
        viewer.run("run_2")
    await eventually(lambda: feeds_of(gateway) == set())


async def test_what_is_told_the_state_may_fail(gateway: ServedGateway) -> None:
    def fails(event: StateChanged) -> None:
        raise RuntimeError("no")

    gateway.publisher.create("resize", id="run_1").complete()
    async with Viewer(gateway.url, gateway.secret, on_state=fails) as viewer:
        assert (await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)).is_success


async def test_url_and_token_come_from_the_environment(gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNCAST_URL", gateway.url)
    monkeypatch.setenv("RUNCAST_TOKEN", gateway.token(["read:runs"]))
    gateway.publisher.create("resize", id="run_1").complete()
    async with Viewer() as viewer:
        assert (await viewer.wait_for_completion("run_1", timeout=PATIENCE_SECONDS)).is_success
