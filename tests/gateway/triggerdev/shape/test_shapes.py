"""How many shapes there are, how long, and what they hold together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.feeds import FeedId
from gateway.triggerdev.shape import shapes
from gateway.triggerdev.shape.log import OutOfLog
from gateway.triggerdev.shape.shape import Place
from gateway.triggerdev.shape.view import ShapeView

if TYPE_CHECKING:
    from gateway.triggerdev.shape.shape import Shape
    from tests.gateway.store.changing import Changing
    from tests.gateway.triggerdev.shape.serving import Feeds


def view(run: str = "run_1") -> ShapeView:
    return ShapeView(FeedId.run(run))


def closed(*made: Shape) -> list[bool]:
    return [shape.closed for shape in made]


async def news(shape: Shape) -> None:
    """Return when there may be some."""
    came = asyncio.Event()
    shape.wait(came.set)
    async with asyncio.timeout(10):
        await came.wait()


async def test_a_shape_stays_for_a_moment(served: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clients come again; when they don't it goes, and with it what it follows."""
    monkeypatch.setattr(shapes, "LINGER_SECONDS", 0.01)
    with served.shapes.using(served.environment, view()) as first:
        pass
    with served.shapes.using(served.environment, view()) as second:
        await asyncio.sleep(0.03)
        assert second is first
        assert closed(first) == [False]
    while not all(closed(first)):
        await asyncio.sleep(0.001)

    assert len(served.shapes) == 0
    assert not served.hub._environments


async def test_the_one_that_was_idle_for_longest_goes_first(served: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many of them. Those that are in use don't count."""
    monkeypatch.setattr(shapes, "MOST_IDLE", 2)
    made = []
    with served.shapes.using(served.environment, view("used")) as used:
        for number in range(4):
            with served.shapes.using(served.environment, view(f"run_{number}")) as shape:
                made.append(shape)

        assert closed(*made) == [True, True, False, False]
        assert not used.closed


async def test_what_is_idle_goes_when_all_hold_too_much(
    served: Feeds, changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything that is in use lacks something."""
    monkeypatch.setattr(shapes, "MOST_BYTES", 15_000)
    changing.create("idle")
    changing.create("used")
    with served.shapes.using(served.environment, view("idle")) as idle:
        await idle.read(None)
    with served.shapes.using(served.environment, view("used")) as used:
        read = await used.read(None)
        place = Place(read.epoch, read.end, read.base)
        for number in range(3):
            changing.apply("used", columns={"output": f"{number}" * 3000})
            await news(used)
        assert used.look(place) is not None
        assert closed(idle) == [False]

        for number in range(3):
            changing.apply("used", columns={"output": f"{number}" * 3000})
            await news(used)
        assert closed(idle) == [True]
        # It is alone now, and has more than there is room for: who needs that reads it.
        with pytest.raises(OutOfLog):
            used.look(place)
        assert (await used.read(place)).rows == 1
        assert used.look(Place(read.epoch, (await used.read(None)).end, 0)) is None
    served.shapes.close()
    assert served.shapes._bytes == 0
