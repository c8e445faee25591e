"""One shape for all who ask for the same, which goes when nobody does any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gateway.store.changing import Changing
    from tests.gateway.triggerdev.shape.serving import Feeds


class TestShapes:
    """What there is of a shape."""

    async def test_a_shape_lingers_and_goes(self, served: Feeds, changing: Changing) -> None:
        """Between two polls of a client nobody holds it; when nobody comes it is let go."""
        changing.create()
        await served.get("runs/run_1", {"offset": "-1"})
        assert len(served.shapes) == 1
        assert served.hub._channels
        served.shapes.close()
        assert len(served.shapes) == 0
        assert not served.hub._channels

    async def test_those_who_ask_for_the_same_share_one(self, served: Feeds, changing: Changing) -> None:
        """Whatever their tokens, and however they name it."""
        changing.create(tags=["a", "b"])
        for tags in ("a,b", "b,a"):
            for token in (served.secret, served.token("read:tags:a")):
                await served.get("runs", {"offset": "-1", "tags": tags, "createdAt": "1h"}, token)

        assert len(served.shapes) <= 2  # a minute may have begun in between
