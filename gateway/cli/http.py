"""How commands talk to a gateway over HTTP: where it is, who we are, and which exit code each refusal is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.cli import describe
from gateway.cli.environment import DEFAULT_URL, credential, gateway_url
from gateway.cli.exits import ExitCode, stop
from gateway.errors import BadInput, Misconfigured
from gateway.viewer.address import is_loopback
from gateway.viewer.requests import NoConnection, RequestRefused, Requests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from pathlib import Path

URL_HELP: Final = f"The gateway [RUNCAST_URL, {DEFAULT_URL}]."
TOKEN_FILE_HELP: Final = "A file with a token; else RUNCAST_TOKEN or RUNCAST_SECRET_KEY."  # noqa: S105
_HOW_TO_AUTHENTICATE: Final = (
    "no token: set RUNCAST_TOKEN to a public token (runcast token mint makes one) or RUNCAST_SECRET_KEY to a secret "
    "key, or name a file with --token-file. Beside a `runcast dev` on this machine, start from its directory"
)
_AUTH_STATUSES: Final = (401, 403)


def token_for(url: str, file: Path | None) -> str:
    """The public token or secret key for the gateway at *url*. Ends the command when there is none."""
    token = read_token(file) if file is not None else credential(own_machine=is_loopback(url))
    if token is None:
        stop(ExitCode.AUTH, _HOW_TO_AUTHENTICATE)
    return token


def read_token(file: Path) -> str:
    """What is in a token file. Ends the command when it can't be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        stop(ExitCode.AUTH, f"the token file can't be read: {file}: {reason}")


def token_reader(file: Path | None) -> Callable[[], Awaitable[str]] | None:
    """Reads the token file again: whoever renews the token writes it there."""
    if file is None:
        return None

    async def read() -> str:
        return read_token(file)

    return read


def requests_to(url: str | None, token_file: Path | None) -> Requests:
    """Requests to the gateway that the flags, or the environment, name. Ends the command when that can't be one."""
    address = gateway_url(url)
    try:
        return Requests(address, token_for(address, token_file))
    except Misconfigured as error:
        stop(ExitCode.USAGE, str(error))


@contextmanager
def refusals_end_the_command() -> Generator[None, None, None]:
    """What a gateway refuses inside of the block ends the command, with the exit code that says what kind it is."""
    try:
        yield
    except NoConnection as error:
        stop(ExitCode.NO_CONNECTION, describe.clean(error))
    except RequestRefused as error:
        stop(exit_code(error), describe.clean(error))
    except (BadInput, Misconfigured) as error:
        stop(ExitCode.USAGE, describe.clean(error))


def exit_code(refused: RequestRefused) -> ExitCode:
    """4 for who we are, 3 for what is not there, 6 for what may work later or is no gateway, else 2."""
    if refused.status in _AUTH_STATUSES:
        return ExitCode.AUTH
    if refused.status == 404 and refused.problem == "not_found":
        return ExitCode.NOT_FOUND
    return ExitCode.USAGE if 400 <= refused.status < 500 and not refused.come_back else ExitCode.NO_CONNECTION
