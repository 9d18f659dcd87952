"""What is the catalog, to someone who has one in the hand?

``Catalog`` is the thin public class: it finds its place, and each method is one call of the module
that does the work (``ingest``, ``audit``, ``user_sql``, ``inventory``, ``forget``, ``store``). The
questions over runs are in ``asked``.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from .asked import Questions
from .config import load_settings, user_catalog
from .questions.question import Question, RunsChoice
from .questions.run_filter import Moment, RunChoice, RunFilter, parse_time
from .store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from .audit.audit import AuditReport, DeepCheck
    from .audit.audit import Progress as AuditProgress
    from .checks.limits import Limits
    from .ingest.ingest import IngestProgress, IngestReport
    from .questions.export_views import ExportedView, ViewProgress

__all__ = ["Catalog"]


class Catalog(Questions):
    """What is known of the runs of a facility: asked without touching a data file.

    DataFrames of ``runs``, ``find`` and ``sql`` have the same columns and types when they are
    empty; integers are pandas' nullable ones, array shapes are tuples, times are UTC without zone.
    Their ``attrs`` say what they rest on: ``location``, ``runs_searched``, ``runs_outline_only``
    (runs whose keys are not known), ``runs_undated`` (left out of a question about time) and
    ``oldest_ingest`` (ISO text).

    Parameters
    ----------
    location
        The directory of the catalog, which need not exist before something is ingested. None means
        the one that ``XFELCAT_CATALOG`` or the config file names, else the user's own.

    Examples
    --------
    >>> from xfelcat import Catalog
    >>> catalog = Catalog("demo/catalog")
    >>> report = catalog.ingest(["demo/facility"])
    >>> frame = catalog.find(source="*XGM*", key="beamPosition.*", proposal=900010)
    >>> frame.attrs["runs_searched"]
    6
    """

    def __init__(self, location: str | os.PathLike[str] | None = None) -> None:
        if location is None:
            location = load_settings().catalog or user_catalog()
        self._store = Store(os.path.expanduser(location))

    def __repr__(self) -> str:
        return f"Catalog({self.location!r})"

    @property
    def location(self) -> str:
        """The directory of the catalog."""
        return str(self._store.location)

    def exists(self) -> bool:
        """Whether anything was ingested here yet."""
        return self._store.exists()

    def ingest(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        progress: "IngestProgress | None" = None,
        **options: Any,
    ) -> "IngestReport":
        """Scan the runs below some directories into the catalog.

        Parameters
        ----------
        paths
            A facility, instrument, cycle, proposal, data class or run directory, or several.
        progress
            Told how it goes on.
        **options
            The fields of ``IngestOptions``: jobs, force, verify, exclude, since, stage, dry_run,
            reads_per_second, time_limit, merge.

        Returns
        -------
        IngestReport
            What was done; files that cannot be read are in its ``problems``.

        Raises
        ------
        RunNotFoundError
            For a path that is absent, before anything is read.
        CatalogWriteError
            Where the catalog cannot be written.
        """
        from .ingest.ingest import IngestOptions, ingest

        several = [paths] if isinstance(paths, str | os.PathLike) else paths
        names = [os.fspath(p) for p in several]
        return ingest(self._store, names, IngestOptions(**options), progress)

    def sql(
        self,
        text: str,
        parameters: Sequence[Any] = (),
        *,
        time_limit: float | None = 300.0,
        memory_limit: str | int | None = "4 GB",
    ) -> "pd.DataFrame":
        """The rows that a reading SQL statement (DuckDB's dialect) gives on the catalog's views.

        Parameters
        ----------
        text
            One statement.
        parameters
            The values of ``?`` or ``$1``, ``$2``, ... in it.
        time_limit
            Stop after this many seconds; None for never.
        memory_limit
            Stop where the statement or its rows need more memory, in bytes or as ``"500 MB"``; what
            the database does not hold in memory it puts on the disk, up to four times as much. None
            for DuckDB's own limits.

        Raises
        ------
        QueryError
            For a statement that does not read, that cannot be run, or that exceeds a limit.
        CatalogNotFoundError
            Where nothing was ingested yet.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.sql("SELECT data_class, count(*) AS runs FROM runs GROUP BY ALL ORDER BY ALL")
          data_class  runs
        0       proc     7
        1        raw    21
        2        red     1
        """
        from .questions.user_sql import run_sql

        limits: Any = {"time_limit": time_limit, "memory_limit": memory_limit}
        return run_sql(self._store, text, parameters, **limits).to_frame()

    def inventory(
        self,
        question: str = "volume",
        *,
        by: Sequence[str] | str | None = None,
        per: str | None = None,
        limit: int | None = None,
        **where: Unpack[RunChoice],
    ) -> "pd.DataFrame":
        """How much is there, since when, and what is there twice or alone?

        Parameters
        ----------
        question
            ``volume`` (runs, files and bytes by group), ``growth`` (the same per period, and summed
            up), ``largest`` (runs), ``duplicates`` (runs with the files of another, or seen at two
            places), ``orphans`` (runs without their raw run), ``unverified`` (runs whose datasets
            were never all opened, oldest scan first).
        by
            One or several groups: instrument, cycle, proposal, data_class; for volume also
            aggregator, format_version, source. Volume is by instrument if nothing else is said.
        per
            The period of growth: day, week, month (unless said otherwise) or year.
        limit
            Give this many runs at most; 20 for largest and unverified unless said otherwise.
        **where
            Which runs: proposal, run, instrument, cycle, data_class, since, until, below; see
            ``RunFilter.of``.

        Raises
        ------
        QueryError
            For a question, group or period that there is not.
        CatalogNotFoundError
            Where nothing was ingested yet.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.inventory(by=["instrument", "data_class"])[["instrument", "data_class", "runs"]]
          instrument data_class  runs
        0        FXE       proc     2
        1        FXE        raw    11
        2        SPB       proc     5
        3        SPB        raw    10
        4        SPB        red     1
        """
        from .questions.inventory import inventory

        groups = [by] if isinstance(by, str) else by
        where_ = RunFilter.of(**where)
        answer = inventory(self._store, question, where_, by=groups, per=per, limit=limit)
        return answer.to_frame()

    def export(
        self,
        directory: str | os.PathLike[str],
        *views: str,
        force: bool = False,
        progress: "ViewProgress | None" = None,
        **where: Unpack[RunsChoice],
    ) -> "list[ExportedView]":
        """Write documented views to Parquet files, ``<view>.parquet`` in a directory.

        Parameters
        ----------
        directory
            Where to write; it is made if it is missing.
        *views
            Names of views; all of them where none is named.
        force
            Replace files that exist.
        progress
            Told the view, and how many runs of it are done, of how many.
        **where
            Which runs: proposal, run, instrument, cycle, data_class, since, until, below, train,
            min_trains, has, has_not, where; see ``Questions``. The views sources, keys and audits
            cannot be filtered, and are left out of all views then.

        Returns
        -------
        list of ExportedView
            Of each file: view, path, rows, size (bytes).

        Raises
        ------
        QueryError
            For a view or filter that means nothing.
        TargetWriteError
            For a file that exists or cannot be written; nothing is replaced then.
        CatalogNotFoundError
            Where nothing was ingested yet.
        """
        from .questions.export_views import export_views

        asked = Question.of(**where)
        return export_views(self._store, directory, views, asked, force=force, progress=progress)

    def audit(
        self,
        *,
        check: str | Sequence[str] = (),
        skip: str | Sequence[str] = (),
        level: str | Sequence[str] = (),
        disk: bool = False,
        deep: "DeepCheck | None" = None,
        waivers: str | os.PathLike[str] | None = None,
        changes_since: Moment | None = None,
        save: bool = True,
        limits: "Limits | None" = None,
        progress: "AuditProgress | None" = None,
        **where: Unpack[RunChoice],
    ) -> "AuditReport":
        """What is wrong with the runs, since when, and what has changed since the last audit?

        Parameters
        ----------
        check, skip
            IDs of checks to make or leave out, or their beginnings (``R``); all unless said
            otherwise.
        level
            Only checks of these levels: S, H, catalog, D.
        disk
            Compare the catalog with what is on disk: below the paths ``below``, or else beside the
            runs.
        deep
            What reads a sample of the data: a ``RunDataCheck`` of ``xfelcat.loader.deepaudit``.
        waivers
            A file of waivers; else ``waivers.yml`` in the catalog, if it is there.
        changes_since
            What came or went since then counts as new or resolved; else since the last audit of
            the same scope.
        save
            Whether to record the audit in the catalog.
        limits
            From where on something is a finding.
        progress
            Called with what is being done, how many steps of it are done, and of how many.
        **where
            Which runs: proposal, run, instrument, cycle, data_class, since, until, below; see
            ``RunFilter.of``.

        Returns
        -------
        AuditReport
            ``findings.table`` and ``findings.summary`` (Arrow tables), ``findings.to_frame()``, and
            how the audit went.

        Raises
        ------
        QueryError
            For a check, level or filter that there is not.
        ConfigError
            For a file of waivers that is wrong.
        RunNotFoundError
            Where no catalogued run is meant.
        CatalogNotFoundError
            Where nothing was ingested yet.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> report = catalog.audit(check="R01", save=False)
        >>> report.findings.to_frame()[["run", "place", "message"]]
           run place                                          message
        0  104  DA02  sequence file S00001 missing (2 of 3 are there)
        """
        from .audit.audit import AuditOptions, audit
        from .audit.disk import DiskOptions
        from .checks.limits import DEFAULT_LIMITS
        from .checks.registry import choose_checks

        chosen = ([x] if isinstance(x, str) else x for x in (check, skip, level))
        filter_ = RunFilter.of(**where)
        below = where.get("below") or ()
        paths = [below] if isinstance(below, str | os.PathLike) else below
        roots = tuple(os.fspath(p) for p in paths)
        options = AuditOptions(
            checks=choose_checks(*chosen),
            limits=limits or DEFAULT_LIMITS,
            disk=DiskOptions(roots) if disk else None,
            deep=deep,
            since=None if changes_since is None else parse_time(changes_since),
            waivers=None if waivers is None else Path(waivers),
            save=save,
        )
        return audit(self._store, filter_, options, progress)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        waivers: str | os.PathLike[str] | None = None,
        **where: Unpack[RunChoice],
    ) -> int:
        """Write the state of the runs to one HTML page that needs no other file.

        It shows the findings that the catalog has, from ingest and from recorded audits.

        Parameters
        ----------
        path
            The file to write; one that exists is replaced.
        waivers
            A file of waivers; else ``waivers.yml`` in the catalog, if it is there.
        **where
            Which runs: proposal, run, instrument, cycle, data_class, since, until, below; see
            ``RunFilter.of``.

        Returns
        -------
        int
            Its size in bytes.

        Raises
        ------
        QueryError
            For a filter that means nothing.
        ConfigError
            For a file of waivers that is wrong.
        TargetWriteError
            For a file that cannot be written.
        CatalogNotFoundError
            Where nothing was ingested yet.
        """
        from .audit.audit import waiver_file
        from .audit.waivers import read_waivers
        from .report.page import write_report

        file = waiver_file(self._store, None if waivers is None else Path(waivers))
        accepted = () if file is None else read_waivers(file)
        return write_report(self._store, RunFilter.of(**where), path, waivers=accepted)

    def forget(self, *targets: str | os.PathLike[str]) -> int:
        """Delete all that is known of some runs; the data files stay as they are.

        Parameters
        ----------
        *targets
            Each ``p002012``, ``p002012/raw``, ``p002012/raw/r0001``, or a path: the run there, or
            all runs below.

        Returns
        -------
        int
            How many runs were forgotten.

        Raises
        ------
        RunNotFoundError
            For a target that means no catalogued run; nothing is deleted then.
        CatalogNotFoundError
            Where nothing was ingested yet.
        """
        from .questions.forget import find_known, forget

        return forget(self._store, find_known(self._store, targets))

    def compact(self) -> None:
        """Rewrite the databases in order, without what forgotten runs left behind."""
        from .store.compact import compact

        compact(self._store)
