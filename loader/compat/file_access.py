"""Data files one by one: what is known of each, and the open HDF5 file where a program wants it.

``run.files`` gives them. All that the catalog knows comes from there; ``file`` opens the file, in a
handle of its own that no cache closes.

1. ``look_up_files``: the facts of some files of a directory, and a warning for unusable ones.
2. ``FileAccess``: one file, by the names that the reading API's own class has.
"""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...catalog.model.errors import (
    FileStructureError,
    RunNotFoundError,
    SourceNameError,
    nearest,
    warn_caller,
)
from ...catalog.model.facts import DataFile, RunFacts
from ...catalog.model.identity import RunIdentity, identify_run, parse_file_name
from ...catalog.model.names import LEGACY_VERSION
from ...catalog.model.records import FileLayout
from ...catalog.model.runlength import UInt64s
from ...catalog.opening.resolve import look_up_run
from ..read.files import OpenFiles, open_hdf5
from ..select.rows import FileRef

if TYPE_CHECKING:
    import h5py

_SHOWN_PROBLEMS = 5  # in one warning, which a terminal still shows whole


def look_up_files(
    directory: str,
    names: list[str],
    catalog: str | os.PathLike[str] | None = None,
    trust: str | None = None,
    parallelize: bool = False,
) -> RunFacts:
    """The facts of these files of a directory; nothing is saved. Errors as of ``H5File``."""
    for path in (os.path.join(directory, name) for name in names):
        if os.path.isdir(path):
            raise FileStructureError(path, "a directory, not a file", "RunDirectory opens a run")
        if not os.path.lexists(path):
            there = os.listdir(directory) if os.path.isdir(directory) else []
            near = nearest(os.path.basename(path), there)
            raise RunNotFoundError(f"data file {path}", nearest=near)
    facts = look_up_run(directory, lambda _: names, catalog, trust, False, parallelize)
    warn_of_problems(facts, path if len(names) == 1 else directory)
    return facts


def warn_of_problems(facts: RunFacts, opened: str) -> None:
    """One warning for all files that were left out; an error if none is left."""
    listed = [f"{os.path.basename(p.path)}: {p.message}" for p in facts.problems]
    n_more = len(listed) - _SHOWN_PROBLEMS
    reasons = "; ".join(listed[:_SHOWN_PROBLEMS]) + (f" (and {n_more} more)" if n_more > 0 else "")
    if not len(facts.table.names):
        raise FileStructureError(opened, f"no usable data file: {reasons}")
    if listed:
        n_out = len({p.path for p in facts.problems})
        message = f"{opened}: {n_out} of {len(facts.table.names) + n_out} files left out: {reasons}"
        warn_caller(message)


class FileAccess:
    """One data file: what is known of it, and the HDF5 file when it is asked for.

    ``run.files`` gives them; ``FileAccess(path)`` opens a file by its path. Two are equal if they
    are of the same file with the same size and modification time.
    """

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        directory, name = os.path.split(os.path.abspath(os.path.expanduser(filename)))
        self._set(look_up_files(directory, [name]), 0, OpenFiles())

    @classmethod
    def of(cls, ref: FileRef, files: OpenFiles) -> "FileAccess":
        """A file of a run that is open, and the cache in which it may be open."""
        made = cls.__new__(cls)
        made._set(ref.facts, ref.number, files)
        return made

    def _set(self, facts: RunFacts, number: int, files: OpenFiles) -> None:
        self._facts, self._number, self._files = facts, number, files
        self.data_file: DataFile = facts.files[number]
        """Path, size and modification time, as they were when its facts were taken."""
        self._file: Any = None

    def __getstate__(self) -> tuple[RunFacts, int, OpenFiles]:
        return self._facts, self._number, self._files

    def __setstate__(self, state: tuple[RunFacts, int, OpenFiles]) -> None:
        self._set(*state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileAccess) and self.data_file == other.data_file

    def __hash__(self) -> int:
        return hash(self.data_file)

    def __repr__(self) -> str:
        return f"<xfelcat.FileAccess {self.path}>"

    # -- the file --------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.data_file.path

    filename = path

    @property
    def file(self) -> "h5py.File":
        """The file, open for reading by h5py until ``close``."""
        if not self._file:
            self._file = open_hdf5(self.path)
        return self._file

    def close(self) -> None:
        """Close the file, here and where data were read from it; it is opened again when needed.

        Until then the program may write to it, as long as its trains and INDEX stay: what is read
        later is what it has then.
        """
        self._file = None  # what the program still has of it stays usable
        self._facts.hand_over(self._number)
        self._files.hand_over(self.path, lambda: self._facts.files[self._number])

    # -- its name --------------------------------------------------------------------------------

    @property
    def aggregator(self) -> str | None:
        """The aggregator that wrote it; None where its name has none."""
        return self.data_file.aggregator or None

    @property
    def sequence(self) -> int | None:
        """Its number among the files of the aggregator; None where its name has none."""
        return None if self.data_file.sequence < 0 else self.data_file.sequence

    @property
    def data_category(self) -> str | None:
        """Prefix of its name: RAW, CORR, ...; None where it has none."""
        parsed = parse_file_name(os.path.basename(self.path))
        return parsed.prefix if parsed else None

    @property
    def run(self) -> int | None:
        """Number of the run, from its name or else its directory; None where neither has it."""
        parsed = parse_file_name(os.path.basename(self.path))
        number = parsed.run if parsed else self._identity.run
        return None if number < 0 else number

    @cached_property
    def _identity(self) -> RunIdentity:
        directory = os.path.dirname(self.path)
        return identify_run(directory, os.path.realpath(directory))

    @property
    def proposal(self) -> int | None:
        """Number of the proposal; as all that follows, None outside a facility tree."""
        return None if self._identity.is_loose else self._identity.proposal

    @property
    def instrument(self) -> str | None:
        """The instrument."""
        return self._identity.instrument or None

    @property
    def cycle(self) -> str | None:
        """The cycle, e.g. ``202405``."""
        return self._identity.cycle or None

    @property
    def storage_class(self) -> str | None:
        """The data class (raw, proc, ...)."""
        return self._identity.data_class or None

    # -- its trains ------------------------------------------------------------------------------

    @property
    def train_ids(self) -> UInt64s:
        """All its train IDs in file order, (n,) uint64."""
        return self._facts.trains(self._number).ids

    @property
    def validity_flag(self) -> NDArray[np.bool_]:
        """Which of them are not suspect, (n,) bool."""
        return self._facts.trains(self._number).good

    @property
    def valid_train_ids(self) -> UInt64s:
        """Those that are not suspect."""
        return self.train_ids[self.validity_flag]

    def get_index(self, source: str, group: str) -> tuple[UInt64s, UInt64s]:
        """First row and number of rows of each train, (n,) uint64 each, of an index group."""
        section = self._section(source)
        (found,) = self._facts.patterns([self._number], section, source, group)
        return found.first.astype(np.uint64), found.count.astype(np.uint64)

    # -- its sources -----------------------------------------------------------------------------

    @property
    def format_version(self) -> str:
        """Version of the data format."""
        return str(self._facts.metadata(self._number).get("dataFormatVersion", LEGACY_VERSION))

    def metadata(self) -> dict[str, Any]:
        """METADATA of the file."""
        return {"dataFormatVersion": LEGACY_VERSION, **self._facts.metadata(self._number)}

    @cached_property
    def _layout(self) -> FileLayout:
        return self._facts.full_layout(self._number)

    def _names(self, section: str) -> frozenset[str]:
        return frozenset(s.name for s in self._layout.sources if s.section == section)

    @property
    def control_sources(self) -> frozenset[str]:
        """Names of its control sources."""
        return self._names("CONTROL")

    @property
    def instrument_sources(self) -> frozenset[str]:
        """Names of its instrument sources, legacy names among them."""
        return self._names("INSTRUMENT")

    @property
    def all_sources(self) -> frozenset[str]:
        """Names of control and instrument sources."""
        return self.control_sources | self.instrument_sources

    @property
    def legacy_sources(self) -> dict[str, str]:
        """New names by legacy name."""
        return {s.name: s.legacy_of for s in self._layout.sources if s.legacy_of}

    def _section(self, source: str) -> str:
        for found in self._layout.sources:
            if found.name == source:
                return found.section
        raise SourceNameError(source, (s.name for s in self._layout.sources))

    def index_groups(self, source: str) -> set[str]:
        """The parts of the keys of a source that have their own INDEX; {''} for control."""
        section = self._section(source)
        if section == "CONTROL":
            return {""}
        return set(self._facts.index_groups(self._number, section, source))

    def get_keys(self, source: str) -> set[str]:
        """Names of the keys of a source."""
        section = self._section(source)
        return set(self._facts.schema(self._number, section, source).by_name)
