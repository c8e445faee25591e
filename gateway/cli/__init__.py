"""
The command line. Each command lives in a file of its own, which is imported only when that command runs: what mints a
token need not wait for a server to be imported.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Lazy(NamedTuple):
    """A command that is not imported yet: where it is, as `module:name`, and what the list of commands says of it."""

    target: str
    summary: str


COMMANDS: Final[Mapping[str, Lazy]] = MappingProxyType(
    {
        "dev": Lazy("gateway.cli.dev:dev", "Run everything on this machine, with keys of its own, to develop against."),
        "serve": Lazy("gateway.cli.serve:serve", "Run the gateway."),
        "runs": Lazy("gateway.cli.runs:runs", "List runs, the newest first."),
        "ls": Lazy("gateway.cli.runs:runs", "The same as `runs`."),
        "get": Lazy("gateway.cli.get:get", "Show a run as it is now."),
        "watch": Lazy("gateway.cli.watch:watch", "Show what happens to runs, as it happens."),
        "wait": Lazy("gateway.cli.wait:wait", "Wait until runs have ended, or have come as far as is needed."),
        "logs": Lazy("gateway.cli.logs:logs", "Print what a run writes: its log, or another stream."),
        "cancel": Lazy("gateway.cli.cancel:cancel", "Ask the jobs of runs to stop."),
        "send": Lazy("gateway.cli.send:send", "Send a value to the job of a run."),
        "publish": Lazy("gateway.cli.publish:publish", "Say what happened to a run."),
        "exec": Lazy("gateway.cli.exec:execute", "Run a command as a run: its output is the log, its exit the status."),
        "token": Lazy("gateway.cli.token:tokens", "Make public tokens for viewers, look at them, take them back."),
        "explain": Lazy("gateway.cli.explain:explain", "Say which rule lets a token see a feed, or what it lacks."),
        "doctor": Lazy("gateway.cli.doctor:doctor", "Say what is wrong with this place, its Redis and a gateway."),
        "assets": Lazy("gateway.cli.assets:assets", "Print what pages load from a gateway, or copy it."),
        "config": Lazy("gateway.cli.config:config", "Show and check the settings of a gateway."),
        "completion": Lazy("gateway.cli.completion:completion", "Print the lines that make a shell complete these."),
        "version": Lazy("gateway.cli.version:version", "Print which version this is."),
    }
)


class LazyGroup(TyperGroup):
    """Knows the names and summaries of its commands; imports the one that is to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name is not None and name in COMMANDS else command, rest


def load(name: str) -> Any:
    """The command itself, imported."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    found: typer.Typer | Callable[..., None] = getattr(import_module(module), attribute)
    command = get_command(found if isinstance(found, typer.Typer) else _app_of(found))
    command.name = name
    return command


def _app_of(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(function)
    return app


# Plain help and plain errors: they start faster, and read the same in a terminal, a log and a pipe. Typer's own
# tracebacks would show local variables, and with them secrets.
main = typer.Typer(
    name="runcast",
    cls=LazyGroup,
    help="Realtime status of background jobs: run the gateway, watch runs, say what happened, make tokens.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gateway.cli.version import version

        version()
        raise typer.Exit


@main.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _stand_in() -> None:
    """What the list of commands is made of; `LazyGroup` puts the command itself in its place."""


for _name, _lazy in COMMANDS.items():
    main.command(_name, help=_lazy.summary)(_stand_in)
