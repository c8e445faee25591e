"""What a viewer knows from around it: the environment, and what `runcast dev` left in this directory."""

from __future__ import annotations

import os
from typing import Final

from gateway.secret_files import FILE_SUFFIX, read_variable
from gateway.store.embedded_directory import state_directory
from gateway.viewer.address import is_loopback

DEFAULT_URL: Final = "http://127.0.0.1:8787"
#: The file's name in the state directory.
DEV_FILE: Final = "dev.env"

#: Whoever sets one of these says who they are; a key that lies around must not be mixed with that.
_NAMES: Final = ("RUNCAST_TOKEN", "RUNCAST_SECRET_KEY", "TRIGGER_SECRET_KEY")
_CREDENTIALS: Final = (*_NAMES, *(name + FILE_SUFFIX for name in _NAMES), "RUNCAST_ENVIRONMENTS_FILE")


def dev_environment() -> dict[str, str]:
    """
    The variables in the file that `runcast dev` left in the state directory of this place; empty when there is none.

    One KEY=VALUE a line; blank lines and lines that begin with `#` don't count.
    """
    try:
        lines = (state_directory() / DEV_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = [line.partition("=") for line in lines if not line.lstrip().startswith("#")]
    return {name.strip(): value.strip() for name, separator, value in pairs if separator and name.strip()}


def environment() -> dict[str, str]:
    """
    The environment of the process, and what the dev file adds to it. What is really set wins, blank is not set.

    With credentials of one's own the dev file does not count at all: its key belongs to its environment.
    """
    given = {name: value for name, value in os.environ.items() if value.strip()}
    if any(name in given for name in _CREDENTIALS):
        return given
    return dev_environment() | given


def credential(*, own_machine: bool) -> str | None:
    """
    The public token or secret key to show to a gateway; None when there is none.

    The key of the dev file is only for a gateway on our *own_machine*: it must not be sent to others by accident.

    Raises:
        Misconfigured: When RUNCAST_TOKEN_FILE, or another one like it, can't be read.
    """
    known = environment() if own_machine else os.environ
    return next(filter(None, (read_variable(known, name) for name in _NAMES)), None)


def gateway_url(given: str | None = None) -> str:
    """Where the gateway is: what was *given*, else RUNCAST_URL, else on this machine."""
    return given or environment().get("RUNCAST_URL") or DEFAULT_URL


def credential_for(url: str) -> str | None:
    """As `credential`, for the gateway at *url*."""
    return credential(own_machine=is_loopback(url))
