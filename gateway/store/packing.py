"""Commands as Redis reads them, for whoever sends several of them in one write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

if TYPE_CHECKING:
    from gateway.store.writing import Command

_pack: Final = cast("Any", hiredis.pack_command)  # its types know commands of one word only


def packed(command: Command) -> bytes:
    """
    A command on the wire. Text becomes UTF-8.

    Several times faster than redis-py's own packing, which looks at the type of every word in Python first.
    """
    data: bytes = _pack(command)
    return data
