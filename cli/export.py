"""``xfelcat export``: views of the catalog as Parquet, keys of a run as references for Zarr."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog.model.names import size_text
from .complete import completing
from .options import (
    CatalogOption,
    RunArgument,
    argument,
    existing_store,
    flag,
    open_named,
    open_store,
    say_if_behind,
    with_question,
    wrong_usage,
)
from .output import count, say
from .progress import showing_bar

if TYPE_CHECKING:
    from ..catalog.questions.question import Question
    from ..loader.sourcedata import SourceData


app = typer.Typer(help="Write what other tools read.", no_args_is_help=True, add_completion=False)

ForceOption = Annotated[bool, flag("--force", "Replace files that exist.")]


@app.command("parquet")
@with_question("run", "having")
def parquet_command(
    directory: Annotated[
        Path, argument("DIR", "Where to write; made if missing.", file_okay=False)
    ],
    views: Annotated[
        list[str] | None,
        argument(
            "VIEW",
            "Names of views; all of them if none is named.",
            autocompletion=completing("view"),
        ),
    ] = None,
    *,
    question: "Question",
    force: ForceOption = False,
    catalog: CatalogOption = None,
) -> None:
    """Write views of the catalog to Parquet files, DIR/VIEW.parquet.

    The views sources, keys and audits are about all runs: where runs are chosen, they are left out.
    """
    from ..catalog.questions.export import export_views

    store = existing_store(catalog)
    with wrong_usage(), showing_bar("exporting") as show:
        exported = export_views(
            store,
            directory,
            views or (),
            question,
            force=force,
            progress=lambda view, done, total: show(done, total, f"exporting {view}"),
        )
    for file in exported:
        typer.echo(f"{file.path}: {count(file.rows, 'row')}, {size_text(file.size)}")
    say(f"{count(len(exported), 'file')} written")
    say_if_behind(store)


@app.command("zarr")
def zarr_command(
    run: RunArgument,
    source: Annotated[str, argument("SOURCE", "The name of a source.")],
    key: Annotated[
        str, argument("KEY", "A key of it, or a glob of keys of one index group: 'image.*'.")
    ],
    target: Annotated[Path, argument("FILE", "A file *.json, or a directory *.parquet.")],
    *,
    force: ForceOption = False,
    catalog: CatalogOption = None,
) -> None:
    """Write references to the data of a key, for tools that read Zarr.

    No data are copied: a chunk is the file, offset and size of its bytes. Where other tools cannot
    read these, or the chunks of several files do not line up, the error names file and reason.
    """
    from ..loader.output.references import write_zarr_references

    _, collection = open_named(run, open_store(catalog))
    keys = [collection[source, name] for name in _named_keys(collection[source], key)]
    with showing_bar("looking into files") as show:
        write_zarr_references(keys, target, force=force, progress=show)
    names = ", ".join(k.key for k in keys)
    typer.echo(f"{target}: {names}, {count(keys[0].shape[0], 'row')}")


def _named_keys(of_source: "SourceData", glob: str) -> list[str]:
    """The key of this name, else the keys that the glob matches; timestamps only if it ends so."""
    from ..loader.read.selected import matching_keys

    if glob in of_source:
        return [glob]
    found = matching_keys(of_source.selected, glob)
    groups = {name.partition(".")[0] for name in found if of_source.is_instrument}
    if len(groups) > 1:
        raise typer.BadParameter(
            f"{glob!r} matches keys of several index groups ({', '.join(sorted(groups))}):"
            f" name one, like '{min(groups)}.*'"
        )
    return found or [glob]  # for which asking says what there is
