"""What is there? ``xfelcat ls`` on a facility, a proposal, a run or a file.

1. A file, or a run: what the loader's ``info`` says, from the catalog where it knows the run.
2. Anything above: a row per run of one proposal, or a row per proposal and data class; from the
   catalog if it knows a run there, else from directory listings, which know names and sizes only.
"""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import CatalogOption, open_store
from .output import Format, say, write_answer
from .progress import count, size_text

if TYPE_CHECKING:
    from ..catalog.questions.run_filter import RunFilter
    from ..catalog.store.store import Store

__all__ = ["ls_command"]

Row = dict[str, Any]


def ls_command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help="A facility, proposal, run or file; or p002012, p002012/raw, p002012/raw/r0001. "
            "Left out: all of the catalog.",
            show_default=False,
        ),
    ] = None,
    *,
    details: Annotated[
        list[str] | None,
        typer.Option(
            "--details",
            metavar="GLOB",
            help="Also list the keys of these sources of a run or file; may be repeated.",
            show_default=False,
        ),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Summarise a facility, a proposal, a run or a file."""
    from ..catalog.questions.run_filter import ALL_RUNS, RunFilter

    store = open_store(catalog)
    path = os.path.abspath(os.path.expanduser(target)) if target else ""
    if path and os.path.isfile(path):
        _show_file(path, store, details or ())
        return
    where = RunFilter.named(target) if target else ALL_RUNS
    known = _catalogued(store, where)
    is_run = bool(where.runs) or known[0]["realpath"] == os.path.realpath(path) if known else False
    if is_run and len(known) == 1:
        here = path if not where.runs and os.path.isdir(path) else known[0]["path"]
        _show_run(here, store, details or ())
    elif known:
        _show_runs(known)
    else:
        _show_directory(target or "", path, store, details or ())


def _catalogued(store: "Store", where: "RunFilter") -> list[Row]:
    """The catalogued runs, told with where they are known from."""
    from ..catalog.errors import CatalogNotFoundError
    from ..catalog.questions.queries import runs
    from ..catalog.store.encoding import from_text

    try:
        answer = runs(store, where)
    except CatalogNotFoundError:
        return []
    rows: list[Row] = answer.table.to_pylist()
    if rows:
        say(f"from the catalog: {answer.provenance}")
    for row in rows:
        row |= {name: from_text(row[name]) for name in ("path", "realpath")}
    return rows


def _show_directory(target: str, path: str, store: "Store", details: Any) -> None:
    """What directory listings tell; the catalog does not know anything there."""
    from ..catalog.errors import CatalogNotFoundError, RunNotFoundError
    from ..catalog.records import Problem
    from ..catalog.scan.discover import find_runs, list_run

    if not os.path.isdir(path):
        if not target and store.exists():
            say("the catalog holds no run")
            return
        if not target:
            raise CatalogNotFoundError(str(store.location))
        raise RunNotFoundError(
            f"{target} (a file, a directory, or the name of a catalogued run)",
            looked_at=[path, str(store.location)],
        )
    rows: list[Row] = []
    for found in find_runs([path]):
        if isinstance(found, Problem):
            say(f"{found.path}: {found.message}")
            continue
        if found.directory == path:
            _show_run(path, store, details)
            return
        stats = list_run(found.directory).values()
        identity = found.identity
        row = {name: getattr(identity, name) for name in ("instrument", "cycle", "data_class")}
        numbers: Row = {"proposal": None, "run": None}
        if not identity.is_loose:
            numbers = {"proposal": identity.proposal, "run": identity.run}
        sizes = [s.size for s in stats if s.size >= 0]
        rows.append(row | numbers | {"path": found.directory, "files": len(stats)})
        rows[-1]["bytes"] = sum(sizes)
    if not rows:
        raise RunNotFoundError(f"any run at or below {path}")
    say("from directory listings; `xfelcat ingest` would tell trains and times")
    _show_runs(rows)


def _show_runs(rows: list[Row]) -> None:
    """A row per run of one proposal, or per proposal and data class; loose runs always one each."""
    import pyarrow as pa

    from ..catalog.store.encoding import to_text

    proposals = {row["proposal"] for row in rows}
    lines = [_run_line(r) for r in rows] if len(proposals) == 1 else _proposal_lines(rows)
    names = list(lines[0])
    texts = [{n: to_text(v) if isinstance(v, str) else v for n, v in r.items()} for r in lines]
    table = pa.table({name: [line[name] for line in texts] for name in names})
    write_answer(table, Format.TABLE)
    size = size_text(sum(row["bytes"] or 0 for row in rows))
    n_files = sum(row["files"] for row in rows)
    say(f"{count(len(rows), 'run')}, {count(n_files, 'file')}, {size}")


def _run_line(row: Row) -> Row:
    name = "" if row["proposal"] is None else f"p{row['proposal']:06d}/{row['data_class']}"
    started = row.get("started_at")
    line: Row = {
        "run": f"{name}/r{row['run']:04d}" if name else row["path"],
        "files": row["files"],
        "size": size_text(row["bytes"] or 0),
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


def _proposal_lines(rows: list[Row]) -> list[Row]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        name = row["path"]
        if row["proposal"] is not None:
            name = f"{row['instrument']}/{row['cycle']}/p{row['proposal']:06d}"
        groups.setdefault((name, row["data_class"] or ""), []).append(row)
    lines = []
    for (name, data_class), members in groups.items():
        line: Row = {
            "proposal": name,
            "class": data_class,
            "runs": len(members),
            "files": sum(m["files"] for m in members),
            "size": size_text(sum(m["bytes"] or 0 for m in members)),
        }
        if "trains" in members[0]:
            starts = [m["started_at"] for m in members if m["started_at"]]
            line["trains"] = sum(m["trains"] or 0 for m in members)
            line["first"] = f"{min(starts):%Y-%m-%d}" if starts else ""
            line["last"] = f"{max(starts):%Y-%m-%d}" if starts else ""
        lines.append(line)
    return lines


def _show_run(path: str, store: "Store", details: Any) -> None:
    from ..loader.opening import RunDirectory

    # A run whose directory is gone is still told from the catalog.
    trust = None if os.path.isdir(path) else "never-stat"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = RunDirectory(path, catalog=_location(store), trust=trust, save=False)
    _show_collection(path, run, details, caught)


def _show_file(path: str, store: "Store", details: Any) -> None:
    from ..loader.opening import H5File

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = H5File(path, catalog=_location(store))
    _show_collection(path, file, details, caught)


def _location(store: "Store") -> Path | None:
    """Where to look first: nowhere special, if the user has no catalog yet."""
    return store.location if store.exists() else None


def _show_collection(path: str, collection: Any, details: Any, caught: Any) -> None:
    from ..loader.display import collection_info

    typer.echo(path)
    typer.echo(collection_info(collection, details))
    for warning in caught:
        say(f"warning: {warning.message}")
