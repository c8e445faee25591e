"""Keys and origins are read again, and put to use all at once or not at all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from auth import EnvironmentKeys, Keyring, NoSecretKey
from gateway.errors import Misconfigured
from gateway.transports.origins import Origins
from gateway.transports.reloading import KeysAndOrigins, Reloading

if TYPE_CHECKING:
    from collections.abc import Callable

FOUND = KeysAndOrigins(Keyring([EnvironmentKeys.of("acme", "tr_test_the_secret_of_the_reload_0001")]), Origins())


def fails_with(error: Exception) -> Callable[[], KeysAndOrigins]:
    def read() -> KeysAndOrigins:
        raise error

    return read


def test_all_who_hold_some_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """And the log says of which environments; never a secret."""
    caplog.set_level(logging.INFO, "runcast.reload")
    told: list[KeysAndOrigins] = []
    reload = Reloading(lambda: FOUND)
    reload.tell(told.append)
    reload.tell(told.append)

    reload()

    assert told == [FOUND, FOUND]
    assert [record.getMessage() for record in caplog.records] == ["keys and origins are reloaded, for acme"]


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (Misconfigured("port is wrong\nhost is wrong"), ["port is wrong", "host is wrong"]),
        (NoSecretKey(source="x.toml", reason="it lists no environments"), ["x.toml: it lists no environments"]),
        (RuntimeError("a mistake of ours"), ["it is our fault"]),
    ],
)
def test_what_is_wrong_changes_nothing(error: Exception, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, a line each, and nobody is told; whoever asked goes on."""
    reload = Reloading(fails_with(error))
    reload.tell(lambda found: pytest.fail("told"))

    reload()

    assert [record.getMessage() for record in caplog.records] == [f"nothing is reloaded: {line}" for line in lines]


def test_what_is_fixed_stays(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway that a program started has no places to ask again."""
    Reloading()()

    assert "fixed" in caplog.text
