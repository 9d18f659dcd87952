"""HDF5 files through the HDF5 library: ``LibraryGroup`` and ``LibraryDataset``.

The library understands every file, also what our own reader (``objects``) leaves to it, and decides
what is damaged. Low-level calls of h5py only: they cost a tenth of its convenient layer.
``open_file`` opens a file, or gives the exact reason why it is none (``diagnose`` reads the
superblock).
"""

import os
import posixpath
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5i, h5l, h5o, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from ..config import load_settings
from ..model.errors import FileStructureError
from .chunks import ABSENT, ChunkLayout, ChunkMap, NotPlainError
from .interface import READ_ERRORS, as_text, check_size, link_not_followed, reason_of

# H5Z and H5D constants of the file format.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_LINKS = 32  # soft links one after the other: more are a circle


@cache
def _within_the_file() -> h5p.PropLAID:
    """Settings that keep HDF5 from opening the files that external links lead to.

    It has no setting for that; but it may be asked to open them as families of files, and then
    opens none whose name has no place for a number.
    """
    links, files = h5p.create(h5p.LINK_ACCESS), h5p.create(h5p.FILE_ACCESS)
    files.set_fapl_family(1 << 20)
    links.set_elink_fapl(files)
    return links


class LibraryFile:
    """An open file: its ``root`` group, until it is closed."""

    def __init__(self, fid: h5f.FileID, *, follow_links: bool = False) -> None:
        self._fid = fid
        self.root = LibraryGroup(fid, follow_links=follow_links)

    def close(self) -> None:
        """Close the file."""
        self._fid.close()


class _LibraryObject:
    """A group or dataset, by its ``id`` of h5py's low-level layer."""

    __slots__ = ("id",)

    def __init__(self, id_: Any) -> None:
        self.id = id_

    def text_attributes(self, names: tuple[bytes, ...]) -> list[str]:
        """See ``interface.Dataset``."""
        if not h5a.get_num_attrs(self.id):
            return [""] * len(names)
        texts = []
        for name in names:
            first: Any = ""
            if h5a.exists(self.id, name):
                attribute = h5a.open(self.id, name)
                value = np.zeros(attribute.shape or (), attribute.dtype)
                attribute.read(value)
                first = value.ravel()[0] if value.size else ""
            texts.append(as_text(first) if isinstance(first, bytes | str) else "")
        return texts


class LibraryGroup(_LibraryObject):
    """A group, or the root group by the ID of its file; see ``interface.Group``.

    ``follow_links``: whether links to other files are followed, as links within the file are.
    """

    __slots__ = ("_follow_links",)
    opens_cheaply = False

    def __init__(self, id_: Any, *, follow_links: bool = False) -> None:
        super().__init__(id_)
        self._follow_links = follow_links

    def group(self, path: str) -> "LibraryGroup | None":
        """The group at a path, or None."""
        found = self._open(path.encode())
        if not isinstance(found, h5g.GroupID):
            return None
        return LibraryGroup(found, follow_links=self._follow_links)

    def dataset(self, path: str) -> "LibraryDataset | None":
        """The dataset at a path, or None."""
        found = self._open(path.encode())
        return LibraryDataset(found) if isinstance(found, h5d.DatasetID) else None

    def _open(self, path: bytes) -> Any:
        """The object at a path; None where no link leads to one."""
        try:
            return h5o.open(self.id, path, None if self._follow_links else _within_the_file())
        except READ_ERRORS:
            if self._leads_somewhere(path, _MOST_LINKS):
                raise
            return None

    def _leads_somewhere(self, path: bytes, most_links: int) -> bool:
        """Whether links lead to something at a path that does not open.

        Raises ValueError where they lead out of the file, unless such links are followed.
        """
        at = b"/" if path.startswith(b"/") else b""
        *above, last = filter(None, path.split(b"/"))
        for name in (*above, last):
            folder, at = at, posixpath.join(at, name)
            if not self.id.links.exists(at):
                return False
            kind = self.id.links.get_info(at).type
            if kind == h5l.TYPE_EXTERNAL:
                if self._follow_links:
                    return True
                raise ValueError(link_not_followed(as_text(self.id.links.get_val(at)[0])))
            if kind == h5l.TYPE_SOFT and most_links:
                target = posixpath.join(folder, self.id.links.get_val(at))
                if not self._leads_somewhere(target, most_links - 1):
                    return False
            if name is not last:
                try:
                    found = h5o.open(self.id, at, _within_the_file())
                except READ_ERRORS:
                    return True
                if not isinstance(found, h5g.GroupID):
                    return False
        return True

    def link(self, path: str) -> tuple[str, str]:
        """See ``interface.Group``."""
        try:
            kind = self.id.links.get_info(path.encode()).type
            if kind == h5l.TYPE_SOFT:
                return "soft", as_text(self.id.links.get_val(path.encode()))
            if kind == h5l.TYPE_EXTERNAL:
                return "external", as_text(self.id.links.get_val(path.encode())[0])
        except READ_ERRORS:
            return "", ""
        return "hard", ""

    def names(self) -> list[str]:
        """The names in the group, sorted."""
        return [as_text(n) for n in self.id]

    def is_empty(self) -> bool:
        """Whether the group holds no link."""
        return not self.id.get_num_objs()

    def walk(self, out: dict[str, str] | None = None) -> list[str]:
        """See ``interface.Group``."""
        names: list[bytes] = []
        leading_out: list[bytes] = []

        def keep(name: bytes, info: Any) -> None:
            if info.type == h5l.TYPE_HARD:
                names.append(name)
            elif info.type == h5l.TYPE_EXTERNAL:
                leading_out.append(name)

        try:
            self.id.links.visit(keep, info=True)
        except READ_ERRORS:  # an object that cannot be read is among them: it is listed too
            leading_out = []
            names = list(self._walk_past_damage(b"", set(), leading_out))
        if self._follow_links:
            for name in leading_out:
                names += self._walk_outside(name)
            names.sort(key=lambda path: path.split(b"/"))
        elif out is not None:
            out |= {as_text(n): as_text(self.id.links.get_val(n)[0]) for n in leading_out}
        return [as_text(n) for n in names]

    def _walk_outside(self, name: bytes) -> list[bytes]:
        """The path of what a link to another file leads to, and the paths of all below it.

        In that file, links to further files are not followed: they may come back.
        """
        found = self._open(name)
        below = LibraryGroup(found).walk() if isinstance(found, h5g.GroupID) else ()
        return [name, *(name + b"/" + path.encode() for path in below)]

    def _walk_past_damage(
        self, above: bytes, seen: set[int], leading_out: list[bytes]
    ) -> Iterator[bytes]:
        """The paths of all hard links below, also of those to what cannot be read.

        Those to other files are added to ``leading_out``.
        """
        seen.add(h5o.get_info(self.id).addr)
        for name in list(self.id):
            kind = self.id.links.get_info(name).type
            if kind == h5l.TYPE_EXTERNAL:
                leading_out.append(above + name)
            if kind != h5l.TYPE_HARD:
                continue
            yield above + name
            try:
                found = h5o.open(self.id, name)
                is_new = h5o.get_info(found).addr not in seen
            except READ_ERRORS:
                continue
            if isinstance(found, h5g.GroupID) and is_new:
                below = LibraryGroup(found)
                yield from below._walk_past_damage(above + name + b"/", seen, leading_out)


class LibraryDataset(_LibraryObject):
    """A dataset; see ``interface.Dataset``."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its dimensions now; None where it has no dataspace."""
        shape: tuple[int, ...] | None = self.id.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype as h5py has it."""
        dtype: np.dtype[Any] = self.id.dtype
        return dtype

    def read(self) -> NDArray[Any]:
        """All its values; ValueError where they are implausibly many."""
        out = np.zeros(check_size(self.shape, self.dtype), self.dtype)
        if out.size:
            self.id.read(h5s.ALL, h5s.ALL, out, self._memory_type())
        return out

    def read_rows(self, first: int, end: int) -> NDArray[Any]:
        """Rows ``first`` up to ``end`` of a dataset with at least one dimension.

        Raises ValueError where they are too many to read at once.
        """
        dtype = self.dtype
        shape = check_size((end - first, *(self.shape or ())[1:]), dtype)
        out = np.zeros(shape, dtype)
        space = self.id.get_space()
        space.select_hyperslab((first, *[0] * (len(shape) - 1)), shape)
        self.id.read(h5s.create_simple(shape), space, out, self._memory_type())
        return out

    def _memory_type(self) -> h5t.TypeID:
        """The type of values in memory; arrays of numpy have none where each value is an array."""
        return h5t.py_create(self.dtype)

    def missing_filter(self) -> str:
        """Why HDF5 cannot decode it in this process, whatever its state; empty if it can."""
        properties = self.id.get_create_plist()
        for at in range(properties.get_nfilters()):
            code, _, _, name = properties.get_filter(at)
            if not h5z.filter_avail(code):
                named = as_text(name) or "unnamed"
                return f"HDF5 lacks the filter {named} (number {code}): import hdf5plugin first"
        return ""

    def lost_source(self, first: int, end: int) -> str:
        """A file that some rows of a virtual dataset are from and that is gone; empty if none is.

        HDF5 gives fill values in its place.
        """
        properties = self.id.get_create_plist()
        if properties.get_layout() != h5d.VIRTUAL or "HDF5_VDS_PREFIX" in os.environ:
            return ""
        folder = os.path.dirname(os.fsdecode(h5i.get_file_id(self.id).name))
        for at in range(properties.get_virtual_count()):
            name: str = properties.get_virtual_filename(at).replace("%%", "%")
            low, high = properties.get_virtual_vspace(at).get_select_bounds()
            places = (name, *(os.path.join(folder, n) for n in (name, os.path.basename(name))))
            is_known = "%b" in name or any(map(os.path.exists, places))  # %b: one of many by number
            if low[0] < end and high[0] >= first and not is_known:
                return name
        return ""

    @property
    def chunk_rows(self) -> int:
        """The rows of one chunk; 1 where the dataset is not chunked."""
        properties = self.id.get_create_plist()
        return int(properties.get_chunk()[0]) if properties.get_layout() == h5d.CHUNKED else 1


def open_file(path: str) -> LibraryFile:
    """Open a file for reading, also where this process has it open already by other means.

    The setting ``follow_links`` says whether links to other files are followed.

    Raises PermissionError, FileNotFoundError or another OSError with ``errno`` of the system,
    and FileStructureError for what is no complete HDF5 file.
    """
    try:
        fid = _open_as_others_do(os.fsencode(path))
        return LibraryFile(fid, follow_links=load_settings().follow_links)
    except OSError as e:
        if e.errno is not None:
            raise
        raise FileStructureError(path, diagnose(path) or reason_of(e)) from None
    except READ_ERRORS as e:
        raise FileStructureError(path, reason_of(e)) from None


def _open_as_others_do(path: bytes) -> h5f.FileID:
    """Open a file with the settings that other open handles on it in this process have.

    HDF5 refuses a second handle with settings unlike those of the first. It does not report them,
    so after a refusal the next settings are tried; the first try nearly always succeeds.
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
    """Why a file is no complete HDF5 file, as far as its superblock shows; else empty.

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


def find_layout(dataset: Any, file: Any) -> ChunkLayout:
    """How an open ``h5py.Dataset`` of a file is stored.

    Raises NotPlainError where its values are of a type that only HDF5 reads, it has no rows, or its
    bytes lie elsewhere or went through other filters.
    """
    dtype, shape, dsid = dataset.dtype, dataset.shape, dataset.id
    properties = dsid.get_create_plist()
    kind = properties.get_layout()
    if not _is_plain_type(dataset):
        raise NotPlainError(f"values of type {_type_name(dtype)} are stored in HDF5's own way")
    if not shape or not dataset.size:
        raise NotPlainError("it has no rows")
    if kind == _COMPACT:
        raise NotPlainError("the data lie inside the dataset's own header (compact layout)")
    if kind not in (_CONTIGUOUS, _CHUNKED) or properties.get_external_count():
        raise NotPlainError("the data lie in other files (a virtual or external dataset)")
    if h5o.get_info(dsid).fileno != h5o.get_info(file.id).fileno:
        raise NotPlainError("the data lie in another file (an external link)")
    if file.userblock_size:
        raise NotPlainError("the file begins with a user block")
    contiguous = kind == _CONTIGUOUS
    chunk_shape = shape if contiguous else dataset.chunks
    return ChunkLayout(shape, chunk_shape, dtype, contiguous, _find_codecs(properties))


def _is_plain_type(dataset: Any) -> bool:
    """Whether a value in the file is the same bytes in memory, of a type that Zarr has."""
    dtype, stored = dataset.dtype, dataset.id.get_type()
    if dtype.kind == "S":
        return stored.get_strpad() in (h5t.STR_NULLTERM, h5t.STR_NULLPAD)
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        return False
    return bool(stored.equal(h5t.py_create(dtype, logical=True)))


def _type_name(dtype: np.dtype[Any]) -> str:
    if dtype.metadata and "vlen" in dtype.metadata:
        return f"variable-length {getattr(dtype.metadata['vlen'], '__name__', 'array')}"
    return "compound" if dtype.fields else str(dtype)


def _find_codecs(properties: Any) -> tuple[dict[str, Any], ...]:
    codecs: list[dict[str, Any]] = []
    for at in range(properties.get_nfilters()):
        code, _, values, name = properties.get_filter(at)
        if code == _DEFLATE:
            codecs.append({"id": "zlib", "level": values[0]})
        elif code == _SHUFFLE:
            codecs.append({"id": "shuffle", "elementsize": values[0]})
        elif code == _FLETCHER32:
            codecs.append({"id": "fletcher32"})
        else:
            label = name.decode(errors="replace") or "unnamed"
            raise NotPlainError(f"it is stored with the filter {label} (HDF5 number {code})")
    return tuple(codecs)


def locate_chunks(dataset: Any, layout: ChunkLayout) -> ChunkMap:
    """Where every chunk of a dataset lies; raises NotPlainError if HDF5 cannot list them."""
    chunks = ChunkMap.unknown(layout)
    if layout.contiguous:
        offset = dataset.id.get_offset()
        if offset is not None:
            chunks.offsets[0], chunks.sizes[0] = offset, layout.chunk_bytes
        return chunks
    if not hasattr(dataset.id, "chunk_iter"):
        raise NotPlainError("h5py is built with an HDF5 that does not list chunks")
    if dataset.maxshape.count(None) == 1 and dataset.maxshape[0] is not None:
        # Seen in HDF5 2.0: the coordinates of an extensible array whose first dimension is not
        # the one without a limit are those of other chunks.
        raise NotPlainError("HDF5 lists wrong chunks where only a later dimension may grow")
    found: list[tuple[tuple[int, ...], int, int, int]] = []
    dataset.id.chunk_iter(
        lambda c: found.append((c.chunk_offset, c.byte_offset or ABSENT, c.size, c.filter_mask))
    )
    if found:
        at, *rest = (np.asarray(part) for part in zip(*found, strict=True))
        chunks.put(at, *rest)
    return chunks
