"""The files that the demo works on: the Python standard library, which is on every machine that runs it."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

ROOT = Path(sysconfig.get_path("stdlib"))
_SKIPPED = frozenset({"site-packages", "__pycache__", "lib-dynload"})


def packages() -> list[str]:
    """The names of its packages, such as `asyncio`."""
    return sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in _SKIPPED)


def files(package: str = "", suffix: str = "") -> list[Path]:
    """Every file of *package*, or of the whole library, in order."""
    found = (path for path in (ROOT / package).rglob(f"*{suffix}") if path.is_file())
    return sorted(path for path in found if not _SKIPPED.intersection(path.relative_to(ROOT).parts))


def name_of(path: Path) -> str:
    """A file's name within the library."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module | None:
    """A file as a tree; `None` for the broken ones that its test suite keeps on purpose."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None


def definitions(tree: ast.Module) -> list[str]:
    """The functions and classes that a file defines."""
    return [
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]


def most_common(names: Counter[str], count: int = 10) -> dict[str, int]:
    return dict(names.most_common(count))
