"""Everything here that has an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.web import badges, dashboard, embed, files
from gateway.web.assets import shipped
from gateway.web.forms import FORMS

if TYPE_CHECKING:
    from gateway.transports.viewing import Services
    from gateway.web.assets import Assets
    from gateway.web.pages import PageRoute


__all__ = ["FORMS", "routes"]


def routes(services: Services, assets: Assets | None = None) -> list[PageRoute]:
    """
    Args:
        assets: The built files; by default those that came with this package.
    """
    found = shipped() if assets is None else assets
    return [
        *files.routes(services, found),
        *dashboard.routes(services, found),
        *embed.routes(services, found),
        *badges.routes(services),
    ]
