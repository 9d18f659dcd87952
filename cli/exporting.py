"""How does it get into other tools? ``xfelcat export``: the catalog's views as Parquet."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BelowOption,
    CatalogOption,
    ClassOption,
    CycleOption,
    InstrumentOption,
    ProposalOption,
    RunOption,
    SinceOption,
    UntilOption,
    existing_store,
    make_filter,
    say_if_behind,
)
from .output import say
from .progress import count, showing_bar, size_text

__all__ = ["app"]

app = typer.Typer(help="Write what other tools read.", no_args_is_help=True)

ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


@app.command("parquet")
def parquet_command(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where to write; made if missing.", file_okay=False),
    ],
    views: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VIEW]...", help="Names of views; all of them if none is named."),
    ] = None,
    *,
    proposal: ProposalOption = None,
    run: RunOption = None,
    instrument: InstrumentOption = None,
    cycle: CycleOption = None,
    data_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    below: BelowOption = None,
    force: ForceOption = False,
    catalog: CatalogOption = None,
) -> None:
    """Write views of the catalog to Parquet files, DIR/VIEW.parquet.

    The views sources, keys and audits are about all runs: where runs are chosen, they are left out.
    """
    from ..catalog.errors import QueryError
    from ..catalog.questions.export_views import export_views

    where = make_filter(
        proposal=proposal,
        run=run,
        instrument=instrument,
        cycle=cycle,
        data_class=data_class,
        since=since,
        until=until,
        below=below,
    )
    store = existing_store(catalog)
    try:
        with showing_bar("exporting") as show:
            exported = export_views(
                store,
                directory,
                views or (),
                where,
                force=force,
                progress=lambda view, done, total: show(done, total, view),
            )
    except QueryError as error:
        raise typer.BadParameter(str(error)) from None
    for file in exported:
        typer.echo(f"{file.path}: {count(file.rows, 'row')}, {size_text(file.size)}")
    say(f"{count(len(exported), 'file')} written")
    say_if_behind(store)
