"""The table in README.md names every line of both checklists, and every test of this directory."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]

#: The lines that there are. (The shape protocol's list has no 48 and 49.)
LINES: Final = {
    "T": [*map(str, range(1, 16)), "15a", *map(str, range(16, 54))],
    "E": [*map(str, range(1, 48)), "50", "51", "52"],
}

_ROW: Final = re.compile(r"\| ([TE]) (\d+a?) \| (.*?) \| (.*?) \|")
_NUMBER: Final = re.compile(r"([te])0?(\d+a?)_")


def table() -> dict[tuple[str, str], str]:
    """Line → what its row says of who proves it."""
    rows = _ROW.findall((HERE / "README.md").read_text(encoding="utf-8"))
    found = {(list_, number): proof for list_, number, _, proof in rows}
    assert len(found) == len(rows), "a line stands in the table twice"
    return found


def proofs() -> dict[str, set[tuple[str, str]]]:
    """`file.py` → the lines that its tests name."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in HERE.glob("test_*.py"):
        functions = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = [one.name for one in functions if isinstance(one, ast.AsyncFunctionDef) and one.name[:5] == "test_"]
        lines = {line for name in names for line in lines_of(name)}
        if lines:
            found[path.name] = lines
    return found


def lines_of(name: str) -> list[tuple[str, str]]:
    """`test_t03_e16_a_poll_…` → T 3 and E 16."""
    lines, rest = [], name.removeprefix("test_")
    while (match := _NUMBER.match(rest)) is not None:
        lines.append((match[1].upper(), match[2]))
        rest = rest[match.end() :]
    assert lines, f"{name} names no line"
    return lines


def test_every_line_is_in_the_table_once() -> None:
    """And no other."""
    assert set(table()) == {(list_, number) for list_, numbers in LINES.items() for number in numbers}


@pytest.mark.parametrize("list_", LINES)
def test_every_line_is_proved_or_has_a_reason(list_: str) -> None:
    """A row names files of tests that there are, or says that the line is of a later issue, and why."""
    for (of, number), proof in table().items():
        if of != list_:
            continue
        files = re.findall(r"`([\w./*-]+)`", proof)
        assert files, f"{of} {number} names no test"
        for file in files:
            assert list(ROOT.glob(f"tests/{file}")) or (HERE / file).exists(), f"{of} {number}: there is no {file}"


def test_the_table_says_which_tests_name_a_line() -> None:
    """Whoever adds a test, or takes one away, changes the table."""
    said = {(file, line) for line, proof in table().items() for file in re.findall(r"`(test_\w+\.py)`", proof)}

    assert said == {(file, line) for file, lines in proofs().items() for line in lines}
