"""``xfelcat locality``: files of a directory that are only on tape."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .options import argument
from .output import say


def locality_command(
    path: Annotated[Path, argument("PATH", "A run (a directory, or 2012/34), or one file.")],
) -> None:
    """Report which files are on disk, only on tape, or unavailable.

    Lists the files that cannot be read at once; exits 1 if there are any.
    """
    from ..catalog.scan.locality import survey_locality
    from ..loader.open import run_place

    place = run_place(path)
    if not os.path.lexists(place):
        raise typer.BadParameter(f"there is no {place}: name a run directory, a file, or 2012/34")
    survey = survey_locality(place)
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
