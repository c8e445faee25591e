"""What commands know from around them, as every viewer does (gateway/viewer/surroundings.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.exits import ExitCode, stop
from gateway.errors import Misconfigured
from gateway.viewer import surroundings
from gateway.viewer.surroundings import DEFAULT_URL, DEV_FILE, dev_environment, environment, gateway_url

if TYPE_CHECKING:
    from auth import Keyring

__all__ = ["DEFAULT_URL", "DEV_FILE", "credential", "dev_environment", "environment", "gateway_url", "keyring_of_file"]


def keyring_of_file() -> Keyring | None:
    """
    The secret keys in this place's runcast.toml, or in the file that RUNCAST_CONFIG names; None when there are none.

    For whoever found none in the environment. Keys that can't be used end the command.
    """
    from gateway.configuration.reading import read_configuration  # most commands need none of it

    keys = read_configuration().keys
    if keys.problems:
        stop(ExitCode.AUTH, "\n".join(keys.problems))
    return keys.keyring if keys.source else None


def credential(*, own_machine: bool) -> str | None:
    """As `surroundings.credential`; a file of a secret that can't be read ends the command."""
    try:
        return surroundings.credential(own_machine=own_machine)
    except Misconfigured as error:
        stop(ExitCode.AUTH, str(error))
