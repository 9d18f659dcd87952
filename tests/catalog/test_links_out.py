"""Files that a scanned file leads to, by links or as virtual data: the scan opens none of them.

What a file names may be anything that the user who scans can open: another's data, a device, a FIFO
that never answers. inotify counts who opens it.
"""

import ctypes
import os

import h5py
import numpy as np
import pytest
import xfelcat
from support.examples import some
from support.tiny_file import CAMERA, XGM, write_tiny
from xfelcat.catalog.hdf5 import library
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.catalog.store.store import Store

pytestmark = pytest.mark.fast
NAME = "RAW-R0007-DA01-S00000.h5"
VALUE = f"CONTROL/{XGM}/power/value"
PIXELS = f"INSTRUMENT/{CAMERA}/data/img"
IN_OPEN = 0x20


class Opened:
    """How often a file was opened since; by whomever, also from C."""

    def __init__(self, path):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._libc.inotify_add_watch(self._fd, os.fsencode(path), IN_OPEN) >= 0

    def count(self):
        try:
            return len(os.read(self._fd, 4096)) // 16
        except BlockingIOError:
            return 0

    def close(self):
        os.close(self._fd)


def key_by_link(f, other):
    del f[VALUE]
    f[VALUE] = h5py.ExternalLink(other, VALUE)


def source_by_link(f, other):
    del f[f"CONTROL/{XGM}"]
    f[f"CONTROL/{XGM}"] = h5py.ExternalLink(other, f"CONTROL/{XGM}")


def soft_link_to_a_link_out(f, other):
    f["elsewhere"] = h5py.ExternalLink(other, "/")
    del f[f"CONTROL/{XGM}"]
    f[f"CONTROL/{XGM}"] = h5py.SoftLink(f"/elsewhere/CONTROL/{XGM}")


def index_by_link(f, other):
    del f[f"INDEX/{XGM}"]
    f[f"INDEX/{XGM}"] = h5py.ExternalLink(other, f"INDEX/{XGM}")


def source_list_by_link(f, other):
    del f["METADATA/dataSources"]
    f["METADATA/dataSources"] = h5py.ExternalLink(other, "METADATA/dataSources")


def run_value_by_link(f, other):
    del f[f"RUN/{XGM}/power/value"]
    f[f"RUN/{XGM}/power/value"] = h5py.ExternalLink(other, f"RUN/{XGM}/power/value")


def virtual(f, other, maxshape=None):
    with h5py.File(other) as o:
        source = h5py.VirtualSource(o[PIXELS])
    layout = h5py.VirtualLayout(source.shape, "u2", maxshape=maxshape)
    layout[...] = source
    del f[PIXELS]
    f.create_virtual_dataset(PIXELS, layout)


def virtual_without_an_end(f, other):
    source = h5py.VirtualSource(other, PIXELS, (20, 3, 4), "u2", (None, 3, 4))
    layout = h5py.VirtualLayout((20, 3, 4), "u2", (None, 3, 4))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    del f[PIXELS]
    f.create_virtual_dataset(PIXELS, layout)


def stored_elsewhere(f, other):
    del f[PIXELS]
    f.create_dataset(PIXELS, (20, 3, 4), "u2", external=other)


WAYS = (
    key_by_link,
    source_by_link,
    soft_link_to_a_link_out,
    index_by_link,
    source_list_by_link,
    run_value_by_link,
    virtual,
    virtual_without_an_end,
    stored_elsewhere,
)
IN_DATA = (virtual, virtual_without_an_end, stored_elsewhere)


@pytest.fixture
def other(tmp_path):
    """A file with other values, which no one may open."""
    path = tmp_path / "other.h5"
    write_tiny(path).close()
    with h5py.File(path, "r+") as f:
        f[f"CONTROL/{XGM}/secret/value"] = np.arange(10)
    return path


@pytest.mark.parametrize("libver", some(["earliest", "latest"], ["latest"]))
@pytest.mark.parametrize("lead_out", WAYS)
def test_the_scan_opens_no_other_file(tmp_path, other, lead_out, libver):
    run = tmp_path / "p002012" / "raw" / "r0007"
    run.mkdir(parents=True)
    write_tiny(run / "tiny.h5").close()
    with h5py.File(run / "tiny.h5") as old, h5py.File(run / NAME, "w", libver=libver) as f:
        for name in old:
            old.copy(name, f)
        lead_out(f, str(other))
    (run / "tiny.h5").unlink()
    opened = Opened(other)
    try:
        record = scan_file(run / NAME)
        store = Store(tmp_path / "catalog")
        ingest(store, [str(run)], IngestOptions(jobs=0))
        assert opened.count() == 0
        h5py.File(other).close()
        assert opened.count() == 1
    finally:
        opened.close()
    assert "secret" not in repr(record)
    if lead_out not in IN_DATA:
        found = [p for p in record.problems if "other.h5" in p.message]
        assert {p.check for p in found} <= {"F02", "I02"}
        assert found, record.problems


@pytest.mark.parametrize("lead_out", [way for way in WAYS if way not in IN_DATA])
def test_links_are_followed_where_that_is_set(tmp_path, other, lead_out, monkeypatch):
    """Then the file is what it would be if it had what is in the other."""
    monkeypatch.setenv("XFELCAT_FOLLOW_LINKS", "1")
    run = tmp_path / "p002012" / "raw" / "r0007"
    run.mkdir(parents=True)
    with write_tiny(run / NAME) as f:
        lead_out(f, str(other))
    opened = Opened(other)
    record = scan_file(run / NAME)
    assert opened.count()
    opened.close()
    assert not [p for p in record.problems if p.check == "F02"], record.problems
    by_source = lead_out in (source_by_link, soft_link_to_a_link_out)
    with xfelcat.RunDirectory(run, save=False) as data:
        expected = {"power.value", "power.timestamp", "beam.x.value", "beam.x.timestamp"}
        assert data[XGM].keys() == expected | ({"secret.value"} if by_source else set())
        values = 1000.0 * np.arange(10) + 1
        assert data[XGM, "power.value"].ndarray().tolist() == values.tolist()
        assert data[XGM].run_values()["power.value"] == 1
        assert data[CAMERA, "data.sum.x"].ndarray().size == 20


def test_a_scan_opens_the_other_file_only_where_links_are_followed(tmp_path, other, monkeypatch):
    with h5py.File(tmp_path / NAME, "w") as f:
        f["a"] = h5py.ExternalLink(str(other), "/")
    opened = Opened(other)
    with pytest.raises(ValueError, match=r"other\.h5"):
        library.open_file(str(tmp_path / NAME)).root.group("a")
    assert opened.count() == 0
    monkeypatch.setenv("XFELCAT_FOLLOW_LINKS", "1")
    assert library.open_file(str(tmp_path / NAME)).root.group("a") is not None
    assert opened.count() == 1
    opened.close()
