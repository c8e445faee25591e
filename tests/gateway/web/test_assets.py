"""The built files: found under names that change with them, and exactly as they were built."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from gateway.web.assets import ALIASES, DIRECTORY, Assets, shipped
from tests.gateway.web.conftest import FILES

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2


FOR_EVER = "public, max-age=31536000, immutable"


def test_a_file_that_changes_has_another_address() -> None:
    """So that what is kept for ever is never another file's."""
    one, other = Assets({"runcast.js": b"1;"}).find("runcast.js"), Assets({"runcast.js": b"2;"}).find("runcast.js")

    assert one is not None
    assert other is not None
    assert one.url == f"/_/v1/runcast.{hashlib.sha256(b'1;').hexdigest()[:12]}.js"
    assert one.url != other.url
    assert one.integrity == f"sha384-{base64.b64encode(hashlib.sha384(b'1;').digest()).decode()}"


def test_a_directory_without_files_is_no_mistake(tmp_path: Path) -> None:
    """Whoever has not built them yet can serve everything else; what no browser knows is left out."""
    assert Assets.read(tmp_path / "nowhere").document() == {}

    (tmp_path / "notes.xyz").write_bytes(b"")
    (tmp_path / "run-status.js").write_bytes(b"1;")

    assert list(Assets.read(tmp_path).document()) == ["run-status.js"]


def test_the_files_of_this_package_can_be_read() -> None:
    """Whichever were built: each has its address, and pages have the addresses of what they load."""
    assets = shipped()

    for path in DIRECTORY.iterdir():
        if path.suffix == ".html":
            text = assets.page(path.name)
            assert text is not None
            assert re.findall(r"%[A-Z_]+%", text) == []
        else:
            found = assets.find(path.name)
            assert found is not None
            assert found.body == path.read_bytes()


async def test_a_file_under_its_hash_is_kept_for_ever(browser: httpx2.AsyncClient) -> None:
    """By any page of any origin, which can check that it is the one it meant."""
    listed = (await browser.get("/_/v1/assets.json")).json()
    told = listed["run-status.js"]

    answer = await browser.get(told["url"], headers={"origin": "https://anywhere.example"})

    assert answer.status_code == 200
    assert answer.content == FILES["run-status.js"]
    assert told["bytes"] == len(answer.content)
    assert told["integrity"] == f"sha384-{base64.b64encode(hashlib.sha384(answer.content).digest()).decode()}"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == FOR_EVER
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "dashboard.html" not in listed


async def test_a_short_name_is_asked_for_again(browser: httpx2.AsyncClient) -> None:
    """Another version of the gateway has another file there; the same one is not sent twice."""
    first = await browser.get("/runcast.js")
    again = await browser.get("/runcast.js", headers={"if-none-match": first.headers["etag"]})
    other = await browser.get("/runcast.js", headers={"if-none-match": '"another"'})

    assert (first.status_code, again.status_code, other.status_code) == (200, 304, 200)
    assert first.headers["cache-control"] == "public, max-age=300"
    assert again.headers["etag"] == first.headers["etag"]
    assert again.content == b""


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("identity", False), ("gzip;q=0", False), ("br", False)],
)
async def test_a_file_comes_packed_for_whoever_takes_it_so(
    browser: httpx2.AsyncClient, accepted: str, packed: bool
) -> None:
    """And under a name of its own, so that nobody is told that he has one when he has the other."""
    async with browser.stream("GET", "/runcast.js", headers={"accept-encoding": accepted}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])

    assert ("content-encoding" in answer.headers) == packed
    assert (gzip.decompress(raw) if packed else raw) == FILES["runcast.js"]
    assert answer.headers["etag"].endswith('-gz"') == packed
    assert "accept-encoding" in answer.headers["vary"]


async def test_a_head_is_a_get_without_a_body(browser: httpx2.AsyncClient) -> None:
    """Its length is that of the file."""
    answer = await browser.head("/run-status.js", headers={"accept-encoding": "identity"})

    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(FILES["run-status.js"])
    assert answer.content == b""


async def test_nothing_else_can_be_asked_of_a_file(browser: httpx2.AsyncClient) -> None:
    """The answer says what can."""
    answer = await browser.post("/runcast.js")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/_/v1/run-status.000000000000.js", "/_/v1/run-status.js", "/runcast.global.js", "/_/v1/..%2Fassets.py"]
)
async def test_what_is_not_there_is_not_found(browser: httpx2.AsyncClient, path: str) -> None:
    """An earlier version's file, a name without its hash, a file that was not built, one of ours."""
    answer = await browser.get(path)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert answer.headers["cache-control"] == "no-store"


def test_what_has_a_short_name_is_a_script() -> None:
    """Pages are answered with headers of their own."""
    assert all(name.endswith(".js") for name in ALIASES)
