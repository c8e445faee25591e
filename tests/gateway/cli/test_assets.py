"""`runcast assets`: what it prints and writes is what a gateway of this version serves."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from gateway.web.assets import ALIASES, shipped
from tests.gateway.cli.commands import run

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = "https://runs.example.com"


def hash_of(body: bytes) -> str:
    return f"sha384-{base64.b64encode(hashlib.sha384(body).digest()).decode()}"


async def test_the_tag_of_a_script_names_the_file_and_its_hash(tmp_path: Path) -> None:
    """One line for the head of a page, for whichever gateway is meant."""
    code, output, _ = await run("assets", "run-status.js", "--url", f"{GATEWAY}/", directory=tmp_path)

    asset = shipped().find("run-status.js")
    assert asset is not None
    assert code == 0
    checked = f'integrity="{hash_of(asset.body)}" crossorigin="anonymous"'
    assert output == f'<script src="{GATEWAY}{asset.url}" {checked} defer></script>\n'


async def test_a_module_is_named_before_it_is_imported(tmp_path: Path) -> None:
    """A script that imports it by that address is then sure of it."""
    _, output, _ = await run("assets", "runcast.js", RUNCAST_URL=GATEWAY, directory=tmp_path)

    assert re.fullmatch(
        rf'<link rel="modulepreload" href="{GATEWAY}/_/v1/runcast\.\w+\.js" integrity="sha384-\S+" '
        'crossorigin="anonymous">\n',
        output,
    )


async def test_all_that_pages_load_is_listed(tmp_path: Path) -> None:
    """In lines, and as JSON; what only our own pages load is not."""
    _, lines, _ = await run("assets", directory=tmp_path)
    _, document, _ = await run("assets", "--json", directory=tmp_path)

    told = json.loads(document)
    assert told["v"] == 1
    assert set(ALIASES) <= set(told["files"])
    assert not any(name.startswith(("dashboard", "embed")) for name in told["files"])
    for name, file in told["files"].items():
        asset = shipped().find(name)
        assert asset is not None
        assert file == {
            "url": f"http://127.0.0.1:8787{asset.url}",
            "integrity": hash_of(asset.body),
            "bytes": len(asset.body),
        }
    assert [line.split("\t") for line in lines.splitlines()] == [
        [file["url"], file["integrity"], str(file["bytes"])] for file in told["files"].values()
    ]


async def test_the_files_can_be_served_from_elsewhere(tmp_path: Path) -> None:
    """They have the addresses that they have below a gateway, so that what one loads of the others is found."""
    code, output, _ = await run("assets", "--copy", "static/runcast", directory=tmp_path)
    _, document, _ = await run("assets", "--json", "--url", "", directory=tmp_path)

    assert code == 0
    written = {path.relative_to(tmp_path).as_posix(): path for path in (tmp_path / "static").rglob("*.js")}
    assert set(output.splitlines()) == set(written)
    for name, file in json.loads(document)["files"].items():
        address = file["url"].partition("8787")[2]
        assert hash_of(written[f"static/runcast{address}"].read_bytes()) == file["integrity"]
        if name in ALIASES:
            assert hash_of(written[f"static/runcast/{name}"].read_bytes()) == file["integrity"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dashboard.js"], "there is no 'dashboard.js' for pages"),
        (["run-status.js", "--json"], "NAME stands alone"),
        (["--copy", "taken"], "can't write"),
    ],
)
async def test_what_can_not_be_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    """With exit code 2, and nothing on stdout."""
    (tmp_path / "taken").touch()
    code, output, errors = await run("assets", *arguments, directory=tmp_path)

    assert (code, output) == (2, "")
    assert said in errors
