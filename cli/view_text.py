"""How are the documented views shown in a terminal?"""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..catalog.questions.view_docs import View

__all__ = ["schema_text"]

_NARROWEST, _WIDEST = 60, 100


def schema_text(views: "Sequence[View]", width: int | None = None) -> str:
    """The views for reading: columns with type, unit and meaning, and an example of each.

    ``width`` is that of the terminal unless given, at least 60 and at most 100 characters.
    """
    columns = width or shutil.get_terminal_size().columns
    width = min(max(columns, _NARROWEST), _WIDEST)
    return "\n\n".join("\n".join(_view_lines(view, width)) for view in views)


def _view_lines(view: "View", width: int) -> Iterator[str]:
    yield from textwrap.wrap(f"{view.name}: {view.meaning}", width, subsequent_indent="  ")
    yield ""
    heads = [("column", "type", "unit"), *((c.name, c.type, c.unit) for c in view.columns)]
    widths = [max(map(len, column)) for column in zip(*heads, strict=True)]
    meanings = ["meaning", *(c.meaning for c in view.columns)]
    for head, meaning in zip(heads, meanings, strict=True):
        cells = "  ".join(cell.ljust(size) for cell, size in zip(head, widths, strict=True))
        start = f"  {cells}  "
        # Narrow names, wide meanings: what does not fit goes on below the meaning's beginning.
        lines = textwrap.wrap(meaning, max(width - len(start), 20)) or [""]
        yield (start + lines[0]).rstrip()
        yield from (" " * len(start) + line for line in lines[1:])
    yield ""
    yield from textwrap.wrap(
        f"Example: {view.question}", width, initial_indent="  ", subsequent_indent="  "
    )
    yield ""
    yield from (f"    {line}" for line in view.example.splitlines())
