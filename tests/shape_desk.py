"""The desk at which polls are held (gateway/triggerdev/shape/desk.py), and its shapes, as tests look into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.triggerdev.shape.desk import ShapeDesk

if TYPE_CHECKING:
    from gateway.transports.viewing import Services


def shape_desk(services: Services) -> ShapeDesk:
    """The one of a gateway."""
    (found,) = [clerk for clerk in services.desk._clerks if isinstance(clerk, ShapeDesk)]
    return found


def let_shapes_go(services: Services) -> None:
    """
    Have those go that stay for whoever may poll again.

    Whoever looks whether anything is left calls this, and leaves them the time that they are given: with less of it
    they would go between two polls of a test, on a slow machine.
    """
    shape_desk(services)._shapes.close()
