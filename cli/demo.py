"""``xfelcat demo`` and ``make demo``: a synthetic facility, and a tour of the commands with it.

1. ``demo_command`` writes the synthetic facility.
2. ``tour`` (``python -m xfelcat.cli.demo DIR``) writes it, ingests it, asks a question, opens a run
   and writes a report, each step under the command that a user would type.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .db import status_command
from .options import argument
from .output import Format, say, write_answer
from .progress import count, say_problems, showing_bar, showing_progress, size_text

if TYPE_CHECKING:
    from ..catalog.store.store import Store
    from ..loader.examples.facility import FacilitySummary

__all__ = ["demo_command", "tour"]

PROPOSAL = "SPB/202405/p900032"
XGM = "SA1_XTD2_XGM/XGM/DOOCS"


def demo_command(
    directory: Annotated[Path, argument("DIR", "The folder to write to.")],
    *,
    scale: Annotated[
        int, typer.Option("--scale", metavar="N", min=1, help="Multiply the trains of every run.")
    ] = 1,
) -> None:
    """Write a small synthetic facility: three proposals, with a few faulty runs."""
    summary = _write(directory, scale)
    say("wrong on purpose:")
    for fault in summary.faults:
        say(f"  {fault.check}  {fault.path}: {fault.description}")
    typer.echo(_sizes(summary))


def _sizes(summary: "FacilitySummary") -> str:
    what = f"{count(len(summary.runs), 'run')}, {count(summary.n_files, 'file')}"
    return f"{summary.root}: {what}, {size_text(summary.n_bytes)}"


def _write(directory: Path, scale: int = 1) -> "FacilitySummary":
    """Write the facility, with a bar on a terminal."""
    from ..loader.examples.facility import write_facility

    try:
        with showing_bar("writing") as show:
            return write_facility(directory, progress=show, scale=scale)
    except OSError as error:
        reason = error.strerror or str(error)
        raise typer.BadParameter(f"{directory} cannot be written: {reason}") from None


def tour(directory: Path) -> None:
    """Everything once, from nothing to an array, in ``directory``."""
    from ..catalog.store.store import Store

    facility, location = directory / "facility", directory / "catalog"
    _head("xfelcat demo", facility)
    typer.echo(_sizes(_write(facility)))
    store = Store(location)
    _ingest(store, facility)
    _find(store)
    _open_one(store, facility)
    _report(store, directory / "report.html")
    _head("xfelcat db status --catalog", location)
    status_command(location)
    typer.echo(f"\nGo on with:  export XFELCAT_CATALOG={shlex.quote(str(store.location))}")
    typer.echo(f"             export XFELCAT_DATA_ROOT={shlex.quote(os.path.abspath(facility))}")


def _head(command: str, *paths: Path) -> None:
    words = [command, *(shlex.quote(str(p)) for p in paths)]
    typer.secho(f"\n$ {' '.join(words)}", bold=True)
    sys.stdout.flush()


def _ingest(store: "Store", facility: Path) -> None:
    from ..catalog.ingest.ingest import ingest
    from .ingest import summary

    relative = os.path.relpath(store.location)
    _head("xfelcat ingest", facility, Path("--catalog"), Path(relative))
    with showing_progress() as progress:
        report = ingest(store, [str(facility)], progress=progress)
    say_problems(report.problems)
    for line in summary(report):
        typer.echo(line)


def _find(store: "Store") -> None:
    from ..catalog.questions.find import find
    from ..catalog.questions.question import Question

    _head(f"xfelcat find {XGM} beamPosition.ixPos --catalog", Path(os.path.relpath(store.location)))
    answer = find(store, Question.of(source=XGM, key="beamPosition.ixPos"))
    columns = ["proposal", "run", "data_class", "instrument", "source", "key", "unit", "trains"]
    write_answer(answer.table.select(columns), Format.TABLE)
    typer.echo(str(answer.provenance))


def _open_one(store: "Store", facility: Path) -> None:
    """One run from the catalog, and a table of the values of its XGM."""
    import pyarrow as pa

    from ..loader.open import RunDirectory

    path = facility / PROPOSAL / "raw" / "r0001"
    _say_python(f"run = RunDirectory({str(path)!r})")
    run = RunDirectory(path, catalog=store.location)
    counts = f"{count(len(run.train_ids), 'train')}, {count(len(run.all_sources), 'source')}"
    typer.echo(f"{counts}; opened from the catalog, without a look into a file")
    _say_python(f"run.get_dataframe([({XGM!r}, 'beamPosition.*')]).head(8)")
    frame = run.get_dataframe([(XGM, "beamPosition.*")]).head(8)
    write_answer(pa.Table.from_pandas(frame.reset_index(), preserve_index=False), Format.TABLE)


def _report(store: "Store", page: Path) -> None:
    """What an audit finds, as a page for the browser; it is not recorded."""
    from ..catalog.audit.audit import AuditOptions, audit
    from ..catalog.report.page import write_report
    from .audit import report_lines

    catalog = Path(os.path.relpath(store.location))
    _head("xfelcat audit --no-save --html", page, Path("--catalog"), catalog)
    found = audit(store, options=AuditOptions(save=False))
    for line in report_lines(found):
        typer.echo(line)
    n_bytes = write_report(store, path=page, found=found.findings.table)
    typer.echo(f"report written to {page}, {size_text(n_bytes)}")


def _say_python(code: str) -> None:
    typer.secho(f"\n>>> {code}", bold=True)


if __name__ == "__main__":
    tour(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
