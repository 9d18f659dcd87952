"""``xfelcat find``: runs and what they have, from the catalog alone."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog.model.names import VALUE_ENDING, from_text
from .complete import completing
from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    LimitOption,
    OutputOption,
    Row,
    argument,
    open_store,
    option,
    say_provenance,
    with_question,
    wrong_usage,
)
from .output import Format, choose_format, fitted, readable, say, show_lines, styled, write_answer

if TYPE_CHECKING:
    import pyarrow as pa

    from ..catalog.questions.question import Question

_ROWS_OF_RUNS = (
    *("proposal", "run", "data_class", "started_at", "trains", "files", "bytes", "instrument"),
    *("cycle", "path"),
)
_NOT_IN_TABLE = ("run_id", "section", "entries", "depth", "started_at")


@with_question("run", "having", "data")
def find_command(
    source: Annotated[
        str | None,
        argument(
            "SOURCE",
            "Glob of source names, in quotes: '*XGM*', or 're:' and a regular expression; left"
            " out, rows are per run.",
            autocompletion=completing("source"),
        ),
    ] = None,
    key: Annotated[
        str | None,
        argument(
            "KEY",
            "Glob of keys: 'beamPosition.*'; left out, rows are per source.",
            autocompletion=completing("key"),
        ),
    ] = None,
    *,
    like: Annotated[
        str | None,
        option(
            "--like",
            "WORDS",
            "Instead, the sources and keys whose names are likest to some words: 'attenuator'.",
        ),
    ] = None,
    question: "Question",
    limit: LimitOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
    as_of: AsOfOption = None,
) -> None:
    r"""Find the runs that have a source, or a key of it, or that recorded some values.

    The globs are the shell's (*, ?, \[xyz], [!xyz]); upper and lower case differ; * also matches
    a slash. Timestamps of control keys are found only by a glob that ends in "timestamp".
    """
    from ..catalog.questions.find import find, find_runs, runs
    from ..catalog.questions.search import search

    chosen = choose_format(format_, output)
    store = open_store(catalog, as_of)
    if like is not None:
        if not question.data.is_empty:
            raise typer.BadParameter("--like looks for sources and keys: name none of them beside")
        with wrong_usage():
            answer = search(store, like, question, limit=20 if limit is None else limit)
        write_answer(answer.table, chosen, output, limit=limit)
        say_provenance(answer, store)
        if not answer.table.num_rows:
            say(f"no source or key is named like {like!r}")
        return
    if source is not None:
        answer = find(store, question, limit=limit or None)
        hidden = [*_NOT_IN_TABLE]
        if not question.data.is_about_keys:
            hidden += ["dtype", "shape", "unit"]
    else:
        of_runs = find_runs if question.where else runs
        answer = of_runs(store, question).first(limit or None)
        shown = answer.table.column_names if question.where else _ROWS_OF_RUNS
        hidden = [n for n in answer.table.column_names if n not in shown]
        hidden += [n for n in ("run_id", "depth") if n not in hidden]
    table = answer.table.drop_columns(hidden) if chosen is Format.TABLE else answer.table
    if source is not None and chosen is Format.TABLE and output is None and sys.stdout.isatty():
        show_lines(_summary(answer.table), limit)
    else:
        write_answer(readable(table, chosen), chosen, output, limit=limit)
    say_provenance(answer, store, question)


def _summary(table: "pa.Table") -> Iterator[str]:
    """What was found, for people: a line per source and key, below it the runs that have it.

    Modules of a detector of which the same runs have the same are one.
    """
    from ..catalog.model.names import number_ranges
    from ..loader.show.display import detector_groups

    found: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    for row in table.to_pylist():
        name = from_text(row["path"])
        if row["proposal"] is not None:
            name = f"p{row['proposal']:06d} {row['data_class']:<4}"
        shape = "×".join(map(str, row["shape"] or ()))
        kind = " ".join(filter(None, (row["dtype"], shape and f"({shape})", row["unit"])))
        of = (row["source"], row["key"].removesuffix(VALUE_ENDING), kind)
        found.setdefault(of, {}).setdefault(name, []).append(row)
    alike: dict[tuple[str, ...], list[str]] = {}
    for (source, key, kind), by_proposal in sorted(found.items()):
        lines = (_runs_line(name, rows) for name, rows in by_proposal.items())
        alike.setdefault((key, kind, *lines), []).append(source)
    for (key, kind, *runs_of), sources in alike.items():
        detectors, others = detector_groups(sources)
        modules = (f" ({number_ranges(numbers)})" for numbers in detectors.values())
        for source, which in [*zip(detectors, modules, strict=True), *((s, "") for s in others)]:
            yield f"{styled(f'{source} {key}', bold=True)}{which}  {kind}".rstrip()
            for line in runs_of:
                yield from fitted(line, 17)


def _runs_line(name: str, rows: list[Row]) -> str:
    """Runs of a proposal and data class, or one run outside a facility, and how many trains."""
    from ..catalog.model.names import number_ranges

    numbers = [row["run"] for row in rows if row["run"] is not None]
    trains = [row["trains"] for row in rows if row["trains"] is not None] or ["-"]
    n_trains = f"{min(trains)} to {max(trains)}" if len(set(trains)) > 1 else f"{trains[0]}"
    return f"  {name}{f'  r{number_ranges(numbers)}' * bool(numbers)}: {n_trains} trains"
