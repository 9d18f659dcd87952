"""``xfelcat demo`` and ``make demo``: a synthetic facility, and a tour of the commands with it.

``tour`` (``python -m xfelcat.cli.demo DIR``) writes the facility, ingests it, asks a question,
opens a run and writes a report, each step under the command that a user would type.
"""

import os
import shlex
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated

import typer

from ..catalog.model.names import size_text
from .options import argument, option
from .output import Format, count, say, write_answer
from .progress import showing_bar

PROPOSAL = "SPB/202405/p900032"
XGM = "SA1_XTD2_XGM/XGM/DOOCS"


def demo_command(
    directory: Annotated[Path, argument("DIR", "The folder to write to.")],
    *,
    scale: Annotated[int, option("--scale", "N", "Multiply the trains of every run.", min=1)] = 1,
) -> None:
    """Write a small synthetic facility: four proposals, with a few faulty runs."""
    from ..loader.examples.facility import PROPOSALS, write_facility

    known = {directory / folder for folder in PROPOSALS}
    for other in (*directory.glob("*/*/*"), *directory.glob("*.*")):
        if other not in known:
            raise typer.BadParameter(f"{directory} has other things in it: {other}; name a new one")
    try:
        with showing_bar("writing") as show:
            summary = write_facility(directory, progress=show, scale=scale)
    except OSError as error:
        reason = error.strerror or str(error)
        raise typer.BadParameter(f"{directory} cannot be written: {reason}") from None
    say("wrong on purpose:")
    for fault in summary.faults:
        say(f"  {fault.check}  {fault.path}: {fault.description}")
    what = f"{count(len(summary.runs), 'run')}, {count(summary.n_files, 'file')}"
    typer.echo(f"{summary.root}: {what}, {size_text(summary.n_bytes)}")


def tour(directory: Path) -> None:
    """Everything once, from nothing to an array, in ``directory``."""
    import pyarrow as pa

    from ..loader.open import RunDirectory

    facility, catalog = directory / "facility", os.path.relpath(directory / "catalog")
    report = directory / "report.html"
    _run("demo", facility)
    _run("ingest", facility, "--catalog", catalog)
    _run("find", XGM, "beamPosition.ixPos", "--catalog", catalog)
    path = facility / PROPOSAL / "raw" / "r0001"
    typer.secho(f"\n>>> run = RunDirectory({str(path)!r})", bold=True)
    run = RunDirectory(path, catalog=catalog)
    counts = f"{count(len(run.train_ids), 'train')}, {count(len(run.all_sources), 'source')}"
    typer.echo(f"{counts}; opened from the catalog, without a look into a file")
    typer.secho(f"\n>>> run.get_dataframe([({XGM!r}, 'beamPosition.*')]).head(8)", bold=True)
    frame = run.get_dataframe([(XGM, "beamPosition.*")]).head(8)
    write_answer(pa.Table.from_pandas(frame.reset_index(), preserve_index=False), Format.TABLE)
    _run("audit", "--no-save", "--fail-on", "never", "--html", report, "--catalog", catalog)
    _run("db", "status", "--catalog", catalog)
    typer.echo(f"\nGo on with:  export XFELCAT_CATALOG={shlex.quote(os.path.abspath(catalog))}")
    typer.echo(f"             export XFELCAT_DATA_ROOT={shlex.quote(os.path.abspath(facility))}")


def _run(*words: str | Path) -> None:
    """Run a command below the line that a user would type; its messages go to stdout, too."""
    from .app import app

    texts = [str(word) for word in words]
    typer.secho(f"\n$ {shlex.join(['xfelcat', *texts])}", bold=True)
    sys.stdout.flush()
    with redirect_stderr(sys.stdout):
        if code := app(texts, standalone_mode=False):
            raise SystemExit(code)


if __name__ == "__main__":
    tour(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
