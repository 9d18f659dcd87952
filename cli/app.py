"""The ``xfelcat`` program: its commands, and the exit codes of what goes wrong.

The module of a command is imported when the command runs: with all of them imported, a command
would take a third more CPU time before it begins. An XfelcatError or a full disk is one line and
exit code 1, Ctrl-C is 130, wrong usage is 2 (typer's own); a bug keeps its traceback.
"""

import errno
import os
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..catalog.model.errors import XfelcatError
from .output import say

# In the order of the help: the module of the command, and its function or group there.
_COMMANDS = {
    "ingest": ("ingest", "ingest_command"),
    "watch": ("watch", "watch_command"),
    "find": ("find", "find_command"),
    "values": ("values", "values_command"),
    "sql": ("sql", "sql_command"),
    "profile": ("profile", "profile_command"),
    "ls": ("ls", "ls_command"),
    "info": ("info", "info_command"),
    "diff": ("diff", "diff_command"),
    "plot": ("plot", "plot_command"),
    "open": ("open", "open_command"),
    "audit": ("audit", "audit_command"),
    "validate": ("validate", "validate_command"),
    "inventory": ("inventory", "inventory_command"),
    "forget": ("forget", "forget_command"),
    "locality": ("locality", "locality_command"),
    "demo": ("demo", "demo_command"),
    "export": ("export", "app"),
    "db": ("db", "app"),
}


# What people try first, and what it is called here.
_ELSEWHERE = {
    "list": "ls", "dir": "ls", "show": "info", "search": "find", "query": "sql", "scan": "ingest",
    "check": "audit", "stats": "inventory", "config": "db status", "status": "db status",
    "help": "--help", "version": "--version",
}  # fmt: skip


class _Commands(TyperGroup):
    """The commands, each made when it is asked for, with the exit codes that are promised."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        names: dict[str, Any] = dict.fromkeys(_COMMANDS)  # of which typer offers the nearest
        self.commands = names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        found = getattr(import_module(f".{module}", __package__), attribute)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(found)
            found = single
        made = typer.main.get_command(found)
        made.name = cmd_name
        return made

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and (meant := _ELSEWHERE.get(args[0])):
            ctx.fail(f"there is no command {args[0]!r}: see `xfelcat {meant}`")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except XfelcatError as error:
            say(f"xfelcat: {error}")
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            say(f"xfelcat: {error.filename or 'the output'} cannot be written: {error.strerror}")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what stdout holds back would fail again
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            say("xfelcat: interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="xfelcat",
    cls=_Commands,
    help="A SQL-indexed catalog and array loader for European XFEL run data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"xfelcat {version('xfelcat')}")
        raise typer.Exit


@app.callback()
def _all_commands(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """Read by typer: the options before any command."""


def main() -> None:
    """Run the command line of this process."""
    app()


if __name__ == "__main__":
    main()
