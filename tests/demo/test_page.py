"""The demo's page follows the viewer protocol: its own tests, run by Node."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "demo" / "page"
TESTS = Path(__file__).parent / "runcast.test.mjs"


def test_the_protocol_module_keeps_its_promises() -> None:
    """Merging, resuming, reconnecting: every promise of runcast.test.mjs."""
    result = subprocess.run(["node", "--test", str(TESTS)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_page_asks_nobody_else_for_anything() -> None:
    """It works without a network: no address outside, and nothing that a content security policy would stop."""
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.sub(r"(?m)^\s*(//|\*|/\*).*$", "", text)), path
        assert "<script>" not in text, path
        assert " style=" not in text, path


def test_what_a_run_says_is_never_markup() -> None:
    """Names, tags, errors and outputs come from anywhere: they are put in as text."""
    for path in PAGE.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()), path
