"""HDF5 without EXDF: Group and Dataset, through which the scanner reads an HDF5 file.

Two sources implement them: ``objects`` reads the bytes of the file itself, in few reads and without
the HDF5 library; ``library`` calls HDF5, which understands everything but costs 20 to 60 us per
object (h5py's convenient layer 20 to 300 us), and a run has 10^5 of them. Nothing here knows EXDF.
"""

import math
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..model.records import encode_dtype

READ_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    MemoryError,
)
"""What h5py raises, between its releases, on a file with a damaged structure."""

WAIT_SECONDS = 1e-3
"""What a file may take besides work before several are read side by side."""

_MAX_BYTES = 1 << 28  # no facts lie in a larger dataset; a damaged file may claim any size


def idle_seconds() -> float:
    """Time that this thread did not work, since some moment: it waited, mostly for files."""
    return time.perf_counter() - time.thread_time()


class Dataset(Protocol):
    """A dataset of an open file. Any access may raise one of READ_ERRORS."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its dimensions now; None where it has no dataspace."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype as h5py has it."""

    def read(self) -> NDArray[Any]:
        """All its values; ValueError where they are implausibly many, or none that numpy has."""

    def text_attributes(self, names: tuple[bytes, ...]) -> list[str]:
        """The attributes of these names, each empty where it is absent or no string."""


class Group(Protocol):
    """A group of an open file. Paths are relative to it, or absolute; soft links are followed."""

    opens_cheaply: bool
    """Whether a dataset costs next to nothing to open once the names have been walked."""

    def group(self, path: str) -> "Group | None":
        """The group at a path, or None."""

    def dataset(self, path: str) -> "Dataset | None":
        """The dataset at a path, or None."""

    def names(self) -> list[str]:
        """The names in the group, sorted."""

    def is_empty(self) -> bool:
        """Whether the group holds no link."""

    def link(self, path: str) -> tuple[str, str]:
        """The kind of link at a path (hard, soft, external) and its target; ``("", "")`` if none.

        A hard link has an empty target.
        """

    def walk(self, out: dict[str, str] | None = None) -> list[str]:
        """The paths of all hard links below, each group right before its members.

        Soft links are left out: their targets are listed elsewhere. So are links to other files,
        unless they are followed; ``out`` then gets their paths, with the file each leads to.
        """

    def text_attributes(self, names: tuple[bytes, ...]) -> list[str]:
        """As for a dataset."""


def reason_of(error: BaseException) -> str:
    """The message of an error, on one line, without what Python and HDF5 wrap around it."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


def link_not_followed(other: str) -> str:
    """What is wrong with a link to another file."""
    return f"a link to another file, {other!r}, which is not followed"


def as_text(value: bytes | str) -> str:
    """A string of a file, whatever its bytes; those that are no UTF-8 are escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def check_size(shape: tuple[int, ...] | None, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """The shape of values that fit into memory; ValueError for others."""
    if shape is None:
        raise ValueError("dataset without a dataspace")
    if dtype.itemsize * math.prod(shape) > _MAX_BYTES:
        raise ValueError(f"dataset of implausible shape {shape}")
    return shape


def leaves(names: list[str]) -> Iterator[str]:
    """Of names from ``Group.walk``, those that nothing lies below."""
    for at, name in enumerate(names, 1):
        if at == len(names) or not names[at].startswith(name + "/"):
            yield name


def is_simple(dataset: Dataset) -> bool:
    """Whether a dataset holds numbers or strings.

    Ragged and compound types are no part of METADATA; where a damaged file claims one, HDF5 may
    crash reading it.
    """
    dtype = dataset.dtype
    return dtype.kind in "biufS" or encode_dtype(dtype) in ("str", "bytes")


def read_texts(dataset: Dataset) -> list[str]:
    """All of a dataset of strings."""
    return [as_text(v) for v in dataset.read().ravel().tolist()]


def first_value(dataset: Dataset) -> Any | None:
    """The first entry of a dataset (all of a scalar one) as numpy has it; strings as ``str``.

    None where there is no entry, or nothing that is a value (references).
    """
    array = dataset.read()
    if array.ndim and not len(array):
        return None
    value = array[0] if array.ndim else array[()]
    if isinstance(value, bytes | str):
        return as_text(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        texts = np.empty(value.shape, object)
        for at, item in np.ndenumerate(value):
            if not isinstance(item, bytes | str):
                return None
            texts[at] = as_text(item)
        return texts
    return value if isinstance(value, np.generic | np.ndarray) else None
