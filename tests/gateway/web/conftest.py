"""Files whose content the tests know, and somebody who asks a gateway for them, without a network and without Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from auth import EnvironmentKeys, Keyring, generate_secret_key
from gateway.app import create_app
from gateway.settings import Settings
from gateway.web.assets import Assets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

FILES: Mapping[str, bytes] = {
    "runcast.js": b"export const connect = () => {};\n" * 40,
    "run-status.js": b"customElements;\n" * 40,
    "embed.js": b"document;\n" * 40,
    "embed.css": b"html { margin: 0 }\n",
    "dashboard.js": b"location;\n",
    "dashboard.css": b"body { margin: 0 }\n",
    "dashboard.html": b'<!doctype html><title>The dashboard</title><link href="%DASHBOARD_CSS%" rel="stylesheet">'
    b'<script src="%DASHBOARD_JS%" integrity="%DASHBOARD_JS_INTEGRITY%"></script><main data-root="%ROOT%"></main>',
    "notes.xyz": b"of no type that we know",
}


@pytest.fixture
def some_assets(monkeypatch: pytest.MonkeyPatch) -> Assets:
    """Files whose content the tests know, in place of those that were built."""
    assets = Assets(FILES)
    monkeypatch.setattr("gateway.web.routes.shipped", lambda: assets)
    return assets


@pytest.fixture
async def browser(some_assets: Assets) -> AsyncIterator[httpx2.AsyncClient]:
    """Asks for what needs no data."""
    settings = Settings(redis_url="redis://nowhere.invalid:6379")
    app: Any = create_app(settings, Keyring([EnvironmentKeys.of("default", generate_secret_key())]))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(base_url="http://gateway.example", transport=transport) as client:
        yield client
