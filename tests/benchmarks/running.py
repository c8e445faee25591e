"""Runs the benchmark's short form as its command does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: It takes a tenth of that, and ends by itself before it; what hangs is asked to end, so that it ends what it started.
BOUND_SECONDS = 330


def run_benchmarks(file: Path, *arguments: str) -> dict[str, Any]:
    """Measure, and return what was written to *file*."""
    command = [sys.executable, "-m", "benchmarks", "--short", "--json", str(file), *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate(timeout=BOUND_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, _ = process.communicate()
    assert file.exists(), output
    results: dict[str, Any] = json.loads(file.read_text())
    return results
