"""What is it like? ``xfelcat info``: facility, instrument, proposal, run, source or key.

1. ``info_command`` finds what is meant, and says what its rows are for other programs.
2. Above a run, the catalog sums everything up (``summaries``); a proposal's sources are told with
   the share of its runs that have them.
3. A run and what is in it are told from what opening knows (``inspection``); how fresh and how
   deep that is, the catalog's row of the run says.
"""

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .info_text import (
    catalog_lines,
    freshness_text,
    key_lines,
    run_lines,
    source_lines,
    value_text,
)
from .naming import catalogued_run, named_runs, open_named
from .options import CatalogOption, FormatOption, OutputOption, open_store, say_if_behind
from .output import Format, choose_format, say, write_answer

if TYPE_CHECKING:
    from ..catalog.questions.run_filter import RunFilter
    from ..catalog.store.store import Store

__all__ = ["info_command"]

Row = dict[str, Any]


def info_command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="SPB, SPB/202405, p002012, p002012/raw, a run (p002012/raw/r0034, 2012/34), or a "
            "path; left out: all of the catalog.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(
            help="Glob of sources of the run: their keys and values.", show_default=False
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(help="A key of the source: its data, file by file.", show_default=False),
    ] = None,
    *,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Describe a facility, an instrument, a proposal, a run, a source or a key.

    With --format json, csv or parquet: rows of what it consists of.
    """
    chosen = choose_format(format_, output)
    store = open_store(catalog)
    where = named_runs(target)
    if target is None or (source is None and _is_several(store, target, where)):
        lines, rows = _of_catalog(store, where)
        say_if_behind(store)
    elif source is None:
        lines, rows = _of_run(target, store)
    elif key is None:
        lines, rows = _of_sources(target, source, store)
    else:
        lines, rows = _of_key(target, source, key, store)
    if chosen is Format.TABLE and output is None:
        for line in lines:
            typer.echo(line)
    else:
        _write(rows, chosen, output)


def _is_several(store: "Store", target: str, where: "RunFilter") -> bool:
    """Whether the catalog knows runs there, and more than the one that is meant."""
    from ..catalog.errors import CatalogNotFoundError
    from ..catalog.questions.summaries import count_runs

    if where.runs or catalogued_run(target, store) is not None:
        return False
    try:
        return count_runs(store, where) > 0
    except CatalogNotFoundError:
        return False


def _of_catalog(store: "Store", where: "RunFilter") -> tuple[Iterator[str], list[Row]]:
    from ..catalog.questions.summaries import open_findings, source_presence, summarize

    answer = summarize(store, where)
    say(str(answer.provenance))
    groups: list[Row] = answer.table.to_pylist()
    presence: list[Row] = []
    if len({group["proposal"] for group in groups}) == 1:
        presence = source_presence(store, where).table.to_pylist()
    lines = catalog_lines(groups, presence, open_findings(store, where))
    return lines, presence or groups


def _of_run(target: str, store: "Store") -> tuple[Iterator[str], list[Row]]:
    from ..loader.inspection import source_rows

    path, run = open_named(target, store)
    rows = source_rows(run)
    fresh = freshness_text(catalogued_run(path, store))
    return run_lines(path, run, rows, fresh), rows


def _of_sources(target: str, glob: str, store: "Store") -> tuple[Iterator[str], list[Row]]:
    from ..catalog.errors import SourceNameError
    from ..loader.inspection import key_rows, sources_of

    path, run = open_named(target, store)
    names = [glob] if glob in run.all_sources else []
    names = names or [name for name in sources_of(run) if fnmatch.fnmatchcase(name, glob)]
    if not names:
        raise SourceNameError(glob, run.all_sources)
    fresh = freshness_text(catalogued_run(path, store))
    rows = {name: key_rows(run[name]) for name in names}
    flat = [
        {"source": name, **row, "run_value": value_text(row["run_value"], None)}
        for name in names
        for row in rows[name]
    ]
    return source_lines(path, run, rows, fresh), flat


def _of_key(target: str, source: str, key: str, store: "Store") -> tuple[Iterator[str], list[Row]]:
    from ..catalog.questions.summaries import key_profile
    from ..loader.inspection import file_rows

    path, run = open_named(target, store)
    wanted = run[source, key]
    rows = file_rows(wanted)
    known = catalogued_run(path, store)
    profile = known and key_profile(store, known["run_id"], wanted.source, wanted.key)
    return key_lines(path, run, wanted, rows, freshness_text(known), profile), rows


def _write(rows: list[Row], chosen: Format, output: Path | None) -> None:
    import pyarrow as pa

    names = list(rows[0]) if rows else []
    write_answer(pa.table({n: [row[n] for row in rows] for n in names}), chosen, output)
