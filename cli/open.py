"""``xfelcat open``: a run in IPython."""

import typer

from .options import CatalogOption, RunArgument, open_named, open_store
from .output import say


def open_command(run: RunArgument, *, catalog: CatalogOption = None) -> None:
    """Open a run in IPython: run, xfelcat and np are there to work with."""
    import importlib

    import numpy as np

    from ..loader.open import with_alias_file
    from ..loader.show.display import collection_info

    try:
        import IPython
    except ImportError:
        say(
            "xfelcat: IPython is not installed: install it with pip install 'xfelcat[notebook]',"
            " or open the run in Python with xfelcat.RunDirectory"
        )
        raise typer.Exit(1) from None
    path, collection = open_named(run, open_store(catalog), save=True)
    collection = with_alias_file(collection, None)
    config = importlib.import_module("traitlets.config").Config()
    config.TerminalInteractiveShell.banner1 = (
        f"{path}\n{collection_info(collection.selected)}\n\n"
        "run is this run, xfelcat and np are there too; run.info() shows this again.\n"
    )
    package = importlib.import_module(__name__.partition(".")[0])
    namespace = {"run": collection, "xfelcat": package, "np": np}
    IPython.start_ipython(argv=[], user_ns=namespace, config=config)
