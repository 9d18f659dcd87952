"""What h5py raises on damaged data comes as an error of ours that names file and dataset."""

import os

import h5py
import numpy as np
import pytest
import xfelcat
from support.tiny_file import CAMERA, XGM, write_tiny
from xfelcat.catalog.model.errors import FileStructureError, TooLargeError, XfelcatError
from xfelcat.catalog.store.store import Store
from xfelcat.loader.jobs.profile import profile

PLACES = {XGM: f"/CONTROL/{XGM}/beam/x/value", CAMERA: f"/INSTRUMENT/{CAMERA}/data/img"}
KEYS = {XGM: "beam.x.value", CAMERA: "data.img"}


@pytest.fixture
def path(tmp_path):
    """A file with checksums, in a run directory."""
    old, path = tmp_path / "old.h5", tmp_path / "RAW-R0007-DA01-S00000.h5"
    write_tiny(old).close()
    with h5py.File(old) as source, h5py.File(path, "w", libver="latest") as f:
        source.visititems(lambda name, o: copy(o, f, name) if isinstance(o, h5py.Dataset) else None)
    old.unlink()
    return path


def copy(dataset, f, name):
    """Write it anew: ``h5py.Group.copy`` keeps the old form, which has no checksums."""
    f.create_dataset(name, data=dataset[()], dtype=dataset.dtype)


def damage(path, place):
    """Change a byte of a dataset's header, so that its checksum is wrong; keep size and time."""
    with h5py.File(path) as f:
        at = h5py.h5o.get_info(f[place].id).addr
    stat = path.stat()
    with open(path, "r+b") as f:
        f.seek(at + 40)
        byte = f.read(1)[0]
        f.seek(at + 40)
        f.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


WAYS = {
    "ndarray": lambda run, source, key, place: run[source, key].ndarray(),
    "xarray": lambda run, source, key, place: run[source, key].xarray(),
    "dask": lambda run, source, key, place: run[source, key].dask_array().compute(),
    "trains": lambda run, source, key, place: list(run[source, key].trains()),
    "train": lambda run, source, key, place: run[source, key].train_from_index(3),
    "run's trains": lambda run, source, key, place: list(run.select(source, key).trains()),
    "dataframe": lambda run, source, key, place: run.get_dataframe([(source, key)]),
    "attributes": lambda run, source, key, place: run[source, key].attributes(),
    "write": lambda run, source, key, place: run.select(source, key).write(place / "new.h5"),
    "virtual": lambda run, source, key, place: run.select(source, key).write_virtual(
        place / "v.h5"
    ),
    "references": lambda run, source, key, place: xfelcat.zarr_references(run[source, key]),
}


@pytest.mark.parametrize(
    ("way", "source"), [(w, s) for w in WAYS for s in PLACES if (w, s) != ("dataframe", CAMERA)]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_way_of_reading(path, tmp_path_factory, way, source):
    run = xfelcat.H5File(path)
    assert run[source, KEYS[source]].entry_shape is not None  # known from here on
    damage(path, PLACES[source])
    with pytest.raises(FileStructureError) as caught:
        WAYS[way](run, source, KEYS[source], tmp_path_factory.mktemp("to"))
    assert str(path) in str(caught.value)
    assert PLACES[source] in str(caught.value)
    other = CAMERA if source == XGM else XGM
    assert run[other, KEYS[other]].ndarray().size  # the rest can be read


@pytest.mark.parametrize("source", [XGM, CAMERA])
def test_a_key_that_cannot_be_read_is_not_merely_absent(path, source):
    run = xfelcat.H5File(path)
    damage(path, PLACES[source])
    with pytest.warns(
        UserWarning, match=f"{PLACES[source][1:]}: dataset cannot be read: .*checksum"
    ):
        assert KEYS[source] not in run[source]
    assert run[source].keys()  # the rest can be read


def test_run_values_that_cannot_be_read(path):
    run = xfelcat.H5File(path)
    damage(path, f"/RUN/{XGM}/power/value")
    with pytest.warns(UserWarning, match="power/value: value cannot be read"):
        assert "beam.x.value" in run[XGM].run_values()


@pytest.mark.parametrize("source", [XGM, CAMERA])
def test_the_damage_is_a_finding(path, source):
    assert xfelcat.validate(path).ok
    damage(path, PLACES[source])
    found = xfelcat.validate(path).problems
    assert [p.check for p in found] == ["F02"]
    assert PLACES[source][1:] in f"{found[0].where} {found[0].message}"


def test_profiles_go_on(path, tmp_path):
    store = Store(tmp_path / "catalog")
    folder = tmp_path / "MID" / "202401" / "p002012" / "raw" / "r0007"
    folder.mkdir(parents=True)
    path = path.rename(folder / path.name)
    xfelcat.Catalog(store.location).ingest(tmp_path / "MID")
    damage(path, PLACES[XGM])
    report = profile("*", catalog=store.location)
    assert report.keys_read


def test_more_than_there_is_memory_for(path):
    with h5py.File(path, "r+") as f:
        count = f[f"INDEX/{CAMERA}/data/count"]
        count[3] = np.uint64(2**40)
    run = xfelcat.H5File(path)
    with pytest.raises(TooLargeError, match="dask_array") as caught:
        run[CAMERA, "data.img"].ndarray()
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, XfelcatError)
    assert caught.value.n_bytes > 2**40
