"""What zarr and xarray read by the references is what ``ndarray`` reads, however it is stored."""

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
import xfelcat
from fsspec.implementations.reference import LazyReferenceMapper
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_file import CAMERA, XGM, write_tiny
from xfelcat.catalog.model.errors import IrregularDataError, NoDataError, TargetWriteError
from xfelcat.loader.output import references
from xfelcat.loader.read.files import OpenFiles

IMAGE = f"/INSTRUMENT/{CAMERA}/data/img"


def open_zarr(refs, **options):
    storage = {"fo": refs, "remote_protocol": "file"}
    return xr.open_dataset(
        "reference://", engine="zarr", backend_kwargs={"storage_options": storage}, **options
    )


def equals(dataset, *keys):
    for key in keys:
        variable = dataset[key.key.removesuffix(".value")]
        np.testing.assert_array_equal(variable.values, key.ndarray())
        assert variable.dtype == key.dtype.newbyteorder("=")
        assert variable.attrs.get("units") == key.units
        np.testing.assert_array_equal(dataset.trainId, key.train_id_coordinates())
    assert set(dataset.data_vars) == {key.key.removesuffix(".value") for key in keys}


def write_run(folder, n_trains, store):
    """A run of files with so many trains each; ``store(file, data)`` writes the camera's images.

    They are (2 rows per train, 5, 3), and tell their file and place.
    """
    folder.mkdir(exist_ok=True)
    first = 1000
    for at, n in enumerate(n_trains):
        trains = range(first, first + n)
        first += n + 3
        path = folder / f"RAW-R0007-DA01-S{at:05d}.h5"
        with write_tiny(path, train_ids=trains, sequence=at) as f:
            del f[IMAGE]
            data = np.arange(2 * n * 15).reshape(2 * n, 5, 3) + 1000 * (at + 1)
            store(f, data.astype("<i4"))
    return xfelcat.RunDirectory(folder, save=False)[CAMERA, "data.img"]


def chunked(*chunks, dtype="<i4", **options):
    def store(f, data):
        # Files that grow may have chunks larger than their data.
        options["maxshape"] = (None, *data.shape[1:])
        f.create_dataset(IMAGE, data=data.astype(dtype), chunks=tuple(chunks), **options)

    return store


def contiguous(f, data):
    f[IMAGE] = data


# -- whole runs ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*is a legacy name:DeprecationWarning")
@pytest.mark.parametrize(
    ("proposal", "run", "data_class"),
    [
        pytest.param(900032, 1, "raw", marks=pytest.mark.slow),
        (900032, 1, "proc"),
        (900021, 1, "raw"),
    ],
)
def test_every_key_of_a_run(demo, proposal, run, data_class):
    run = xfelcat.RunDirectory(
        demo.summary.run(proposal, run, data_class).path, catalog=demo.location
    )
    done, refused = 0, []
    for source, name in [(s, k) for s in sorted(run.all_sources) for k in sorted(run[s].keys())]:
        key = run[source, name]
        try:
            refs = xfelcat.zarr_references(key)
        except NoDataError:
            assert not key.shape[0]
        except IrregularDataError as error:
            refused.append((key, error))
        else:
            done += 1
            if done % 5 == 0 or "image" in name:  # all of them would take long
                equals(open_zarr(refs), key)
    assert done > 50
    for key, error in refused:
        assert (error.source, error.key) == (key.source, key.key)
        reason = "inside a chunk" if key.dtype.kind in "biuf" else "HDF5's own way"
        assert reason in error.reason


def test_keys_of_one_group_go_together(demo):
    run = xfelcat.RunDirectory(demo.summary.run(900032, 1).path, catalog=demo.location)
    module = run["SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"]
    keys = [module[k] for k in sorted(module.keys()) if k.startswith("image.")]
    assert len(keys) > 3
    equals(open_zarr(xfelcat.zarr_references(keys)), *keys)
    part = [key[3:9] for key in keys]
    some = open_zarr(xfelcat.zarr_references(part[0]), chunks={})
    equals(some, part[0])
    with pytest.raises(ValueError, match=r"does not have the rows of"):
        xfelcat.zarr_references([keys[0], part[1]])
    with pytest.raises(ValueError, match="does not have the rows"):
        xfelcat.zarr_references([keys[0], run["SPB_DET_AGIPD1M-1/DET/4CH0:xtdf", "image.data"]])
    with pytest.raises(ValueError, match="no key"):
        xfelcat.zarr_references([])


# -- however it is stored ------------------------------------------------------------------------


@st.composite
def storages(draw):
    """How each file stores the images: the same chunks and filters, or each its own."""
    one = st.fixed_dictionaries(
        {
            "rows": st.integers(1, 6),
            "entry": st.sampled_from([(5, 3), (5, 3), (2, 3), (5, 2)]),
            "options": st.sampled_from(
                [
                    {},
                    {"compression": "gzip", "compression_opts": 1},
                    {"compression": "gzip", "shuffle": True},
                    {"shuffle": True},
                    {"fletcher32": True},
                    {"compression": "gzip", "shuffle": True, "fletcher32": True},
                    None,
                ]
            ),
        }
    )
    n = draw(st.integers(1, 3))
    files = [draw(one)] * n if draw(st.booleans()) else [draw(one) for _ in range(n)]
    return (
        files,
        [draw(st.integers(1, 6)) for _ in files],
        draw(st.sampled_from(["<i4", ">f8", "u1"])),
    )


def store_as(how, dtype):
    if how["options"] is None:
        return lambda f, data: f.create_dataset(IMAGE, data=data.astype(dtype))
    return chunked(how["rows"], *how["entry"], dtype=dtype, **how["options"])


def is_plain(how):
    return how["options"] is None or (not how["options"] and how["entry"] == (5, 3))


@settings(max_examples=40)
@given(storage=storages(), skipped=st.integers(0, 3))
def test_any_storage(tmp_path_factory, storage, skipped):
    files, n_trains, dtype = storage
    stores = iter([store_as(how, dtype) for how in files])
    key = write_run(tmp_path_factory.mktemp("any"), n_trains, lambda f, data: next(stores)(f, data))
    key = key[min(skipped, len(key.train_ids) - 1) :]
    try:
        refs = xfelcat.zarr_references(key)
    except IrregularDataError as error:
        refused = error
    else:
        equals(open_zarr(refs), key)
        return
    assert refused.path in map(str, key.source_file_paths)
    assert not all(map(is_plain, files))
    alike = all(how == files[0] for how in files)
    ends = np.cumsum([2 * n for n in n_trains])
    lined_up = not skipped and all(end % files[0]["rows"] == 0 for end in ends[:-1])
    if alike and lined_up:  # a chunk at the edge as large as unpacked may be filtered or not
        with h5py.File(refused.path) as f:
            chunks, n_chunks = f[IMAGE].id, f[IMAGE].id.get_num_chunks()
            whole = np.prod(f[IMAGE].chunks) * f[IMAGE].dtype.itemsize
            assert whole in [chunks.get_chunk_info(i).size for i in range(n_chunks)]


def test_chunks_that_are_not_stored_are_the_fill_value(tmp_path):
    def partly(f, data):
        dataset = f.create_dataset(IMAGE, data.shape, "<f4", chunks=(4, 5, 3), fillvalue=-1.5)
        dataset[:4] = data[:4]

    key = write_run(tmp_path, [6, 4], partly)
    refs = xfelcat.zarr_references(key)
    assert sum(name.startswith("data.img/") for name in refs["refs"]) == 2 + 2
    equals(open_zarr(refs, mask_and_scale=False), key)
    masked = open_zarr(refs)["data.img"]
    assert np.isnan(masked[4:12]).all()

    nothing = write_run(tmp_path / "no", [3], lambda f, d: f.create_dataset(IMAGE, d.shape, "<i4"))
    assert nothing.ndarray().tolist() == np.zeros((6, 5, 3)).tolist()
    equals(open_zarr(xfelcat.zarr_references(nothing)), nothing)
    whole = write_run(tmp_path / "all", [3], chunked(2, 5, 3, dtype="<f4"))
    assert (
        json.loads(xfelcat.zarr_references(whole)["refs"]["data.img/.zarray"])["fill_value"] is None
    )


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 1 + 2j, 7, b"none", True])
def test_fill_values(tmp_path, fill):
    kind = np.array(fill).dtype
    key = write_run(
        tmp_path, [3], lambda f, d: f.create_dataset(IMAGE, d.shape, kind, fillvalue=fill)
    )
    assert (key.ndarray() == fill).all() or np.isnan(fill)
    equals(open_zarr(xfelcat.zarr_references(key), mask_and_scale=False), key)


@pytest.mark.parametrize("dtype", ["S7", "?", "<c8", "<f2", "<u8", ">i2"])
def test_types(tmp_path, dtype):
    def store(f, data):
        f.create_dataset(IMAGE, data=(data % 7).astype(dtype), chunks=(4, 5, 3), compression="gzip")

    key = write_run(tmp_path, [2, 3], store)
    equals(open_zarr(xfelcat.zarr_references(key)), key)


def test_contiguous_data_are_cut_into_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(references, "CHUNK_BYTES", 4 * 60)
    key = write_run(tmp_path, [6, 9], contiguous)
    refs = xfelcat.zarr_references(key)
    assert json.loads(refs["refs"]["data.img/.zarray"])["chunks"] == [3, 5, 3]  # of gcd(12, 18)
    equals(open_zarr(refs), key)
    monkeypatch.setattr(references, "MOST_CHUNKS", 9)
    with pytest.raises(IrregularDataError, match="10 references to 180 bytes each"):
        xfelcat.zarr_references(key)


# -- what cannot be ------------------------------------------------------------------------------


def compact(f, data):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(data.shape)
    made = h5py.h5d.create(f.id, IMAGE.encode(), h5py.h5t.STD_I32LE, space, properties)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, data)


def virtual(f, data):
    f["elsewhere"] = data
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[:] = h5py.VirtualSource(f["elsewhere"])
    f.create_virtual_dataset(IMAGE, layout)


def without_filter(f, data):
    chunked(2, 5, 3, compression="gzip")(f, data)
    f[IMAGE].id.write_direct_chunk((2, 0, 0), data[2:4].tobytes(), filter_mask=1)


def strings(f, data):
    f.create_dataset(IMAGE, data.shape, h5py.string_dtype())


def odd_precision(f, data):
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(28)
    space = h5py.h5s.create_simple(data.shape)
    h5py.h5d.create(f.id, IMAGE.encode(), kind, space)


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        (compact, "compact layout"),
        (virtual, "virtual or external"),
        (without_filter, "chunk of row 2 is not stored like the others"),
        (odd_precision, "stored in HDF5's own way"),
        (chunked(4, 5, 3, compression="lzf"), r"filter lzf \(HDF5 number 32000\)"),
        (chunked(4, 5, 3, scaleoffset=0), "filter scaleoffset"),
        (chunked(4, 5, 3, dtype=[("x", "i4")]), "type compound"),
        (strings, "variable-length str"),
    ],
)
def test_bytes_for_hdf5_only(tmp_path, store, reason):
    key = write_run(tmp_path, [4], store)
    path = str(key.source_file_paths[0])
    with pytest.raises(IrregularDataError, match=reason) as caught:
        xfelcat.zarr_references(key)
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.source, error.key, error.path) == (CAMERA, "data.img", path)
    assert all(part in str(error) for part in (CAMERA, "data.img", path, "; "))


@pytest.mark.parametrize(
    ("stores", "n_trains", "reason", "at"),
    [
        ([chunked(4, 5, 3, compression="gzip")] * 2, [3, 2], "there are 6 before them", 1),
        ([chunked(4, 2, 3), chunked(2, 2, 3)], [2, 2], r"in chunks of \(2, 2, 3\)", 1),
        ([contiguous, chunked(4, 2, 3)], [2, 2], "without chunks", 1),
        (
            [chunked(4, 5, 3, compression="gzip"), chunked(4, 5, 3)],
            [2, 2],
            "go through no filter, those of .*S00000.h5 zlib 4",
            1,
        ),
        (
            [chunked(4, 5, 3, compression="gzip", compression_opts=n) for n in (1, 9)],
            [2, 2],
            "zlib 9, those of",
            1,
        ),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, stores, n_trains, reason, at):
    waiting = iter(stores)
    key = write_run(tmp_path, n_trains, lambda f, data: next(waiting)(f, data))
    with pytest.raises(IrregularDataError, match=reason) as caught:
        xfelcat.zarr_references(key)
    assert caught.value.path == str(key.source_file_paths[at])
    assert "select trains that lie in one file" in str(caught.value)
    for part in (key[: n_trains[0]], key[n_trains[0] :]):  # as it advises
        equals(open_zarr(xfelcat.zarr_references(part)), part)


def test_fill_values_that_differ(tmp_path):
    fills = iter([1, 2])
    key = write_run(
        tmp_path,
        [2, 2],
        lambda f, d: f.create_dataset(IMAGE, d.shape, "i4", fillvalue=next(fills)),
    )
    with pytest.raises(IrregularDataError, match=r"fill value 2, .*S00000.h5 has 1"):
        xfelcat.zarr_references(key)


def test_trains_that_begin_inside_a_chunk(tmp_path):
    key = write_run(tmp_path, [6], chunked(4, 5, 3, compression="gzip"))
    with pytest.raises(IrregularDataError, match="row 2 begins inside a chunk of 4 rows"):
        xfelcat.zarr_references(key[1:])
    with pytest.raises(
        IrregularDataError, match="there are 2 before them, the last up to its row 2"
    ):
        xfelcat.zarr_references(key[[0, 4]])
    fine = key[2:5]
    equals(open_zarr(xfelcat.zarr_references(fine)), fine)
    with pytest.raises(NoDataError):
        xfelcat.zarr_references(key[:0])


def test_a_file_that_was_replaced_is_refused(tmp_path):
    key = write_run(tmp_path, [4], contiguous)
    with h5py.File(key.source_file_paths[0], "a") as f:
        f["more"] = np.arange(1000)
    with pytest.raises(xfelcat.catalog.model.errors.ChangedFileError):
        xfelcat.zarr_references(key)


# -- files of references -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new/refs.json", "new/refs.parquet", "refs.parq"])
def test_files(tmp_path, monkeypatch, name):
    monkeypatch.setattr(references, "RECORD_SIZE", 3)
    key = write_run(tmp_path / "run", [6, 4, 5], chunked(4, 5, 2, compression="gzip"))
    path = tmp_path / name
    told = []
    xfelcat.write_zarr_references(key, path, progress=lambda *of: told.append(of))
    assert told == [(1, 3), (2, 3), (3, 3)]
    refs = str(path) if path.suffix == ".json" else LazyReferenceMapper(str(path), engine="pyarrow")
    equals(open_zarr(refs, chunks={}), key)
    with pytest.raises(TargetWriteError, match="it exists"):
        xfelcat.write_zarr_references(key[:2], path)
    xfelcat.write_zarr_references(key[:2], path, force=True)
    refs = str(path) if path.suffix == ".json" else LazyReferenceMapper(str(path), engine="pyarrow")
    equals(open_zarr(refs), key[:2])
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_what_was_there_stays_if_it_cannot_be_replaced(tmp_path, monkeypatch):
    key = write_run(tmp_path / "run", [2], contiguous)
    path = tmp_path / "refs.parquet"
    xfelcat.write_zarr_references(key, path)
    before = (path / ".zmetadata").read_bytes()
    rename = Path.rename

    def fail(self, target):
        if self.name == "new":
            raise PermissionError(13, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(TargetWriteError, match="is not written: no"):
        xfelcat.write_zarr_references(key[:1], path, force=True)
    assert (path / ".zmetadata").read_bytes() == before


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
def test_virtualizarr_reads_them(tmp_path):
    pytest.importorskip("virtualizarr", reason="VirtualiZarr is not installed")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr.parsers import KerchunkJSONParser

    key = write_run(tmp_path / "run", [6, 4, 5], chunked(4, 5, 2, compression="gzip"))
    xfelcat.write_zarr_references(key, tmp_path / "refs.json")
    store = KerchunkJSONParser(skip_variables=["trainId"])(
        url=f"file://{tmp_path}/refs.json", registry=ObjectStoreRegistry({"file://": LocalStore()})
    )
    dataset = xr.open_zarr(store, consolidated=False, zarr_format=3)
    np.testing.assert_array_equal(dataset["data.img"], key.ndarray())
    virtual = store.to_virtual_dataset()["data.img"].data.manifest.dict()
    assert len(virtual) == math.ceil(30 / 4) * 2
    assert {at["path"] for at in virtual.values()} == {f"file://{p}" for p in key.source_file_paths}


def test_what_cannot_be_written(tmp_path):
    key = write_run(tmp_path, [2], contiguous)
    for path, reason in (
        ("refs.txt", "must end in"),
        ("/proc/nowhere/refs.json", "not written"),
    ):
        with pytest.raises(TargetWriteError, match=reason):
            xfelcat.write_zarr_references(key, path)


def test_each_file_is_opened_once(tmp_path):
    key = write_run(tmp_path, [6, 4], contiguous)
    run = xfelcat.RunDirectory(tmp_path, save=False)
    keys = [run[XGM, "power"], run[XGM, "beam.x"]]
    files: OpenFiles = keys[0].selected.source.files
    before = files.n_opened
    equals(open_zarr(xfelcat.zarr_references(keys)), *keys)
    assert files.n_opened - before == len(key.source_file_paths)
