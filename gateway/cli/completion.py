"""`runcast completion`: the lines that make a shell complete commands and options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer import completion as completions


class Shell(StrEnum):
    """The shells that we have lines for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """
    Print the lines that make a shell complete commands and options.

    bash: put `eval "$(runcast completion bash)"` into ~/.bashrc; zsh: `source <(runcast completion zsh)` after compinit
    in ~/.zshrc; fish: runcast completion fish > ~/.config/fish/completions/runcast.fish
    """
    script_for = completions.get_completion_script  # type: ignore[attr-defined]
    script: str = script_for(prog_name="runcast", complete_var="_RUNCAST_COMPLETE", shell=shell.value)
    print(script.strip())
