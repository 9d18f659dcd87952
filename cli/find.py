"""Which runs have it? ``xfelcat find``: a question to the catalog alone."""

from typing import Annotated

import typer

from .options import (
    BelowOption,
    CatalogOption,
    ClassOption,
    CycleOption,
    DeviceClassOption,
    DtypeOption,
    FormatOption,
    HasNotOption,
    HasOption,
    InstrumentOption,
    MinTrainsOption,
    OutputOption,
    ProposalOption,
    RunOption,
    ShapeOption,
    SinceOption,
    TrainOption,
    UnitOption,
    UntilOption,
    WhereOption,
    make_question,
    open_store,
    say_provenance,
)
from .output import Format, choose_format, write_answer

__all__ = ["find_command"]

_ROWS_OF_RUNS = (
    *("proposal", "run", "data_class", "instrument", "cycle", "started_at", "trains", "files"),
    *("bytes", "path"),
)
_NOT_IN_TABLE = ("run_id", "section", "entries", "depth")


def find_command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Glob of source names, in quotes: '*XGM*', or 're:' and a regular expression; left"
            " out, rows are per run.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(
            help="Glob of keys: 'beamPosition.*'; left out, rows are per source.",
            show_default=False,
        ),
    ] = None,
    *,
    where: WhereOption = None,
    has: HasOption = None,
    has_not: HasNotOption = None,
    train: TrainOption = None,
    min_trains: MinTrainsOption = None,
    device_class: DeviceClassOption = None,
    dtype: DtypeOption = None,
    shape: ShapeOption = None,
    unit: UnitOption = None,
    proposal: ProposalOption = None,
    run: RunOption = None,
    instrument: InstrumentOption = None,
    cycle: CycleOption = None,
    data_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    below: BelowOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="Give this many rows at most.", metavar="N"),
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Find the runs that have a source, or a key of it, or that recorded some values.

    The globs are the shell's (*, ?, [xyz], [!xyz]), upper and lower case differ, and * also matches
    a slash. Timestamps of control keys are found only by a glob that ends in "timestamp".
    """
    from ..catalog.questions.find import find, find_runs, runs

    chosen = choose_format(format_, output)
    question = make_question(
        **{"source": source, "key": key, "device_class": device_class, "dtype": dtype},
        **{"shape": shape, "unit": unit, "where": where, "has": has, "has_not": has_not},
        **{"train": train, "min_trains": min_trains, "proposal": proposal, "run": run},
        **{"instrument": instrument, "cycle": cycle, "data_class": data_class},
        **{"since": since, "until": until, "below": below},
    )
    store = open_store(catalog)
    if source is not None:
        answer = find(store, question, limit=limit)
        hidden = [*_NOT_IN_TABLE]
        if not question.data.is_about_keys:
            hidden += ["dtype", "shape", "unit"]
    else:
        of_runs = find_runs if question.where else runs
        answer = of_runs(store, question).first(limit)
        shown = answer.table.column_names if question.where else _ROWS_OF_RUNS
        hidden = [n for n in answer.table.column_names if n not in shown or n in _NOT_IN_TABLE]
    table = answer.table.drop_columns(hidden) if chosen is Format.TABLE else answer.table
    write_answer(table, chosen, output)
    say_provenance(answer, store)
