"""Users' own SQL on the documented views, and what is wrong with a statement that cannot be run.

The views and their columns come from the comments in the schema itself; an example of each view is
added here. A statement runs on the merged file, on a connection that is limited in
memory and locked up (the file is attached read-only; other files and settings are out of reach).
DuckDB's messages have several lines and name tables that users do not see: ``explain`` turns them
into what is wrong and what to do, with the nearest names there are.
"""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.errors import Hint, QueryError, did_you_mean, nearest
from ..store.connections import Cursor, OpenDatabase
from ..store.schema import SchemaView, views
from ..store.store import Store
from ..store.versions import is_text
from .execute import Answer, Table, fetch
from .filters import provenance


@dataclass(frozen=True, slots=True)
class View(SchemaView):
    """A documented view, and a question with the statement that asks it."""

    question: str
    example: str


# View, question and statement; docs/views.md shows the same with what they give.
_EXAMPLES = """\
runs: How many runs and how much data has each instrument?
SELECT instrument, data_class, count(*) AS runs, sum(bytes) / 1e6 AS MB
FROM runs
GROUP BY ALL
ORDER BY ALL

run_locations: Which runs were seen at more than one place?
SELECT proposal, run, data_class, count(*) AS places
FROM run_locations
GROUP BY ALL
HAVING places > 1

run_metadata: Which versions of Karabo wrote the runs?
SELECT value AS karabo, count(*) AS runs, min(proposal) AS first_proposal
FROM run_metadata
WHERE name = 'karaboFramework'
GROUP BY ALL
ORDER BY ALL

files: The five largest files.
SELECT proposal, run, name, size, trains
FROM files
ORDER BY size DESC, name
LIMIT 5

file_changes: Raw files that changed after they were catalogued.
SELECT proposal, run, name, mtime, replaced_at
FROM file_changes
WHERE data_class = 'raw'

sources: The sources that most runs have.
SELECT source, section, runs
FROM sources
ORDER BY runs DESC, source
LIMIT 5

keys: Keys of the cameras, and what they are like.
SELECT key, dtype, shape, unit, runs
FROM keys
WHERE source GLOB '*CAM*'
  AND key NOT LIKE '%.timestamp'
ORDER BY source, key, runs DESC

run_sources: The detector modules that have frames in fewer than 76 % of the trains of a run.
SELECT runs.proposal, runs.run, runs.data_class, source, entries, s.trains,
    runs.trains AS of_trains
FROM run_sources AS s
JOIN runs USING (run_id)
WHERE index_group = 'image'
  AND s.trains < 0.76 * runs.trains
ORDER BY ALL
LIMIT 3

run_keys: Runs in which a camera's images have a given shape.
SELECT proposal, run, source, dtype, trains
FROM run_keys
WHERE key = 'data.image.pixels'
  AND shape = [32, 32]

train_ranges: Which runs hold train 2508780005?
SELECT DISTINCT proposal, run, data_class
FROM train_ranges
WHERE 2508780005 BETWEEN first_train AND last_train

train_flags: Suspect trains.
SELECT DISTINCT proposal, run, train_id
FROM train_flags
ORDER BY ALL

run_values: Runs in which a photon energy was set above 10 keV at the start.
SELECT proposal, run, number AS energy
FROM run_values
WHERE source GLOB '*UND/DOOCS/ENERGY'
  AND key = 'actualPosition.value'
  AND data_class = 'raw'
  AND number > 10
ORDER BY ALL
LIMIT 5

key_profiles: Keys whose value moved during a run (none before `xfelcat profile` has read any).
SELECT proposal, run, source, key, minimum, maximum, changes
FROM key_profiles
WHERE changes > 0
  AND NOT stale
ORDER BY ALL
LIMIT 5

findings: What is wrong at present, by check.
SELECT check_id, severity, count(*) AS found, min(message) AS example
FROM findings
WHERE resolved_at IS NULL
  AND severity <> 'I'
GROUP BY ALL
ORDER BY ALL
LIMIT 6

audits: The last audits, newest first (none before `xfelcat audit` has run).
SELECT audit_id, started_at, seconds, runs, errors, warnings, new, resolved
FROM audits
ORDER BY audit_id DESC
LIMIT 5
"""
EXAMPLES: dict[str, tuple[str, str]] = {}
for _block in _EXAMPLES.strip().split("\n\n"):
    _head, _, _statement = _block.partition("\n")
    _view, _, _question = _head.partition(": ")
    EXAMPLES[_view] = (_question, _statement)


def describe_views(*names: str) -> list[View]:
    """The views of these names; all of them where none is named.

    Raises QueryError for a name that no view has.
    """
    known = views()
    for name in names:
        if name not in known:
            near = did_you_mean(nearest(name, known))
            raise QueryError(f"there is no view {name!r}{near} (there are {', '.join(known)})")
    found = (known[name] for name in names or known)
    return [View(v.name, v.meaning, v.columns, *EXAMPLES[v.name]) for v in found]


def columns_table(views: list[View]) -> Table:
    """A row per column: view, column, type, unit, meaning."""
    import pyarrow as pa

    names = ("view", "column", "type", "unit", "meaning")
    rows = [(v.name, c.name, c.type, c.unit, c.meaning) for v in views for c in v.columns]
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=names)


_NARROWEST, _WIDEST = 60, 100  # readable widths of a page of text


def schema_text(views: Sequence[View]) -> str:
    """The views for reading: columns with type, unit and meaning, and an example of each."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    return "\n\n".join("\n".join(_view_lines(view, width)) for view in views)


def _view_lines(view: View, width: int) -> Iterator[str]:
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


TIME_LIMIT = 300.0
MEMORY_LIMIT = "4 GB"
_READING = {"SELECT", "EXPLAIN"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT])B", re.IGNORECASE)
_SIZE_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_LEAST_MEMORY = 50 * 10**6  # DuckDB does nothing at all with much less


def run_sql(
    store: Store,
    text: str,
    parameters: Sequence[Any] = (),
    *,
    time_limit: float | None = TIME_LIMIT,
    memory_limit: str | int | None = MEMORY_LIMIT,
) -> Answer:
    """The rows that one reading statement gives on the views over all runs (``Catalog.sql``).

    Memory is limited for what the database works with and for the rows that it gives; None is no
    limit. The provenance is that of all runs of the catalog.

    Raises QueryError for anything but one SELECT (or DESCRIBE, SHOW, SUMMARIZE, EXPLAIN, VALUES), a
    statement that cannot be run, or one that needs more time or memory than it may.
    """
    import duckdb

    size_limit = None if memory_limit is None else check_memory_limit(memory_limit)
    database = store.open_merged(memory_limit=size_limit or 0)
    cursor = _among_views(database)
    _check_statement(cursor, text)
    try:
        table = fetch(cursor, text, parameters, time_limit=time_limit, size_limit=size_limit)
    except TimeoutError:
        raise QueryError(
            f"the query took longer than {time_limit:g} s and was stopped;"
            " ask about fewer runs, or raise the time limit"
        ) from None
    except (MemoryError, duckdb.OutOfMemoryException):
        size = f"{(size_limit or 0) / 1e9:g} GB"
        raise QueryError(
            f"the query needed more than {size} of memory and was stopped;"
            " ask about fewer runs or for fewer rows, or raise the memory limit"
        ) from None
    except duckdb.Error as error:
        raise explain(text, str(error)) from None
    return Answer(table, provenance(database.cursor(), store))


def _among_views(database: OpenDatabase) -> Cursor:
    """A cursor for which the documented views are all there is, unless one names the file.

    The tables below the views have names much like theirs (``run``, ``runs``), and may change. The
    views are made anew in the database in memory that has the file attached: in 15 ms, once.
    """
    cursor = database.new_cursor()
    cursor.execute("USE memory")
    if not database.memo.get(_among_views):
        made = (f"CREATE VIEW IF NOT EXISTS {view} AS FROM xfelcat.{view};" for view in views())
        cursor.execute("\n".join(made))
        database.memo[_among_views] = True
    return cursor


def check_memory_limit(limit: str | int) -> int:
    """The bytes of ``500 MB`` or ``4GB`` (decimal units from kB to TB), or of a number of them.

    Raises QueryError for anything else, and for less than DuckDB can work with.
    """
    if isinstance(limit, str):
        m = _SIZE.fullmatch(limit.strip())
        if m is None:
            raise QueryError(f"{limit!r} is no size: write 500 MB or 4 GB")
        size = int(float(m[1]) * _SIZE_UNITS[m[2].lower()])
    else:
        size = limit
    if size < _LEAST_MEMORY:
        raise QueryError(f"a memory limit of {limit} is too small: 50 MB is the least")
    return size


def _check_statement(cursor: Cursor, text: str) -> None:
    """Raise QueryError unless the text is one reading statement."""
    import duckdb

    if not is_text(text):
        raise QueryError("the statement is not UTF-8")
    try:
        statements = cursor.extract_statements(text)
    except duckdb.Error as error:
        raise explain(text, str(error)) from None
    kinds = [str(s.type).rpartition(".")[2] for s in statements]
    if kinds == ["EXPLAIN"] and "copy" in _keywords(text):  # EXPLAIN ANALYZE does it
        kinds = ["COPY"]
    refused = [kind for kind in kinds if kind not in _READING]
    if not kinds:
        raise QueryError("there is no SQL statement; write one, like SELECT * FROM runs")
    if refused and refused[0] in ("MULTI", "CREATE") and "pivot" in text.casefold():
        raise QueryError("PIVOT must say which values become columns: PIVOT ... ON x IN (a, b)")
    if refused:
        raise QueryError(
            f"{refused[0].replace('_', ' ')} is refused: SQL only reads the catalog"
            " (SELECT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN);"
            " `xfelcat ingest` and `xfelcat forget` change it"
        )
    if len(kinds) > 1:
        raise QueryError(f"{len(kinds)} statements at once; run one at a time")


def _keywords(text: str) -> set[str]:
    """The words of a statement that are no names, values or comments, in lower case."""
    import duckdb

    of_text = text.encode()
    starts = [at for at, kind in duckdb.tokenize(text) if kind == duckdb.token_type.keyword]
    return {m[0].decode().lower() for at in starts if (m := re.match(rb"\w+", of_text[at:]))}


# An unknown column is compared with the columns of the view it was asked of, or of the views that
# the statement names. Where only another view has such a column, the message names that view.

_COLUMNS = Hint(
    "DESCRIBE VIEW lists the columns of a view",
    "`xfelcat sql --schema VIEW` lists the columns of a view",
    ".schema VIEW lists the columns of a view",
)
_VIEWS = Hint(
    "SHOW TABLES lists the views", "`xfelcat sql --schema` lists the views", ".schema lists them"
)
_NO_COLUMN = (
    re.compile(r'[Cc]olumn (?:"(?P<q>[^"]+)"|(?P<n>\S+)).*? (?:not found|does not exist)'),
    re.compile(
        r'(?:Values list|Table) "(?P<of>[^"]+)" does not have a column named '
        r'(?:"(?P<q>[^"]+)"|(?P<n>\S+))'
    ),
)
_UNGROUPED = re.compile(r'column "?(?P<n>[^"\s]+)"? must appear in the GROUP BY')


def explain(text: str, error: str) -> QueryError:
    """One sentence on why the statement ``text`` ended with ``error``, and what to do."""
    known = {view.name: [column.name for column in view.columns] for view in views().values()}
    first = error.partition("\n")[0]
    for pattern in _NO_COLUMN:
        if m := pattern.search(first):
            of = m.groupdict().get("of") or ""
            return _no_column(m["q"] or m["n"], of, text, error, known)
    if m := _UNGROUPED.search(first):
        of_named = [c for view in _named_views("", text, known) for c in known[view]]
        is_alias = re.search(rf'\bAS\s+"?{re.escape(m["n"])}\b', text, re.IGNORECASE)
        if m["n"].casefold() not in of_named and not is_alias:
            return _no_column(m["n"], "", text, error, known)
    if m := re.search(r'Referenced table "(.+?)" not found', first):
        near = nearest(m[1].rpartition(".")[2], _quoted_after("Candidate tables", error))
        return QueryError(f"nothing after FROM is named {m[1]!r}{did_you_mean(near)}", _VIEWS)
    if m := re.search(r'Table with name "?(.+?)"? does not exist', first):
        if re.search(r"[/.*]", m[1]):
            message = f"{m[1]!r} is no view: SQL reads the catalog and no other file"
        else:
            message = f"there is no view {m[1]!r}{did_you_mean(nearest(m[1], known))}"
        return QueryError(message, _VIEWS)
    if m := re.search(r"Function with name \"?(\w+)\"? does not exist", first):
        near = nearest(m[1], _quoted_after("Did you mean", error))
        return QueryError(f"there is no function {m[1]!r}{did_you_mean(near)}{_line(error)}")
    if m := re.search(r"Cannot access (?:file|directory) \"(.+?)\"", error):
        return QueryError(f"the statement reads {m[1]!r}: SQL reads the catalog and no other file")
    if error.startswith("Permission Error") or "external" in first:
        return QueryError(
            "the statement reaches outside: SQL reads the catalog and no other file or extension"
        )
    kind, _, rest = error.partition(": ")
    message = rest.partition("\n\n")[0].partition("Candidate functions")[0]
    message = " ".join(message.split()) or kind
    return QueryError(f"SQL: {message.rstrip('.')}{_line(error)}")


def _no_column(
    name: str, of: str, text: str, error: str, views: dict[str, list[str]]
) -> QueryError:
    """A column that is not there: of ``of`` (a view or an alias), or of any view in the text."""
    asked = _named_views(of, text, views)
    columns = [c for view in asked for c in views[view]]
    columns += _quoted_after("Candidate bindings", error)
    hint = f"; a text is written in single quotes, {name!r}" if f'"{name}"' in text else ""
    near = nearest(name, columns)
    hint += did_you_mean(near)
    if not near and (near := nearest(name, (c for cs in views.values() for c in cs), limit=1)):
        having = ", ".join(view for view, cs in views.items() if near[0] in cs)
        hint += f"; {near[0]!r} is one of {having}"
    return QueryError(f"there is no column {name!r}{hint}", _COLUMNS)


def _named_views(of: str, text: str, views: Iterable[str]) -> list[str]:
    """The view of this name or alias, else all views that the statement names."""
    named = [view for view in views if re.search(rf"\b{view}\b", text, re.IGNORECASE)]
    if of.casefold() in named:
        return [of.casefold()]
    alias = rf'\s+(?:AS\s+)?"?{re.escape(of)}\b'
    aliased = [v for v in named if of and re.search(rf"\b{v}{alias}", text, re.IGNORECASE)]
    return aliased or named


def _quoted_after(label: str, error: str) -> list[str]:
    """The names in double quotes on the line of a message that begins with a label."""
    m = re.search(rf"{label}:? (.*)", error)
    return re.findall(r'"([^"]+)"', m[1]) if m else []


def _line(error: str) -> str:
    """The line of the statement that an error message quotes."""
    m = re.search(r"^LINE (\d+): (.*)$", error, re.MULTILINE)
    return f" (in line {m[1]}: {m[2].strip()})" if m else ""
