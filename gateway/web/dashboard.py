"""The dashboard: one page at several addresses, which asks for its data as any other page would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import NotFound
from gateway.web.headers import PLAIN, page_policy
from gateway.web.pages import PageRoute, page

if TYPE_CHECKING:
    from gateway.api.calls import Answer
    from gateway.transports.viewing import Services
    from gateway.web.assets import Assets
    from gateway.web.pages import Request

PAGE: Final = "dashboard.html"
#: What its views are called in the browser's address.
PATHS: Final = ("/", "/runs/{id}", "/batches/{id}", "/gateway")


def routes(services: Services, assets: Assets) -> list[PageRoute]:
    """The same page everywhere: its script looks at the address."""

    async def read(request: Request) -> Answer:
        text = assets.page(PAGE, request.root)
        if text is None:
            raise NotFound("the dashboard was not built: `make assets` does that")
        # It holds a secret key while it is open: it stands in no frame, and no other window keeps hold of it.
        policy = page_policy(request.headers.get("host"), ancestors="'none'")
        return page(text, policy, ("cross-origin-opener-policy", "same-origin"), *PLAIN)

    return [PageRoute(services, path, read) for path in PATHS]
