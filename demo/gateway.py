"""The gateway of the demo: the same app as everywhere, with the demo's page beside it."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.app import create_app
from gateway.configuration.reading import read_configuration
from gateway.logs import configure_logging
from gateway.server.run import run

PAGE = Path(__file__).parent / "page"
PATH = "/demo/"


def main() -> None:
    configure_logging()
    configuration = read_configuration(allow_weak=True)
    settings = configuration.settings()
    routes = [Mount(PATH, StaticFiles(directory=PAGE, html=True)), Route("/", lambda _: RedirectResponse(PATH))]
    run(create_app(settings, configuration.keyring(), routes=routes), settings)


if __name__ == "__main__":
    main()
