"""``xfelcat open``: IPython with a run; ``xfelcat locality``: the files that are only on tape."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import CatalogOption, RunArgument, argument, open_named, open_store
from .output import say

__all__ = ["locality_command", "open_command"]


def open_command(run: RunArgument, *, catalog: CatalogOption = None) -> None:
    """Open a run in IPython: run, xfelcat and np are there to work with."""
    try:
        import IPython
    except ImportError:
        say(
            "xfelcat: IPython is not installed: install it with pip install 'xfelcat[notebook]',"
            " or open the run in Python with xfelcat.RunDirectory"
        )
        raise typer.Exit(1) from None
    path, collection = open_named(run, open_store(catalog), save=True)
    _start(IPython, path, collection)


def _start(ipython: Any, path: str, collection: Any) -> None:
    import importlib

    import numpy as np

    from ..loader.show.display import collection_info

    config = importlib.import_module("traitlets.config").Config()
    config.TerminalInteractiveShell.banner1 = (
        f"{path}\n{collection_info(collection.selected)}\n\n"
        "run is this run, xfelcat and np are there too; run.info() shows this again.\n"
    )
    package = importlib.import_module(__name__.partition(".")[0])
    namespace = {"run": collection, "xfelcat": package, "np": np}
    ipython.start_ipython(argv=[], user_ns=namespace, config=config)


def locality_command(
    path: Annotated[Path, argument("PATH", "A run directory, or one file.", exists=True)],
) -> None:
    """Report which files are on disk, only on tape, or unavailable.

    Lists the files that cannot be read at once; exits 1 if there are any.
    """
    from ..catalog.scan.locality import survey_locality

    survey = survey_locality(path)
    groups = {
        "only on tape": survey.on_tape,
        "unavailable": survey.unavailable,
        "of unknown locality": tuple(survey.unknown),
    }
    for what, paths in groups.items():
        for each in paths:
            answer = survey.unknown.get(each)
            typer.echo(f"{what}: {each}" + (f" ({answer})" if answer else ""))
    counts = [f"{len(survey.on_disk)} on disk"]
    counts += [f"{len(paths)} {what}" for what, paths in groups.items() if paths]
    say(", ".join(counts))
    if any(groups.values()):
        raise typer.Exit(1)
