"""How completely are sources recorded, where they are in use?

A source belongs to some proposals only, so its runs are compared with those of the proposals and
data classes that have it at all, and its trains with those of the runs that have it.
"""

from typing import TYPE_CHECKING

from .run_filter import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    from sqlalchemy import SelectBase, Subquery

__all__ = ["source_coverage"]


def source_coverage(where: RunFilter = ALL_RUNS, *, limit: int | None = None) -> "SelectBase":
    """The sources, those that most runs have first; old names of renamed sources are left out.

    Columns: section, source, proposals, runs (that have it), of_runs (of the proposals and data
    classes that have it), trains (with data, the most of an index group; of runs known in full),
    of_trains (of these runs), of_all (how many sources there are without the limit).
    """
    from sqlalchemy import case, func, select

    from ..store.schema import run
    from ..store.schema import source as sources

    # Loose runs, which have no proposal, are a group of their own.
    group = func.coalesce(run.c.proposal, -1).label("proposal")
    data_class = func.coalesce(run.c.data_class, "").label("data_class")
    chosen = (
        select(run.c.run_id, group, data_class, run.c.n_trains)
        .where(*where.conditions(run))
        .subquery("chosen")
    )
    sizes = (
        select(chosen.c.proposal, chosen.c.data_class, func.count().label("of_runs"))
        .group_by(chosen.c.proposal, chosen.c.data_class)
        .subquery("sizes")
    )
    in_run = _sources_of_runs()
    counted = case((in_run.c.with_data.is_not(None), chosen.c.n_trains), else_=0)
    of_group = [in_run.c.section, in_run.c.source_id, chosen.c.proposal, chosen.c.data_class]
    in_group = (
        select(
            *of_group,
            func.count().label("runs"),
            func.sum(func.coalesce(in_run.c.with_data, 0)).label("trains"),
            func.sum(counted).label("of_trains"),
        )
        .select_from(in_run)
        .join(chosen, chosen.c.run_id == in_run.c.run_id)
        .group_by(*of_group)
        .subquery("in_group")
    )
    same = (sizes.c.proposal == in_group.c.proposal) & (sizes.c.data_class == in_group.c.data_class)
    runs = func.sum(in_group.c.runs).label("runs")
    return (
        select(
            in_group.c.section,
            sources.c.name.label("source"),
            func.count(in_group.c.proposal.distinct()).label("proposals"),
            runs,
            func.sum(sizes.c.of_runs).label("of_runs"),
            func.sum(in_group.c.trains).label("trains"),
            func.sum(in_group.c.of_trains).label("of_trains"),
            func.count().over().label("of_all"),
        )
        .select_from(in_group)
        .join(sizes, same)
        .join(sources, sources.c.source_id == in_group.c.source_id)
        .group_by(in_group.c.section, sources.c.name)
        .order_by(runs.desc(), in_group.c.section, sources.c.name)
        .limit(limit)
    )


def _sources_of_runs() -> "Subquery":
    """The sources of every run, and for how many trains each has data, NULL if not known."""
    from sqlalchemy import func, select

    from ..store.schema import run_source

    # A source whose keys differ between the files of a run has several rows per index group.
    of_run = (run_source.c.run_id, run_source.c.section, run_source.c.source_id)
    in_index = (
        select(*of_run, func.sum(run_source.c.n_trains).label("with_data"))
        .where(run_source.c.legacy_of.is_(None))
        .group_by(*of_run, run_source.c.index_group)
        .subquery("in_index")
    )
    named = [in_index.c[column.name] for column in of_run]
    most = func.max(in_index.c.with_data).label("with_data")
    return select(*named, most).group_by(*named).subquery("in_run")
