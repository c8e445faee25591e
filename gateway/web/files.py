"""The built files over HTTP: for ever under a name with their hash, for a moment under a short one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.api.calls import Answer
from gateway.codec import encode_message
from gateway.errors import NotFound
from gateway.web.assets import ALIASES, VERSIONED
from gateway.web.headers import FOR_ALL, PLAIN
from gateway.web.pages import PageRoute, etag_of, unchanged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.transports.viewing import Services
    from gateway.web.assets import Asset, Assets
    from gateway.web.pages import Request

_FOR_EVER: Final = "public, max-age=31536000, immutable"
#: Another version of the gateway has another file there.
_FOR_A_WHILE: Final = "public, max-age=300"
LIST: Final = f"{VERSIONED}/assets.json"


def routes(services: Services, assets: Assets) -> list[PageRoute]:
    """Each file, and the list of them."""

    async def read_list(request: Request) -> Answer:
        body = encode_message(assets.document(request.root))
        headers = (("cache-control", "no-cache"), ("etag", etag_of(body)), *FOR_ALL, *PLAIN)
        if request.has(etag_of(body)):
            return unchanged(headers, "application/json")
        return Answer(200, body, headers)

    async def read_version(request: Request) -> Answer:
        asset = assets.find_version(request.path["name"])
        if asset is None:
            raise NotFound(
                f"there is no file {request.path['name'][:80]!r} in this version; {LIST} lists those there are"
            )
        return _answer(request, asset, _FOR_EVER)

    found = [PageRoute(services, LIST, read_list), PageRoute(services, f"{VERSIONED}/{{name}}", read_version)]
    found += [PageRoute(services, f"/{name}", _reader(assets, name)) for name in ALIASES]
    return found


def _reader(assets: Assets, name: str) -> Callable[[Request], Awaitable[Answer]]:
    async def read(request: Request) -> Answer:
        asset = assets.find(name)
        if asset is None:
            raise NotFound(f"{name} was not built: `make assets` does that")
        return _answer(request, asset, _FOR_A_WHILE)

    return read


def _answer(request: Request, asset: Asset, keep: str) -> Answer:
    """The file, packed for who takes it so; each of its two forms has a name of its own."""
    plain, packed = f'"{asset.digest[:20]}"', f'"{asset.digest[:20]}-gz"'
    body, tag, encoding = asset.body, plain, []
    if asset.gzipped is not None and request.accepts_gzip():
        body, tag, encoding = asset.gzipped, packed, [("content-encoding", "gzip")]
    headers = (("cache-control", keep), ("etag", tag), ("vary", "accept-encoding"), *FOR_ALL, *PLAIN)
    if request.has(tag):
        return unchanged(headers, asset.media_type)
    return Answer(200, body, (*headers, *encoding), asset.media_type)
