"""Sizes in bytes as people write them: `300MiB`, `64KiB`, or plain bytes."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from gateway.errors import BadInput

# Only the units that mean one thing: a KB is 1000 bytes to some and 1024 to others.
_BYTES: Final = MappingProxyType({"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4})
_SIZE: Final = re.compile(r"(\d{1,15}) ?([kmgt]ib|b|)", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """
    The bytes that *text* says: a whole number, perhaps with one of the units KiB, MiB, GiB, TiB.

    Raises:
        BadInput: When it says nothing of the kind.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"a size is like 300MiB, 64KiB or a number of bytes, not {text.strip()[:40]!r}")
    return int(found[1]) * _BYTES[found[2].lower()]
