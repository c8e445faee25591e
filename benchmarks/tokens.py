"""Viewers who each show a token of their own, as browsers do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import auth
from benchmarks.targets import ENVIRONMENT, Runcast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.targets import Opening, Target


def with_tokens(target: Target, openings: Sequence[Opening], scope: str) -> list[Opening]:
    """
    The same openings, each with a public token of its own.

    Servers that know no tokens are sent them, too, and look at none.
    """
    secret = target.secret if isinstance(target, Runcast) else auth.generate_secret_key()
    keys = auth.EnvironmentKeys.of(ENVIRONMENT, secret)
    return [
        dataclasses.replace(opening, headers={**opening.headers, "Authorization": f"Bearer {_mint(scope, keys)}"})
        for opening in openings
    ]


def _mint(scope: str, keys: auth.EnvironmentKeys) -> str:
    return auth.mint([scope], keys, expires="1h")
