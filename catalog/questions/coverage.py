"""How completely runs have data: coverage of sources, of data together, and gaps among neighbours.

A source belongs to some proposals only, so its runs are compared with those of the proposals and
data classes that have it at all, and its trains with those of the runs that have it. Sums are made
in SQL: over 10^5 runs no row per run leaves the database, except where coverage is decoded.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from ..model.errors import QueryError
from ..model.identity import RUN_BITS, sql_series
from ..model.names import from_text
from ..model.records import Depth
from ..model.runlength import Int64s, UInt64s
from ..opening.catalogued import find_run
from ..store.connections import Cursor
from ..store.store import Store
from .execute import Answer, Sql, all_of, ask, in_reading_order, is_one_of, limited, sql
from .filters import ALL_RUNS, DataFilter, RunFilter, provenance
from .question import EVERYTHING, OF_RUN, OF_RUN_SQL, Question, select_runs

if TYPE_CHECKING:
    pass


# Of each source of the runs ``chosen``, in how many trains it has data: the most of an index group,
# NULL where that is not known. A source whose keys differ between the files of a run has several
# rows per index group; old names of renamed sources count for nothing.
_IN_RUN = """(
    SELECT run_id, section, source_id, max(with_data) AS with_data FROM (
        SELECT run_id, section, source_id, sum(n_trains) AS with_data
        FROM run_source SEMI JOIN chosen USING (run_id) WHERE legacy_of IS NULL
        GROUP BY run_id, section, source_id, index_group
    ) GROUP BY run_id, section, source_id
) AS in_run"""


def source_coverage(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> Sql:
    """The sources, those that most runs have first; old names of renamed sources are left out.

    Columns: section, source, proposals, runs (that have it), of_runs (of the proposals and data
    classes that have it), trains (with data, the most of an index group; of runs known in full),
    of_trains (of these runs), of_all (how many sources there are without the limit).
    """
    # Loose runs, which have no proposal, are a group of their own.
    return sql(
        f"""WITH chosen AS (
            SELECT run.run_id, coalesce(run.proposal, -1) AS proposal,
                coalesce(run.data_class, '') AS data_class, run.n_trains
            FROM run WHERE {{filter}}
        ), sizes AS (
            SELECT proposal, data_class, count(*) AS of_runs
            FROM chosen GROUP BY proposal, data_class
        ), in_group AS (
            SELECT section, source_id, proposal, data_class, count(*) AS runs,
                sum(coalesce(with_data, 0)) AS trains,
                sum(CASE WHEN with_data IS NOT NULL THEN n_trains ELSE 0 END) AS of_trains
            FROM {_IN_RUN} JOIN chosen USING (run_id)
            GROUP BY section, source_id, proposal, data_class
        )
        SELECT section, source.name AS source, count(DISTINCT proposal) AS proposals,
            sum(runs) AS runs, sum(of_runs) AS of_runs, sum(trains) AS trains,
            sum(of_trains) AS of_trains, count(*) OVER () AS of_all
        FROM in_group JOIN sizes USING (proposal, data_class) JOIN source USING (source_id)
        GROUP BY section, source.name
        ORDER BY sum(runs) DESC, section, source.name {{limit}}""",
        filter=all_of(where.conditions()),
        limit=limited(limit),
    )


def coverage_by_class(store: Store, where: RunFilter = ALL_RUNS) -> Answer:
    """The sources of the runs of each data class, in the order of data class, section and name.

    Columns: data_class, section, source, runs (that have it), of_runs, runs_counted (those known in
    full), trains (with data, the most of an index group), of_trains (of the runs counted). Old
    names of renamed sources are left out.
    """
    # Where with_data is not known, least() would take the other one.
    statement = sql(
        f"""WITH chosen AS (
            SELECT run.run_id, run.data_class, run.n_trains FROM run WHERE {{filter}}
        ), of_class AS (
            SELECT data_class, count(*) AS of_runs FROM chosen GROUP BY data_class
        ), by_class AS (
            SELECT data_class, section, source_id, count(*) AS runs,
                count(with_data) AS runs_counted,
                sum(least(with_data, n_trains)) FILTER (with_data IS NOT NULL) AS trains,
                sum(n_trains) FILTER (with_data IS NOT NULL) AS of_trains
            FROM {_IN_RUN} JOIN chosen USING (run_id)
            GROUP BY data_class, section, source_id
        )
        SELECT by_class.data_class, section, source.name AS source, runs, of_runs, runs_counted,
            coalesce(trains, 0)::BIGINT AS trains, coalesce(of_trains, 0)::BIGINT AS of_trains
        FROM by_class JOIN source USING (source_id)
        JOIN of_class ON of_class.data_class IS NOT DISTINCT FROM by_class.data_class
        ORDER BY by_class.data_class, section, source.name""",
        filter=all_of(where.conditions()),
    )
    with store.read_merged() as cursor:
        return Answer(ask(cursor, statement), provenance(cursor, store, where))


# Several data together --------------------------------------------------------------------------
#
# The merged database counts trains per run, source and index group, which bounds how many trains
# two of them have in common. Where the bounds differ, the index patterns in the shards decide, run
# by run; for no more than ``most_decoded`` runs, in the order of runs.


def coverage(
    store: Store,
    data: Sequence[DataFilter],
    question: Question = EVERYTHING,
    *,
    at_least: float = 0.0,
    most_decoded: int = 500,
) -> Answer:
    """The runs that have all of ``data``, and for how many of their trains (``Catalog.coverage``).

    Runs of which only an outline is known are left out: their counts are not known.
    """
    import pyarrow as pa

    if not data:
        raise QueryError(
            "coverage of what? Name one or several sources: '*XGM*', '*AGIPD* image.*'"
        )
    if not 0 <= at_least <= 1:
        raise QueryError(f"at_least={at_least}: give a share from 0 to 1")
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question, *data)
        statement = sql(
            f"""SELECT {OF_RUN_SQL}, run.n_trains AS trains, run.directory AS path
            FROM run WHERE {{conditions}} AND run.depth = {{full}} AND run.n_trains > 0
            ORDER BY run.run_id""",
            conditions=all_of(selection.conditions()),
            full=Depth.FULL.value,
        )
        runs = ask(cursor, statement)
        ids: UInt64s = runs.column("run_id").to_numpy()
        trains: Int64s = runs.column("trains").to_numpy()
        bounds = [_bounds(cursor, filter_, ids, trains) for filter_ in data]
        low = np.maximum(sum(b[0] for b in bounds) - (len(data) - 1) * trains, 0)
        high = reduce(np.minimum, (b[1] for b in bounds))
        wanted = (high > 0) & (high >= np.ceil(at_least * trains))
        # The runs of which the counts do not say all.
        is_open = reduce(np.logical_or, (b[0] != b[1] for b in bounds), low != high)
        open_ = np.flatnonzero(wanted & is_open)[:most_decoded]
        undecided = ids[open_].tolist()
        matching = [_matching_groups(cursor, filter_, undecided) for filter_ in data]
        for run_id, position in zip(undecided, open_.tolist(), strict=True):
            sets = _trains_with_data(store, run_id, [m[run_id] for m in matching])
            if sets is None:  # forgotten since the databases were merged
                continue
            for (least, most), found in zip(bounds, sets, strict=True):
                least[position] = most[position] = found.size
            together = reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), sets)
            low[position] = high[position] = together.size
        wanted &= high >= np.ceil(at_least * trains)
        table = runs.select([*OF_RUN, "trains"])
        for number, (filter_, (_, most)) in enumerate(zip(data, bounds, strict=True), start=1):
            name = str(filter_)
            if name in table.column_names[len(OF_RUN) + 1 :]:
                name = f"{name} ({number})"
            table = table.append_column(name, pa.array(most))
        table = table.append_column("together", pa.array(low))
        table = table.append_column("at_most", pa.array(high))
        table = table.append_column("path", runs.column("path"))
        found = in_reading_order(table.filter(pa.array(wanted)))
        return Answer(found, provenance(cursor, store, question.runs))


def _bounds(
    cursor: Cursor, filter_: DataFilter, ids: UInt64s, trains: Int64s
) -> tuple[Int64s, Int64s]:
    """How many trains of each run have data of a filter, at least and at most."""
    low, high = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    if not ids.size:
        return low, high
    statement = sql(
        """SELECT run_id, max(n) AS most, sum(n) AS all_of_them FROM (
            SELECT run_id, sum(n_trains) AS n FROM {groups}
            WHERE run_id BETWEEN {first} AND {last}
            GROUP BY run_id, section, source_id, index_group
        ) WHERE n IS NOT NULL GROUP BY run_id""",
        groups=filter_.groups(),
        first=int(ids[0]),
        last=int(ids[-1]),
    )
    found, most, summed = (column.to_numpy() for column in ask(cursor, statement).columns)
    here = np.isin(found, ids)
    at = np.searchsorted(ids, found[here])
    low[at] = most[here]
    high[at] = summed[here]
    return np.minimum(low, trains), np.minimum(high, trains)


_Group = tuple[str, str, str]  # section, source, index group


def _matching_groups(cursor: Cursor, filter_: DataFilter, ids: list[int]) -> dict[int, set[_Group]]:
    found: dict[int, set[_Group]] = defaultdict(set)
    if not ids:
        return found
    statement = sql(
        """SELECT run_id, section, source.name, index_group
        FROM {groups} JOIN source USING (source_id)
        WHERE {of_runs} AND run_id BETWEEN {first} AND {last}""",
        groups=filter_.groups(),
        of_runs=is_one_of("run_id", ids),
        first=min(ids),
        last=max(ids),
    )
    for row in ask(cursor, statement).to_pylist():
        found[row["run_id"]].add((row["section"], from_text(row["name"]), row["index_group"]))
    return found


def _trains_with_data(
    store: Store, run_id: int, wanted: Sequence[set[_Group]]
) -> list[UInt64s] | None:
    """The trains, sorted, in which any of some groups has data; for each of several such sets."""
    facts = find_run(store, run_id)
    if facts is None:
        return None
    found: list[list[UInt64s]] = [[np.zeros(0, np.uint64)] for _ in wanted]
    for file in range(len(facts.files)):
        ids = facts.trains(file).ids
        for section, source, group in facts.layout(file).slots:
            is_wanted = [(section, source, group) in groups for groups in wanted]
            if any(is_wanted):
                (pattern,) = facts.patterns([file], section, source, group)
                for parts in compress(found, is_wanted):
                    parts.append(ids[pattern.has_rows(ids.size)])
    return [np.unique(np.concatenate(parts)) for parts in found]


# Gaps among neighbours --------------------------------------------------------------------------

# A series are the runs of a proposal and data class, in the order of run numbers, and a run's place
# in it is counted from 1. Only places that lie near a gap of a source are looked at: over 10^5 runs
# with 100 sources each this takes 3 s, over one proposal of them 0.08 s.
_LACKING = f"""WITH placed AS (
    SELECT run_id, {sql_series()} AS series,
        row_number() OVER (PARTITION BY {sql_series()} ORDER BY run_id) AS place,
        count(*) OVER (PARTITION BY {sql_series()}) AS length
    FROM run WHERE run_id BETWEEN {{first}} AND {{last}}
), has AS (
    SELECT DISTINCT series, section, source_id, place, length
    FROM {{groups}} JOIN placed USING (run_id) WHERE run_id BETWEEN {{first}} AND {{last}}
), near AS (
    SELECT *, coalesce(lag(place) OVER w, 0) AS before,
        coalesce(lead(place) OVER w, length + 1) AS after
    FROM has WINDOW w AS (PARTITION BY series, section, source_id ORDER BY place)
), gap AS (
    SELECT series, section, source_id,
        unnest(range(place + 1, least(after, place + 1 + {{n}}))) AS place
    FROM near WHERE after > place + 1
    UNION
    SELECT series, section, source_id,
        unnest(range(greatest(before + 1, place - {{n}}), place)) AS place
    FROM near WHERE before < place - 1
), counted AS (
    SELECT beside.* EXCLUDE (place), count(*) AS n_with FROM (
        SELECT * RENAME (place AS lack), unnest(range(place - {{n}}, place + {{n}} + 1)) AS place
        FROM gap
    ) AS beside JOIN has USING (series, section, source_id, place)
    GROUP BY ALL HAVING n_with >= {{at_least}}
)
SELECT {OF_RUN_SQL}, section, source.name AS source, n_with AS neighbours_with,
    least(place - 1, {{n}}) + least(length - place, {{n}}) AS neighbours, run.directory AS path
FROM counted JOIN placed ON placed.series = counted.series AND place = lack JOIN run USING (run_id)
JOIN source USING (source_id) WHERE {{selected}} ORDER BY run.run_id, section, source.name"""


def lacking(
    store: Store, question: Question = EVERYTHING, *, neighbours: int = 5, at_least: int = 4
) -> Answer:
    """The runs that lack a source that several of their neighbours have (``Catalog.lacking``).

    Neighbours count whether or not the question selects them.
    """
    if neighbours < 1 or not 1 <= at_least <= 2 * neighbours:
        most = 2 * max(neighbours, 1)
        raise QueryError(
            f"at_least={at_least} of neighbours={neighbours} on each side: give 1 or more"
            f" neighbours, and at_least from 1 to {most}"
        )
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        first, last = 0, 2**64 - 1
        if selection.ids is not None:  # all runs of the series from the first to the last
            low, high = map(int, selection.ids[[0, -1]]) if selection.ids.size else (1, 0)
            first, last = low >> RUN_BITS << RUN_BITS, high | (1 << RUN_BITS) - 1
        statement = sql(
            _LACKING,
            first=first,
            last=last,
            groups=question.data.groups(Sql("run_source.legacy_of IS NULL")),
            n=neighbours,
            at_least=at_least,
            selected=all_of(selection.conditions()),
        )
        found = in_reading_order(ask(cursor, statement))
        return Answer(found, provenance(cursor, store, question.runs))
