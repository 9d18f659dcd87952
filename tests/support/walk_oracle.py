"""What a walk through the files of a facility finds, with h5py and nothing of ours.

For tests that hold an answer of the catalog against the files themselves.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import h5py
import numpy as np

NAME = re.compile(r"\w+-R\d+-(?P<aggregator>\w+?)-S(?P<sequence>\d+)\.h5")


@dataclass(frozen=True)
class WalkedFile:
    """A data file: by its path, and by what can be read in it."""

    path: Path

    @property
    def aggregator(self):
        return NAME.fullmatch(self.path.name)["aggregator"]

    @property
    def sequence(self):
        return int(NAME.fullmatch(self.path.name)["sequence"])

    @property
    def size(self):
        return self.path.stat().st_size

    @property
    def is_readable(self):
        try:
            with h5py.File(self.path) as file:
                return "INDEX/trainId" in file
        except OSError:
            return False

    def get(self, place):
        """A dataset, whole; None where there is none."""
        with h5py.File(self.path) as file:
            return file[place][()] if place in file else None

    def shape(self, place):
        with h5py.File(self.path) as file:
            return file[place].shape if place in file else None

    @cached_property
    def train_ids(self):
        ids = self.get("INDEX/trainId")
        return ids[ids > 0]

    @property
    def suspect(self):
        """Train IDs that INDEX/flag or, without flags, the order says are suspect."""
        ids, flag = self.get("INDEX/trainId"), self.get("INDEX/flag")
        if flag is not None:
            return ids[(flag[: len(ids)] == 0) & (ids > 0)]
        highest, wrong = 0, []
        for train in ids.tolist():
            if 0 < train <= highest:
                wrong.append(train)
            highest = max(highest, train)
        return np.array(wrong, np.uint64)

    @cached_property
    def sources(self):
        """(section, source) of all devices that the file lists, old names left out."""
        with h5py.File(self.path) as file:
            listed = file.get(
                "METADATA/dataSources/dataSourceId", file.get("METADATA/dataSourceId")
            )
            found = set()
            for text in listed[:]:
                section, _, name = text.decode().partition("/")
                if section == "INSTRUMENT":
                    name = name.rpartition("/")[0] if ":" in name else name
                if name and section:
                    link = file.get(f"{section}/{name}", getlink=True)
                    if not isinstance(link, h5py.SoftLink):
                        found.add((section, name))
            return found

    @cached_property
    def keys(self):
        """All keys of the devices that the file lists, and that are there."""
        found = []
        with h5py.File(self.path) as file:
            for section, source in sorted(self.sources):
                group = file.get(f"{section}/{source}")
                if group is None:
                    continue
                group.visititems(
                    lambda name, item, s=section, d=source: (
                        found.append(WalkedKey.of(s, d, name, item))
                        if isinstance(item, h5py.Dataset)
                        else None
                    )
                )
        return found

    @cached_property
    def run_values(self):
        """(source, key) -> (dtype, value) of RUN; the values of arrays are left out."""
        found = {}
        with h5py.File(self.path) as file:
            for section, source in self.sources:
                group = file.get(f"RUN/{source}") if section == "CONTROL" else None
                if group is not None:
                    group.visititems(
                        lambda name, item, d=source: (
                            found.update({(d, name.replace("/", ".")): _scalar(item)})
                            if isinstance(item, h5py.Dataset)
                            else None
                        )
                    )
        return found


def _scalar(item):
    value = item[()]
    value = value.ravel()[0] if value.size == 1 else None
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class WalkedKey:
    """A dataset of a source: named as users name it."""

    section: str
    source: str
    key: str
    group: str
    dtype: str
    shape: tuple
    unit: str

    @classmethod
    def of(cls, section, source, name, dataset):
        attributes = (dataset.parent if section == "CONTROL" else dataset).attrs
        unit = ""
        if "unitSymbol" in attributes:
            prefix = attributes.get("metricPrefixSymbol", "").replace("u", "μ")
            unit = prefix + attributes["unitSymbol"]
        dtype = "str" if h5py.check_string_dtype(dataset.dtype) else dataset.dtype.str
        group = "" if section == "CONTROL" else name.partition("/")[0]
        key = name.replace("/", ".")
        return cls(section, source, key, group, dtype, dataset.shape[1:], unit)


@dataclass(frozen=True)
class WalkedRun:
    """A run directory of a facility tree."""

    path: Path

    def __post_init__(self):
        parts = self.path.parts[-5:]
        for name, part in zip(
            ("instrument", "cycle", "_p", "data_class", "_r"), parts, strict=True
        ):
            object.__setattr__(self, name, part)
        object.__setattr__(self, "proposal", int(parts[2][1:]))
        object.__setattr__(self, "run", int(parts[4][1:]))

    @property
    def all_files(self):
        return [WalkedFile(p) for p in sorted(self.path.glob("*.h5")) if NAME.fullmatch(p.name)]

    @cached_property
    def files(self):
        """Those that can be read."""
        return [f for f in self.all_files if f.is_readable]

    def value(self, source, key):
        """A RUN value from the first file that has it; None where none has."""
        for file in self.files:
            found = file.get(f"RUN/{source}/{key.replace('.', '/')}/value")
            if found is not None:
                value = found.ravel()[0]
                return value.decode() if isinstance(value, bytes) else value.item()
        return None

    def run_values(self, key):
        """source -> RUN value of a key, for all control sources."""
        names = {name for f in self.files for section, name in f.sources if section == "CONTROL"}
        values = {name: self.value(name, key) for name in sorted(names)}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def device_values(self):
        """(source, key) -> RUN value from the first file that has it."""
        found = {}
        for file in self.files:
            found = file.run_values | found
        return found

    @cached_property
    def keys(self):
        """All keys of the run, each as it is in any of its files."""
        return {key for file in self.files for key in file.keys}

    @cache  # noqa: B019 (walked runs live as long as the tests)
    def counts(self, source, group):
        """train ID -> number of entries of an index group, over all files that have it."""
        found = defaultdict(int)
        for file in self.files:
            count = file.get(f"INDEX/{source}/{group}/count" if group else f"INDEX/{source}/count")
            if count is not None:
                for train, n in zip(
                    file.get("INDEX/trainId").tolist(), count.tolist(), strict=True
                ):
                    if train:
                        found[train] += n
        return dict(found)

    @cached_property
    def train_ids(self):
        return sorted({t for f in self.files for t in f.train_ids.tolist()})

    @cached_property
    def sources(self):
        return {pair for f in self.files for pair in f.sources}


@cache
def walk(root):
    """The runs of a facility, by proposal, data class and run."""
    found = [WalkedRun(p) for p in root.glob("*/*/p*/*/r*") if p.is_dir() and any(p.glob("*.h5"))]
    return sorted(found, key=lambda r: (r.proposal, r.data_class, r.run))
