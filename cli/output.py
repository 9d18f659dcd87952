"""Messages, rows of answers and tables on a terminal, in a pipe or in a file.

Messages go to stderr, so that stdout has nothing but the answer. ``show_table`` fits a table to the
width of a terminal; anywhere else a table has every column, and nothing is cut.
"""

import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from ..catalog.config import load_settings
from ..catalog.model.names import size_text

if TYPE_CHECKING:
    import pyarrow as pa


# Lines of a table on a terminal, unless a limit is given: what one scrolls through, not what fills
# the memory of the terminal.
_LINES_ON_TERMINAL = 100
_NULL = "-"  # a missing value in a table; an empty text is empty
_SIZE = re.compile(r"(?:.*_)?bytes")
_TO_RIGHT = {b"align": b"right"}
SEVERITY_COLOURS = {"E": "red", "W": "yellow", "I": "cyan"}

Converter = Callable[[Any], Any]


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    MARKDOWN = "markdown"
    PARQUET = "parquet"
    PATHS = "paths"


def say(message: str = "") -> None:
    """Write a line to stderr."""
    typer.echo(message, err=True)


def styled(text: str, **style: Any) -> str:
    """A text for stdout in a style (``fg``, ``bold``, ``dim``), if that is a terminal that has any.

    ``NO_COLOR`` turns it off.
    """
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if is_plain or not sys.stdout.isatty() else typer.style(text, **style)


def fitted(line: str, indent: int) -> Iterator[str]:
    """A line for stdout: on a terminal as several that fit it, the further ones indented."""
    if not sys.stdout.isatty():
        yield line
        return
    width = max(shutil.get_terminal_size().columns, 2 * indent)
    yield from textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,  # what is copied stays whole
        break_on_hyphens=False,
        drop_whitespace=True,
    )


class _Held(io.StringIO):
    """What is written for a terminal, kept until it is known how long it is."""

    def isatty(self) -> bool:
        return True


@contextmanager
def paging() -> Iterator[None]:
    """What is written to stdout here: by the pager, if it is longer than the terminal it goes to.

    Commands that read an answer in a pipe or a file get it as it is.
    """
    pager = shlex.split(load_settings().pager)
    is_one = pager != ["cat"] and pager and shutil.which(pager[0])
    if not (is_one and sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    held = _Held()
    try:
        with redirect_stdout(held):
            yield
    finally:
        text = held.getvalue()
        if text.count("\n") < shutil.get_terminal_size().lines:
            typer.echo(text, nl=False)
        else:
            _page(text, pager)


def _page(text: str, command: Sequence[str]) -> None:
    # As git has it: colours pass, and what fits after all stays on the screen.
    environ = {"LESS": "FRX"} | os.environ
    sys.stdout.flush()
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environ) as process:
        with suppress(BrokenPipeError, KeyboardInterrupt):  # whoever has seen enough leaves it
            process.communicate(text.encode("utf-8", "surrogateescape"))
        while process.returncode is None:
            with suppress(KeyboardInterrupt):  # Ctrl-C is for the pager
                process.wait()


def choose_format(given: Format | None, output: Path | None) -> Format:
    """The format asked for, else the one of the ending of the output file, else a table.

    Raises BadParameter for Parquet without a file, if it would go to a terminal.
    """
    chosen = given or Format.TABLE
    if given is None and output is not None:
        ending = output.suffix.lower().removeprefix(".")
        named = {f.value: f for f in Format if f is not Format.PATHS} | {"md": Format.MARKDOWN}
        chosen = named.get(ending, Format.TABLE)
    if chosen is Format.PARQUET and output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is not for a terminal: name a file with --output FILE")
    return chosen


def write_answer(
    table: "pa.Table",
    chosen: Format,
    output: Path | None = None,
    *,
    limit: int | None = 0,
    rest: str = "--limit 0",
) -> None:
    """Write the rows to a file, which is replaced once all is written, or to stdout.

    ``limit`` None lets a table on a terminal end after some hundred lines; ``rest`` is what gives
    the others. With any other limit the rows are what is wanted.

    Raises BadParameter where the format cannot hold the rows, or the file cannot be written.
    """
    if output is None:
        if chosen is Format.TABLE and sys.stdout.isatty():
            with paging():
                _write_to_terminal(table, rest if limit is None else "")
            return
        _write(table, chosen, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    from ..catalog.questions.export import replacing_file

    try:
        with replacing_file(output) as file:
            _write(table, chosen, file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise typer.BadParameter(f"{output} cannot be written: {reason}") from None
    say(f"{table.num_rows} rows written to {output}")


def write_rows(
    rows: Sequence[dict[str, Any]],
    chosen: Format,
    output: Path | None = None,
    *,
    names: Sequence[str] = (),
    limit: int | None = 0,
) -> None:
    """Write rows that are dicts; ``names`` are the columns where there may be no row."""
    import pyarrow as pa

    from ..catalog.model.names import to_text

    def column(name: str) -> "pa.Array":
        values = [to_text(v) if isinstance(v := row[name], str) else v for row in rows]
        return pa.array(values, pa.string() if all(v is None for v in values) else None)

    table = pa.table({n: column(n) for n in names or (rows[0] if rows else ())})
    write_answer(readable(table, chosen), chosen, output, limit=limit)


def count(n: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{n} {noun}{'s' * (n != 1)}"


def readable(table: "pa.Table", chosen: Format) -> "pa.Table":
    """In a table, sizes with their unit for columns of bytes; for programs, what there is."""
    import pyarrow as pa

    if chosen not in (Format.TABLE, Format.MARKDOWN):
        return table
    for at, name in enumerate(table.column_names):
        if _SIZE.fullmatch(name) and pa.types.is_integer(table.schema.field(at).type):
            sizes = [None if n is None else size_text(n) for n in table.column(at).to_pylist()]
            field = pa.field(name.replace("bytes", "size"), pa.string(), metadata=_TO_RIGHT)
            table = table.set_column(at, field, pa.array(sizes, pa.string()))
    return table


def value_text(value: Any, at_most: int | None, *, one_line: bool = True) -> str | None:
    """A value of a run (a number, text, array or list) as text; None for none."""
    import numpy as np

    if value is None:
        return None
    if isinstance(value, list):
        text = f"({', '.join(map(str, value))})"
    else:
        text = str(value.tolist() if isinstance(value, np.ndarray) else value)
    if one_line:
        text = text.replace("\n", "\\n")
    if at_most is not None and len(text) > at_most:
        text = f"{text[: at_most - 3]}..."
    return text


def _write(table: "pa.Table", chosen: Format, file: IO[bytes]) -> None:
    if chosen is Format.PARQUET:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.write_table(table, file)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise typer.BadParameter(f"Parquet cannot hold these rows: {error}") from None
        return
    writers: dict[Format, Callable[[pa.Table], Iterator[str]]] = {
        Format.TABLE: _table_lines,
        Format.JSON: _json_lines,
        Format.JSONL: _json_objects,
        Format.CSV: partial(_csv_lines, separator=","),
        Format.TSV: partial(_csv_lines, separator="\t"),
        Format.MARKDOWN: _markdown_lines,
        Format.PATHS: _path_lines,
    }
    for line in writers[chosen](table):
        # Paths may hold bytes that are no UTF-8; they leave as they came.
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")


def _write_to_terminal(table: "pa.Table", rest: str) -> None:
    """Write a table fitted to the terminal; not all of a long one, if ``rest`` gives the others."""
    sys.stdout.flush()
    to_right = [_is_to_right(field) for field in table.schema]
    n_shown = _LINES_ON_TERMINAL if rest else table.num_rows

    def cells(n_rows: int) -> list[tuple[str, ...]]:
        return list(_rows(table.slice(0, n_rows), _short_cell_converter))

    rows = cells(n_shown)
    lines_per_row = show_table(table.column_names, rows, to_right, at_most=n_shown)
    if rest and (left := table.num_rows - max(n_shown // lines_per_row, 1)) > 0:
        typer.echo(_more(left, rest))


def _more(n_left: int, rest: str) -> str:
    """``… 3 125 more (--limit 0)``."""
    return styled(f"… {f'{n_left:,}'.replace(',', ' ')} more ({rest})", dim=True)


def show_lines(lines: Iterable[str], limit: int | None) -> None:
    """Write lines that are an answer to a terminal; not all of many, unless there is a limit."""
    several = list(lines)
    n_shown = _LINES_ON_TERMINAL if limit is None else len(several)
    with paging():
        for line in several[:n_shown]:
            typer.echo(line)
        if left := len(several[n_shown:]):
            typer.echo(_more(left, "lines with --limit 0"))


def _rows(
    table: "pa.Table", converter: Callable[["pa.DataType"], Converter | None]
) -> Iterator[tuple[Any, ...]]:
    """Row by row, as Python values; a few thousand at a time are in memory as such.

    ``converter`` chooses for the type of a column what its values go through; None for nothing.
    """
    converters = [converter(kind) for kind in table.schema.types]
    for batch in table.to_batches(max_chunksize=4096):
        columns = [column.to_pylist() for column in batch.columns]
        yield from zip(
            *(
                values if convert is None else [convert(v) for v in values]
                for values, convert in zip(columns, converters, strict=True)
            ),
            strict=True,
        )


def _is_plain(kind: "pa.DataType") -> bool:
    """Whether every format takes the values of this type as they are: integers, texts, booleans."""
    import pyarrow as pa

    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _path_lines(table: "pa.Table") -> Iterator[str]:
    """Each path once, in the order of the rows."""
    from ..catalog.model.names import from_text

    if "path" not in table.column_names:
        raise typer.BadParameter("--format paths needs a column named path among the rows")
    for path in table.column("path").unique().to_pylist():
        if path is not None:
            yield from_text(str(path))


def _json_objects(table: "pa.Table") -> Iterator[str]:
    """An object per row."""
    names = table.column_names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise typer.BadParameter(f"two columns are named {twice[0]!r}: rename one with AS")
    rows = _rows(table, lambda kind: None if _is_plain(kind) else _json_value)
    return (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows)


def _json_lines(table: "pa.Table") -> Iterator[str]:
    """One array, an object per line."""
    objects = _json_objects(table)
    if (pending := next(objects, None)) is None:
        yield "[]"
        return
    yield "["
    for following in objects:
        yield f"{pending},"
        pending = following
    yield from (pending, "]")


def _json_value(value: Any) -> Any:
    """The value as JSON can hold it: times as ISO text, bytes in hexadecimal, NaN as null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_json_value(v) for v in value]
        case dict():
            return {str(k): _json_value(v) for k, v in value.items()}
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def _csv_lines(table: "pa.Table", separator: str) -> Iterator[str]:
    """Separated values, with a header; arrays as JSON.

    Nothing for a missing value, two quotes for an empty text, as databases read and write them.
    """
    special = re.compile(f'[{separator}"\r\n]|^$')

    def cell(value: Any) -> str:
        plain = _json_value(value)
        if plain is None:
            return ""
        is_nested = isinstance(plain, list | dict)
        text = json.dumps(plain, ensure_ascii=False) if is_nested else str(plain)
        return '"{}"'.format(text.replace('"', '""')) if special.search(text) else text

    yield separator.join(map(cell, table.column_names))
    for row in _rows(table, lambda _: cell):
        yield separator.join(row)


def _markdown_lines(table: "pa.Table") -> Iterator[str]:
    """A table of Markdown, for a logbook or an issue."""

    def line(cells: Iterable[str]) -> str:
        escaped = (cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells)
        return f"| {' | '.join(escaped)} |"

    yield line(table.column_names)
    yield line("---:" if _is_to_right(field) else "---" for field in table.schema)
    yield from map(line, _rows(table, _short_cell_converter))


def _cell_converter(kind: "pa.DataType") -> Converter:
    """What makes the cells of a table from the values of a column, with all digits they hold."""
    import pyarrow as pa

    if _is_plain(kind):
        return lambda value: _NULL if value is None else str(value)
    if pa.types.is_float32(kind):
        return lambda value: _NULL if value is None else f"{value:.8g}"
    return _cell


def _short_cell_converter(kind: "pa.DataType") -> Converter:
    """The same for a terminal, where people read: numbers have six digits."""
    import pyarrow as pa

    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return lambda value: _NULL if value is None else short_number(float(value))
    if pa.types.is_timestamp(kind):
        return lambda value: _NULL if value is None else value.isoformat(" ", "seconds")
    return _cell_converter(kind)


def short_number(value: float) -> str:
    """A number to six digits; all digits of the whole part of a large one."""
    return f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"


def _cell(value: Any) -> str:
    match value:
        case None:
            return _NULL
        case float():
            return f"{value:.15g}"
        case list():
            return f"({', '.join(_cell(v) for v in value)}{',' * (len(value) == 1)})"
        case datetime():
            return value.isoformat(" ", "auto")
    return str(_json_value(value))


def _is_to_right(field: "pa.Field") -> bool:
    import pyarrow as pa

    of = field.type
    is_number = pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of)
    return bool(is_number or field.metadata == _TO_RIGHT)


def _table_lines(table: "pa.Table") -> Iterator[str]:
    """Aligned columns as wide as their longest value."""
    rows = [tuple(table.column_names), *_rows(table, _cell_converter)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    for line in aligned(rows, [_is_to_right(field) for field in table.schema]):
        # A line break inside a value would look like another row.
        yield line.replace("\n", "\\n")


def aligned(rows: Sequence[Sequence[str]], to_right: Sequence[bool]) -> Iterator[str]:
    """The rows as lines with columns as wide as their longest cell, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, to_right, strict=True)
        )
        yield "  ".join(cells).rstrip()


# A table of any width on a terminal:
#
# 1. A column with one value in all rows is written once, above the table.
# 2. Paths are shown from where they begin to differ.
# 3. If that does not fit, what repeats another column goes: a path beside proposal, run and data
#    class, which name the run as every command takes it; else what is a part of the path.
# 4. What still does not fit is folded; where that would tear short values apart, each row becomes a
#    block with a line per column.

_UNFOLDED = 12  # columns no wider than this are never folded
_BETWEEN = 2  # spaces between columns

Cells = Sequence[str]
Column = tuple[str, Cells, bool]  # name, values, whether it goes to the right


def show_table(
    names: Cells, rows: Sequence[Cells], is_number: Sequence[bool], *, at_most: int | None = None
) -> int:
    """Write a table to the terminal at stdout; ``is_number`` says which columns go to the right.

    Where rows become blocks, so few are shown that they have ``at_most`` lines, but one at least.
    Returns the lines of a row.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    columns: list[Cells] = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    same, shown = _split_columns(names, columns, is_number)
    if same:
        console.print(Text("all rows: " + ", ".join(same), style="dim"), soft_wrap=True)
    if not shown:
        return 1
    if _needed(shown) > console.width:
        shown = _without_repeats(names, shown, console.width)
    rows = list(zip(*(column for _, column, _ in shown), strict=True))
    if _needed(shown, at_most=_UNFOLDED) > console.width:
        width = max(len(name) for name, _, _ in shown)
        n_lines = len(shown) + 1
        for number, row in enumerate(rows[: at_most and max(at_most // n_lines, 1)]):
            console.rule(f"row {number + 1}", align="left", style="dim")
            for (name, _, _), text in zip(shown, row, strict=True):
                line = Text(f"{name:<{width}}  ", style="bold")
                line.append(text, style="not bold")
                console.print(line, soft_wrap=True)
        return n_lines
    grid = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0))
    for name, column, to_right in shown:
        short = _width(name, column) <= _UNFOLDED
        justify: Any = "right" if to_right else "left"
        grid.add_column(Text(name), overflow="fold", justify=justify, no_wrap=short)
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(grid)
    return 1


def _split_columns(
    names: Cells, columns: Sequence[Cells], is_number: Sequence[bool]
) -> tuple[list[str], list[Column]]:
    """What is the same in all rows, in words, and the columns that differ."""
    same: list[str] = []
    shown: list[Column] = []
    for name, column, to_right in zip(names, columns, is_number, strict=True):
        if len(column) > 1 and len(set(column)) == 1:
            same += [f"{name} {column[0]}"] if column[0] not in ("", _NULL) else []
            continue
        start = common_start(column) if name == "path" else ""
        same += [f"path below {start}"] if start else []
        shown.append((name, [text.removeprefix(start) for text in column], to_right))
    return same, shown


def _without_repeats(names: Cells, shown: list[Column], width: int) -> list[Column]:
    """The columns without what another one repeats in every row, as far as that is needed."""
    of_run = next((column for name, column, _ in shown if name == "run"), ())
    if {"proposal", "run", "data_class", "path"} <= {*names} and _NULL not in of_run:
        for implied in ("path", "instrument", "cycle"):
            if _needed(shown) > width:
                shown = [column for column in shown if column[0] != implied]
        return shown
    paths = next((column for name, column, _ in shown if name == "path"), ())
    parts = [set(path.split("/")) for path in paths]
    return [
        (name, column, to_right)
        for name, column, to_right in shown
        if not parts or not all(text in of for text, of in zip(column, parts, strict=True))
    ]


def _needed(shown: Sequence[Column], at_most: int = 10**6) -> int:
    """How wide the table is, with columns no wider than ``at_most``."""
    widths = [min(_width(name, column), at_most) for name, column, _ in shown]
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def common_start(paths: Cells) -> str:
    """The folder that all paths lie in, with a slash at its end; "" where there is none."""
    if len(paths) < 2 or not all(path.startswith("/") for path in paths):
        return ""
    start = os.path.commonpath([os.path.dirname(path) for path in paths])
    return start + "/" if len(start) > 1 else ""


def _width(name: str, column: Cells) -> int:
    return max(map(len, (name, *column)))
