"""
`/embed/runs/{id}`: a run in a frame of any page that may (docs/embedding.md).

The token is in the fragment of the address, which browsers keep to themselves: no log and no proxy sees it. The page
keeps nothing and sends no cookies, so that a sandboxed frame, which has no origin, will do.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from gateway.errors import NotFound
from gateway.feeds import FeedId
from gateway.web.headers import PLAIN, page_policy
from gateway.web.pages import PageRoute, page

if TYPE_CHECKING:
    from gateway.api.calls import Answer
    from gateway.transports.viewing import Services
    from gateway.web.assets import Assets
    from gateway.web.pages import Request

#: What the page is made of; the first two are needed.
_ELEMENT, _SCRIPT, _STYLE = "run-status.js", "embed.js", "embed.css"
#: What may be said of how it looks; the element knows what each means.
_VARIANTS: Final = frozenset({"bar", "badge", "steps", "log", "compact"})
_THEMES: Final = frozenset({"light", "dark", "auto"})
_LONGEST_LANGUAGE: Final = 35  # RFC 5646, section 4.4.1
_NO_SCRIPT: Final = "The status is shown by a script, and scripts are off."


def routes(services: Services, assets: Assets) -> list[PageRoute]:
    """The page of a run."""
    ancestors = services.settings.embed_origins.policy

    async def read(request: Request) -> Answer:
        text = _html(assets, request, str(FeedId.run(request.path["id"]).names[0]))
        policy = page_policy(request.headers.get("host"), ancestors=ancestors)
        # A page that isolates itself may show us, too, where the policy says so.
        more = (("cross-origin-resource-policy", "cross-origin"), ("cross-origin-embedder-policy", "require-corp"))
        return page(text, policy, *more, *PLAIN)

    return [PageRoute(services, "/embed/runs/{id}", read)]


def _html(assets: Assets, request: Request, run: str) -> str:
    element, script, style = (assets.find(name) for name in (_ELEMENT, _SCRIPT, _STYLE))
    if element is None or script is None:
        raise NotFound(f"{_ELEMENT} and {_SCRIPT} were not built: `make assets` does that")
    query = request.query
    variant = query["variant"] if query.get("variant") in _VARIANTS else "bar"
    theme = query["theme"] if query.get("theme") in _THEMES else "auto"
    language = _language(query.get("lang", ""))
    root = escape(request.root)
    # Without an origin it is a stranger to our files: these are asked for as by any other page.
    loaded = [f'<link rel="stylesheet" href="{root}{style.url}">'] if style is not None else []
    loaded += [
        f'<script src="{root}{asset.url}" integrity="{asset.integrity}" crossorigin="anonymous" defer></script>'
        for asset in (element, script)
    ]
    shown = f'data-run="{escape(run)}" data-variant="{variant}" data-src="{root}/"'
    return (
        f'<!doctype html>\n<html lang="{language}" data-theme="{theme}">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run)}</title>{''.join(loaded)}</head>\n"
        f"<body><main {shown}><noscript>{_NO_SCRIPT}</noscript></main></body></html>\n"
    )


def _language(text: str) -> str:
    """A language tag, when it can be one."""
    known = len(text) <= _LONGEST_LANGUAGE and all(part.isascii() and part.isalnum() for part in text.split("-"))
    return text if text and known else "en"
