"""``xfelcat waive``: findings that are known and accepted, until some day."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .complete import completing
from .options import CatalogOption, argument, existing_store, option
from .output import count, say


def waive_command(
    check: Annotated[
        str,
        argument(
            "CHECK",
            "The ID of a check (F05), or the beginning of several.",
            autocompletion=completing("check"),
        ),
    ],
    *,
    until: Annotated[str, option("--until", "DAY", "The last day on which it holds: 2027-01-31.")],
    reason: Annotated[str, option("--reason", "TEXT", "Why the findings are accepted.")],
    proposal: Annotated[
        list[str] | None,
        option(
            "--proposal",
            "P",
            "Only this proposal; may be repeated.",
            "-p",
            autocompletion=completing("proposal"),
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        option("--run", "R", "Only this run, or range of runs (5-10); may be repeated.", "-r"),
    ] = None,
    data_class: Annotated[
        str | None, option("--data-class", "CLASS", "Only this data class (raw, proc, ...).", "-d")
    ] = None,
    source: Annotated[
        str | None,
        option("--source", "GLOB", "Only findings about such a source, or other place."),
    ] = None,
    waivers: Annotated[
        Path | None,
        option("--waivers", "FILE", "File of waivers; else waivers.yml in the catalog."),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Accept findings of a check until some day, with the reason.

    Adds an entry to the file of waivers, which stays as it is otherwise. Audits count what is
    waived, and do not fail for it.
    """
    from ..catalog.audit.waivers import add_waiver, count_waived
    from ..catalog.model.errors import ConfigError

    store = existing_store(catalog)
    path = waivers or store.location / "waivers.yml"
    given: dict[str, Any] = {
        "check": check,
        "proposal": proposal,
        "runs": run,
        "data_class": data_class,
        "source": source,
        "reason": reason,
        "expires": until,
    }
    try:
        waiver = add_waiver(path, {name: value for name, value in given.items() if value})
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"{path}: {waiver}")
    say(f"{count(count_waived(store, waiver), 'open finding')} in the catalog waived by it")
