"""Secrets in files that a variable names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import Misconfigured
from gateway.secret_files import read_variable

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "the-secret-of-these-tests"


def test_a_file_is_as_good_as_the_variable(tmp_path: Path) -> None:
    """Without the line break that editors and `echo` leave at its end."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")

    assert read_variable({"NAME_FILE": str(tmp_path / "secret")}, "NAME") == SECRET
    assert read_variable({"NAME": SECRET, "NAME_FILE": " "}, "NAME") == SECRET
    assert read_variable({"NAME": "  "}, "NAME") == ""


def test_both_are_a_contradiction(tmp_path: Path) -> None:
    """Whichever we took, somebody would wonder why the other does nothing."""
    (tmp_path / "secret").write_text(SECRET)

    with pytest.raises(Misconfigured, match="NAME and NAME_FILE are both set; keep one"):
        read_variable({"NAME": "x", "NAME_FILE": str(tmp_path / "secret")}, "NAME")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "empty"), (b" \n", "empty"), (b"\xff\xfe", "not text")],
    ids=["missing", "empty", "blank", "binary"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """With its path and the variable, so that whoever mounts it knows what to correct."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(Misconfigured, match=reason) as refused:
        read_variable({"NAME_FILE": str(path)}, "NAME")

    assert str(refused.value).startswith(f"NAME_FILE ({path}): ")
