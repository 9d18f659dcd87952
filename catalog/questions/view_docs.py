"""The documented views of the catalog, with their columns, units and examples.

They stand in the schema itself, in the comments on views and columns; units, and an example of each
view, are added here. No catalog is needed: every one of this schema version has the same views.

1. ``describe_views``: the views, in the order of the documentation.
2. ``columns_table``: the same as rows, one per column; ``schema_text``: the same for a terminal.
"""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..model.errors import QueryError, nearest
from ..store.schema import SchemaColumn, views

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EXAMPLES", "View", "ViewColumn", "columns_table", "describe_views", "schema_text"]


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column: its type in SQL, what it is counted in ("" for names, flags, ...), its meaning."""

    name: str
    type: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class View:
    """A view: what a row of it is, its columns, and a question with the statement that asks it."""

    name: str
    meaning: str
    columns: tuple[ViewColumn, ...]
    question: str
    example: str


# Question and statement; docs/views.md shows the same with what they give.
EXAMPLES = {
    "runs": (
        "How many runs and how much data has each instrument?",
        """
        SELECT instrument, data_class, count(*) AS runs, sum(bytes) / 1e6 AS MB
        FROM runs
        GROUP BY ALL
        ORDER BY ALL
        """,
    ),
    "run_locations": (
        "Which runs were seen at more than one place?",
        """
        SELECT proposal, run, data_class, count(*) AS places
        FROM run_locations
        GROUP BY ALL
        HAVING places > 1
        """,
    ),
    "files": (
        "The five largest files.",
        """
        SELECT proposal, run, name, size, trains
        FROM files
        ORDER BY size DESC, name
        LIMIT 5
        """,
    ),
    "file_changes": (
        "Raw files that changed after they were catalogued.",
        """
        SELECT proposal, run, name, mtime, replaced_at
        FROM file_changes
        WHERE data_class = 'raw'
        """,
    ),
    "sources": (
        "The sources that most runs have.",
        """
        SELECT source, section, runs
        FROM sources
        ORDER BY runs DESC, source
        LIMIT 5
        """,
    ),
    "keys": (
        "Keys of the cameras, and what they are like.",
        """
        SELECT key, dtype, shape, unit, runs
        FROM keys
        WHERE source GLOB '*CAM*'
          AND key NOT LIKE '%.timestamp'
        ORDER BY source, key, runs DESC
        """,
    ),
    "run_sources": (
        "The detector modules that have frames in fewer than 76 % of the trains of a run.",
        """
        SELECT runs.proposal, runs.run, runs.data_class, source, entries, s.trains,
            runs.trains AS of_trains
        FROM run_sources AS s
        JOIN runs USING (run_id)
        WHERE index_group = 'image'
          AND s.trains < 0.76 * runs.trains
        ORDER BY ALL
        LIMIT 3
        """,
    ),
    "run_keys": (
        "Runs in which a camera's images have a given shape.",
        """
        SELECT proposal, run, source, dtype, trains
        FROM run_keys
        WHERE key = 'data.image.pixels'
          AND shape = [32, 32]
        """,
    ),
    "train_ranges": (
        "Which runs hold train 2508780005?",
        """
        SELECT DISTINCT proposal, run, data_class
        FROM train_ranges
        WHERE 2508780005 BETWEEN first_train AND last_train
        """,
    ),
    "train_flags": (
        "Suspect trains.",
        """
        SELECT DISTINCT proposal, run, train_id
        FROM train_flags
        ORDER BY ALL
        """,
    ),
    "run_values": (
        "Runs in which a photon energy was set above 10 keV at the start.",
        """
        SELECT proposal, run, number AS energy
        FROM run_values
        WHERE source GLOB '*UND/DOOCS/ENERGY'
          AND key = 'actualPosition.value'
          AND data_class = 'raw'
          AND number > 10
        ORDER BY ALL
        LIMIT 5
        """,
    ),
    "key_profiles": (
        "Keys whose value moved during a run (none before `xfelcat profile` has read any).",
        """
        SELECT proposal, run, source, key, minimum, maximum, changes
        FROM key_profiles
        WHERE changes > 0
          AND NOT stale
        ORDER BY ALL
        LIMIT 5
        """,
    ),
    "findings": (
        "What is wrong at present, by check.",
        """
        SELECT check_id, severity, count(*) AS found, min(message) AS example
        FROM findings
        WHERE resolved_at IS NULL
          AND severity <> 'I'
        GROUP BY ALL
        ORDER BY ALL
        LIMIT 6
        """,
    ),
    "audits": (
        "The last audits, newest first (none before `xfelcat audit` has run).",
        """
        SELECT audit_id, started_at, seconds, runs, errors, warnings, new, resolved
        FROM audits
        ORDER BY audit_id DESC
        LIMIT 5
        """,
    ),
}

# What is counted in something else than pieces; times have their type.
_UNITS = {
    "bytes": "bytes",
    "size": "bytes",
    "seconds": "s",
    "number": "of the key",
    "minimum": "of the key",
    "maximum": "of the key",
    "mean": "of the key",
    "std": "of the key",
    "first": "of the key",
    "last": "of the key",
}


def describe_views(*names: str) -> list[View]:
    """The views of these names; all of them where none is named.

    Raises QueryError for a name that no view has.
    """
    known = views()
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise QueryError(f"there is no view {name!r}{hint} (there are {', '.join(known)})")
    return [
        View(
            name, known[name].meaning, tuple(map(_with_unit, known[name].columns)), *_example(name)
        )
        for name in names or known
    ]


def _with_unit(column: SchemaColumn) -> ViewColumn:
    unit = "UTC" if column.type == "TIMESTAMP" else _UNITS.get(column.name, "")
    return ViewColumn(column.name, column.type, unit, column.meaning)


def _example(view: str) -> tuple[str, str]:
    question, statement = EXAMPLES[view]
    return question, textwrap.dedent(statement).strip()


def columns_table(views: list[View]) -> "pa.Table":
    """A row per column: view, column, type, unit, meaning."""
    import pyarrow as pa

    names = ("view", "column", "type", "unit", "meaning")
    rows = [(v.name, c.name, c.type, c.unit, c.meaning) for v in views for c in v.columns]
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=names)


_NARROWEST, _WIDEST = 60, 100  # readable widths of a page of text


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
