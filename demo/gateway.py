"""The gateway of the demo: the same app as everywhere, which has the dashboard; here a weak key will do, too."""

from __future__ import annotations

from gateway.app import create_app
from gateway.configuration.reading import read_configuration
from gateway.logs import configure_logging
from gateway.server.run import run


def main() -> None:
    configure_logging()
    configuration = read_configuration(allow_weak=True)
    settings = configuration.settings()
    run(create_app(settings, configuration.keyring()), settings)


if __name__ == "__main__":
    main()
