"""How are the parts of an HDF5 file reached with the fewest calls?

h5py's convenient layer costs 20 to 300 us per dataset, and a run has 10^5 of them. This is the thin
layer that the scanner stands on; nothing in it knows what EXDF is. A file is read either by our own
reader of its bytes (``structures``), or by HDF5's own calls: every function here takes both.

1. ``open_file``: a file, or the exact reason why it is none (``diagnose`` reads the superblock).
2. ``walk_names``: every hard link below a group by one traversal, and the ``leaves`` among them.
3. ``read_array``, ``read_texts``, ``first_value``: whole small datasets.
4. ``read_rows``: some rows of any dataset; ``chunk_rows``: how many a chunk has.
5. ``text_attributes``: some attributes, as far as they are there.

Object identifiers are h5py's low-level ones or those of ``structures``, hence ``Any``.
"""

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5s
from numpy.typing import NDArray

from ..model.dtypes import encode_dtype
from ..model.errors import FileStructureError
from .blocks import NotUnderstoodError
from .links import ElsewhereLink
from .objects import OwnDataset, OwnGroup

__all__ = [
    "READ_ERRORS",
    "as_text",
    "chunk_rows",
    "diagnose",
    "first_value",
    "is_empty",
    "is_simple",
    "leaves",
    "link_names",
    "link_type",
    "open_dataset",
    "open_file",
    "open_group",
    "read_array",
    "read_rows",
    "read_texts",
    "reason_of",
    "text_attributes",
    "walk_names",
]

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

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_BYTES = 1 << 28  # no facts lie in a larger dataset; a damaged file may claim any size


def reason_of(error: BaseException) -> str:
    """The message of an error, on one line, without what Python and HDF5 wrap around it."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


def open_file(path: str) -> Any:
    """Open a file for reading, also where this process has it open already by other means.

    Raises PermissionError, FileNotFoundError or another OSError with ``errno`` as the system says,
    and FileStructureError for what is no complete HDF5 file.
    """
    try:
        return _open_as_others_do(os.fsencode(path))
    except OSError as e:
        if e.errno is not None:
            raise
        raise FileStructureError(path, diagnose(path) or reason_of(e)) from None
    except READ_ERRORS as e:
        raise FileStructureError(path, reason_of(e)) from None


def _open_as_others_do(path: bytes) -> Any:
    """Open a file with the settings that other open handles on it in this process have.

    HDF5 refuses a second handle with settings unlike those of the first. There is no way to ask for
    them, so after a refusal the next is tried; the first try is what nearly always succeeds.
    """
    degrees = [h5f.CLOSE_SEMI, h5f.CLOSE_STRONG]
    locks = [(False, False), (True, False), (True, True), (False, True)]
    settings = h5p.create(h5p.FILE_ACCESS)
    while True:
        try:
            return h5f.open(path, h5f.ACC_RDONLY, settings)
        except OSError as e:
            if "close degree doesn't match" in str(e) and degrees:
                settings.set_fclose_degree(degrees.pop())
            elif "locking" in str(e) and "don't match" in str(e) and locks:
                settings.set_file_locking(*locks.pop())
            else:
                raise


def diagnose(path: str) -> str:
    """Why a file is no complete HDF5 file, as far as its superblock tells; else empty.

    Raises OSError where the file cannot be read.
    """
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        if not size:
            return "empty file"
        at = 0
        while True:  # a user block puts the superblock at 512, 1024, 2048, ...
            f.seek(at)
            head = f.read(64)
            if head.startswith(_SIGNATURE) or (not at and _SIGNATURE.startswith(head)):
                break
            at = at * 2 or 512
            if at + len(_SIGNATURE) > size:
                return "not an HDF5 file"
    if len(head) < 48:
        return "truncated inside the superblock"
    version = head[8]
    if version < 2:
        width, base_at = head[13], 24 + (4 if version else 0)
        end_at = base_at + 2 * width
    else:
        width, end_at = head[9], 12 + 2 * head[9]
    if width not in (2, 4, 8):
        return "damaged superblock"
    end = int.from_bytes(head[end_at : end_at + width], "little")
    if size < end:
        return f"truncated: {size} of {end} bytes"
    if version >= 3 and head[11] & 1:
        return "left open by its writer"
    return ""


def open_group(loc: Any, name: str) -> Any | None:
    """The group of a name below ``loc``, or None where there is none."""
    if isinstance(loc, OwnGroup):
        group = loc.find(_as_bytes(name))
        return group if isinstance(group, OwnGroup) else None
    try:
        return h5g.open(loc, name.encode())
    except READ_ERRORS:
        return None


def _as_bytes(name: str | bytes) -> bytes:
    return name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name


def open_dataset(loc: Any, name: str | bytes) -> Any | None:
    """The dataset of a name below ``loc``, or None where there is none or it is something else."""
    if isinstance(loc, OwnGroup):
        own = loc.find(_as_bytes(name))
        return own if isinstance(own, OwnDataset) else None
    try:
        found = h5o.open(loc, name.encode() if isinstance(name, str) else name)
    except READ_ERRORS:
        return None
    return found if isinstance(found, h5d.DatasetID) else None


def link_type(loc: Any, name: str) -> tuple[str, str]:
    """What a name is: hard, soft or external, and where a link leads; ``("", "")`` if nothing."""
    if isinstance(loc, OwnGroup):
        link = loc.link(_as_bytes(name))
        if isinstance(link, ElsewhereLink):
            return link.kind, as_text(link.target)
        return ("", "") if link is None else ("hard", "")
    try:
        kind = loc.links.get_info(name.encode()).type
        if kind == h5l.TYPE_SOFT:
            return "soft", as_text(loc.links.get_val(name.encode()))
        if kind == h5l.TYPE_EXTERNAL:
            return "external", as_text(loc.links.get_val(name.encode())[0])
    except READ_ERRORS:
        return "", ""
    return "hard", ""


def link_names(group: Any) -> list[str]:
    """The names in a group, sorted."""
    return [as_text(n) for n in (group.names() if isinstance(group, OwnGroup) else group)]


def is_empty(group: Any) -> bool:
    """Whether there is nothing in a group."""
    return group.is_empty() if isinstance(group, OwnGroup) else not group.get_num_objs()


def walk_names(group: Any) -> list[str]:
    """The names of all hard links below a group, each group right before what it holds.

    Soft and external links are left out, as what they lead to is listed elsewhere or not ours.
    """
    if isinstance(group, OwnGroup):
        return [as_text(n) for n in group.walk()]
    names: list[bytes] = []

    def keep(name: bytes, info: Any) -> None:
        if info.type == h5l.TYPE_HARD:
            names.append(name)

    group.links.visit(keep, info=True)
    return [as_text(n) for n in names]


def leaves(names: list[str]) -> Iterator[str]:
    """Of names as ``walk_names`` gives them, those that nothing lies below."""
    for at, name in enumerate(names, 1):
        if at == len(names) or not names[at].startswith(name + "/"):
            yield name


def as_text(value: bytes | str) -> str:
    """A string of a file, whatever its bytes; those that are no UTF-8 are escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def read_array(dataset: Any) -> NDArray[Any]:
    """All of a dataset that is known to be small.

    Raises ValueError where it is not small, or holds nothing that numpy can.
    """
    shape, dtype = dataset.shape, dataset.dtype
    if shape is None:
        raise ValueError("dataset without a dataspace")
    if dtype.itemsize * math.prod(shape) > _MAX_BYTES:
        raise ValueError(f"dataset of implausible shape {shape}")
    if isinstance(dataset, OwnDataset):
        found = dataset.read()
        if found is not None:
            return found
        dataset = _by_library(dataset)
    out = np.zeros(shape, dtype)
    if out.size:
        dataset.read(h5s.ALL, h5s.ALL, out)
    return out


def _by_library(dataset: OwnDataset) -> Any:
    """The same dataset opened by the HDF5 library."""
    file = dataset.file
    try:
        if file.library is None:
            file.library = open_file(file.path)
        return h5o.open(file.library, dataset.path)
    except READ_ERRORS as e:
        raise NotUnderstoodError(str(e)) from e


def chunk_rows(dataset: Any) -> int:
    """The rows of one chunk of a dataset of the library; 1 where it is not chunked."""
    properties = dataset.get_create_plist()
    return int(properties.get_chunk()[0]) if properties.get_layout() == h5d.CHUNKED else 1


def read_rows(dataset: Any, first: int, end: int) -> NDArray[Any]:
    """Rows ``first`` up to ``end`` of a dataset of the library, which has a dimension or more.

    Raises ValueError where that is more than can be read at once.
    """
    shape, dtype = (end - first, *dataset.shape[1:]), dataset.dtype
    if dtype.itemsize * math.prod(shape) > _MAX_BYTES:
        raise ValueError(f"rows of implausible shape {shape}")
    out = np.zeros(shape, dtype)
    space = dataset.get_space()
    space.select_hyperslab((first, *[0] * (len(shape) - 1)), shape)
    dataset.read(h5s.create_simple(shape), space, out)
    return out


def is_simple(dataset: Any) -> bool:
    """Whether a dataset holds numbers or strings.

    Ragged and compound types are no part of METADATA; where a damaged file claims one, HDF5 may
    crash reading it.
    """
    dtype = dataset.dtype
    return dtype.kind in "biufS" or encode_dtype(dtype) in ("str", "bytes")


def read_texts(dataset: Any) -> list[str]:
    """All of a 1-D dataset of strings."""
    return [as_text(v) for v in read_array(dataset).ravel().tolist()]


def first_value(dataset: Any) -> Any | None:
    """The first entry of a dataset (all of a scalar one) as numpy has it; strings as ``str``.

    None where there is no entry, or nothing that is a value (references).
    """
    array = read_array(dataset)
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


def text_attributes(loc: Any, names: tuple[bytes, ...]) -> list[str]:
    """The attributes of these names, each empty where there is none, or it is no string."""
    if isinstance(loc, OwnGroup | OwnDataset):
        return [as_text(value) for value in loc.text_attributes(names)]
    if not h5a.get_num_attrs(loc):
        return [""] * len(names)
    return [_text_attribute(loc, name) for name in names]


def _text_attribute(loc: Any, name: bytes) -> str:
    if not h5a.exists(loc, name):
        return ""
    attribute = h5a.open(loc, name)
    value = np.zeros(attribute.shape or (), attribute.dtype)
    attribute.read(value)
    flat = value.ravel()
    first = flat[0] if flat.size else ""
    return as_text(first) if isinstance(first, bytes | str) else ""
