"""What can be said of the dashboard without opening it."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ROOT / "dashboard"
BUILT: Final = ROOT / "gateway" / "web" / "assets"
MOST_BYTES: Final = 40 * 1024


def test_types_are_right() -> None:
    """The dashboard, and what it uses of the client."""
    tsc = ROOT / "client" / "node_modules" / ".bin" / "tsc"
    result = subprocess.run([tsc, "--noEmit", "-p", SOURCES], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout


def test_it_is_small() -> None:
    assert len(gzip.compress((BUILT / "dashboard.js").read_bytes(), 9)) < MOST_BYTES


def test_what_a_run_says_is_never_markup() -> None:
    """Names, tags, errors, chunks and outputs come from anywhere: they are put in as text."""
    for path in SOURCES.glob("*.ts"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser", path.read_text()
        ), path


def test_nothing_is_inline_and_nobody_else_is_asked() -> None:
    """Neither a policy without exceptions nor a network without a way out is in its way."""
    page = (SOURCES / "dashboard.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)
    for path in [*SOURCES.glob("*.ts"), *SOURCES.glob("**/*.css"), SOURCES / "dashboard.html"]:
        # The name of SVG is none that is asked for.
        text = re.sub(r"https?://www\.w3\.org/2000/svg", "", path.read_text())
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}", text), path
