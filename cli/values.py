"""``xfelcat values``: a table with a row per run and a column per source and key."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    OutputOption,
    argument,
    open_store,
    option,
    say_provenance,
    with_question,
    wrong_usage,
)
from .output import Format, choose_format, say, write_answer

if TYPE_CHECKING:
    from ..catalog.questions.question import Question


@with_question("run", "having")
def values_command(
    source: Annotated[str, argument("SOURCE", "Glob of source names, in quotes: '*MOTOR*'.")],
    key: Annotated[str, argument("KEY", "Glob of keys: actualPosition.")],
    *,
    profile: Annotated[
        str | None,
        option(
            "--profile",
            "FUNCTION",
            "Instead of the value as the run began, what `xfelcat profile` found during the run: "
            "min, max, mean, std, first, last, changes, nans or entries.",
        ),
    ] = None,
    question: "Question",
    limit: Annotated[
        int | None, option("--limit", "N", "Give this many runs at most.", "-n", min=1)
    ] = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
    as_of: AsOfOption = None,
) -> None:
    """Compare what control values were in each run: a row per run, a column per source and key.

    The values are those of RUN, when the run began. Runs without any of them are left out.
    """
    from ..catalog.questions.filters import DataFilter
    from ..catalog.questions.values import values

    chosen = choose_format(format_, output)
    store = open_store(catalog, as_of)
    with wrong_usage():
        question = replace(question, data=DataFilter.of(source=source, key=key))
        answer = values(store, question, profile).first(limit)
    hidden = ["run_id"] if chosen is Format.TABLE else []
    write_answer(answer.table.drop_columns(hidden), chosen, output)
    say_provenance(answer, store, question)
    if profile and not answer.table.num_rows:
        say("only keys that `xfelcat profile` has read have profiles")
