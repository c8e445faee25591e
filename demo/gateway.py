"""The gateway of the demo: the same app as everywhere, which has the dashboard; here a weak key will do, too."""

from __future__ import annotations

import sys

from gateway.app import create_app
from gateway.configuration.reading import read_configuration
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.server.run import run


def main() -> None:
    configure_logging()
    configuration = read_configuration(allow_weak=True)
    settings = configuration.settings()
    try:
        run(create_app(settings, configuration.keyring()), settings)
    except GatewayError as error:  # which says what to do
        sys.exit(str(error))


if __name__ == "__main__":
    main()
