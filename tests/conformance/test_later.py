"""What the official clients can ask for and is not there yet: refused so that they don't ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.world import ORIGIN

if TYPE_CHECKING:
    from tests.conformance.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def not_yet(world: World, *requests: tuple[str, str]) -> None:
    """501, not to be tried again, with a text that says what is missing, and readable for a page."""
    for method, path in requests:
        answer = await world.ask(path, method, headers={"origin": ORIGIN})
        assert (answer.status_code, answer.headers["x-should-retry"]) == (501, "false"), (method, path)
        assert method == "HEAD" or "not" in answer.json()["error"]
        assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)


async def test_t22_t29_triggering_is_not_there_yet(world: World) -> None:
    """Nothing is triggered yet: no one-time token is used up, no payload is taken."""
    await not_yet(
        world,
        ("POST", "/api/v1/tasks/resize/trigger"),
        ("POST", "/api/v1/tasks/task%2Fwith%20a%20slash/trigger"),
    )


async def test_t23_tokens_of_new_runs_and_batches_are_not_there_yet(world: World) -> None:
    """`x-trigger-jwt` would come with these."""
    await not_yet(
        world,
        ("POST", "/api/v1/tasks/resize/trigger"),
        ("POST", "/api/v3/batches"),
        ("POST", "/api/v1/waitpoints/tokens"),
    )


async def test_t24_t30_batch_triggering_is_not_there_yet(world: World) -> None:
    """In both phases, and by its older path."""
    await not_yet(
        world,
        ("POST", "/api/v3/batches"),
        ("POST", "/api/v3/batches/batch_1/items"),
        ("POST", "/api/v2/tasks/batch"),
    )


async def test_t32_replaying_and_rescheduling_are_not_there_yet(world: World) -> None:
    """Both would make a run begin."""
    await not_yet(
        world,
        ("POST", "/api/v1/runs/run_1/replay"),
        ("POST", "/api/v1/runs/run_1/reschedule"),
    )


async def test_t33_packets_are_not_there_yet(world: World) -> None:
    """Payload and output come with the run, whatever their size."""
    await not_yet(
        world,
        ("PUT", "/api/v2/packets/payload.json"),
        ("GET", "/api/v1/packets/a%2Fb%2Fpayload.json"),
        ("GET", "/api/v1/runs/run_1/packets/payload"),
        ("GET", "/api/v1/runs/run_1/packets/output"),
    )


async def test_t51_t52_wait_tokens_are_not_there_yet(world: World) -> None:
    """Made, listed, read, completed or called back."""
    await not_yet(
        world,
        ("POST", "/api/v1/waitpoints/tokens"),
        ("GET", "/api/v1/waitpoints/tokens"),
        ("GET", "/api/v1/waitpoints/tokens/waitpoint_1"),
        ("POST", "/api/v1/waitpoints/tokens/waitpoint_1/complete"),
        ("POST", "/api/v1/waitpoints/tokens/waitpoint_1/callback/abc"),
    )


async def test_t53_sessions_are_not_there_yet(world: World) -> None:
    """In all their parts."""
    await not_yet(
        world,
        ("POST", "/api/v1/sessions"),
        ("GET", "/api/v1/sessions"),
        ("GET", "/api/v1/sessions/session_1"),
        ("PATCH", "/api/v1/sessions/session_1"),
        ("POST", "/api/v1/sessions/session_1/close"),
        ("POST", "/api/v1/sessions/session_1/end-and-continue"),
        ("PUT", "/realtime/v1/sessions/session_1/out"),
        ("GET", "/realtime/v1/sessions/session_1/out"),
        ("HEAD", "/realtime/v1/sessions/session_1/out"),
        ("POST", "/realtime/v1/sessions/session_1/in/append"),
        ("GET", "/realtime/v1/sessions/session_1/in/records"),
        ("GET", "/realtime/v1/sessions/session_1/channels/chat/out"),
        ("POST", "/realtime/v1/sessions/session_1/channels/chat/in/append"),
    )


async def test_t53_a_path_that_means_nothing_is_not_found(world: World) -> None:
    """404 as JSON, for whoever asks."""
    for path in ("/api/v1/nothing", "/realtime/v1/nothing", "/realtime/v2/runs/run_1", "/api/v9/runs"):
        answer = await world.ask(path, headers={"origin": ORIGIN})
        assert answer.status_code == 404
        assert answer.json()["error"]
        assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)
