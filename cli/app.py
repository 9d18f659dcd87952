"""The ``xfelcat`` program: its commands, and the exit codes of what goes wrong.

1. Each command lives in a module of its own, which imports what it needs when it runs: showing
   help loads neither a database nor numpy.
2. ``_Commands`` turns what goes wrong into an exit code: an XfelcatError is one line on stderr and
   1, Ctrl-C is 130, wrong usage is 2 (typer's own); a bug keeps its traceback.
3. ``main`` is the entry point.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..catalog.model.errors import XfelcatError
from .audit import audit_command
from .db import app as db_app
from .db import forget_command
from .demo import demo_command
from .diff import diff_command
from .export import app as export_app
from .find import find_command
from .info import info_command
from .ingest import ingest_command
from .inventory import inventory_command
from .ls import ls_command
from .open import locality_command, open_command
from .output import say
from .profile import profile_command
from .sql import sql_command
from .validate import validate_command
from .watch import watch_command

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """The commands, with the exit codes that are promised."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except XfelcatError as error:
            say(f"xfelcat: {error}")
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
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """Read by typer: the options before any command."""


app.command("ingest")(ingest_command)
app.command("watch")(watch_command)
app.command("find")(find_command)
app.command("sql")(sql_command)
app.command("profile")(profile_command)
app.command("ls")(ls_command)
app.command("info")(info_command)
app.command("diff")(diff_command)
app.command("open")(open_command)
app.command("audit")(audit_command)
app.command("validate")(validate_command)
app.command("inventory")(inventory_command)
app.command("forget")(forget_command)
app.command("locality")(locality_command)
app.command("demo")(demo_command)
app.add_typer(export_app, name="export")
app.add_typer(db_app, name="db")


def main() -> None:
    """Run the command line of this process."""
    app()


if __name__ == "__main__":
    main()
