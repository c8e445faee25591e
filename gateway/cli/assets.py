"""`runcast assets`: what a page loads of us, for templates and for servers of one's own."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.environment import gateway_url
from gateway.cli.exits import ExitCode, stop
from gateway.cli.http import URL_HELP
from gateway.web.assets import ALIASES, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.web.assets import Asset

VERSION: Final = 1
#: Of pages that only the gateway serves.
_OUR_OWN: Final = ("dashboard.", "embed.")
#: What is imported, and not loaded by a script tag.
_MODULE: Final = "runcast.js"


def assets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=f"One of {', '.join(ALIASES)}.")] = None,
    url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    copy: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the files into DIR, to serve them from there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document: address, hash and size by name.")] = False,
) -> None:
    """
    Print what pages load from a gateway of this version: addresses that never change, with hashes.

    With NAME the tag for a page. Nobody is asked: a gateway of another version has other files, and says them at
    /_/v1/assets.json. In DIR the files have the addresses that they have below --url.

    Exit codes: 0, 2 usage.
    """
    if name is not None and (as_json or copy is not None):
        stop(ExitCode.USAGE, "NAME stands alone, or with --url")
    root = gateway_url(url).rstrip("/")
    files = list(_files())
    if copy is not None:
        for path in _write(files, copy):
            print(path)
    elif as_json:
        print(json.dumps({"v": VERSION, "files": {asset.name: _described(asset, root) for asset in files}}))
    elif name is not None:
        print(_tag(_named(name), root))
    else:
        for asset in files:
            print(f"{root}{asset.url}\t{asset.integrity}\t{len(asset.body)}")


def _files() -> Iterator[Asset]:
    """Those for pages of others, by their names."""
    for name in shipped().document():
        asset = shipped().find(name)
        if asset is not None and not name.startswith(_OUR_OWN):
            yield asset


def _named(name: str) -> Asset:
    asset = shipped().find(name) if name in ALIASES else None
    if asset is None:
        stop(ExitCode.USAGE, f"there is no {name!r} for pages; there is {', '.join(ALIASES)}")
    return asset


def _described(asset: Asset, root: str) -> dict[str, Any]:
    return {"url": root + asset.url, "integrity": asset.integrity, "bytes": len(asset.body)}


def _tag(asset: Asset, root: str) -> str:
    """The line for the head of a page."""
    checked = f'integrity="{asset.integrity}" crossorigin="anonymous"'
    address = escape(root + asset.url)
    if asset.name == _MODULE:
        return f'<link rel="modulepreload" href="{address}" {checked}>'
    return f'<script src="{address}" {checked} defer></script>'


def _write(files: list[Asset], directory: Path) -> Iterator[Path]:
    for asset in files:
        names = [asset.url.removeprefix("/"), *([asset.name] if asset.name in ALIASES else [])]
        for path in (directory / name for name in names):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(asset.body)
            except OSError as error:
                stop(ExitCode.USAGE, f"can't write {path}: {error.strerror}")
            yield path
