"""``xfelcat values``: a table with a row per run and a column per source and key."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from .complete import completing
from .options import (
    AsOfOption,
    CatalogOption,
    FormatOption,
    LimitOption,
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
    source: Annotated[
        str,
        argument(
            "SOURCE",
            "Glob of source names, in quotes: '*MOTOR*'.",
            autocompletion=completing("source"),
        ),
    ],
    key: Annotated[
        str, argument("KEY", "Glob of keys: actualPosition.", autocompletion=completing("key"))
    ],
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
    limit: LimitOption = None,
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
        answer = values(store, question, profile).first(limit or None)
    hidden = ["run_id"] if chosen is Format.TABLE else []
    write_answer(answer.table.drop_columns(hidden), chosen, output, limit=limit)
    say_provenance(answer, store, question)
    if profile and not answer.table.num_rows:
        say("only keys that `xfelcat profile` has read have profiles")
