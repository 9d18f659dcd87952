"""``xfelcat ls``: a facility, an instrument, a proposal, a run or a file.

What is above a run comes from the catalog if it knows a run there, else from directory listings,
which know names and sizes only.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.model.names import size_text
from .complete import completing
from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    LimitOption,
    OutputOption,
    Row,
    argument,
    catalogued_runs,
    named_runs,
    not_found,
    open_path,
    open_store,
    option,
)
from .output import Format, choose_format, count, say, write_rows

if TYPE_CHECKING:
    from ..catalog.store.store import Store


Sink = tuple[Format, Path | None]  # how and where rows go that are not for people


def ls_command(
    target: Annotated[
        str | None,
        argument(
            "PATH",
            "A facility, instrument, proposal, run or file; or SPB, SPB/202405, p002012, "
            "p002012/raw, p002012/raw/r0001. Left out: all of the catalog.",
            autocompletion=completing("named thing"),
        ),
    ] = None,
    *,
    details: Annotated[
        list[str] | None,
        option(
            "--details",
            "GLOB",
            "Also list the keys of these sources of a run or file; may be repeated.",
        ),
    ] = None,
    limit: LimitOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
    as_of: AsOfOption = None,
) -> None:
    """List a facility, an instrument, a proposal, a run or a file.

    With --format json, csv or parquet: a row per run of one proposal, else per proposal and data
    class; of a run or file a row per source and index group.
    """
    from ..catalog.model.errors import CatalogNotFoundError
    from ..catalog.model.names import from_text
    from ..catalog.questions.inventory import summarize

    chosen = choose_format(format_, output)
    sink = None if chosen is Format.TABLE and output is None else (chosen, output)
    store = open_store(catalog, as_of)
    path = os.path.abspath(os.path.expanduser(target)) if target else ""
    if path and os.path.isfile(path):
        _show_collection(path, open_path(path, store), details or (), sink)
        return
    where = named_runs(target)
    groups: list[Row] = []
    with suppress(CatalogNotFoundError):
        answer = summarize(store, where)
        if answer.table.num_rows:
            say("; ".join(["from the catalog", *answer.provenance.remarks()]))
        groups = answer.table.to_pylist()
    for group in groups:
        group["path"] = group["path"] and from_text(group["path"])
    n_runs = sum(group["runs"] for group in groups)
    known = catalogued_runs(where, store) if len({g["proposal"] for g in groups}) == 1 else []
    is_run = bool(where.runs) or known[0]["realpath"] == os.path.realpath(path) if known else False
    if is_run and n_runs == 1:
        here = path if not where.runs and os.path.isdir(path) else known[0]["path"]
        _show_collection(here, open_path(here, store), details or (), sink)
    elif known:
        _show(known, _run_line, sink, limit)
    elif groups:
        _show(groups, _group_line, sink, limit)
    else:
        _show_directory(target or "", path, store, details or (), sink, limit)


def _show_directory(
    target: str, path: str, store: "Store", details: Any, sink: Sink | None, limit: int | None
) -> None:
    """What directory listings show; the catalog has nothing there."""
    from ..catalog.model.errors import RunNotFoundError
    from ..catalog.model.records import Problem
    from ..catalog.scan.discover import find_runs, list_run

    if not os.path.isdir(path):
        if not target and store.exists():
            say("the catalog holds no run")
            return
        if not target:
            store.require()
        raise not_found(target, path, store)
    rows: list[Row] = []
    for found in find_runs([path]):
        if isinstance(found, Problem):
            say(f"{found.path}: {found.message}")
            continue
        if found.directory == path:
            _show_collection(path, open_path(path, store), details, sink)
            return
        stats = list_run(found.directory).values()
        of = found.identity
        rows.append(
            {
                "instrument": of.instrument,
                "cycle": of.cycle,
                "data_class": of.data_class,
                "proposal": None if of.is_loose else of.proposal,
                "run": None if of.is_loose else of.run,
                "path": found.directory,
                "files": len(stats),
                "bytes": sum(s.size for s in stats if s.size >= 0),
            }
        )
    if not rows:
        sentence = f"no run lies in or below {path}: none of its folders has a data file (*.h5)"
        raise RunNotFoundError(f"run below {path}", sentence=sentence)
    say("from directory listings; `xfelcat ingest` adds trains and times")
    if len({row["proposal"] for row in rows}) == 1:
        _show(rows, _run_line, sink, limit)
    else:
        _show(_grouped(rows), _group_line, sink, limit)


def _grouped(rows: list[Row]) -> list[Row]:
    """Rows of runs, summed up as the catalog sums up its own; loose runs always one each."""
    groups: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        parts = {name: row[name] for name in ("instrument", "cycle", "proposal", "data_class")}
        parts["path"] = row["path"] if row["proposal"] is None else None
        group = groups.setdefault(
            tuple(parts.values()), parts | {"runs": 0, "files": 0, "bytes": 0}
        )
        group["runs"] += 1
        group["files"] += row["files"]
        group["bytes"] += row["bytes"]
    return list(groups.values())


def _show(
    rows: list[Row], line: Callable[[Row], Row], sink: Sink | None, limit: int | None
) -> None:
    """A line per run, or per proposal and data class or loose run; rows for programs."""
    shown = rows[: limit or None]
    if sink is None:
        write_rows([line(row) for row in shown], Format.TABLE, limit=limit)
    else:
        write_rows(shown, *sink)
    size = size_text(sum(row["bytes"] or 0 for row in rows))
    n_files = sum(row["files"] for row in rows)
    n_runs = sum(row.get("runs", 1) for row in rows)
    say(f"{count(n_runs, 'run')}, {count(n_files, 'file')}, {size}")


def _run_line(row: Row) -> Row:
    name = "" if row["proposal"] is None else f"p{row['proposal']:06d}/{row['data_class']}"
    started = row.get("started_at")
    line: Row = {
        "run": f"{name}/r{row['run']:04d}" if name else row["path"],
        "files": row["files"],
        "bytes": row["bytes"] or 0,
    }
    if "trains" in row:
        lost = (row["files_missing"] or 0) + (row["files_unread"] or 0)
        line |= {
            "trains": row["trains"],
            "start (UTC)": f"{started:%Y-%m-%d %H:%M}" if started else "",
            "format": row["format_version"],
            "unread": lost,
            "depth": row["depth"],
        }
    return line


def _group_line(group: Row) -> Row:
    name = group["path"]
    if group["proposal"] is not None:
        name = f"{group['instrument']}/{group['cycle']}/p{group['proposal']:06d}"
    line: Row = {
        "proposal": name,
        "class": group["data_class"] or "",
        "runs": group["runs"],
        "files": group["files"],
        "bytes": group["bytes"] or 0,
    }
    if "trains" in group:
        first, last = group["first_data"], group["last_data"]
        line["trains"] = group["trains"]
        line["first"] = f"{first:%Y-%m-%d}" if first else ""
        line["last"] = f"{last:%Y-%m-%d}" if last else ""
    return line


def _show_collection(path: str, collection: Any, details: Any, sink: Sink | None) -> None:
    from ..loader.show.display import collection_info
    from ..loader.show.inspection import source_rows

    if sink is None:
        typer.echo(path)
        typer.echo(collection_info(collection.selected, details))
    else:
        write_rows(source_rows(collection.selected), *sink)
