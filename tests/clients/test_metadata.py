"""
What metadata operations do here is what the SDK does to its own copy, where the protocol says that they agree.

Left out is what JavaScript does by accident: arrays that are padded have holes there, which some operations skip; what
is put in several places by a wildcard is one object; other operations than `set` give every place of a wildcard what
they make of the first; and a path does not change what is null.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from typing import Any

import pytest

from gateway.changes import Operation, Operator
from gateway.codec import decode_json, encode_json
from gateway.metadata import apply_operations, equal, merged
from tests.clients.node_runner import HERE
from tests.gateway.test_metadata import TABLE

CASES = 3_000
#: Rows of the table in which we and the SDK differ, as the protocol wants it or as above.
OURS = {"unsafe in an update", "set very far past the end", "constructor is a literal like others"}


def node(version: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the SDK of this version makes of them."""
    program = shutil.which("node")
    assert program, "node is missing; scripts/system-packages installs it"
    done = subprocess.run(
        [program, str(HERE / "node" / "apply_operations.mjs")],
        input=encode_json(cases, what="cases"),
        env={**os.environ, "TRIGGER_SDK": version},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    documents: list[dict[str, Any]] = decode_json(done.stdout)
    return documents


def ours(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One after the other, and as they are sent when a second's worth goes together."""
    operations = [Operation(Operator(one["type"]), one.get("key", ""), one.get("value")) for one in case["operations"]]
    return apply_operations(case["before"], operations), apply_operations(case["before"], merged(operations))


class Dice:
    """Documents and operations that often meet."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def case(self) -> dict[str, Any]:
        wild = self._random.random() < 0.2
        count = 1 if wild else self._random.randrange(1, 8)
        before = {self._random.choice("abc"): self.value() for _ in range(3)}
        return {"before": before, "operations": [self.operation(wild=wild) for _ in range(count)]}

    def value(self, depth: int = 0) -> Any:
        kind = self._random.randrange(8 if depth < 2 else 5)
        if kind == 5:
            return {self._random.choice("abc0"): self.value(depth + 1) for _ in range(self._random.randrange(3))}
        if kind > 5:
            return [self.value(depth + 1) for _ in range(self._random.randrange(4))]
        return self._random.choice([True, False, 0, 1, 2, -3, 0.5, "", "x", "5"])

    def operation(self, *, wild: bool) -> dict[str, Any]:
        kind = "set" if wild else self._random.choice(["set", "append", "append", "remove", "increment", "delete"])
        if not wild and self._random.random() < 0.05:
            return {"type": "update", "value": {self._random.choice("abc"): self.value() for _ in range(3)}}
        made: dict[str, Any] = {"type": kind, "key": self.key(wild=wild)}
        if kind == "increment":
            made["value"] = self._random.choice([1, 2, -1, 0.5])
        elif kind != "delete":
            made["value"] = self.value()
        return made

    def key(self, *, wild: bool) -> str:
        if not wild and self._random.random() < 0.4:
            return self._random.choice(["a", "b", "c", "a.b", "a[0]", "$", "prototype", "0", "__proto__"])
        further = ["a", "b", "0", "1", "[0]", "x y", "prototype", *(["*"] if wild else [])]
        parts = [self._random.choice(further) for _ in range(self._random.randrange(3))]
        return ".".join(["$", self._random.choice("abc"), *parts])


@pytest.mark.parametrize("version", ["4.8.3"])
def test_random_operations_lead_to_the_same_document(version: str) -> None:
    dice = Dice(4)
    cases = [dice.case() for _ in range(CASES)]
    # Padding is in the table; here it would leave holes for the operations behind it.
    for case, theirs in zip(cases, node(version, cases), strict=True):
        mine, together = ours(case)
        if not _has_null(mine):
            assert equal(mine, theirs), case
            assert equal(together, mine), case


@pytest.mark.parametrize("version", ["4.5.0", "4.8.3"])
def test_the_table_is_that_of_the_sdk(version: str) -> None:
    rows = [row for row in TABLE if row[0] not in OURS and "unsafe" not in row[0] and "bare" not in row[0]]
    cases = [
        {"before": before, "operations": [{"type": kind, "key": key, "value": value}]}
        for _, before, (kind, key, value), _ in rows
    ]
    for row, theirs in zip(rows, node(version, cases), strict=True):
        assert equal(theirs, row[3]), row[0]


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None
