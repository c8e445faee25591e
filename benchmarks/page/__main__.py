"""`python -m benchmarks.page RESULTS.json`: writes docs/benchmarks.md, and the plots beside it, of a run's JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.page import plots
from benchmarks.page.outcomes import Run
from benchmarks.page.writing import PAGE, filled


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", type=Path, help="what python -m benchmarks --json FILE wrote")
    run = Run.read(parser.parse_args().results)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), run), encoding="utf-8")
    plots.draw(run, PAGE.with_suffix(""))


if __name__ == "__main__":
    main()
