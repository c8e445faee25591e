"""
The built files that browsers load (client/ and dashboard/ have their sources): what there is, under which address, and
by which hash a page can be sure of it. Read and packed once, when the process starts; whatever is not there is missed
by nobody but who asks for it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY: Final = Path(__file__).parent / "assets"
#: Where files are that never change under their names. The number is of how they are named.
VERSIONED: Final = "/_/v1"
#: For pages of others, and so at an address that is easily written, too.
ALIASES: Final = ("runcast.js", "runcast.global.js", "run-status.js", "run-list.js")

_MEDIA_TYPES: Final = MappingProxyType(
    {
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".svg": "image/svg+xml; charset=utf-8",
        ".png": "image/png",
        ".json": "application/json",
    }
)
#: Pages are answered by those who know their headers.
_PAGE: Final = ".html"
_HASH_LETTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    name: str
    body: bytes = field(repr=False)
    media_type: str
    #: The same packed, when that is smaller.
    gzipped: bytes | None = field(repr=False)
    #: SHA-256, in hex.
    digest: str
    #: For the attribute of that name (W3C Subresource Integrity).
    integrity: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        packed = gzip.compress(body, 9, mtime=0)
        return cls(
            name,
            body,
            _MEDIA_TYPES[Path(name).suffix],
            packed if len(packed) < len(body) else None,
            hashlib.sha256(body).hexdigest(),
            f"sha384-{base64.b64encode(hashlib.sha384(body).digest()).decode()}",
        )

    @property
    def versioned_name(self) -> str:
        """As in `run-status.0a1b2c3d4e5f.js`."""
        stem, _, suffix = self.name.rpartition(".")
        return f"{stem}.{self.digest[:_HASH_LETTERS]}.{suffix}"

    @property
    def url(self) -> str:
        """Where it is for ever, as long as it is there."""
        return f"{VERSIONED}/{self.versioned_name}"


class Assets:
    """All files of a directory that browsers know what to do with."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        known = {name: body for name, body in sorted(files.items()) if Path(name).suffix in _MEDIA_TYPES}
        self._pages = {name: body.decode() for name, body in known.items() if name.endswith(_PAGE)}
        self._files = {name: Asset.of(name, body) for name, body in known.items() if name not in self._pages}
        self._versions = {asset.versioned_name: asset for asset in self._files.values()}

    @classmethod
    def read(cls, directory: Path) -> Assets:
        """Those of *directory*; none when there is no such directory."""
        paths = directory.iterdir() if directory.is_dir() else ()
        return cls({path.name: path.read_bytes() for path in paths if path.is_file()})

    def find(self, name: str) -> Asset | None:
        """The file of this name, whatever its version."""
        return self._files.get(name)

    def find_version(self, name: str) -> Asset | None:
        """The file of this versioned name."""
        return self._versions.get(name)

    def page(self, name: str, root: str = "") -> str | None:
        """
        A page, with addresses where it has `%DASHBOARD_JS%` for `dashboard.js`, hashes for `%DASHBOARD_JS_INTEGRITY%`,
        and *root*, the path that we stand under, for `%ROOT%`.
        """
        text = self._pages.get(name)
        if text is None:
            return None
        for asset in self._files.values():
            mark = asset.name.upper().replace(".", "_").replace("-", "_")
            text = text.replace(f"%{mark}%", root + asset.url).replace(f"%{mark}_INTEGRITY%", asset.integrity)
        return text.replace("%ROOT%", root)

    def document(self, root: str = "") -> dict[str, Any]:
        """What there is, for programs: address, hash and size by name."""
        return {
            name: {"url": root + asset.url, "integrity": asset.integrity, "bytes": len(asset.body)}
            for name, asset in self._files.items()
        }


@cache
def shipped() -> Assets:
    """The files that came with this package."""
    return Assets.read(DIRECTORY)
