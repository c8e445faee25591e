"""`runcast version`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version as installed_version
from typing import Annotated

import typer


def version(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, with the versions around it.")] = False,
) -> None:
    """Print which version this is."""
    if as_json:
        names = ("redis", "starlette", "uvicorn", "websockets")
        around = {"python": platform.python_version()} | {name: installed_version(name) for name in names}
        print(json.dumps({"v": 1, "runcast": installed_version("runcast"), **around}))
    else:
        print(f"runcast {installed_version('runcast')}")
