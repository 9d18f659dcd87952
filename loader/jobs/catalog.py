"""``Catalog``: the questions over all runs, and the ways from there to the data of runs."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from ...catalog.catalog import MetadataCatalog
from ...catalog.model.errors import RunNotFoundError, nearest
from ...catalog.model.identity import parse_proposal, parse_run_name
from ...catalog.model.names import from_text
from ...catalog.questions.filters import RunChoice, spell_filters

# What reads arrays is imported when a run is opened: to ask the catalog needs none of it, and the
# first question of a process would take a fifth longer.
if TYPE_CHECKING:
    import pandas as pd

    from ..collection import DataCollection
    from .profile import ProfileReport

    RunLike = str | os.PathLike[str] | tuple[int | str, int | str] | DataCollection


@spell_filters
class Catalog(MetadataCatalog):
    """The catalog of the runs of a facility, which also opens and compares them."""

    def open(
        self,
        proposal: int | str | os.PathLike[str],
        run: int | str | None = None,
        data: str | Sequence[str] | None = None,
        **options: Any,
    ) -> "DataCollection":
        """Open a run of the catalog, wherever it lies.

        Parameters
        ----------
        proposal, run
            ``(900032, 1)``; or one text: ``"900032/1"``, ``"p900032/proc/r0001"``, or the path of
            a run.
        data
            As for ``open_run``; ``"raw"`` for a text that names no other class.
        **options
            As for ``open_run``, or for a path as for ``RunDirectory``.

        Raises
        ------
        RunNotFoundError
            For a proposal that the catalog has no run of, or a run that is not there.

        Examples
        --------
        >>> run = Catalog("demo/catalog").open(900032, 1, "raw")
        >>> len(run.train_ids)
        20
        """
        from ..open import RunDirectory, open_run

        if run is None:
            named = parse_run_name(os.fspath(proposal)) if not isinstance(proposal, int) else None
            if named is None:
                return RunDirectory(os.fspath(str(proposal)), catalog=self.location, **options)
            number: int | None
            number, data_class, run = named
            data = data or data_class
        else:
            number = parse_proposal(proposal if isinstance(proposal, int) else os.fspath(proposal))
        known = [] if number is None else self.runs(proposal=number)["path"].tolist()
        if not known:
            names = [str(p) for p in self.proposals()["proposal"].dropna()]
            near = nearest(str(number if number is not None else proposal), names)
            sentence = f"the catalog has no run of proposal {proposal}"
            raise RunNotFoundError(f"proposal {proposal}", [self.location], near, sentence=sentence)
        folder = os.path.dirname(os.path.dirname(from_text(known[0])))
        return open_run(folder, run, data, catalog=self.location, **options)

    def profile(
        self,
        source: str = "*",
        key: str | None = None,
        *,
        force: bool = False,
        jobs: int | None = None,
        **where: Unpack[RunChoice],
    ) -> "ProfileReport":
        """Read what control values and other scalars did during the runs, and keep it.

        Parameters
        ----------
        source, key, force, jobs
            As for ``xfelcat.profile``.

        Returns
        -------
        ProfileReport
            What was read; files that could not be read are in its ``problems``.
        """
        from .profile import profile

        options: Any = {"force": force, "jobs": jobs, **where}
        return profile(source, key, catalog=self.location, **options)

    def diff(
        self,
        first: "RunLike",
        second: "RunLike",
        *,
        tolerance: float = 0.0,
        values: bool = True,
        timestamps: bool = False,
    ) -> "pd.DataFrame":
        """What differs between two runs: sources, keys, dtypes, shapes, units and RUN values.

        Parameters
        ----------
        first, second
            Each as ``open`` takes it (``"900032/1"`` or ``(900032, 1)``), or open.
        tolerance
            RUN values no further apart than this share of the larger are the same.
        values
            Whether RUN values are compared.
        timestamps
            Whether the times at which they were set are, too.

        Returns
        -------
        pandas.DataFrame
            Columns what (source, key, dtype, shape, unit or value), source, key, first, second.

        Examples
        --------
        >>> found = Catalog("demo/catalog").diff("900032/5", "900032/6", values=False)
        >>> found[["what", "first", "second"]].head(1)
            what     first    second
        0  shape  [24, 32]  [32, 32]
        """
        import pandas as pd

        from ..show.inspection import compare_runs

        sides = (self._side(run).selected for run in (first, second))
        found = compare_runs(*sides, tolerance=tolerance, values=values, timestamps=timestamps)
        names = ["what", "source", "key", "first", "second"]
        rows = [tuple(getattr(difference, name) for name in names) for difference in found]
        return pd.DataFrame(rows, columns=pd.Index(names))

    def _side(self, run: "RunLike") -> "DataCollection":
        from ..collection import DataCollection

        if isinstance(run, DataCollection):
            return run
        if isinstance(run, tuple):
            return self.open(*run, data="raw")
        return self.open(run)


# What it says of questions is what a user of this class reads first.
Catalog.__doc__ = MetadataCatalog.__doc__
