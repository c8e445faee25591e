"""Secrets in files, as Docker and Kubernetes mount them: RUNCAST_REDIS_URL_FILE names one that holds a Redis URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import BadInput, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Behind the name of a variable.
FILE_SUFFIX: Final = "_FILE"
#: Longer than any secret, or any list of them.
_LIMIT_BYTES: Final = 1024 * 1024


def read_secret_file(path: str) -> str:
    """
    What a file with a secret says, without blanks and line breaks around it.

    Raises:
        BadInput: Saying why it can't be read; never with what is in it.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LIMIT_BYTES).decode().strip()
    except OSError as error:
        raise BadInput(f"the file can't be read: {error.strerror}") from None
    except ValueError:
        raise BadInput("the file is not text") from None
    if not text:
        raise BadInput("the file is empty")
    return text


def read_variable(environ: Mapping[str, str], name: str) -> str:
    """
    What the variable *name* says, or the file that is named by it and `_FILE`; "" when neither is set.

    Raises:
        Misconfigured: When both are set, or the file can't be read.
    """
    text, path = environ.get(name, "").strip(), environ.get(name + FILE_SUFFIX, "").strip()
    if text and path:
        raise Misconfigured(f"{name} and {name}{FILE_SUFFIX} are both set; keep one")
    if not path:
        return text
    try:
        return read_secret_file(path)
    except BadInput as error:
        raise Misconfigured(f"{name}{FILE_SUFFIX} ({path}): {error}") from None
