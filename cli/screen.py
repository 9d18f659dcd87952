"""How does a table of any width stay legible on a terminal?

1. A column with one value in all rows is told once, above the table.
2. Paths are shown from where they begin to differ.
3. If that does not fit, columns go that only repeat a part of the path (instrument, data class).
4. What still does not fit is folded; where that would tear short values apart, each row becomes a
   block with a line per column.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_table"]

_UNFOLDED = 12  # columns no wider than this are never folded
_BETWEEN = 2  # spaces between columns

Cells = Sequence[str]
Column = tuple[str, Cells, bool]  # name, values, whether it goes to the right


def show_table(names: Cells, rows: Sequence[Cells], is_number: Sequence[bool]) -> None:
    """Write a table to the terminal at stdout; ``is_number`` says which columns go to the right."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    columns: list[Cells] = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    told, shown = _tell_apart(names, columns, is_number)
    if told:
        console.print(Text("all rows: " + ", ".join(told), style="dim"), soft_wrap=True)
    if not shown:
        return
    if _needed(shown) > console.width:
        shown = _without_repeats(shown)
    if _needed(shown, at_most=_UNFOLDED) > console.width:
        _show_blocks(console, shown)
    else:
        _show_grid(console, shown)


def _tell_apart(
    names: Cells, columns: Sequence[Cells], is_number: Sequence[bool]
) -> tuple[list[str], list[Column]]:
    """What is the same in all rows, in words, and the columns that differ."""
    told: list[str] = []
    shown: list[Column] = []
    for name, column, to_right in zip(names, columns, is_number, strict=True):
        if len(column) > 1 and len(set(column)) == 1:
            told += [f"{name} {column[0]}"] if column[0] else []
            continue
        start = _common_start(column) if name == "path" else ""
        told += [f"path below {start}"] if start else []
        shown.append((name, [text.removeprefix(start) for text in column], to_right))
    return told, shown


def _without_repeats(shown: list[Column]) -> list[Column]:
    """The columns but those that give a part of the path in every row."""
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


def _common_start(paths: Cells) -> str:
    """The folder that all paths lie in, with a slash at its end; "" where there is none."""
    if len(paths) < 2 or not all(path.startswith("/") for path in paths):
        return ""
    start = os.path.commonpath([os.path.dirname(path) for path in paths])
    return start + "/" if len(start) > 1 else ""


def _width(name: str, column: Cells) -> int:
    return max(map(len, (name, *column)))


def _show_grid(console: "Console", shown: Sequence[Column]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0))
    for name, column, to_right in shown:
        short = _width(name, column) <= _UNFOLDED
        justify = "right" if to_right else "left"
        grid.add_column(Text(name), overflow="fold", justify=justify, no_wrap=short)  # type: ignore[arg-type]
    for row in zip(*(column for _, column, _ in shown), strict=True):
        grid.add_row(*map(Text, row))
    console.print(grid)


def _show_blocks(console: "Console", shown: Sequence[Column]) -> None:
    from rich.text import Text

    width = max(len(name) for name, _, _ in shown)
    n_rows = len(shown[0][1])
    for number in range(n_rows):
        console.rule(f"row {number + 1} of {n_rows}", align="left", style="dim")
        for name, column, _ in shown:
            line = Text(f"{name:<{width}}  ", style="bold")
            line.append(column[number], style="not bold")
            console.print(line, soft_wrap=True)
