"""HDF5 files by their bytes: ``OwnGroup`` and ``OwnDataset``, without the HDF5 library.

The library makes thousands of small reads per file and costs 20 to 60 us per object: 1.93 s for
the 7,508 datasets of a run that this reader takes 0.39 s for. It reads the structures that EXDF
files are made of, after the HDF5 file format specification; values only where they are stored
plainly, else by the library.

Whatever it does not know raises NotUnderstoodError: the caller turns to the library, which decides.
So does a wrong checksum; files as of HDF5 1.6 have none, and of those the library finds more faults
than this reader: it reads everything where ``verify`` is asked for.
"""

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from math import prod
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .interface import READ_ERRORS, as_text, check_size
from .links import (
    NOWHERE,
    SCAN_BITS,
    Blocks,
    ElsewhereLink,
    Link,
    NotUnderstoodError,
    heap_objects,
    link_of,
    symbol_links,
)
from .stored import StoredChunks, StoredValues
from .values import ValueReader

if TYPE_CHECKING:
    from .library import LibraryDataset, LibraryFile

DAMAGES = (struct.error, *READ_ERRORS)
"""What reading damaged structures as if they were sound may raise."""


class _Doubt:
    """A context that raises NotUnderstoodError in place of what damaged structures raise."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, DAMAGES):
            raise NotUnderstoodError(str(error)) from error


_DOUBT = _Doubt()
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SPACE, _LINKS, _TYPE, _FILL, _LINK, _EXTERNAL, _LAYOUT = 1, 2, 3, 5, 6, 7, 8
_FILTERS, _ATTRIBUTE, _CONTINUED, TABLE, _ATTRIBUTES = 11, 12, 16, 17, 21
_SIZE, _ITEM = Struct("<Q"), Struct("<I")
_SIMPLE = frozenset((_SPACE, _TYPE, _LAYOUT, _FILTERS, TABLE, 18))  # 18: when it was changed
_OLD_HEAD = Struct("<2xH4xI")  # number of messages and size of an object header
_OLD_PREFIX, _NEW_PREFIX = Struct("<HHB"), Struct("<BHB")  # kind, size and flags of a message
_MOST_CHUNKS = 1 << 12  # of a header: more are a circle in a damaged file
_MOST_LINKS = 32  # soft links one after the other: as above


class _Header:
    """The messages of one object: the last of each kind, but every link and attribute."""

    __slots__ = ("attributes", "links", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, bytes] = {}
        # Tuples, as most stay empty: a file has 20,000 headers, and what they hold is what Python's
        # garbage collector looks at again and again.
        self.links: tuple[bytes, ...] = ()
        self.attributes: tuple[bytes, ...] = ()

    @property
    def is_group(self) -> bool:
        return TABLE in self.messages or _LINKS in self.messages

    @property
    def is_dataset(self) -> bool:
        return _LAYOUT in self.messages and _SPACE in self.messages and _TYPE in self.messages

    def add(self, kind: int, flags: int, message: bytes) -> None:
        if kind > 24:
            raise NotUnderstoodError(f"header message of kind {kind}")
        if flags & 0xF8 or flags & 6 == 6:
            raise NotUnderstoodError("header message of unknown flags")
        if flags & 2 and kind in (_SPACE, _TYPE, _FILL, _FILTERS, _ATTRIBUTE):
            raise NotUnderstoodError("shared header message")
        if kind == _FILL and not _holds_fill_value(message):
            raise NotUnderstoodError("fill value of another version, or cut off")
        if kind == _LINK:
            self.links += (message,)
        elif kind == _ATTRIBUTE:
            self.attributes += (message,)
        else:
            self.messages[kind] = message


def _holds_fill_value(message: bytes) -> bool:
    """Whether a fill value message is as long as the value that it claims to hold."""
    version, flags = message[0], message[1]
    if version == 3:
        at, has_value = 2, bool(flags & 32)
    else:
        at, has_value = 4, version == 1 or bool(message[3])
    if not 0 < version < 4:
        return False
    return not has_value or at + 4 + struct.unpack_from("<i", message, at)[0] <= len(message)


class OwnFile:
    """An open file: its descriptor ``fd`` and its ``root`` group, until it is closed."""

    def __init__(self, path: str, bits: int = SCAN_BITS) -> None:
        self.path = path
        self._library: LibraryFile | None = None  # opened for the first value only it can read
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _share(self.fd)
            found = os.fstat(self.fd)
            if not stat.S_ISREG(found.st_mode):
                raise NotUnderstoodError("no regular file")
            self.blocks = Blocks(self.fd, found.st_size, bits)
            self.root = OwnGroup(self, _root(self.blocks, found.st_size), b"/")
        except BaseException as e:
            self.close()
            if isinstance(e, DAMAGES):
                raise NotUnderstoodError(str(e)) from e
            raise
        self.values = ValueReader(self.blocks)
        self._headers: dict[int, _Header] = {}
        self._links: dict[int, dict[bytes, Link]] = {}
        self._above: tuple[int, bytes, int | None] = (0, b"", None)  # where the last name was found

    def close(self) -> None:
        """Close the file, and forget what was read of it: the root group refers to it in turn."""
        os.close(self.fd)
        self.__dict__.pop("root", None)
        if self._library is not None:
            self._library.close()

    def by_library(self, path: bytes) -> "LibraryDataset":
        """The dataset of a path opened by the HDF5 library."""
        from .library import open_file

        try:
            if self._library is None:
                self._library = open_file(self.path)
            found = self._library.root.dataset(path.decode("utf-8", "surrogateescape"))
        except READ_ERRORS as e:
            raise NotUnderstoodError(str(e)) from e
        if found is None:
            raise NotUnderstoodError("no dataset to the library")
        return found

    def header(self, at: int) -> _Header:
        """The header of the object at a position."""
        known = self._headers.get(at)
        if known is None:
            known = self._headers[at] = read_header(self.blocks, at)
        return known

    def links(self, at: int) -> dict[bytes, Link]:
        """The links of the group at a position, sorted by name."""
        known = self._links.get(at)
        if known is None:
            known = self._links[at] = read_links(self.blocks, self.header(at))
        return known

    def has_no_links(self, at: int) -> bool:
        """Whether the group at a position is empty, by its header alone where that suffices."""
        header = self.header(at)
        info = header.messages.get(_LINKS)
        if header.links:
            return False
        if info is not None and struct.unpack_from("<Q", info, _links_at(info))[0] == NOWHERE:
            return True
        return not self.links(at)

    def attributes(self, header: _Header) -> Iterator[bytes]:
        """The attribute messages of an object."""
        yield from header.attributes
        info = header.messages.get(_ATTRIBUTES)
        if info is not None:
            at = 4 if info[1] & 1 else 2
            heap, tree = struct.unpack_from("<QQ", info, at)
            if heap != NOWHERE:
                yield from heap_objects(self.blocks, heap, tree, 0)

    def find(self, start: int, path: bytes, deepest: int = _MOST_LINKS) -> int | None:
        """Where the object of a path below a group is, soft links followed; None if nowhere."""
        above, _, path = path.rpartition(b"/")
        if above:  # mostly the group of the last one
            if self._above[:2] != (start, above):
                self._above = start, above, self._follow(start, above, deepest)
            if self._above[2] is None:
                return None
            start = self._above[2]
        known = self._links.get(start)
        if known is not None and type(target := known.get(path)) is int:  # nearly always
            return target
        return self._follow(start, path, deepest)

    def _follow(self, start: int, path: bytes, deepest: int) -> int | None:
        for name in path.split(b"/"):
            if not name or name == b".":
                continue
            if not self.header(start).is_group:
                return None
            target = self.links(start).get(name)
            if target is None:
                return None
            if isinstance(target, ElsewhereLink):
                if target.kind != "soft" or not deepest:
                    raise NotUnderstoodError("link out of the file, or of too many links")
                begin = self.root.at if target.target.startswith(b"/") else start
                target = self.find(begin, target.target, deepest - 1)
                if target is None:
                    return None
            start = target
        return start


def _share(fd: int) -> None:
    """Take the lock that the library takes, so that a file that is being written is left alone."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotUnderstoodError("open for writing in another process") from None
    except OSError:
        return  # a file system without locks


def _links_at(info: bytes) -> int:
    """Where in a link info message the heap of links is named."""
    return 10 if info[1] & 1 else 2


def _root(blocks: Blocks, size: int) -> int:
    """Where the root group is, by the superblock, of a file that is complete."""
    head = blocks.some(0, 128)
    version = head[8]
    if head[:8] != _SIGNATURE or version > 3:
        raise NotUnderstoodError("no HDF5 file")
    if version < 2:
        at = 24 + (4 if version else 0)
        widths = head[13:15]
        base, _, end, driver, _, root = struct.unpack_from("<6Q", head, at)
        extra = driver
    else:
        widths = head[9:11]
        base, extra, end, root = struct.unpack_from("<4Q", blocks.checked(0, 44), 12)
        if head[11]:
            raise NotUnderstoodError("left open by its writer")
    if widths != b"\x08\x08" or base or extra != NOWHERE or end > size:
        raise NotUnderstoodError("unusual or damaged superblock, or a truncated file")
    return int(root)


def read_links(blocks: Blocks, header: _Header) -> dict[bytes, Link]:
    """The links of a group, sorted by name."""
    table = header.messages.get(TABLE)
    if table is not None:
        tree, heap = struct.unpack_from("<QQ", table)
        links = symbol_links(blocks, tree, heap)
    else:
        links = dict(map(link_of, header.links))
        info = header.messages[_LINKS]
        heap, tree = struct.unpack_from("<QQ", info, _links_at(info))
        if heap != NOWHERE:
            links |= map(link_of, heap_objects(blocks, heap, tree, 4))
    return dict(sorted(links.items()))


def read_header(blocks: Blocks, at: int) -> _Header:
    """The header of the object at a position."""
    head = blocks.some(at, 32)
    is_new = head[:4] == b"OHDR" and head[4] == 2
    if is_new:
        flags = head[5]
        begin = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(head[begin : begin + width], "little")
        prefix = 6 if flags & 4 else 4
        first = blocks.checked(at, begin + width + size)[begin + width : -4]
    elif head[0] == 1:
        n_messages, size = _OLD_HEAD.unpack_from(head)
        if bool(n_messages) != (size >= 8):
            raise NotUnderstoodError("object header of another size than its messages")
        prefix, first = 8, blocks.get(at + 16, size)
    else:
        raise NotUnderstoodError("no object header")
    header, n_found = _Header(), 0
    messages = header.messages
    unpack = (_NEW_PREFIX if is_new else _OLD_PREFIX).unpack_from
    waiting = [first]
    for n, chunk in enumerate(waiting):
        if n > _MOST_CHUNKS:
            raise NotUnderstoodError("object header without an end")
        at, length = 0, len(chunk)
        last = length - prefix
        while at <= last:
            kind, size, flags = unpack(chunk, at)
            n_found += 1
            begin = at + prefix
            at = begin + size
            if at > length:
                raise NotUnderstoodError("header message beyond the end of its header")
            if kind in _SIMPLE and flags < 2:  # as ``add`` does: nearly all
                messages[kind] = chunk[begin:at]
            elif kind == _CONTINUED:
                place, n_more = struct.unpack_from("<QQ", chunk, begin)
                more = blocks.checked(place, n_more - 4) if is_new else blocks.get(place, n_more)
                if is_new and more[:4] != b"OCHK":
                    raise NotUnderstoodError("no object header continuation")
                waiting.append(more[4:-4] if is_new else more)
            elif kind:
                header.add(kind, flags, chunk[begin:at])
    if not is_new and n_found != n_messages:
        raise NotUnderstoodError("object header of another number of messages")
    return header


class _OwnObject:
    """An object of a file, at a position and by a path."""

    def __init__(self, file: OwnFile, at: int, path: bytes) -> None:
        self.file = file
        self.at = at
        self.path = path

    def text_attributes(self, names: tuple[bytes, ...]) -> list[str]:
        """See ``interface.Dataset``."""
        with _DOUBT:
            found: dict[bytes, str] = {}
            for message in self.file.attributes(self.file.header(self.at)):
                name, type_, space, data = _attribute(message)
                if name in names:
                    found[name] = self.file.values.first_text(type_, _shape(space), data)
            return [found.get(name, "") for name in names]


class OwnGroup(_OwnObject):
    """A group; see ``interface.Group``."""

    opens_cheaply = True

    def find(self, path: bytes) -> "OwnGroup | OwnDataset | None":
        """The object of a path below the group."""
        try:  # as ``_Doubt`` does, without its calls
            at = self.file.find(self.at, path)
            if at is None:
                return None
            header = self.file.header(at)
            is_dataset = header.is_dataset
            if is_dataset and header.messages[_LAYOUT][0] == 3:
                _check_size(header.messages)
        except DAMAGES as e:
            raise NotUnderstoodError(str(e)) from e
        below = self.path.rstrip(b"/") + b"/" + path
        if header.is_group:
            return OwnGroup(self.file, at, below)
        if is_dataset:
            return OwnDataset(self.file, at, below, header)
        raise NotUnderstoodError("neither group nor dataset")

    def group(self, path: str) -> "OwnGroup | None":
        """The group at a path, or None."""
        found = self.find(path.encode("utf-8", "surrogatepass"))
        return found if isinstance(found, OwnGroup) else None

    def dataset(self, path: str) -> "OwnDataset | None":
        """The dataset at a path, or None."""
        found = self.find(path.encode("utf-8", "surrogatepass"))
        return found if isinstance(found, OwnDataset) else None

    def link(self, path: str) -> tuple[str, str]:
        """See ``interface.Group``."""
        with _DOUBT:
            above, _, name = path.encode("utf-8", "surrogatepass").rpartition(b"/")
            group = self.file.find(self.at, above)
            if group is None or not self.file.header(group).is_group:
                return "", ""
            link = self.file.links(group).get(name)
            if isinstance(link, ElsewhereLink):
                return link.kind, as_text(link.target)
            return ("", "") if link is None else ("hard", "")

    def names(self) -> list[str]:
        """The names in the group, sorted."""
        with _DOUBT:
            return [as_text(name) for name in self.file.links(self.at)]

    def is_empty(self) -> bool:
        """Whether the group holds no link."""
        with _DOUBT:
            return self.file.has_no_links(self.at)

    def walk(self, out: dict[str, str] | None = None) -> list[str]:
        """See ``interface.Group``."""
        with _DOUBT:
            names: list[bytes] = []
            outside: dict[bytes, bytes] = {}
            _walk(self.file, self.at, b"", names, {self.at}, outside)
            if out is not None:
                out |= {as_text(name): as_text(other) for name, other in outside.items()}
            return [as_text(name) for name in names]


def _walk(
    file: OwnFile,
    at: int,
    above: bytes,
    names: list[bytes],
    seen: set[int],
    outside: dict[bytes, bytes],
) -> None:
    """Add the paths of all hard links below a group; ``seen`` are the groups met so far.

    Links to other files are added to ``outside``.
    """
    for name, target in file.links(at).items():
        if isinstance(target, int):
            path = above + name
            names.append(path)
            if file.header(target).is_group and target not in seen:
                seen.add(target)
                _walk(file, target, path + b"/", names, seen, outside)
        elif target.kind == "external":
            outside[above + name] = target.target


class OwnDataset(_OwnObject):
    """A dataset; see ``interface.Dataset``."""

    # Without ``_Doubt``, and so two calls less: a run is opened with tens of thousands of these.

    def __init__(self, file: OwnFile, at: int, path: bytes, header: _Header) -> None:
        super().__init__(file, at, path)
        self._messages = header.messages

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Its dimensions now; None where it has no dataspace."""
        try:
            return _shape(self._messages[_SPACE])
        except DAMAGES as e:
            raise NotUnderstoodError(str(e)) from e

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype as h5py has it."""
        try:
            return self.file.values.dtype(self._messages[_TYPE])
        except DAMAGES as e:
            raise NotUnderstoodError(str(e)) from e

    def read(self) -> NDArray[Any]:
        """All its values; ValueError where they are implausibly many."""
        check_size(self.shape, self.dtype)
        values = self.read_stored()
        return self.file.by_library(self.path).read() if values is None else values

    def read_stored(self) -> NDArray[Any] | None:
        """All its values, strings as bytes; None where only the library can read them."""
        try:
            if (stored := self._stored()) is not None:
                return self.file.values.read(stored)
        except (NotUnderstoodError, *DAMAGES):
            pass
        return None

    def chunks(self) -> StoredChunks:
        """How its numbers or booleans are stored; raises NotUnderstoodError for other values."""
        with _DOUBT:
            if (stored := self._stored()) is None:
                raise NotUnderstoodError("data in other files")
            return self.file.values.chunks(stored)

    def _stored(self) -> StoredValues | None:
        """What describes its values; None where they lie in other files."""
        messages = self._messages
        if _EXTERNAL in messages:
            return None
        space = messages[_SPACE]
        return StoredValues(
            messages[_TYPE],
            _shape(space) or (),
            _largest_shape(space),
            messages[_LAYOUT],
            messages.get(_FILTERS),
            messages.get(_FILL, b""),
        )


def _check_size(messages: dict[int, bytes]) -> None:
    """Raise where the layout, of version 3, is for data of another size than shape and type say.

    The library opens no such dataset.
    """
    layout, (item,) = messages[_LAYOUT], _ITEM.unpack_from(messages[_TYPE], 4)
    if layout[1] == 2:  # in chunks, whose shape has the size of an item at its end
        (stored,) = _ITEM.unpack_from(layout, 7 + 4 * layout[2])
    elif layout[1] == 1 and (shape := _shape(messages[_SPACE])) is not None:
        (stored,) = _SIZE.unpack_from(layout, 10)
        item *= prod(shape)
    else:
        return
    if stored != item:
        raise NotUnderstoodError("layout for data of another size")


def _shape(space: bytes) -> tuple[int, ...] | None:
    version, rank = space[0], space[1]
    if version == 1:
        at = 8
    elif version == 2:
        if space[3] == 2:
            return None
        at = 4
    else:
        raise NotUnderstoodError("dataspace of another version")
    return struct.unpack_from(f"<{rank}Q", space, at)


def _largest_shape(space: bytes) -> tuple[int, ...]:
    """The shape that a dataset may grow to."""
    rank = space[1]
    at = (8 if space[0] == 1 else 4) + (8 * rank if space[2] & 1 else 0)
    return struct.unpack_from(f"<{rank}Q", space, at)


def _attribute(message: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Name, datatype, dataspace and data of an attribute message."""
    version, flags, *sizes = struct.unpack_from("<BBHHH", message)
    if version > 3 or version < 1 or (version > 1 and flags):
        raise NotUnderstoodError("attribute of another version, or with shared parts")
    at = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        parts.append(message[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    return parts[0].split(b"\0")[0], parts[1], parts[2], message[at:]
