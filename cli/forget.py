"""``xfelcat forget``: runs taken out of the catalog."""

from typing import Annotated

import typer

from .options import CatalogOption, argument, flag, open_store
from .output import count, say


def forget_command(
    targets: Annotated[
        list[str],
        argument(
            "RUN",
            "p002012, p002012/raw, p002012/raw/r0001, or a path: the run there, or all below.",
        ),
    ],
    *,
    yes: Annotated[bool, flag("--yes", "Do not ask first.", "-y")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Delete all that is known of some runs from the catalog; no data file is touched."""
    from ..catalog.questions.find import find_known, forget

    store = open_store(catalog)
    known = find_known(store, targets)
    for run in known:
        say(f"{run.name}: {count(run.n_files, 'file')}, {run.path}")
    if not yes:
        typer.confirm(f"Forget {count(len(known), 'run')}?", err=True, abort=True)
    say(f"{count(forget(store, known), 'run')} forgotten")
