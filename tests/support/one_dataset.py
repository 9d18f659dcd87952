"""One dataset in one file, read by a plan and by h5py."""

import os
import resource
from contextlib import contextmanager, suppress

import h5py
import numpy as np
from xfelcat.catalog.hdf5.chunks import inflate_by_zlib
from xfelcat.catalog.model.facts import DataFile
from xfelcat.catalog.model.records import KeyRecord, encode_dtype
from xfelcat.loader.read.execute import execute_plan
from xfelcat.loader.read.files import OpenFiles, ReadOptions
from xfelcat.loader.read.plan import ReadPlan
from xfelcat.loader.select.rows import FileSlabs
from xfelcat.loader.select.selection import parse_region


def open_files(n_threads=2, direct=True, inflate=inflate_by_zlib):
    files = OpenFiles()
    files._options = ReadOptions(n_threads, direct, inflate)
    return files


def facts_of(path):
    found = os.stat(path)
    return DataFile(str(path), found.st_size, found.st_mtime_ns, "DA01", 0)


def damage_chunk(path, place):
    """Overwrite some of a stored chunk of ``/data``, by the place of its first entry."""
    before = os.stat(path).st_mtime_ns
    with h5py.File(path) as f:
        chunk = f["data"].id.get_chunk_info_by_coord(place)
    with open(path, "r+b") as f:
        f.seek(chunk.byte_offset + chunk.size // 2)
        f.write(b"\xff" * 50)
    os.utime(path, ns=(before, before))  # the file seems unchanged


def open_paths():
    """What this process has open, by the numbers of its descriptors."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing, and what another thread closes
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
    return found


@contextmanager
def few_descriptors(n_free):
    """The process may open so many files more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(open_paths())
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    while fillers[-1] < used:  # no numbers are free between
        fillers.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + n_free + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)


def make_plan(path, dataset, slabs, roi=()):
    """A plan for some slabs of ``/data`` of one file."""
    record = KeyRecord("data", "", encode_dtype(dataset.dtype), dataset.shape[1:])
    starts, stops = np.array(slabs, np.int64).reshape(-1, 2).T
    targets = np.cumsum(stops - starts) - (stops - starts)
    pieces = (FileSlabs(facts_of(path), starts, stops, targets),) if slabs else ()
    region = parse_region(roi, dataset.shape[1:])
    return ReadPlan("A/B/C", "/data", record, region, int((stops - starts).sum()), pieces)


def rows_of(slabs):
    return [row for start, stop in slabs for row in range(start, stop)]


def read(path, slabs=None, roi=(), files=None, out=None):
    """What we read, and what h5py and numpy give."""
    with h5py.File(path) as f:
        dataset = f["data"]
        slabs = [(0, len(dataset))] if slabs is None else slabs
        plan = make_plan(path, dataset, slabs, roi)
        text = h5py.check_string_dtype(dataset.dtype)
        values = dataset.asstr()[:] if text and text.length is None else dataset[:]
        region = roi if isinstance(roi, tuple) else (roi,)
        expected = values[rows_of(slabs)][(slice(None), *region)]
    files = open_files() if files is None else files
    try:
        return execute_plan(plan, files, out), expected
    finally:
        files.close()


def same(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


def numbers(shape, dtype):
    values = np.arange(1, int(np.prod(shape)) + 1).reshape(shape)
    return (
        (values * 2654435761 % 255).astype(dtype)
        if np.dtype(dtype).kind != "b"
        else values % 3 == 0
    )


def other(path, values=None, dtype=None, **options):
    values = numbers((8, 3), "i4") if values is None else values
    with h5py.File(path, "w") as f:
        f.create_dataset("data", data=values, dtype=dtype, **options)
