"""``xfelcat sql``: one statement, or a prompt for many.

A statement comes from the command line, a file or stdin; on a terminal, without any, ``prompt``
asks for one after the other.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..catalog.questions.sql import MEMORY_LIMIT, TIME_LIMIT, check_memory_limit, run_sql
from .complete import completing
from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    LimitOption,
    OutputOption,
    argument,
    flag,
    open_store,
    option,
    say_provenance,
    wrong_usage,
)
from .output import Format, choose_format, say, write_answer


def sql_command(
    text: Annotated[
        str | None,
        argument(
            "STATEMENT",
            "One SQL statement, in quotes; left out, it is read from stdin, or asked for on a "
            "terminal. With --schema, the name of a view.",
            autocompletion=completing("view"),
        ),
    ] = None,
    *,
    schema: Annotated[
        bool,
        flag("--schema", "Show the views, their columns, types, units and meaning, and examples."),
    ] = False,
    file: Annotated[
        Path | None,
        option("--file", "FILE", "Read the statement from this file.", exists=True, dir_okay=False),
    ] = None,
    time_limit: Annotated[
        float, option("--time-limit", "SECONDS", "Stop a query after this; 0 for never.", min=0)
    ] = TIME_LIMIT,
    memory_limit: Annotated[
        str,
        option(
            "--memory-limit",
            "SIZE",
            "Stop a query that needs more memory than this; 0 for DuckDB's own limit.",
        ),
    ] = MEMORY_LIMIT,
    limit: LimitOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Ask the catalog in SQL (DuckDB's dialect), reading only.

    Without a statement, on a terminal, it asks for one after the other.
    """
    chosen = choose_format(format_, output)
    if schema:
        _show_schema([] if text is None else text.split(), chosen, output)
        return
    seconds, memory = time_limit or None, None
    if memory_limit.strip() != "0":
        with wrong_usage():
            memory = check_memory_limit(memory_limit)
    if text is None and file is None and sys.stdin.isatty():
        if not sys.stdout.isatty():
            raise typer.BadParameter('there is no statement; try xfelcat sql "SELECT * FROM runs"')
        from .prompt import run_prompt

        run_prompt(open_store(catalog, as_of), seconds, memory, chosen)
        return
    if text is not None and file is not None:
        raise typer.BadParameter("give the statement or --file, not both")
    if file is None:
        statement = sys.stdin.read() if text is None or text == "-" else text
    else:
        try:
            statement = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read: {error}") from None
    store = open_store(catalog, as_of)
    answer = run_sql(store, statement, time_limit=seconds, memory_limit=memory)
    write_answer(answer.first(limit or None).table, chosen, output, limit=limit)
    say_provenance(answer, store)


def _show_schema(names: list[str], chosen: Format, output: Path | None) -> None:
    from ..catalog.questions.sql import columns_table, describe_views, schema_text

    with wrong_usage():
        views = describe_views(*names)
    if chosen is not Format.TABLE:
        write_answer(columns_table(views), chosen, output)
    elif output is None:
        typer.echo(schema_text(views))
    else:
        try:
            output.write_text(schema_text(views) + "\n", encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from None
        say(f"{len(views)} views written to {output}")
