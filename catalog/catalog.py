"""All that the catalog answers, and all that changes it, as methods of one class.

``loader.jobs.catalog`` has ``Catalog``, which reads data too.

It finds its place, and each method is one call of the module that does the work. The questions over
runs share one set of filters, ``questions.filters.Choice``; docs/questions.md explains it.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Unpack

from .config import catalog_location
from .model.errors import warn_caller
from .model.names import size_text
from .questions import coverage, export, find, inventory, search, sql, values
from .questions.filters import (
    Choice,
    ConditionChoice,
    DataFilter,
    KeyChoice,
    Moment,
    RunChoice,
    RunFilter,
    RunsChoice,
    SourceChoice,
    Spec,
    parse_time,
    spell_filters,
)
from .questions.question import Question
from .store.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from .audit.audit import AuditReport, DeepCheck
    from .audit.audit import Progress as AuditProgress
    from .ingest.ingest import IngestReport
    from .model.checks import Limits
    from .questions.export import ExportedView, ViewProgress
    from .scan.executors import Executor
    from .scan.jobs import JobProgress


@spell_filters
class MetadataCatalog:
    """The catalog of the runs of a facility; asking it touches no data file.

    DataFrames of ``runs``, ``find`` and ``sql`` have the same columns and types when they are
    empty; integers are pandas' nullable ones, array shapes are tuples, times are UTC without zone.
    Their ``attrs`` say what they rest on: ``location``, ``runs_searched``, ``runs_outline_only``
    (runs whose keys are not known), ``runs_undated`` (left out of a question about time) and
    ``oldest_ingest`` (ISO text).

    All questions over runs take the same filters as keyword arguments ``**where``; what is not
    given is open:

    - which runs: ``proposal``, ``run``, ``instrument``, ``cycle``, ``data_class``, ``since``,
      ``until``, ``below`` (see ``RunFilter.of``); ``inventory``, ``audit`` and ``report`` take
      these alone;
    - which runs, by what they have: ``train`` (a train ID, or a range of them, of which the run has
      one), ``min_trains``, ``has`` and ``has_not`` (``"SOURCE"`` or ``"SOURCE KEY"``, several in a
      list: all of them, none of them), ``where`` (a condition on RUN values, see ``find_runs``);
      ``coverage`` and ``export`` take these, too;
    - which data: ``source``, ``key``, ``device_class``, ``dtype``, ``shape`` (of one entry),
      ``unit``. ``min_trains`` then counts the trains with such data; ``runs`` and ``files`` give
      those that have such data.

    ``source`` and ``key`` are globs: ``*`` matches any text (also ``/``), ``?`` one character,
    ``[xyz]`` one of these, ``[!xyz]`` none of these; upper and lower case differ. Or a regular
    expression: ``"re:..."``, or compiled; or several in a list. Keys of control sources match with
    ``.value`` or without, and their timestamps only if the glob ends in ``timestamp``. ``limit`` is
    the most rows to give. All methods but ``ingest`` and ``compact`` raise QueryError for a value
    that has no meaning, and CatalogNotFoundError where nothing was ingested yet.

    Parameters
    ----------
    location
        The directory of the catalog, which need not exist before something is ingested. None means
        the one that ``XFELCAT_CATALOG`` or the config file names, else the user's own.
    at
        A time, as for ``since``: questions are answered from what the catalog was then, as far as
        the setting ``keep`` has it keep what newer versions replaced. Raises QueryError for what is
        no time. Nothing can be written to it then.

    Examples
    --------
    >>> from xfelcat import Catalog
    >>> catalog = Catalog("demo/catalog")
    >>> report = catalog.ingest(["demo/facility"])
    >>> frame = catalog.find(source="*XGM*", key="beamPosition.*", proposal=900010)
    >>> frame.attrs["runs_searched"]
    6
    """

    def __init__(
        self, location: str | os.PathLike[str] | None = None, *, at: Moment | None = None
    ) -> None:
        self._store = Store(catalog_location(location), None if at is None else parse_time(at))

    def __repr__(self) -> str:
        at = f" as of {self._store.at}" if self._store.at else ""
        name = f"{type(self).__name__} {self.location}{at}"
        if not self.exists():
            return f"<{name}: nothing ingested yet>"
        return f"<{name}: {self._summary()}>"

    def _repr_html_(self) -> str:
        """A view for notebooks: what the catalog has, by proposal."""
        if not self.exists():
            return f"<p>{escape(repr(self))}</p>"
        table = self.proposals().drop(columns=["bytes"]).to_html(index=False, na_rep="", border=0)
        return f"<p><b>{escape(self.location)}</b>: {self._summary()}</p>{table}"

    def _summary(self) -> str:
        frame = self.proposals()
        n = len(frame)
        proposals = f"{n} proposal{'s' * (n != 1)}"
        return f"{frame['runs'].sum()} runs of {proposals}, {size_text(int(frame['bytes'].sum()))}"

    @property
    def location(self) -> str:
        """The directory of the catalog."""
        return str(self._store.location)

    @cached_property
    def _asked(self) -> Store:
        """The store, for questions: the first one warns of what no answer has."""
        from .store.care import left_out_text

        if text := left_out_text(self._store):
            warn_caller(f"{self.location}: {text}")
        return self._store

    def exists(self) -> bool:
        """Whether anything was ingested here yet."""
        return self._store.exists()

    def ingest(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        progress: "JobProgress | None" = None,
        client: "Executor | None" = None,
        **options: Any,
    ) -> "IngestReport":
        """Scan the runs below some directories into the catalog.

        Parameters
        ----------
        paths
            A facility, instrument, cycle, proposal, data class or run directory, or several.
        progress
            Called as it goes on.
        client
            What scans in place of worker processes here: a ``distributed.Client``, or any executor
            of the shape of ``concurrent.futures``. This process commits.
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
        if client is not None:
            options["jobs"] = client
        return ingest(self._store, names, IngestOptions(**options), progress)

    def proposals(self, **where: Unpack[RunChoice]) -> "pd.DataFrame":
        """The proposals, in the order of their first runs; runs outside a facility are one each.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, instrument, cycle, data_classes (a tuple), runs, files, bytes, trains
            (summed over raw runs), first_data, last_data.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.proposals(instrument="SPB")[["proposal", "data_classes", "runs", "trains"]]
           proposal      data_classes  runs  trains
        0    900010       (raw, proc)     6     192
        1    900032  (raw, proc, red)    10     312
        2    900043            (raw,)     1      60
        """
        return inventory.proposals(self._asked, RunFilter.of(**where)).to_frame()

    def runs(self, **where: Unpack[Choice]) -> "pd.DataFrame":
        """The catalogued runs, ordered by proposal, data class and run; loose runs come last.

        Returns
        -------
        pandas.DataFrame
            The columns of the view ``runs``: proposal, run, data_class, started_at, trains, files,
            files_missing, files_unread, bytes, suspect_trains, first_train, last_train, ended_at,
            newest_mtime, format_version, sample, run_type, ingested_at, instrument, cycle, depth,
            run_id, path, realpath, recorded_proposal, recorded_run.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.runs(instrument="SPB", data_class="proc")[["proposal", "run", "trains"]]
           proposal  run  trains
        0    900010    1      20
        1    900010    2      32
        2    900032    1      20
        3    900032    2      32
        4    900032    4      20
        >>> catalog.runs(train=2_508_780_005, data_class="raw")[["proposal", "run"]]
           proposal  run
        0    900032    1
        """
        return find.runs(self._asked, Question.of(**where)).to_frame()

    def find(
        self,
        source: Any = "*",
        key: Any = None,
        *,
        limit: int | None = None,
        **where: Unpack[KeyChoice],
    ) -> "pd.DataFrame":
        """The runs that have a source, or a key of it: one row per run, source and key.

        Without ``key`` the rows are per source and index group, with the glob of its keys
        (``image.*``) for a key, and no dtype, shape or unit, unless a filter is about these.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, run, data_class, started_at, source, key, trains (with data), section,
            dtype, shape (of one entry), unit, entries, instrument, cycle, depth, run_id, path (of
            the run).

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.find("SA1*", "beamPosition.ixPos", proposal=900032, run="1-2")
        >>> found[["proposal", "run", "key", "unit", "trains"]]
           proposal  run                       key unit  trains
        0    900032    1  beamPosition.ixPos.value   mm      20
        1    900032    2  beamPosition.ixPos.value   mm      32
        """
        question = Question.of(source=source, key=key, **where)
        return find.find(self._asked, question, limit=limit).to_frame()

    def find_runs(
        self, where: str | Mapping[Any, Any] | Sequence[Any], **choice: Unpack[ConditionChoice]
    ) -> "pd.DataFrame":
        """The runs whose RUN values, or profiles, fulfil a condition, with these values.

        Parameters
        ----------
        where
            A text, ``"SOURCE KEY < 0.5"``: source and key as for ``find``; ``= != < <= > >=``,
            ``between A and B``, ``in (A, B)``, ``glob 'TEXT*'``; numbers, ``true``, ``false`` and
            texts; ``and``, ``or``, ``not`` and parentheses. A run fulfils a comparison if any of
            the sources and keys does. ``max(SOURCE KEY)`` and ``min``, ``mean``, ``std``,
            ``first``, ``last``, ``changes``, ``nans``, ``entries`` ask what ``xfelcat profile``
            found during the run; a profile that is out of date counts as none.

            Or a mapping, all of which must hold: ``{"SOURCE KEY": 0.5}``, ``{...: [1, 2]}`` (one of
            them), ``{...: ("<", 0.5)}``, ``{...: ("between", 0, 1)}``. Or a list of these.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, run, data_class, started_at, trains; for each operand ``"SOURCE KEY
            [unit]"`` and, where it is a pattern, the source whose value that is; instrument, cycle,
            depth, run_id, path. Numbers are compared and given as 64-bit floating point.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.find_runs("SA1_XTD2_XGM/XGM/DOOCS gainMode in (1, 2)", proposal=900032)
        >>> found.columns[5:7].tolist()
        ['SA1_XTD2_XGM/XGM/DOOCS gainMode', 'instrument']
        """
        return find.find_runs(self._asked, Question.of(where=where, **choice)).to_frame()

    def sources(self, source: Any = "*", **where: Unpack[SourceChoice]) -> "pd.DataFrame":
        """The sources of the runs, in the order of their names.

        Returns
        -------
        pandas.DataFrame
            Columns section, source, runs (that have it), trains (with data, summed over runs),
            entries, first_run_id, last_run_id.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.sources("*XGM*", proposal=900032, run=1)[["section", "source", "trains"]]
              section                         source  trains
        0     CONTROL         SA1_XTD2_XGM/XGM/DOOCS      20
        1  INSTRUMENT  SA1_XTD2_XGM/XGM/DOOCS:output      20
        2     CONTROL         SPB_XTD9_XGM/XGM/DOOCS      20
        3  INSTRUMENT  SPB_XTD9_XGM/XGM/DOOCS:output      15
        """
        return find.sources(self._asked, Question.of(source=source, **where)).to_frame()

    def keys(self, source: Any = "*", key: Any = "*", **where: Unpack[KeyChoice]) -> "pd.DataFrame":
        """The keys of the runs' sources, and what they are; a row per type, shape and unit.

        Returns
        -------
        pandas.DataFrame
            Columns section, source, key, index_group, dtype, shape (of one entry), unit, runs,
            trains (with data, summed over runs), entries.
        """
        return find.keys(self._asked, Question.of(source=source, key=key, **where)).to_frame()

    def files(self, **where: Unpack[Choice]) -> "pd.DataFrame":
        """The files of the runs, in the order of runs and names.

        With a filter of data, the files that list such sources, with such keys.

        Returns
        -------
        pandas.DataFrame
            The columns of the view ``files``: proposal, run, data_class, name, trains, size
            (bytes), mtime, aggregator, sequence, verified, format_version, locality, scanned_at,
            missing_since, depth, run_id, path.
        """
        return find.files(self._asked, Question.of(**where)).to_frame()

    def train_ranges(self, **where: Unpack[Choice]) -> "pd.DataFrame":
        """The train IDs of the runs: one row per range without a gap, in the order of runs.

        With a filter of data, the trains of the files that list such sources.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, run, data_class, trains, first_train, last_train, run_id.
        """
        return find.train_ranges(self._asked, Question.of(**where)).to_frame()

    def run_values(
        self,
        source: Any = "*",
        key: Any = "*",
        *,
        limit: int | None = None,
        **where: Unpack[KeyChoice],
    ) -> "pd.DataFrame":
        """The RUN values: the state of the control devices at the start of the runs.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, run, data_class, source, key, dtype, number (of scalars), text (of
            strings), shape (of arrays, whose values are not given), unit, run_id.
        """
        question = Question.of(source=source, key=key, **where)
        return values.run_values(self._asked, question, limit=limit).to_frame()

    def values(
        self, source: Any, key: Any, *, profile: str | None = None, **where: Unpack[RunsChoice]
    ) -> "pd.DataFrame":
        """The values of control keys in each run: a row per run, a column per source and key.

        Parameters
        ----------
        source, key
            As for ``find``.
        profile
            Instead of the RUN value, what ``xfelcat profile`` found during the run: ``min``,
            ``max``, ``mean``, ``std``, ``first``, ``last``, ``changes``, ``nans``, ``entries``.

        Returns
        -------
        pandas.DataFrame
            The runs that have any of the values: columns proposal, run, data_class, started_at;
            ``"SOURCE KEY [unit]"``, in the order of names, numbers as 64-bit floating point;
            instrument, cycle, run_id, path. Arrays of numbers are left out.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.values("*XGM/DOOCS", "pulseEnergy.photonFlux", proposal=900032)
        >>> found.columns[4].partition(" ")[0], len(found)
        ('SA1_XTD2_XGM/XGM/DOOCS', 7)
        """
        question = Question.of(source=source, key=key, **where)
        return values.values(self._asked, question, profile).to_frame()

    def search(self, words: str, *, limit: int = 20, **where: Unpack[RunsChoice]) -> "pd.DataFrame":
        """The sources and keys whose names, or classes of devices, are likest to some words.

        Parameters
        ----------
        words
            ``"attenuator"``, ``"xgm position"``: each must fit the source or the key. Words that
            are spelt a little differently fit, and so do the abbreviations that names are made of.
        limit
            How many rows at most; 0 for all.

        Returns
        -------
        pandas.DataFrame
            The likest first: columns likeness (0 to 1), source, key (missing for a source as a
            whole), unit, runs (that have it).

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.search("xgm photon flux", proposal=900032)[["source", "key", "unit"]].head(1)
                           source                           key unit
        0  SA1_XTD2_XGM/XGM/DOOCS  pulseEnergy.photonFlux.value   μJ
        """
        return search.search(self._asked, words, Question.of(**where), limit=limit).to_frame()

    def coverage(
        self,
        data: Spec | list[Spec],
        *,
        at_least: float = 0.0,
        most_decoded: int = 500,
        **where: Unpack[RunsChoice],
    ) -> "pd.DataFrame":
        """The runs that have all of some data, and for how many of their trains.

        Parameters
        ----------
        data
            ``"SOURCE"``, ``"SOURCE KEY"``, or several in a list.
        at_least
            Leave out runs that do not have them together in this share (0 to 1) of their trains.
        most_decoded
            For how many runs at most, in their order, the index is decoded where counts do not
            suffice; 2 to 10 ms each.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, run, data_class, trains; one for each of ``data`` (trains in which
            anything that it matches has data); together, at_most: the number of trains in which all
            have data, and its upper bound, which is larger only for runs beyond ``most_decoded``;
            instrument, cycle, run_id, path.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.coverage(["*XGM*", "*AGIPD* image.*"], at_least=0.9, proposal=900032)
        >>> found[["run", "data_class", "trains", "*XGM*", "*AGIPD* image.*", "together"]]
           run data_class  trains  *XGM*  *AGIPD* image.*  together
        0    4        red      20     20               20        20
        """
        several = [DataFilter.parse(d) for d in (data if isinstance(data, list) else [data])]
        question = Question.of(**where)
        options: Any = {"at_least": at_least, "most_decoded": most_decoded}
        return coverage.coverage(self._asked, several, question, **options).to_frame()

    def lacking(
        self,
        source: Any = "*",
        *,
        neighbours: int = 5,
        at_least: int = 4,
        **where: Unpack[SourceChoice],
    ) -> "pd.DataFrame":
        """The runs that lack a source that several of their neighbours have.

        Parameters
        ----------
        neighbours
            How many runs before, and how many after, are looked at, in the same proposal and data
            class.
        at_least
            How many of them must have the source.
        **where
            Those of runs say which runs may lack something, not which have it.

        Returns
        -------
        pandas.DataFrame
            Columns proposal, run, data_class, source, section, neighbours_with, neighbours,
            instrument, cycle, run_id, path.
        """
        question = Question.of(source=source, **where)
        answer = coverage.lacking(self._asked, question, neighbours=neighbours, at_least=at_least)
        return answer.to_frame()

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

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.sql("SELECT data_class, count(*) AS runs FROM runs GROUP BY ALL ORDER BY ALL")
          data_class  runs
        0       proc     6
        1        raw    22
        2        red     1
        """
        limits: Any = {"time_limit": time_limit, "memory_limit": memory_limit}
        return sql.run_sql(self._asked, text, parameters, **limits).to_frame()

    def inventory(
        self,
        question: str = "volume",
        *,
        by: Sequence[str] | str | None = None,
        per: str | None = None,
        limit: int | None = None,
        **where: Unpack[RunChoice],
    ) -> "pd.DataFrame":
        """Sums over the runs: volume, growth, and runs that are large, twice there or alone.

        Parameters
        ----------
        question
            ``volume`` (runs, files and bytes by group), ``growth`` (the same per period, and summed
            up), ``largest`` (runs), ``duplicates`` (runs with the files of another, or seen at two
            places), ``orphans`` (runs without their raw run), ``uncalibrated`` (of each proposal
            the raw_runs, calibrated, uncalibrated, share of the former, runs_without),
            ``unverified`` (runs whose datasets were never all opened, oldest scan first).
        by
            One or several groups: instrument, cycle, proposal, data_class; for volume also
            aggregator, format_version, source. Volume is by instrument by default.
        per
            The period of growth: day, week, month (the default) or year.
        limit
            By default 20 for largest and unverified.

        Examples
        --------
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.inventory(by=["instrument", "data_class"])[["instrument", "data_class", "runs"]]
          instrument data_class  runs
        0        FXE       proc     1
        1        FXE        raw    11
        2        SPB       proc     5
        3        SPB        raw    11
        4        SPB        red     1
        """
        groups = [by] if isinstance(by, str) else by
        where_ = RunFilter.of(**where)
        answer = inventory.inventory(self._asked, question, where_, by=groups, per=per, limit=limit)
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
            Called with the view, and how many runs of it are done, of how many.
        **where
            The views sources, keys and audits cannot be filtered, and are left out of all views.

        Returns
        -------
        list of ExportedView
            Of each file: view, path, rows, size (bytes).

        Raises
        ------
        TargetWriteError
            For a file that exists or cannot be written; nothing is replaced then.
        """
        asked = Question.of(**where)
        return export.export_views(
            self._asked, directory, views, asked, force=force, progress=progress
        )

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
        """Check the runs: what is wrong, since when, and what has changed since the last audit.

        Parameters
        ----------
        check, skip
            IDs of checks to make or leave out, or their beginnings (``R``); all by default.
        level
            Only checks of these levels: S, H, catalog, D.
        disk
            Compare the catalog with what is on disk: below the paths ``below``, or else beside the
            runs.
        deep
            A ``RunDataCheck`` of ``xfelcat.loader.jobs.deepcheck``: it reads a sample of data.
        waivers
            A file of waivers; else ``waivers.yml`` in the catalog, if it is there.
        changes_since
            What came or went since then counts as new or resolved; else since the last audit that
            covered the run and the check, and all is new if there is none.
        save
            Whether to record the audit; else nothing in the catalog changes.
        limits
            From where on something is a finding.
        progress
            Called with what is being done, how many steps of it are done, and of how many.

        Returns
        -------
        AuditReport
            ``findings.table`` and ``findings.summary`` (Arrow tables), ``findings.to_frame()``, and
            how the audit went.

        Raises
        ------
        ConfigError
            For a file of waivers that is wrong.
        RunNotFoundError
            Where the filters select no catalogued run.

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
        from .model.checks import DEFAULT_LIMITS, choose_checks

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
            waivers=waivers,
            save=save,
        )
        return audit(self._asked, filter_, options, progress)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        pages: bool = False,
        waivers: str | os.PathLike[str] | None = None,
        **where: Unpack[RunChoice],
    ) -> int:
        """Write the state of the runs to one HTML page that needs no other file.

        It shows the findings that the catalog has, from ingest and from recorded audits.

        Parameters
        ----------
        path
            The file to write; one that exists is replaced. With the ending ``.md`` it gets a
            digest in Markdown.
        pages
            Take ``path`` for a directory, and write ``index.html`` there and a page per proposal.
        waivers
            A file of waivers; else ``waivers.yml`` in the catalog, if it is there.

        Returns
        -------
        int
            Its size in bytes; with ``pages`` how many there are.

        Raises
        ------
        ConfigError
            For a file of waivers that is wrong.
        TargetWriteError
            For a file that cannot be written.
        """
        from .audit.waivers import find_waivers
        from .report.page import write_digest, write_pages, write_report

        accepted = find_waivers(self._store.location, waivers)
        write = write_digest if os.fspath(path).endswith(".md") else write_report
        return (write_pages if pages else write)(
            self._asked, RunFilter.of(**where), path, waivers=accepted
        )

    def plot_timeline(self, by: str = "state", axes: Any = None, **where: Unpack[RunChoice]) -> Any:
        """Plot when runs were: a row per day, a bar per run.

        Parameters
        ----------
        by
            What the colour says: ``"state"`` (the worst that was found in the run, waived or not),
            ``"sample"``, ``"run_type"`` or ``"data_class"``.
        axes
            The matplotlib axes to draw into; by default those of a new figure.
        **where
            Which runs: best those of one proposal and data class.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        QueryError
            None of the runs records when it was.
        """
        from .report.timeline import plot_timeline

        return plot_timeline(self._asked, RunFilter.of(**where), by, axes)

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
            For a target that names no catalogued run; nothing is deleted then.
        """
        return find.forget(self._store, find.find_known(self._store, targets))

    def compact(self) -> None:
        """Rewrite the databases in order, without what forgotten runs left behind."""
        from .store.care import compact

        compact(self._store)
