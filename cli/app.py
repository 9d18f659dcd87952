"""The ``xfelcat`` program: its commands, and the exit codes of what goes wrong.

The module of a command is imported when the command runs: with all of them imported, a command
would take a third more CPU time before it begins. An XfelcatError or a full disk is one line and
exit code 1, Ctrl-C is 130, wrong usage is 2 (typer's own); a bug keeps its traceback.
"""

import errno
import os
import re
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..catalog.model.errors import XfelcatError
from .examples import EXAMPLES, START
from .output import say

# In the order of the help, by its panels: the module of the command, and its function or group.
_PANELS = {
    "Fill the catalog": {
        "demo": ("demo", "demo_command"),
        "ingest": ("ingest", "ingest_command"),
        "watch": ("watch", "watch_command"),
    },
    "Ask it": {
        "find": ("find", "find_command"),
        "values": ("values", "values_command"),
        "sql": ("sql", "sql_command"),
        "inventory": ("inventory", "inventory_command"),
        "ls": ("ls", "ls_command"),
        "info": ("info", "info_command"),
    },
    "Work with runs": {
        "open": ("open", "open_command"),
        "diff": ("diff", "diff_command"),
        "plot": ("plot", "plot_command"),
        "profile": ("profile", "profile_command"),
        "export": ("export", "app"),
    },
    "Check": {
        "audit": ("audit", "audit_command"),
        "waive": ("waive", "waive_command"),
        "validate": ("validate", "validate_command"),
        "locality": ("locality", "locality_command"),
    },
    "Look after the catalog": {
        "doctor": ("doctor", "doctor_command"),
        "db": ("db", "app"),
        "forget": ("forget", "forget_command"),
    },
}
_COMMANDS = {name: place for of_panel in _PANELS.values() for name, place in of_panel.items()}


# What people try first, and what it is called here.
_ELSEWHERE = {
    "list": "ls", "dir": "ls", "show": "info", "search": "find", "query": "sql", "scan": "ingest",
    "check": "audit", "stats": "inventory", "config": "doctor", "status": "db status",
    "help": "--help", "version": "--version",
}  # fmt: skip


class _Commands(TyperGroup):
    """The commands, each made when it is asked for, with the exit codes that are promised."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _dress(self, "")
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
        made: Any = typer.main.get_command(found)
        made.name = cmd_name
        made.rich_help_panel = next(p for p, names in _PANELS.items() if cmd_name in names)
        _dress(made, cmd_name)
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
            say(f"xfelcat: {error.worded('shell')}")
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            say(f"xfelcat: {error.filename or 'the output'} cannot be written: {error.strerror}")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what stdout holds back would fail again
            raise typer.Exit(1) from None
        except (KeyboardInterrupt, Exception) as error:
            if not _is_ctrl_c(error):
                raise
            say("xfelcat: interrupted")
            raise typer.Exit(130) from None

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line; wrong usage is one line, as any other error is."""
        is_alone = options.pop("standalone_mode", True)
        run = partial(super().main, *args, **{**options, "standalone_mode": False})
        if not is_alone:
            return run()
        try:
            code = run()
        except typer.Abort:
            say("xfelcat: aborted")
            code = 1
        except Exception as error:
            if not hasattr(error, "format_message"):  # a bug
                raise
            code = _say_wrong_usage(error)
        sys.exit(code if isinstance(code, int) else 0)


def _is_ctrl_c(error: BaseException | None) -> bool:
    """Also as what DuckDB makes of it, while it works and while it looks at an Arrow table.

    And as what went wrong while something was ended because of it, such as Dask's workers.
    """
    while error is not None:
        said = str(error).rstrip(": \n")
        if isinstance(error, KeyboardInterrupt) or said.endswith(
            ("Query interrupted", "failed: KeyboardInterrupt")
        ):
            return True
        error = error.__context__
    return False


def _say_wrong_usage(error: Any) -> int:
    """Report an error of the command line in one line; its exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: shown already
        return int(error.exit_code)
    message = error.format_message().removeprefix("Invalid value: ").rstrip(".")
    message = re.sub(r"^Invalid value for (.*?): ", r"\1: ", message)
    for pattern, words in _WORDS.items():
        message = re.sub(pattern, words, message)
    message = " ".join(message.split())
    where = error.ctx.command_path if getattr(error, "ctx", None) else "xfelcat"
    say(f"{where}: {message[:1].lower()}{message[1:]} (see `{where} --help`)")
    return int(error.exit_code)


# What typer hands through from the library that it parses values with.
_WORDS = {
    r"Value error, ": "",
    r"Input should be greater than or equal to (\S+)": r"must be \1 or more",
    r"Input should be less than or equal to (\S+)": r"must be \1 or less",
    r"Input should be a valid (\w+), unable to parse string as an? \w+": r"must be an \1",
    r"Input should be a valid (\w+).*": r"must be a \1",
    r"must be an number": "must be a number",
}


def _is_choice(parameter: Any) -> bool:
    described = getattr(parameter, "type_descriptor", None)  # of typer 0.29; older ones have types
    return bool(described and described.is_choice) or bool(
        getattr(getattr(parameter, "type", None), "choices", ())
    )


def _dress(command: Any, name: str) -> None:
    """Give a command its examples, and its parameters the names that our help has for them."""
    for child in getattr(command, "commands", {}).values():
        _dress(child, f"{name} {child.name}")
    if examples := EXAMPLES.get(name):
        command.epilog = "\n".join(("Examples:", "", *(f"  {line}" for line in examples)))
    for parameter in command.params:
        shown = parameter.metavar
        several = "..." * (parameter.nargs == -1)
        if parameter.param_type_name == "argument":
            used = shown if parameter.required else f"[{shown}]"
            parameter.get_usage_pieces = lambda ctx, text=used + several: [text]
            shown = None
        elif shown is None and _is_choice(parameter):
            continue  # they name themselves
        # typer 0.29 shows the type (<list[Path]>) in place of what we call the value.
        parameter.display_type_rich = lambda ctx, text=shown: text
    made = command.get_help_option

    def help_option(ctx: Any) -> Any:
        if (found := made(ctx)) is not None:
            found.display_type_rich = lambda ctx: None
        return found

    command.get_help_option = help_option


app = typer.Typer(
    name="xfelcat",
    epilog=START,
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
    catalog: Annotated[
        Path | None,
        typer.Option(
            "--catalog",
            "-c",
            metavar="DIR",
            help="The catalog for the command, unless that names one itself.",
        ),
    ] = None,
) -> None:
    """Read by typer: the options before any command."""
    if catalog is not None:
        os.environ["XFELCAT_CATALOG"] = str(catalog)


def main() -> None:
    """Run the command line of this process."""
    app()


if __name__ == "__main__":
    main()
