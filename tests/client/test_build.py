"""What pages load is what the sources say, and small; and what npm packs is all that is needed."""

from __future__ import annotations

import gzip
import re
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from gateway.web.assets import Assets
from tests.client.pages import ASSETS, CLIENT

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARD = CLIENT.parent / "dashboard"
#: Bytes, minified and compressed, of what a page loads; of files that have several parts together.
LIMITS = {
    ("runcast.js",): 5 * 1024,
    ("runcast.global.js",): 5 * 1024,
    ("run-status.js",): 12 * 1024,
    ("runcast.browser.js",): 2_150,
    ("runcast.networks.js",): 3_000,
    # What a browser loads for a first connection, to share it with other tabs.
    ("runcast.js", "runcast.browser.js"): 7 * 1024 + 200,
    ("run-status.js", "runcast.browser.js"): 14 * 1024,
    # All that there is of the client, for pages in a network that has something against WebSockets.
    ("runcast.js", "runcast.browser.js", "runcast.networks.js"): 10_250,
}
#: What is loaded where it is needed.
PARTS = ("runcast.browser.js", "runcast.networks.js", "runcast.views.js")
#: What somebody writes who has installed the package.
USE = """
import { connect, isFinal, type Run, type Transition } from "@runcast/client";

const runcast = connect({ url: "https://runs.example.com", getToken: async () => ({ token: "…" }) });
const subscription = runcast.run("run_1");
subscription.on("change", ({ run, connection }) => console.log(run?.status, connection.asOf?.getTime()));
subscription.on("transition", (run: Run, transition: Transition) => isFinal(transition.status) && run.id);
for await (const run of subscription) run.status.toLowerCase();
for await (const { value, index } of runcast.stream("run_1", "log")) console.log(index + 1, value);
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes of the sources now."""
    out = tmp_path_factory.mktemp("assets")
    run("node", CLIENT / "build.mjs", out)
    return out


def run(*command: str | Path, cwd: Path = CLIENT) -> str:
    ended = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_types_are_right() -> None:
    run(CLIENT / "node_modules/.bin/tsc", "--noEmit", "--project", CLIENT)


def test_what_is_committed_is_what_is_built(built: Path) -> None:
    """The sources and the lock file make the same bytes everywhere."""
    old = [path.name for path in built.iterdir() if (ASSETS / path.name).read_bytes() != path.read_bytes()]
    assert not old, f"the sources changed; `make assets` builds {', '.join(sorted(old))}"
    assert {path.name for path in ASSETS.iterdir()} == {path.name for path in built.iterdir()}


@pytest.mark.parametrize("names", LIMITS, ids="+".join)
def test_it_is_small(built: Path, names: tuple[str, ...]) -> None:
    assert sum(len(gzip.compress((built / name).read_bytes(), 9)) for name in names) <= LIMITS[names]


def test_it_asks_nobody_else_for_anything(built: Path) -> None:
    """No address of somebody else is in it, nothing that a strict content security policy would stop."""
    for name in ("runcast.js", "runcast.global.js", *PARTS):
        text = (built / name).read_text()
        assert "://" not in text
        assert "eval(" not in text
        assert "new Function" not in text


def test_the_client_knows_its_parts_by_their_hashes(built: Path) -> None:
    """As the gateway serves them: each file that has the client in it has the addresses of what it may load."""
    assets = Assets.read(built)
    for name in ("runcast.js", "runcast.global.js", "run-status.js", "run-list.js"):
        text = (built / name).read_text()
        for part in PARTS[:2]:
            asset = assets.find(part)
            assert asset is not None
            assert asset.versioned_name in text


def test_names_that_are_spelled_shorter_are_nobody_elses() -> None:
    """
    Neither of what pages use, nor of messages, nor of the language and of browsers, nor of the elements.

    The dashboard and the page for iframes may have such names among themselves, and not in the JSON that they read and
    write.
    """
    listed = re.search(r"const INTERNAL = \((.*?)\)\.split", (CLIENT / "build.mjs").read_text(), re.DOTALL)
    assert listed is not None
    internal = set(" ".join(re.findall(r'"([^"]*)"', listed[1])).split())
    assert len(internal) > 30
    libraries = list((CLIENT / "node_modules/@typescript").glob("*/lib/lib.*.d.ts"))
    assert len(libraries) > 50
    sources = [CLIENT / "src/run.ts", CLIENT / "src/messages.ts", *(CLIENT / "src/elements").glob("*.ts")]
    for path in [*libraries, *sources]:
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith(("//", "*", "/*"))]
        members = re.findall(r"^ *(?:readonly |get |set )?(\w+)(?:<[^>]*>)?\??[(:]", "\n".join(lines), re.MULTILINE)
        assert not internal & set(members), path.name
    told: set[str] = set()
    for path in [CLIENT / "src/embed.ts", *DASHBOARD.glob("*.ts")]:
        told |= (names := names_in_types(path.read_text()))
        assert not internal & names, path.name
    assert told > {"percent", "code", "next", "deliveryLag", "roundTripSeconds", "expirationTime"}


def names_in_types(source: str) -> set[str]:
    """Those in types that have a name, or of what is asked for; and in what is sent, which has no type."""
    types = re.findall(r"^(?:export )?(?:interface .*?^\}|type .*?;$)", source, re.DOTALL | re.MULTILINE)
    types += re.findall(r"(?:request<| as | body = )(\{.*\})", source)
    return set(re.findall(r"(?:^ +|[{;,] )(?:readonly )?(\w+)\??:", "\n".join(types), re.MULTILINE))


def test_what_npm_packs(tmp_path: Path) -> None:
    """The module, the script, the elements, the read-me; and whoever installs it can follow its types."""
    run("npm", "pack", "--silent", "--ignore-scripts=false", "--pack-destination", tmp_path)
    (archive,) = tmp_path.glob("*.tgz")
    installed = tmp_path / "node_modules" / "@runcast" / "client"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    installed.parent.mkdir(parents=True)
    (tmp_path / "package").rename(installed)
    assert {path.name for path in installed.iterdir()} >= {"README.md", "package.json", "dist"}
    scripts = {path.name for path in (installed / "dist").glob("*.js")}
    assert scripts >= {"runcast.js", "runcast.global.js", "run-status.js", "elements.js", *PARTS}
    for name in scripts - set(PARTS):
        # As it is written, so that bundlers see it.
        assert all(f'import("./{part}")' in (installed / "dist" / name).read_text() for part in PARTS[:2])
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "use.ts").write_text(USE)
    options = [
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2023,dom",
        "--types",
        "",
    ]
    run(CLIENT / "node_modules/.bin/tsc", *options, "use.ts", cwd=tmp_path)
