"""Questions over all runs of the catalog: which runs there are, and what they have.

Every question takes a ``Question`` and gives an ``Answer``. Statements are SQL on the tables of the
merged file; every value is bound. The methods of ``Catalog`` of these names document the columns.
``find_known`` looks into the shards, which are the truth; nothing but ``forget`` deletes facts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from os import PathLike, fspath

from ..model.errors import QueryError, RunNotFoundError, nearest
from ..model.identity import RunIdentity, shard_of
from ..model.names import from_text
from ..model.records import Depth
from ..store.connections import Cursor, rows
from ..store.store import Store
from .execute import Answer, Sql, all_of, ask, in_reading_order, limited, sql
from .filters import ALL_RUNS, UNIT, RunFilter, provenance, trains_at_least
from .question import EVERYTHING, OF_RUN, OF_RUN_SQL, Question, Selection, select_runs

RUN_NAMES = "run.run_id, run.proposal, run.run, run.data_class"


def runs(store: Store, question: Question = EVERYTHING) -> Answer:
    """The runs, in the order proposal, data class, run; loose runs last."""
    with store.read_merged() as cursor:
        return _runs(cursor, store, question, _select_by_data(cursor, question))


def find_runs(store: Store, question: Question) -> Answer:
    """The runs that fulfil ``question.where``, with the values of its operands, in run order."""
    if question.where is None:
        raise QueryError(
            "no condition on RUN values: give where='SOURCE KEY < 0.5', or ask for runs"
        )
    with store.read_merged() as cursor:
        selection = _select_by_data(cursor, question)
        found = _runs(cursor, store, question, selection)
        assert selection.evaluation is not None
        table = found.table.select([*OF_RUN, "started_at", "trains"])
        for name, values in selection.evaluation.columns().items():
            table = table.append_column(name, values)
        for name in ("depth", "path"):
            table = table.append_column(name, found.table.column(name))
        return Answer(in_reading_order(table), found.provenance)


def find(store: Store, question: Question = EVERYTHING, *, limit: int | None = None) -> Answer:
    """The runs that have a source, or a key of it: one row per run, source and key.

    A run of which only an outline is known can be found by source, not by key.
    """
    data = question.data
    if data.is_about_keys:
        columns = f"found_key.name AS key, schema_key.dtype, entry_shape AS shape, {UNIT} AS unit"
        joined = sql(
            """JOIN schema_key ON schema_key.schema_id = run_source.schema_id
            AND schema_key.index_group = run_source.index_group
            JOIN {keys} AS found_key ON found_key.key_id = schema_key.key_id
            AND found_key.is_control = (run_source.section = 'CONTROL')""",
            keys=data.found_keys(),
        )
        place = "found_key.place"
    else:
        columns = (
            "CASE run_source.index_group WHEN '' THEN '*' ELSE run_source.index_group || '.*' END"
            " AS key, NULL::VARCHAR AS dtype, NULL::BIGINT[] AS shape, NULL::VARCHAR AS unit"
        )
        joined, place = Sql(""), "run_source.index_group"
    depths = " ".join(f"WHEN {d.value} THEN '{d.name.lower()}'" for d in Depth)
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        statement = sql(
            f"""SELECT {OF_RUN_SQL}, run.started_at, run_source.section,
                found_source.name AS source, {columns},
                run_source.n_trains AS trains, run_source.n_entries AS entries,
                run.directory AS path, CASE run.depth {depths} END AS depth
            FROM run_source
            JOIN run ON run.run_id = run_source.run_id
            JOIN {{sources}} AS found_source ON found_source.source_id = run_source.source_id
            {{joined}}
            WHERE {{conditions}}
            ORDER BY run.run_id, found_source.place, {place} {{limit}}""",
            sources=data.found_sources(),
            joined=joined,
            conditions=all_of([*_of_sources(selection), *data.key_conditions()]),
            limit=limited(limit),
        )
        return _answer(cursor, store, question, statement)


def sources(store: Store, question: Question = EVERYTHING) -> Answer:
    """The sources of the runs, in the order of their names.

    Trains are those of the index group that has most.
    """
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        conditions = selection.conditions("found.run_id")
        if question.min_trains:
            conditions.append(trains_at_least(question.min_trains, "found.n_trains"))
        # A bit per run: count(DISTINCT run_id) takes four times as long for 10^5 runs.
        ((n_runs,),) = rows(cursor, "SELECT count(*) FROM run")
        statement = sql(
            f"""WITH numbered AS (
                SELECT *, row_number() OVER () - 1 AS number FROM run
            ), found_group AS (
                SELECT section, source_id,
                    bitstring_agg(run.number, 0, {max(n_runs, 1) - 1}) AS runs,
                    sum(found.n_trains) AS trains, sum(n_entries) AS entries,
                    min(run_id) AS first_run_id, max(run_id) AS last_run_id
                FROM {{groups}} AS found JOIN numbered AS run USING (run_id)
                WHERE {{conditions}}
                GROUP BY section, source_id, index_group
            )
            SELECT section, named.name AS source, bit_count(bit_or(runs)) AS runs,
                max(trains) AS trains, sum(entries) AS entries,
                min(first_run_id) AS first_run_id, max(last_run_id) AS last_run_id
            FROM found_group JOIN {{sources}} AS named USING (source_id)
            GROUP BY section, named.name ORDER BY named.name, section""",
            groups=question.data.groups(),
            conditions=all_of(conditions),
            sources=question.data.found_sources(),
        )
        return _answer(cursor, store, question, statement)


def keys(store: Store, question: Question = EVERYTHING) -> Answer:
    """The keys of the runs' sources, in the order of names; a row per type, shape and unit."""
    data = question.data
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        statement = sql(
            f"""WITH found_group AS (
                SELECT section, source_id, index_group, schema_id,
                    count(DISTINCT run_source.run_id) AS runs,
                    sum(run_source.n_trains) AS trains, sum(n_entries) AS entries
                FROM run_source
                JOIN run ON run.run_id = run_source.run_id
                JOIN {{sources}} AS named USING (source_id)
                WHERE schema_id IS NOT NULL AND {{conditions}}
                GROUP BY section, source_id, index_group, schema_id
            )
            SELECT section, named.name AS source, found_key.name AS key, found_group.index_group,
                dtype, entry_shape AS shape, {UNIT} AS unit, sum(runs) AS runs,
                sum(trains) AS trains, sum(entries) AS entries
            FROM found_group
            JOIN schema_key ON schema_key.schema_id = found_group.schema_id
                AND schema_key.index_group = found_group.index_group
            JOIN {{keys}} AS found_key ON found_key.key_id = schema_key.key_id
                AND found_key.is_control = (section = 'CONTROL')
            JOIN {{sources}} AS named USING (source_id)
            WHERE {{like}}
            GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7""",
            sources=data.found_sources(),
            conditions=all_of(_of_sources(selection)),
            keys=data.found_keys(),
            like=all_of(data.key_conditions()),
        )
        return _answer(cursor, store, question, statement)


def files(store: Store, question: Question = EVERYTHING) -> Answer:
    """The files of the runs, in the order of runs and names."""
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        statement = sql(
            """SELECT files.* FROM files {with_data} WHERE {conditions}
            ORDER BY files.run_id, files.name""",
            with_data=_files_with_data(selection, "name", "files.run_id", "files.name"),
            conditions=all_of(selection.conditions_on("files.run_id")),
        )
        return _answer(cursor, store, question, statement)


def train_ranges(store: Store, question: Question = EVERYTHING) -> Answer:
    """The train IDs of the runs, in the order of runs: one row per range without a gap."""
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        ordinal = ("train_list", "train_list.run_id", "train_list.ordinal")
        # Half-open ranges that touch or overlap are numbered alike, and become one.
        statement = sql(
            f"""WITH part AS (
                SELECT DISTINCT run_id, first, first + n AS stop FROM (
                    SELECT train_list.run_id, unnest(starts) AS first, unnest(lengths) AS n
                    FROM train_list JOIN run ON run.run_id = train_list.run_id
                    {{with_data}} WHERE {{conditions}}
                )
            ), marked AS (
                SELECT *, CASE WHEN first <= max(stop) OVER (
                    PARTITION BY run_id ORDER BY first, stop
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) THEN 0 ELSE 1 END AS begins FROM part
            ), numbered AS (
                SELECT *, sum(begins) OVER (PARTITION BY run_id ORDER BY first, stop) AS number
                FROM marked
            ), island AS (
                SELECT run_id, min(first) AS first, max(stop) AS stop
                FROM numbered GROUP BY run_id, number
            )
            SELECT {RUN_NAMES}, first AS first_train, stop - 1 AS last_train,
                stop - first AS trains
            FROM run JOIN island ON island.run_id = run.run_id ORDER BY run.run_id, first""",
            with_data=_files_with_data(selection, *ordinal),
            conditions=all_of(selection.conditions("train_list.run_id")),
        )
        return _answer(cursor, store, question, statement)


def _answer(cursor: Cursor, store: Store, question: Question, statement: Sql) -> Answer:
    table = ask(cursor, statement)
    if "run" in table.column_names:
        table = in_reading_order(table)
    return Answer(table, provenance(cursor, store, question.runs))


def _select_by_data(cursor: Cursor, question: Question) -> Selection:
    """The runs; if the question has a filter of data, those that have such data."""
    has = () if question.data.is_empty else (question.data,)
    return select_runs(cursor, question, *has)


def _runs(cursor: Cursor, store: Store, question: Question, selection: Selection) -> Answer:
    statement = sql(
        "SELECT run.* FROM runs AS run WHERE {conditions} ORDER BY run.run_id",
        conditions=all_of(selection.conditions()),
    )
    return _answer(cursor, store, question, statement)


def _of_sources(selection: Selection) -> list[Sql]:
    """The conditions on rows of ``run_source`` joined to ``run``."""
    question = selection.question
    conditions = selection.conditions("run_source.run_id")
    conditions += question.data.class_conditions()
    if question.min_trains:
        conditions.append(trains_at_least(question.min_trains, "run_source.n_trains"))
    return conditions


def _files_with_data(selection: Selection, column: str, run_id: str, equals: str) -> Sql:
    """The join of a table to the files whose layout lists what the question's data match.

    ``run_id`` and ``equals`` are columns of the table, ``column`` the one of ``file`` that
    ``equals`` is equal to. Device classes are those in the run of the file.
    """
    data = selection.question.data
    if data.is_empty:
        return Sql("")
    return sql(
        f"""JOIN (
            SELECT DISTINCT file.run_id, file.{column} AS wanted FROM file
            JOIN {{groups}} AS found ON found.run_id = file.run_id
            JOIN layout_source ON layout_source.layout_id = file.layout_id
                AND layout_source.source_id = found.source_id
                AND layout_source.section = found.section
                AND layout_source.schema_id IS NOT DISTINCT FROM found.schema_id
            WHERE {{conditions}}
        ) AS with_data ON with_data.run_id = {run_id} AND with_data.wanted = {equals}""",
        groups=data.groups(),
        conditions=all_of(selection.conditions_on("file.run_id")),
    )


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run of the catalog: its number, its name, its path, and how many files it has."""

    run_id: int
    name: str
    path: str
    n_files: int


def find_known(store: Store, targets: Iterable[str | PathLike[str]]) -> list[KnownRun]:
    """The catalogued runs that the targets name (``RunFilter.named``), each once, in run order.

    A path need not exist any more. Raises CatalogNotFoundError where there is no catalog, and
    RunNotFoundError for a target that names no catalogued run.
    """
    store.require()
    found: dict[int, KnownRun] = {}
    for target in targets:
        named = list(_known(store, RunFilter.named(target)))
        if not named:
            text = fspath(target)
            known = [known for run in _known(store, ALL_RUNS) for known in (run.name, run.path)]
            raise RunNotFoundError(
                text,
                looked_at=[str(store.location)],
                nearest=nearest(text, known),
                sentence=f"{text} is no run that the catalog has, by name or path",
            )
        found |= {run.run_id: run for run in named}
    return sorted(found.values(), key=lambda run: run.run_id)


def known_names(store: Store) -> list[str]:
    """What of the catalog can be named: instruments, proposals, and their runs."""
    statement = Sql(
        """SELECT DISTINCT unnest([instrument, format('p{:06d}', proposal),
            format('p{:06d}/{}/r{:04d}', proposal, data_class, run)])
        FROM run WHERE proposal IS NOT NULL ORDER BY ALL"""
    )
    with store.read_merged() as cursor:
        return [from_text(name) for name in ask(cursor, statement).column(0).to_pylist() if name]


def forget(store: Store, runs: Iterable[KnownRun]) -> int:
    """Take runs out of the catalog with all that is known of them; returns how many were there.

    Raises CatalogWriteError where the catalog cannot be written; what is forgotten by then stays
    forgotten.
    """
    n_forgotten = 0
    for shard, of_shard in groupby(runs, key=lambda run: shard_of(run.run_id)):
        with store.write(shard) as writer:
            n_forgotten += sum(writer.forget_run(run.run_id) for run in of_shard)
    if n_forgotten:
        store.publish_merged()
    return n_forgotten


def _known(store: Store, where: RunFilter) -> Iterable[KnownRun]:
    statement = sql(
        "SELECT run_id, proposal, run.run, data_class, directory, n_files FROM run"
        " WHERE {filter} ORDER BY run_id",
        filter=all_of(where.conditions()),
    )
    only = {f"p{proposal:06d}" for proposal in where.proposals}
    for shard in store.shards():
        if only and shard not in only:
            continue
        with store.read(shard) as cursor:
            rows = ask(cursor, statement).to_pylist() if cursor else []
        for row in rows:
            path = from_text(row["directory"])
            name = path
            if row["proposal"] is not None:
                name = str(RunIdentity(row["proposal"], row["run"], row["data_class"]))
            yield KnownRun(row["run_id"], name, path, row["n_files"])
