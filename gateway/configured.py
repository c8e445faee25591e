"""The app as the settings describe it: what each process of `runcast serve` makes for itself."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from auth import AuthError
from gateway.app import create_app
from gateway.configuration.reading import read_configuration
from gateway.configuration.sources import Sources
from gateway.errors import GatewayError
from gateway.logs import configure_logging
from gateway.transports.reloading import KeysAndOrigins

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from gateway.configuration.reading import Configuration
    from gateway.settings import Settings

_log = logging.getLogger("runcast.reload")


class ConfiguredApp:
    """
    Makes the app, here or in a worker process that it is sent to.

    All processes serve with the *settings* of their start, whatever was written since; keys and origins are those of
    the *sources* now, for a worker that replaces another comes after what that one reloaded.

    Args:
        configured: The keys and origins that were read last, for when the sources can't be read any more.
        allow_weak: Whether short secret keys are good enough.
    """

    def __init__(
        self, settings: Settings, configured: KeysAndOrigins, sources: Sources, *, allow_weak: bool = False
    ) -> None:
        self._settings = settings
        self._configured = configured
        self._sources = sources
        self._allow_weak = allow_weak

    def __call__(self) -> ASGIApp:
        configure_logging(self._settings.log_format, self._settings.log_level)
        try:
            keyring, origins = self.read()
        except (GatewayError, AuthError) as error:
            for line in str(error).splitlines():
                _log.error("keys and origins are those that were read last: %s", line)
            keyring, origins = self._configured
        return create_app(replace(self._settings, origins=origins), keyring, reload=self.read)

    def remember(self) -> None:
        """In the process that starts workers: what those fall back on that come later. They tell what is wrong."""
        try:
            self._configured = self.read()
        except (GatewayError, AuthError):
            pass
        except Exception:  # workers go on with what they began with
            _log.exception("keys and origins can't be read: it is our fault")

    def read(self) -> KeysAndOrigins:
        """
        The keys and origins that the sources say now.

        Raises:
            GatewayError, AuthError: When something is wrong there, be it with another setting.
        """
        return keys_and_origins(read_configuration(self._sources, allow_weak=self._allow_weak))


def from_configuration() -> ASGIApp:
    """
    The app as the environment and runcast.toml describe it, for the factory option of any ASGI server.

    Raises:
        BadConfiguration: With all that is wrong or missing.
    """
    sources = Sources()
    configuration = read_configuration(sources)
    configuration.refuse_problems(and_missing=True)
    return ConfiguredApp(configuration.settings(), keys_and_origins(configuration), sources)()


def keys_and_origins(configuration: Configuration) -> KeysAndOrigins:
    """
    Those of a configuration.

    Raises:
        GatewayError: When something is wrong in it, or there is no key.
    """
    configuration.refuse_problems()
    return KeysAndOrigins(configuration.keyring(), configuration.origins)
