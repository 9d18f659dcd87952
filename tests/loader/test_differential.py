"""Every method gives what EXtra-data gives, for mock runs and for a run of every kind of data.

The mocks are refilled, so that their values tell where they come from.
"""
# ruff: noqa: B023 - lambdas are called at once, within the loop

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from support import rich_run
from support.any_size import direct_at_any_size
from support.both_readers import open_both
from support.mock_runs import MOCKS
from support.same_results import assert_same, assert_same_outcome

# Those of every kind run each time; `make test-long` runs all of them.
QUICK = (
    "lpd_mini_gap-1.0",
    "remi-1.0",
    "spb_raw-1.3",
    "modern_spb_proc-1.3",
)
OWN = ("rich-0.5", "rich-1.0", "rich-1.2", "rich-1.3")
# EXtra-data answers hardly any question about no trains; `test_oracle` has what it does answer.
NEW_AND_OLD = ("rich-0.5", "rich-1.3")
REST = sorted(MOCKS.keys() - {*QUICK, "no_trains-0.5"})
SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (*REST, "rich-1.0", "rich-1.2")]


# These are read by HDF5 alone too; all of them past it where that is possible, at any size.
BY_HDF5 = (pytest.param("spb_raw-1.3 by HDF5", marks=pytest.mark.slow), "rich-1.3 by HDF5")


@pytest.fixture(scope="module", params=[*QUICK, *NEW_AND_OLD, *SLOW, *BY_HDF5])
def both(request, build_mock, tmp_path_factory):
    name, _, by_hdf5 = request.param.partition(" ")
    with pytest.MonkeyPatch.context() as patch:
        direct_at_any_size(patch)
        patch.setenv("XFELCAT_DIRECT", "0" if by_hdf5 else "1")
        yield _open_both(name, build_mock, tmp_path_factory)


def _open_both(name, build_mock, tmp_path_factory):
    if name in OWN:
        version = name.partition("-")[2]
        return open_both(rich_run.write_rich_run(tmp_path_factory.mktemp("rich"), version))
    pair = open_both(build_mock(name))
    return without_dots(*pair) if "jungfrau" in name else pair


def without_dots(ours, theirs):
    """Both without sources whose keys have dots in their names in the file: EXtra-data fails."""
    unreadable = set()
    for source in theirs.all_sources:
        for key in theirs.keys_for_source(source):
            try:
                theirs[source, key].entry_shape
            except KeyError:
                unreadable.add(source)
    assert unreadable
    return tuple(c.deselect([(s, "*") for s in sorted(unreadable)]) for c in (ours, theirs))


def sources(collection, limit=12):
    """Some sources of a collection, of all kinds."""
    names = sorted(collection.all_sources - collection.legacy_sources.keys())
    return names[:: max(len(names) // limit, 1)]


def keys(collection, source, limit=5):
    """Some keys of a source, with and without timestamps."""
    names = sorted(collection[source].keys())
    return names[:: max(len(names) // limit, 1)]


def places(collection):
    return [(s, k) for s in sources(collection) for k in keys(collection, s)]


def test_collections(both):
    ours, theirs = both
    for name in (
        "train_ids",
        "control_sources",
        "instrument_sources",
        "all_sources",
        "legacy_sources",
        "detector_sources",
        "is_single_run",
        "inc_suspect_trains",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert all(type(t) is int for t in ours.train_ids)
    # Theirs is that of the first file; their files are in the order in which processes open them.
    first = min(theirs.files, key=lambda file: Path(file.filename).name)
    assert ours.run_metadata() == first.metadata()
    assert ours.selection == theirs.selection
    assert [f.path for f in ours.files] == sorted(f.filename for f in theirs.files)
    assert repr(ours)[9:] == repr(theirs)[12:]


def test_auxiliary_sources(both):
    ours, theirs = (c.auxiliary for c in both)
    for name in ("all_sources", "reduction_sources", "errata_sources"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for source in sorted(theirs.all_sources):
        for key in sorted(theirs[source].keys()):
            a, b = ours[source, key], theirs[source, key]
            assert (source, key) in ours
            assert_same(a.ndarray(), b.ndarray())
            assert_same(a.train_id_coordinates(), b.train_id_coordinates())
            assert (a.section, a.is_auxiliary, a.is_reduction) == (b.section, True, b.is_reduction)


def test_timestamps(both):
    ours, theirs = both
    names = [f.filename for f in theirs.files]
    if names != sorted(names):
        pytest.skip("files differ in times, and EXtra-data loses their order in deselect()")
    nanoseconds = ours.train_timestamps().astype(np.int64)
    for local in (False, True):
        mine = ours.train_timestamps(pydatetime=True, euxfel_local_time=local)
        other = theirs.train_timestamps(pydatetime=True, euxfel_local_time=local)
        for at, (a, b) in enumerate(zip(mine, other, strict=True)):
            if b is None:
                assert a is None
                continue
            # EXtra-data rounds down to milliseconds, against what it says.
            assert a.replace(microsecond=a.microsecond // 1000 * 1000) == b
            assert a.microsecond == nanoseconds[at] // 1000 % 10**6
            assert a.utcoffset() == b.utcoffset()
    for options in (
        {},
        {"labelled": True},
        {"labelled": True, "euxfel_local_time": True},
        {"euxfel_local_time": True},
    ):
        assert_same_outcome(
            lambda: ours.train_timestamps(**options), lambda: theirs.train_timestamps(**options)
        )


def test_sources(both):
    ours, theirs = both
    for source in theirs.all_sources:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            a, b = ours[source], theirs[source]
        for name in (
            "source",
            "section",
            "canonical_name",
            "aggregator",
            "data_category",
            "storage_class",
            "index_groups",
            "train_ids",
            "is_control",
            "is_instrument",
            "is_auxiliary",
            "is_reduction",
            "is_errata",
            "is_legacy",
            "is_run_only",
            "is_single_run",
            "sel_keys",
        ):
            assert getattr(a, name) == getattr(b, name), (source, name)
        if b.is_control:  # of others, EXtra-data fails where a file has no RUN
            assert a.device_class == b.device_class
        assert a.keys() == b.keys()
        assert a.keys(inc_timestamps=False) == b.keys(inc_timestamps=False)
        assert_same_outcome(a.run_metadata, b.run_metadata)
        for options in ({}, {"inc_timestamps": False}):
            if not b.is_control:  # EXtra-data fails otherwise where a file has no RUN
                with pytest.raises(ValueError, match="no RUN values"):
                    a.run_values(**options)
                continue
            assert_same_outcome(lambda: a.run_keys(**options), lambda: b.run_keys(**options))
            assert_same_outcome(lambda: a.run_values(**options), lambda: b.run_values(**options))
        for group in (None, *sorted(b.index_groups), "nonsense"):
            if b.is_run_only:
                continue
            for method in ("data_counts", "train_id_coordinates", "drop_empty_trains"):

                def call(s, method=method, group=group):
                    found = getattr(s, method)(index_group=group)
                    return found.train_ids if method == "drop_empty_trains" else found

                assert_same_outcome(lambda: call(a), lambda: call(b))
            one = None if group == "nonsense" else a.one_key(group)
            assert one is None or one in b.keys()  # noqa: SIM118 - a set of names


def test_facts_of_keys(both):
    ours, theirs = both
    for source, key in places(theirs):
        a, b = ours[source, key], theirs[source, key]
        for name in (
            "source",
            "key",
            "section",
            "dtype",
            "shape",
            "ndim",
            "entry_shape",
            "nbytes",
            "size_mb",
            "size_gb",
            "units",
            "units_name",
            "index_group",
            "hdf5_data_path",
            "source_file_paths",
            "train_ids",
            "is_control",
            "is_instrument",
        ):
            assert getattr(a, name) == getattr(b, name), (source, key, name)
        assert_same(a.attributes(), b.attributes())
        if b.is_control:
            assert_same_outcome(a.run_value, b.run_value)
        assert repr(a)[9:] == repr(b)[12:]
        assert (ours.get_dtype(source, key), ours.get_entry_shape(source, key)) == (
            b.dtype,
            b.entry_shape,
        )


def test_counts_of_keys(both):
    ours, theirs = both
    for source, key in places(theirs):
        a, b = ours[source, key], theirs[source, key]
        assert_same(a.data_counts(), b.data_counts())
        assert_same(a.data_counts(labelled=False), b.data_counts(labelled=False))
        assert_same(ours.get_data_counts(source, key), b.data_counts())
        assert_same(a.train_id_coordinates(), b.train_id_coordinates())
        assert_same(a.train_index_bounds(), b.train_index_bounds())
        assert_same(a.train_index_bounds(labelled=True), b.train_index_bounds(labelled=True))
        assert a.drop_empty_trains().train_ids == b.drop_empty_trains().train_ids


def test_arrays_of_keys(both):
    ours, theirs = both
    for source, key in places(theirs):
        a, b = ours[source, key], theirs[source, key]
        assert_same(a.ndarray(), b.ndarray())
        assert_same_outcome(a.series, b.series)
        assert_same(a.xarray(), b.xarray())
        assert_same(ours.get_array(source, key, name="x"), theirs.get_array(source, key, name="x"))
        assert_same_outcome(
            lambda: ours.get_series(source, key), lambda: theirs.get_series(source, key)
        )
        if b.ndim > 1:
            dims = [f"d{i}" for i in range(b.ndim - 1)]
            roi = np.s_[1:]
            for options in (
                {"extra_dims": dims},
                {"extra_dims": dims, "roi": roi},
                {"extra_coords": True, "roi": roi},
                {"extra_coords": {"dim_0": np.arange(b.entry_shape[0])}},
                {"extra_dims": dims, "extra_coords": False},
                {"roi": 0},
            ):
                assert_same(a.xarray(**options), b.xarray(**options))
        for empty in (a[3:3], a.select_trains([])):
            assert_same(empty.ndarray(), b[3:3].ndarray())
            assert_same(empty.xarray(), b[3:3].xarray())
            assert (empty.shape, empty.dtype) == (b[3:3].shape, b[3:3].dtype)


def test_dask_arrays(both):
    ours, theirs = both
    for source, key in places(theirs)[::4]:
        a, b = ours[source, key], theirs[source, key]
        assert_same(a.dask_array().compute(scheduler="synchronous"), a.ndarray())
        assert a.dask_array().shape == b.dask_array().shape
        assert a.dask_array().dtype == b.dask_array().dtype
        labelled = ours.get_dask_array(source, key, labelled=True)
        expected = theirs.get_dask_array(source, key, labelled=True)
        assert labelled.dims == expected.dims
        assert_same(labelled.trainId, expected.trainId)
        assert_same(labelled.compute(scheduler="synchronous").values, a.ndarray())
        assert a[2:2].dask_array().shape == b[2:2].dask_array().shape


def test_single_values(both):
    ours, theirs = both
    for source, key in places(theirs):
        a, b = ours[source, key], theirs[source, key]
        for options in (
            {},
            *(({"atol": 1e300},) if b.dtype.kind in "iuf" else ()),
        ):
            assert_same_outcome(
                lambda: a.as_single_value(**options), lambda: b.as_single_value(**options)
            )
        reductions = (
            {"atol": 1e300},
            {"atol": 1e300, "reduce_by": "first"},
            {"atol": 1e300, "reduce_by": "max"},
            {"atol": 1e300, "reduce_by": np.mean},
        )
        for options in reductions if b.dtype.kind in "iuf" else ():
            assert_same_outcome(
                lambda: a.as_single_value(**options), lambda: b.as_single_value(**options)
            )
        one = a.drop_empty_trains()[:1]
        assert_same_outcome(one.as_single_value, b.drop_empty_trains()[:1].as_single_value)
        assert_same_outcome(a[2:2].as_single_value, b[2:2].as_single_value)


def test_keys_train_by_train(both):
    ours, theirs = both
    for source, key in places(theirs):
        a, b = ours[source, key], theirs[source, key]
        for options in ({}, {"keep_dims": True}):
            # With keep_dims, EXtra-data gives trains without data too, against what it says.
            expected = [(tid, v) for tid, v in b.trains(**options) if np.ndim(v) == 0 or len(v)]
            assert_same(list(a.trains(**options)), expected)
            found = dict(a.trains(include_empty=True, **options))
            assert list(found) == a.train_ids
            for tid, value in b.trains(include_empty=True, **options):
                if value is None:
                    assert found[tid] is None
                else:
                    assert_same(found[tid], value)
            full = b.drop_empty_trains().train_ids
            for tid in full[:: max(len(full) // 3, 1)]:
                assert_same(a.train_from_id(tid, **options), b.train_from_id(tid, **options))
                at = b.train_ids.index(tid)
                assert_same(a.train_from_index(at, **options), b.train_from_index(at, **options))
        assert_same_outcome(lambda: a.train_from_id(3), lambda: b.train_from_id(3))
        assert_same_outcome(lambda: a.train_from_index(9999), lambda: b.train_from_index(9999))


def test_trains_of_collections(both):
    ours, theirs = both
    chosen = dict(itertools.chain((s, {k}) for s, k in places(theirs)))
    a, b = ours.select(chosen), theirs.select(chosen)
    for options in (
        {},
        {"flat_keys": True},
        {"require_all": True},
        {"train_range": np.s_[1:4]},
        {"devices": [(next(iter(chosen)), "*")]},
    ):
        expected = list(b.trains(**options))
        assert_same(list(a.trains(**options)), expected)
    for tid in b.select_trains(np.s_[::7]).train_ids:
        for options in ({}, {"flat_keys": True}):
            assert_same_outcome(
                lambda: a.train_from_id(tid, **options), lambda: b.train_from_id(tid, **options)
            )
    assert_same_outcome(lambda: a.train_from_index(0), lambda: b.train_from_index(0))
    assert_same_outcome(lambda: a.train_from_index(-1)[0], lambda: b.train_from_index(-1)[0])
    assert_same_outcome(lambda: a.train_from_index(9999), lambda: b.train_from_index(9999))
    assert_same_outcome(lambda: a.train_from_id(1), lambda: b.train_from_id(1))


def test_dataframes(both):
    ours, theirs = both
    flat = {
        (s, k)
        for s, k in places(theirs)
        if theirs[s, k].ndim == 1 and theirs[s, k].dtype.names is None
    }
    for limit in (1, 3, len(flat)):
        fields = {s: {k} for s, k in sorted(flat)[:limit]}
        singles = {
            s: k for s, k in fields.items() if (theirs[s, next(iter(k))].data_counts() < 2).all()
        }
        if all(k.endswith(".timestamp") for ks in singles.values() for k in ks):
            assert ours.get_dataframe(singles).empty  # EXtra-data fails
            continue
        assert_same_outcome(
            lambda: ours.get_dataframe(singles), lambda: theirs.get_dataframe(singles)
        )
        assert_same_outcome(
            lambda: ours.get_dataframe(singles, timestamps=True),
            lambda: theirs.get_dataframe(singles, timestamps=True),
        )


def test_splitting(both):
    ours, theirs = both
    source = next(iter(theirs.all_sources - theirs.legacy_sources.keys()))
    key = next(iter(theirs[source].keys()), None)
    for a, b in (
        (ours, theirs),
        (ours[source], theirs[source]),
        *(((ours[source, key], theirs[source, key]),) if key else ()),
    ):
        for options in (
            {"parts": 3},
            {"trains_per_part": 4},
            {"parts": 2, "trains_per_part": 3},
            {"parts": 10_000},
            {},
        ):
            assert_same_outcome(
                lambda: [p.train_ids for p in a.split_trains(**options)],
                lambda: [[int(t) for t in p.train_ids] for p in b.split_trains(**options)],
            )
