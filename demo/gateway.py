"""The gateway of the demo: the same app as everywhere, with the demo's page beside it."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from auth import Keyring
from gateway.app import create_app
from gateway.logs import configure_logging
from gateway.server.run import run
from gateway.settings import from_environ

PAGE = Path(__file__).parent / "page"
PATH = "/demo/"


def main() -> None:
    configure_logging()
    settings = from_environ(os.environ, redis_url=os.environ["RUNCAST_REDIS_URL"])
    routes = [Mount(PATH, StaticFiles(directory=PAGE, html=True)), Route("/", lambda _: RedirectResponse(PATH))]
    run(create_app(settings, Keyring.from_environ(os.environ, allow_weak=True), routes=routes), settings)


if __name__ == "__main__":
    main()
