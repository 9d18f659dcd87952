"""A disk that is full, over quota, broken, read-only or gone, in each phase of what writes.

The command says so in one sentence, the catalog is whole and has each run as it was or as it is
afterwards; the same command, once the disk is well, ends in the same content as ever and removes
what was left behind.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from unittest import mock

import pytest
import xfelcat
from support.catalog_state import state
from support.examples import examples, some
from support.tiny_file import write_tiny
from test_crashes import BEFORE, COMMANDS, half_there, place, states, undisturbed
from xfelcat import Catalog
from xfelcat.catalog.model.errors import CatalogWriteError, XfelcatError
from xfelcat.catalog.store.care import compact
from xfelcat.catalog.store.store import Store
from xfelcat.loader.jobs.profile import profile

__all__ = ["place", "undisturbed"]

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
MOST_PLACES = examples(4)  # of a command's calls at which one fails
CALLS = {  # by which the store writes, besides DuckDB
    "os.fsync", "os.listdir", "os.open", "os.chmod", "os.mkdir", "os.rename", "os.symlink",
    "os.unlink", "shutil.copyfile",
}  # fmt: skip
WORK = {
    "ingest": lambda catalog, place: Catalog(catalog).ingest(place / "MID", jobs=0),
    "audit": lambda catalog, place: Catalog(catalog).audit(),
    "profile": lambda catalog, place: profile("*", catalog=catalog, jobs=0),
    "merge": lambda catalog, place: Store(catalog).publish_merged(),
    "compact": lambda catalog, place: compact(Store(catalog)),
}


REST = sorted(WORK.keys() - {"ingest"})


def copy_of(place, name, tmp_path):
    catalog = tmp_path / "catalog"
    shutil.rmtree(catalog, ignore_errors=True)
    shutil.copytree(place / BEFORE.get(name, "whole"), catalog, symlinks=True)
    return catalog


class FailingCalls:
    """Counts the calls that touch a catalog; the one at ``fails_at`` and all later ones fail."""

    def __init__(self, catalog, code, fails_at=None):
        self.catalog, self.code, self.fails_at = str(catalog), code, fails_at
        self.n = 0

    def __enter__(self):
        self.patches = [mock.patch(name, self._around(name)) for name in sorted(CALLS)]
        for patch in self.patches:
            patch.start()
        return self

    def __exit__(self, *exc_info):
        for patch in self.patches:
            patch.stop()

    def _around(self, name):
        module, _, function = name.rpartition(".")
        real = getattr(sys.modules[module], function)

        def call(*args, **kwargs):
            about = [os.fspath(a) for a in args if isinstance(a, str | os.PathLike)]
            # Reading goes on; of a descriptor it is not known, and only the store syncs any.
            is_reading = name == "os.open" and not args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            is_ours = any(a.startswith(self.catalog) for a in about) or name == "os.fsync"
            if is_ours and not is_reading and name != "os.listdir":
                self.n += 1
                if self.fails_at is not None and self.n > self.fails_at:
                    raise OSError(self.code, os.strerror(self.code), self.catalog)
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("name", some(["ingest", *REST], ["ingest"]))
def test_each_call_fails(name, place, tmp_path):
    """From the first call on that touches the catalog, from the second on, ..."""
    catalog = copy_of(place, name, tmp_path)
    before = state(Store(catalog))
    with FailingCalls(catalog, 0) as counted:
        WORK[name](catalog, place)
    after = state(Store(catalog))
    assert counted.n > 5
    every = max(1, counted.n // MOST_PLACES)
    for at in range(0, counted.n, every):
        catalog = copy_of(place, name, tmp_path)
        code = ERRORS[at // every % len(ERRORS)]
        error = None
        with FailingCalls(catalog, code, at):
            try:
                error = getattr(WORK[name](catalog, place), "not_recorded", None) or None
            except CatalogWriteError as e:
                error = str(e)
        found = state(Store(catalog))
        if error is None:  # what is old was not removed, or findings wait for the next merge
            assert found["shards"] == after["shards"]
            assert found["merged"] in (after["merged"], before["merged"] if name == "audit" else 0)
        else:
            assert os.strerror(code) in error
            assert str(catalog) in error
        assert found["wrong"] == []
        assert half_there(found, before, after) == []
        WORK[name](catalog, place)
        assert state(Store(catalog)) == after
        assert [p for p in catalog.rglob(".*") if "draft" in p.name or "link" in p.name] == []


def run_limited(name, place, catalog, n_bytes):
    """A command whose files may not grow beyond a size."""
    words = [word.format(tree=place / "MID") for word in COMMANDS[name]]
    return subprocess.run(
        [sys.executable, "-m", "xfelcat", *words, "-c", str(catalog)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes)),
        capture_output=True,
        text=True,
        timeout=600,
    )


LIMITS = [
    pytest.param(name, n, marks=pytest.mark.slow if k or i % 4 else ())
    for i, name in enumerate(n for n in COMMANDS if n != "upgrade")
    for k, n in enumerate((0, 20_000, 300_000, 600_000))
]


@pytest.mark.parametrize(("name", "n_bytes"), LIMITS)
def test_files_that_cannot_grow(name, n_bytes, place, undisturbed, tmp_path):
    (before,), (after,), _ = undisturbed(name)
    catalog = copy_of(place, name, tmp_path)
    done = run_limited(name, place, catalog, n_bytes)
    assert done.returncode in (1, 2, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert any(w in done.stderr for w in ("File too large", "cannot be written", "TMPDIR"))
    found = state(Store(catalog))
    assert found["wrong"] == []
    assert half_there(found, before, after) == []
    assert run_limited(name, place, catalog, resource.RLIM_INFINITY).returncode in (0, 1)
    assert states(name, catalog) == [after]


FULL = """
set -e
mount -t tmpfs -o size={size} tmpfs {disk}
cp -a {catalog} {disk}/catalog
status=0
{command} || status=$?
rm -rf {catalog}
cp -a {disk}/catalog {catalog}
exit $status
"""


@pytest.mark.parametrize("name", ["ingest", pytest.param("profile", marks=pytest.mark.slow)])
def test_a_full_disk(name, place, undisturbed, tmp_path):
    """A small file system in memory, in a namespace of its own."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    (before,), (after,), _ = undisturbed(name)
    catalog, disk = copy_of(place, name, tmp_path), tmp_path / "disk"
    disk.mkdir()
    used = sum(p.stat().st_size for p in catalog.rglob("*") if p.is_file() and not p.is_symlink())
    words = [word.format(tree=place / "MID") for word in COMMANDS[name]]
    words = [sys.executable, "-m", "xfelcat", *words, "-c", str(disk / "catalog")]
    script = FULL.format(size=used + 900_000, disk=disk, catalog=catalog, command=" ".join(
        f"'{w}'" for w in words
    ))  # fmt: skip
    done = subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True)
    assert done.returncode in (1, 2, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    found = state(Store(catalog))
    assert found["wrong"] == []
    assert half_there(found, before, after) == []
    assert run_limited(name, place, catalog, resource.RLIM_INFINITY).returncode in (0, 1)
    assert states(name, catalog) == [after]


def test_a_catalog_that_vanishes(place, tmp_path):
    """Removed while it is written: an error, or a new catalog with what was still to come."""
    catalog = copy_of(place, "ingest", tmp_path)
    publish = "xfelcat.catalog.store.versions.Versions.publish"

    def vanish(*args):
        shutil.rmtree(catalog)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(catalog))

    with mock.patch(publish, vanish), pytest.raises((CatalogWriteError, FileNotFoundError)):
        WORK["ingest"](catalog, place)
    WORK["ingest"](catalog, place)
    assert len(Catalog(catalog).runs()) == 4


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_data_file_that_cannot_be_read(code, tmp_path):
    """The rest of the run is ingested; the file is a finding, and looked at again next time."""
    folder = tmp_path / "MID" / "202401" / "p002012" / "raw" / "r0001"
    folder.mkdir(parents=True)
    paths = [folder / f"RAW-R0001-DA0{n}-S00000.h5" for n in (1, 2)]
    for path in paths:
        write_tiny(path, run=1).close()
    real = os.open

    def broken(path, *args, **kwargs):
        if os.fspath(path) == str(paths[1]):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *args, **kwargs)

    catalog = Catalog(tmp_path / "catalog")
    with (
        mock.patch("os.open", broken),
        mock.patch(
            "xfelcat.catalog.hdf5.library._open_as_others_do", lambda p: broken(os.fsdecode(p), 0)
        ),
    ):
        report = catalog.ingest(tmp_path / "MID", jobs=0)
    assert report.files_scanned == 2
    findings = catalog.sql("SELECT file, message FROM findings WHERE resolved_at IS NULL")
    assert findings["file"].tolist() == [paths[1].name]
    assert os.strerror(code) in findings["message"][0]
    assert catalog.ingest(tmp_path / "MID", jobs=0).files_scanned == 1
    assert len(catalog.sql("FROM findings WHERE resolved_at IS NULL")) == 0
    assert catalog.runs()["files_unread"].tolist() == [0]


def test_a_data_file_that_breaks_while_it_is_read(tmp_path):
    path = tmp_path / "RAW-R0007-DA01-S00000.h5"
    write_tiny(path).close()
    run = xfelcat.H5File(path)
    key = run["A/CAM/1:out", "data.img"]
    whole = key.ndarray()

    def broken(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with mock.patch("os.preadv", broken), mock.patch("h5py.Dataset.__getitem__", broken):
        found = None
        with suppress(XfelcatError):
            found = key.ndarray()
    assert found is None or (found == whole).all()  # HDF5 may read it by other means
    assert (key.ndarray() == whole).all()


WRITER = """
import resource, sys, xfelcat
run = xfelcat.H5File(sys.argv[1])
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    getattr(run, sys.argv[4])(sys.argv[2])
except xfelcat.XfelcatError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("how", ["write", "write_virtual"])
@pytest.mark.parametrize("limit", [0, 5_000])
def test_arrays_written_to_a_full_disk(how, limit, tmp_path):
    """HDF5 alone crashes the process here (exit code -11)."""
    path, target = tmp_path / "RAW-R0007-DA01-S00000.h5", tmp_path / "new.h5"
    write_tiny(path).close()
    target.write_bytes(b"what was there")
    command = [sys.executable, "-c", WRITER, str(path), str(target), str(limit), how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"TargetWriteError {target} is not written: File too large\n"
    assert target.read_bytes() == b"what was there"
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, target.name]
