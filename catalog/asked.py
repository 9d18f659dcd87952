"""What can be asked of a catalog? The methods of ``Catalog`` that are questions over runs.

They share one set of filters, ``questions.question.Choice``; docs/questions.md explains it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from .questions.data_filter import Spec
from .questions.question import (
    Choice,
    ConditionChoice,
    KeyChoice,
    Question,
    RunsChoice,
    SourceChoice,
)
from .store.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Questions"]


class Questions:
    """Questions over all runs of a catalog; they read no data file.

    All take the same filters as keyword arguments, and what is not said is left open:

    - which runs: ``proposal``, ``run``, ``instrument``, ``cycle``, ``data_class``, ``since``,
      ``until``, ``below``, and ``train`` (a train ID, or a range of them, of which the run has
      one), ``min_trains``, ``has`` and ``has_not`` (``"SOURCE"`` or ``"SOURCE KEY"``, several in a
      list: all of them, none of them), ``where`` (a condition on RUN values, see ``find_runs``);
    - which data: ``source`` and ``key`` (globs, or regular expressions after ``"re:"``),
      ``device_class``, ``dtype``, ``shape`` (of one entry), ``unit``. ``min_trains`` then counts
      the trains with such data.

    Raises
    ------
    QueryError
        By each of them, for a filter that means nothing.
    CatalogNotFoundError
        By each of them, where nothing was ingested yet.
    """

    _store: Store

    def runs(self, **where: Unpack[Choice]) -> "pd.DataFrame":
        """The catalogued runs, ordered by proposal, data class and run; loose runs come last.

        Parameters
        ----------
        **where
            Filters; with one of data, the runs that have such data.

        Returns
        -------
        pandas.DataFrame
            The columns of the view ``runs``: run_id, proposal, run, data_class, instrument, cycle,
            path, realpath, depth, files, files_missing, files_unread, bytes, trains,
            suspect_trains, first_train, last_train, started_at, ended_at, newest_mtime,
            format_version, recorded_proposal, recorded_run, ingested_at.

        Examples
        --------
        >>> from xfelcat import Catalog
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.runs(instrument="SPB", data_class="proc")[["proposal", "run", "trains"]]
           proposal  run  trains
        0    900010    1      20
        1    900010    2      32
        2    900032    1      20
        3    900032    2      32
        4    900032    4      20
        >>> catalog.runs(train=1_003_200_000, data_class="raw")[["proposal", "run"]]
        Empty DataFrame
        Columns: [proposal, run]
        Index: []
        """
        from .questions.queries import runs

        return runs(self._store, Question.of(**where)).to_frame()

    def find(
        self,
        source: Any = "*",
        key: Any = None,
        *,
        limit: int | None = None,
        **where: Unpack[KeyChoice],
    ) -> "pd.DataFrame":
        """The runs that have a source, or a key of it: one row per run, source and key.

        Parameters
        ----------
        source
            A glob: ``*`` matches any text (also ``/``), ``?`` one character, ``[xyz]`` one of
            these, ``[!xyz]`` none of these; upper and lower case differ. Or a regular expression:
            ``"re:..."``, or compiled; or several in a list.
        key
            The same; the keys of control sources with ``.value`` or without, and their timestamps
            only if the glob ends in ``timestamp``. None: rows per source and index group, with the
            glob of its keys (``image.*``) for a key, and no dtype, shape or unit, unless a filter
            is about these.
        limit
            Give this many rows at most.
        **where
            Filters.

        Returns
        -------
        pandas.DataFrame
            Columns run_id, proposal, run, data_class, instrument, cycle, section, source, key,
            dtype, shape (of one entry), unit, trains (with data), entries, path (of the run),
            depth.

        Examples
        --------
        >>> from xfelcat import Catalog
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.find("SA1*", "beamPosition.ixPos", proposal=900032, run="1-2")
        >>> found[["proposal", "run", "key", "unit", "trains"]]
           proposal  run                       key unit  trains
        0    900032    1  beamPosition.ixPos.value   mm      20
        1    900032    2  beamPosition.ixPos.value   mm      32
        """
        from .questions.queries import find

        question = Question.of(source=source, key=key, **where)
        return find(self._store, question, limit=limit).to_frame()

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
        **choice
            Filters.

        Returns
        -------
        pandas.DataFrame
            Columns run_id, proposal, run, data_class, instrument, cycle, started_at, trains; for
            each operand ``"SOURCE KEY [unit]"`` and, where it is a pattern, the source whose value
            that is; path, depth. Numbers are compared and given as 64-bit floating point.

        Examples
        --------
        >>> from xfelcat import Catalog
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.find_runs("SA1_XTD2_XGM/XGM/DOOCS gainMode in (1, 2)", proposal=900032)
        >>> found.columns[8:10].tolist()
        ['SA1_XTD2_XGM/XGM/DOOCS gainMode', 'path']
        """
        from .questions.queries import find_runs

        return find_runs(self._store, Question.of(where=where, **choice)).to_frame()

    def sources(self, source: Any = "*", **where: Unpack[SourceChoice]) -> "pd.DataFrame":
        """The sources of the runs, in the order of their names.

        Parameters
        ----------
        source
            As for ``find``.
        **where
            Filters.

        Returns
        -------
        pandas.DataFrame
            Columns section, source, runs (that have it), trains (with data, summed over runs),
            entries, first_run_id, last_run_id.

        Examples
        --------
        >>> from xfelcat import Catalog
        >>> catalog = Catalog("demo/catalog")
        >>> catalog.sources("*XGM*", proposal=900032, run=1)[["section", "source", "trains"]]
              section                         source  trains
        0     CONTROL         SA1_XTD2_XGM/XGM/DOOCS      20
        1  INSTRUMENT  SA1_XTD2_XGM/XGM/DOOCS:output      20
        2     CONTROL         SPB_XTD9_XGM/XGM/DOOCS      20
        3  INSTRUMENT  SPB_XTD9_XGM/XGM/DOOCS:output      20
        """
        from .questions.queries import sources

        return sources(self._store, Question.of(source=source, **where)).to_frame()

    def keys(self, source: Any = "*", key: Any = "*", **where: Unpack[KeyChoice]) -> "pd.DataFrame":
        """The keys of the runs' sources, and what they are; a row per type, shape and unit.

        Parameters
        ----------
        source, key
            As for ``find``.
        **where
            Filters.

        Returns
        -------
        pandas.DataFrame
            Columns section, source, key, index_group, dtype, shape (of one entry), unit, runs,
            trains (with data, summed over runs), entries.
        """
        from .questions.queries import keys

        return keys(self._store, Question.of(source=source, key=key, **where)).to_frame()

    def files(self, **where: Unpack[Choice]) -> "pd.DataFrame":
        """The files of the runs, in the order of runs and names.

        Parameters
        ----------
        **where
            Filters; with one of data, the files that list such sources, with such keys.

        Returns
        -------
        pandas.DataFrame
            The columns of the view ``files``: run_id, proposal, run, data_class, name, path, size
            (bytes), mtime, aggregator, sequence, depth, verified, format_version, locality, trains,
            scanned_at, missing_since.
        """
        from .questions.contents import files

        return files(self._store, Question.of(**where)).to_frame()

    def train_ranges(self, **where: Unpack[Choice]) -> "pd.DataFrame":
        """The train IDs of the runs: one row per range without a gap, in the order of runs.

        Parameters
        ----------
        **where
            Filters; with one of data, the trains of the files that list such sources.

        Returns
        -------
        pandas.DataFrame
            Columns run_id, proposal, run, data_class, first_train, last_train, trains.
        """
        from .questions.contents import train_ranges

        return train_ranges(self._store, Question.of(**where)).to_frame()

    def run_values(
        self,
        source: Any = "*",
        key: Any = "*",
        *,
        limit: int | None = None,
        **where: Unpack[KeyChoice],
    ) -> "pd.DataFrame":
        """What the RUN sections say: the state of the control devices at the start of the runs.

        Parameters
        ----------
        source, key
            As for ``find``.
        limit
            Give this many rows at most.
        **where
            Filters.

        Returns
        -------
        pandas.DataFrame
            Columns run_id, proposal, run, data_class, source, key, dtype, number (of scalars), text
            (of strings), shape (of arrays, whose values are not given), unit.
        """
        from .questions.contents import run_values

        question = Question.of(source=source, key=key, **where)
        return run_values(self._store, question, limit=limit).to_frame()

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
            tell; 2 to 10 ms each.
        **where
            Filters of runs.

        Returns
        -------
        pandas.DataFrame
            Columns run_id, proposal, run, data_class, instrument, cycle, trains; one for each of
            ``data`` (trains in which anything that it matches has data); together, at_most: the
            number of trains in which all have data, and its upper bound, which is larger only for
            runs beyond ``most_decoded``; path.

        Examples
        --------
        >>> from xfelcat import Catalog
        >>> catalog = Catalog("demo/catalog")
        >>> found = catalog.coverage(["*XGM*", "*AGIPD* image.*"], at_least=0.9, proposal=900032)
        >>> found[["run", "data_class", "trains", "*XGM*", "*AGIPD* image.*", "together"]]
        Empty DataFrame
        Columns: [run, data_class, trains, *XGM*, *AGIPD* image.*, together]
        Index: []
        """
        from .questions.data_filter import DataFilter
        from .questions.presence import coverage

        several = [DataFilter.parse(d) for d in (data if isinstance(data, list) else [data])]
        question = Question.of(**where)
        options: Any = {"at_least": at_least, "most_decoded": most_decoded}
        return coverage(self._store, several, question, **options).to_frame()

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
        source
            As for ``find``.
        neighbours
            How many runs before, and how many after, are looked at, in the same proposal and data
            class.
        at_least
            How many of them must have the source.
        **where
            Filters; those of runs say which runs may lack something, not which have it.

        Returns
        -------
        pandas.DataFrame
            Columns run_id, proposal, run, data_class, instrument, cycle, section, source,
            neighbours_with, neighbours, path.
        """
        from .questions.neighbours import lacking

        question = Question.of(source=source, **where)
        return lacking(self._store, question, neighbours=neighbours, at_least=at_least).to_frame()
