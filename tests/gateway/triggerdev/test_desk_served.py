"""The desk behind our own server: pages and programs read its answers like those of the endpoint."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.hardening.peers import eventually
from tests.shape_desk import shape_desk

if TYPE_CHECKING:
    from gateway.triggerdev.shape.desk import ShapeDesk
    from tests.gateway.triggerdev.asking import TheirAsking

#: What differs between two answers that say the same.
OWN = ("date", "electric-cursor", "electric-offset", "content-length")


@pytest.mark.parametrize("headers", [{}, {"origin": "https://app.example.com"}], ids=["program", "page"])
async def test_an_answer_of_the_desk_looks_like_one_of_the_endpoint(api: TheirAsking, headers: dict[str, str]) -> None:
    """Header by header, with what a page of another origin needs; and what it brings is the change."""
    run = api.gateway.publisher.create("resize", tags=["a"])
    services: Any = api.gateway._services
    clerk = shape_desk(services)
    first = await api.client.get("/realtime/v1/runs?log=full&offset=-1&tags=a", headers=headers)
    offset, cursor, answers = first.headers["electric-offset"], "", []

    for held, status in ((False, "EXECUTING"), (True, "WAITING")):
        handle = first.headers["electric-handle"]
        words = f"cursor={cursor}&handle={handle}&live=true&log=full&offset={offset}&tags=a"
        asking = asyncio.create_task(api.client.get(f"/realtime/v1/runs?{words}", headers=headers))
        await eventually(lambda held=held: is_waiting(services, clerk, at_desk=held), what="it waits")  # type: ignore[misc]
        run.status(status)
        answer = await asking
        assert answer.status_code == 200
        assert answer.json()[0]["value"]["id"] == run.id
        assert answer.headers["electric-cursor"] != cursor
        offset, cursor = answer.headers["electric-offset"], answer.headers["electric-cursor"]
        answers.append({name: value for name, value in answer.headers.items() if name not in OWN})

    assert answers[0] == answers[1]
    assert ("access-control-allow-origin" in answers[0]) == ("origin" in headers)


def is_waiting(services: Any, clerk: ShapeDesk, *, at_desk: bool) -> bool:
    return services.counters.viewers["shape"] == 1 and len(clerk._held) == int(at_desk)
