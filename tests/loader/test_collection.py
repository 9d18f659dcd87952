"""Runs joined, duplicates, suspect trains, trains out of order, old names, the run itself."""
# ruff: noqa: B023 - lambdas are called at once, within the loop

import os
import shutil

import extra_data
import h5py
import numpy as np
import pytest
import xfelcat
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rich_run
from support.both_readers import open_both, open_oracle, open_scanned
from support.same_results import assert_same, outcome
from support.tiny_file import write_tiny
from xfelcat import H5File
from xfelcat.catalog.model.errors import DuplicateTrainError, MultiRunError
from xfelcat.loader.examples import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)
from xfelcat.loader.show.display import run_facts

pytestmark = pytest.mark.fast

XGM, CAMERA = rich_run.XGM, rich_run.CAMERA
POSITION = (XGM, "beamPosition.ixPos")


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return rich_run.write_rich_run(tmp_path_factory.mktemp("rich"))


@pytest.fixture(scope="module")
def both(rich):
    return open_both(rich)


def simple_run(directory, run, trains, *, prefix="RAW", version="1.3", name="A/B/C"):
    files = split(trains, {"DA01": [control(name, KeySpec("x", "f8"))]})
    write_run(directory, RunSpec(2012, run, files, version, prefix))
    return directory


def test_parts_joined_again_are_the_whole(both):
    for run in both:
        joined = run[:10].union(run[20:], run[5:15])
        expected = [t for i, t in enumerate(run.train_ids) if i < 15 or i >= 20]
        assert joined.train_ids == expected
        assert joined[POSITION].shape == (len(expected),)
    ours, theirs = both
    for parts in ((np.s_[:10], np.s_[20:]), (np.s_[3:4], np.s_[3:5]), (np.s_[20:], np.s_[:3])):
        a = ours[parts[0]] | ours[parts[1]]
        b = theirs[parts[0]] | theirs[parts[1]]
        assert a.train_ids == b.train_ids
        assert a.is_single_run
        for place in (POSITION, (CAMERA, "data.image.pixels"), (rich_run.MODULE, "image.data")):
            assert_same(a[place].ndarray(), b[place].ndarray())
            assert_same(a[place].data_counts(), b[place].data_counts())


def test_sources_and_keys_are_joined(both):
    ours, theirs = both
    for a, b in (
        ((XGM, "beam*"), (XGM, "state")),
        ((XGM, "beam*"), (XGM,)),
        ((XGM,), (CAMERA,)),
        ((XGM, "beam*"), (CAMERA, "data.exposure")),
    ):
        mine = ours.select(*a)[:4] | ours.select(*b)[2:6]
        other = theirs.select(*a)[:4] | theirs.select(*b)[2:6]
        assert mine.selection == other.selection
        assert mine.train_ids == other.train_ids
        for source in other.all_sources:
            assert mine[source].train_ids == mine.train_ids
            assert_same(mine[source].data_counts(), other[source].data_counts())


def test_sources_themselves_are_joined(both):
    ours, _ = both
    a, b = (r[XGM][:3] | r[XGM].select_keys("state").union(r[XGM][5:9]) for r in both)
    assert a.train_ids == b.train_ids
    assert a.keys() == b.keys()
    assert_same(a["state"].ndarray(), b["state"].ndarray())
    with pytest.raises(ValueError, match="one source"):
        ours[XGM] | ours[CAMERA]
    with pytest.raises(TypeError):
        ours[XGM] | 3
    with pytest.raises(TypeError):
        ours | 3
    with pytest.raises(TypeError):
        ours.union(3)
    assert ours.union() is ours


def test_several_runs(tmp_path):
    paths = [simple_run(tmp_path / f"r{i}", i, range(10 * i, 10 * i + 5)) for i in (3, 1, 2)]
    ours = open_scanned(paths[0]).union(*map(open_scanned, paths[1:]))
    theirs = open_oracle(paths[0]).union(*map(open_oracle, paths[1:]))
    assert ours.train_ids == theirs.train_ids
    assert_same(ours["A/B/C", "x"].ndarray(), theirs["A/B/C", "x"].ndarray())
    assert_same(ours["A/B/C", "x"].series(), theirs["A/B/C", "x"].series())
    assert_same(ours.train_timestamps(), theirs.train_timestamps())
    assert not ours.is_single_run
    for question in (
        ours.run_metadata,
        ours["A/B/C"].run_values,
        ours["A/B/C", "x"].run_value,
        lambda: ours.get_run_value("A/B/C", "x"),
        lambda: ours.get_run_values("A/B/C"),
        lambda: ours["A/B/C"].run_value("x"),
    ):
        with pytest.raises(MultiRunError, match="several runs"):
            question()
    assert ours["A/B/C"].run_value("x", allow_multi_run=True) is not None
    assert ours[by_train(10)]["A/B/C", "x"].source_file_paths[0].parent == paths[1]


def by_train(train_id):
    from xfelcat.loader.select.trains import by_id

    return by_id[[train_id]]


def test_raw_and_processed_data_are_one_run(tmp_path):
    raw = simple_run(tmp_path / "raw", 5, range(10, 20))
    proc = simple_run(tmp_path / "proc", 5, range(12, 20), prefix="CORR", name="A/B/D")
    ours = open_scanned(raw) | open_scanned(proc)
    assert ours.is_single_run
    assert ours.run_metadata()["runNumber"] == 5
    assert ours.get_run_value("A/B/D", "x") == open_scanned(proc).get_run_value("A/B/D", "x")


def test_the_same_train_in_two_files(tmp_path):
    one = simple_run(tmp_path / "one", 1, range(10, 20))
    other = simple_run(tmp_path / "other", 1, range(15, 25))
    with pytest.raises(DuplicateTrainError) as raised:
        open_scanned(one) | open_scanned(other)
    error = raised.value
    assert (error.source, error.train_id) == ("A/B/C", 15)
    assert [os.path.basename(os.path.dirname(p)) for p in error.paths] == ["one", "other"]
    assert isinstance(error, ValueError)
    together = tmp_path / "together"
    shutil.copytree(one, together)
    shutil.copy(next(other.glob("*.h5")), together / "RAW-R0001-DA01-S00001.h5")
    with pytest.raises(DuplicateTrainError, match=r"A/B/C.*15.*S00000\.h5.*S00001\.h5"):
        open_scanned(together)
    run = open_scanned(together, allow_duplicates=True)
    key = run["A/B/C", "x"]
    assert key.shape == (20,)
    assert key.data_counts().to_dict() == {t: 2 if 15 <= t < 20 else 1 for t in range(10, 25)}
    assert key.train_id_coordinates().tolist() == sorted([*range(10, 20), *range(15, 25)])
    # Which trains are asked for does not hide what is wrong with the files.
    assert (run[:3] | run[-3:])["A/B/C", "x"].shape == (6,)


def test_a_file_given_twice_is_one_file(rich, both):
    ours, _ = both
    again = open_scanned(rich)
    joined = ours | again
    assert joined.train_ids == ours.train_ids
    assert_same(joined[POSITION].ndarray(), ours[POSITION].ndarray())


def test_a_run_opened_by_two_paths_is_one_run(rich, both, tmp_path):
    ours, _ = both
    (tmp_path / "link").symlink_to(rich)
    joined = ours[:10] | open_scanned(tmp_path / "link")
    assert joined.train_ids == ours.train_ids
    assert joined.is_single_run
    assert_same(joined[POSITION].ndarray(), ours[POSITION].ndarray())


@pytest.fixture(scope="module")
def disordered(tmp_path_factory):
    """Trains out of order, the largest number there is, and suspect trains."""
    sources = (
        control("A/B/C", KeySpec("x", "f8")),
        instrument("A/B/C:out", GroupSpec("data", (KeySpec("y", "i4", (2,)),), counts=(1, 0, 2))),
    )
    first = (100, 101, 2**64 - 1, 103, 7, 105)
    files = (
        FileSpec("DA01", 0, first, sources, suspect=frozenset({2**64 - 1, 7})),
        FileSpec("DA01", 1, (5, 107, 108, 109), sources, suspect=frozenset({5})),
    )
    place = tmp_path_factory.mktemp("disordered")
    write_run(place, RunSpec(2012, 1, files))
    return place


def assert_sorted(ours, theirs):
    """Ours have the data of theirs in order of train ID; theirs come file by file."""
    trains = theirs.train_id_coordinates()
    order = np.argsort(trains, kind="stable")
    assert_same(ours.train_id_coordinates(), trains[order])
    assert_same(ours.ndarray(), theirs.ndarray()[order])
    assert_same(ours.data_counts(), theirs.data_counts())


@pytest.mark.parametrize("inc_suspect_trains", [True, False])
def test_trains_out_of_order(disordered, inc_suspect_trains):
    ours = open_scanned(disordered, inc_suspect_trains=inc_suspect_trains)
    theirs = open_oracle(disordered, inc_suspect_trains=inc_suspect_trains)
    assert ours.train_ids == theirs.train_ids
    assert (2**64 - 1 in ours.train_ids) == inc_suspect_trains
    selections = [np.s_[:], np.s_[2:6], np.s_[::2], np.s_[3:], [0, 3, 4]]
    for selection in selections:
        for place in (("A/B/C", "x"), ("A/B/C:out", "data.y")):
            a, b = ours[place].select_trains(selection), theirs[place].select_trains(selection)
            assert a.train_ids == b.train_ids
            assert_sorted(a, b)
            rows = a.ndarray()
            starts, stops = a.train_index_bounds()
            for tid, start, stop in zip(a.train_ids, starts, stops, strict=True):
                mine = a.train_from_id(tid, keep_dims=True)[1]
                np.testing.assert_array_equal(mine, rows[start:stop])
            with_data = a.drop_empty_trains().train_ids
            assert [tid for tid, _ in a.trains()] == with_data
            assert dict(b.trains()).keys() == set(with_data)
            assert_same(a.xarray().trainId.values, a.train_id_coordinates())
            in_parts = [part.ndarray() for part in a.split_trains(trains_per_part=2)]
            assert_same(np.concatenate(in_parts), rows)
    with_data = ours["A/B/C", "x"].drop_empty_trains().train_ids
    assert ours["A/B/C", "x"].series().index.tolist() == with_data
    assert ours.get_dataframe([("A/B/C", "x")]).index.tolist() == with_data
    assert_same(ours.train_timestamps(), theirs.train_timestamps())
    for tid, data in theirs.trains():
        mine = ours.train_from_id(tid)[1]
        assert mine["A/B/C"]["x.value"] == data["A/B/C"]["x.value"]
    whole = ours.select("*", require_any=True)
    assert whole.train_ids == ours.train_ids


def test_index_is_the_truth_where_it_leaves_gaps(tmp_path):
    place = rich_run.write_rich_run(tmp_path, gaps=(1, 0, 3))
    run = open_scanned(place)
    camera = run[CAMERA, "data.image.pixels"]
    labelled = camera.xarray()
    frames = dict(camera.trains(keep_dims=True))
    assert len(frames) > 5
    for tid, expected in frames.items():
        mine = labelled.values[labelled.trainId.values == tid]
        np.testing.assert_array_equal(mine, expected)
        with h5py.File(run[by_train(tid)][CAMERA, "data.exposure"].source_file_paths[0]) as f:
            at = int(np.flatnonzero(f["INDEX/trainId"][:] == tid)[0])
            first = int(f[f"INDEX/{CAMERA}/data/first"][at])
            stored = f[f"INSTRUMENT/{CAMERA}/data/image/pixels"]
            np.testing.assert_array_equal(stored[first : first + len(expected)], expected)


def test_old_names_work_and_warn(both):
    ours, theirs = both
    old, new = rich_run.OLD_MODULE, rich_run.MODULE
    assert ours.legacy_sources == theirs.legacy_sources == {old: new}
    for pick in (
        lambda r: r[old].canonical_name,
        lambda r: r[old].source,
        lambda r: r[old].is_legacy,
        lambda r: r[old, "image.data"].ndarray().tolist(),
        lambda r: r[old, "image.data"].hdf5_data_path,
        lambda r: sorted(r.keys_for_source(old)),
        lambda r: r.get_array(old, "image.data").values.tolist(),
        lambda r: r.select(old).all_sources,
        lambda r: r.select("*DET*/DET/*", "image.data").selection,
        lambda r: r[new].is_legacy,
    ):
        mine, told, error = outcome(lambda: pick(ours))
        other, their_told, their_error = outcome(lambda: pick(theirs))
        assert (mine, told, error) == (other, their_told, their_error)
    with pytest.warns(DeprecationWarning, match=f"{new}"):
        ours[old]


def test_run_metadata_of_the_lowest_aggregator(both, tmp_path):
    ours, theirs = both
    assert ours.run_metadata()["sequenceNumber"] == 0
    assert ours.run_metadata().keys() == theirs.run_metadata().keys()
    assert ours[5:].run_metadata()["sequenceNumber"] == 0
    assert ours[-1:].run_metadata()["sequenceNumber"] == 2
    old = open_scanned(simple_run(tmp_path / "old", 1, range(1, 6), version="0.5"))
    assert old.run_metadata() == {"dataFormatVersion": "0.5"}
    assert np.isnat(old.train_timestamps()).all()
    assert old.train_timestamps(pydatetime=True) == [None] * 5
    assert old.train_timestamps(labelled=True).isna().all()


def test_a_timestamp_of_zero_is_none(tmp_path):
    """As EXtra-data has it, unless another file has the time; what `write` makes of it too."""
    (tmp_path / "run").mkdir()
    with write_tiny(tmp_path / "run" / "RAW-R0007-DA01-S00000.h5") as f:
        times = f["INDEX/timestamp"][:]
        f["INDEX/timestamp"][:] = 0
    ours, theirs = open_both(tmp_path / "run")
    assert_same(ours.train_timestamps(), theirs.train_timestamps())
    assert ours.train_timestamps(pydatetime=True) == [None] * 10
    assert "First train at" not in str(dict(run_facts(ours.selected)))
    ours.write(tmp_path / "written.h5")
    written = H5File(tmp_path / "written.h5")
    assert np.isnat(written.train_timestamps()).all()
    assert written.run_metadata()["runNumber"] == 7
    with write_tiny(tmp_path / "run" / "RAW-R0007-DA02-S00000.h5", rows=()):
        recorded = open_scanned(tmp_path / "run").train_timestamps()
    np.testing.assert_array_equal(recorded, times.astype("datetime64[ns]"))


def test_timestamps_of_selected_trains(both):
    ours, theirs = both
    assert_same(ours[3:20:4].train_timestamps(), theirs[3:20:4].train_timestamps())
    with pytest.raises(ValueError, match="labelled or pydatetime"):
        ours.train_timestamps(euxfel_local_time=True)


def test_run_values(both):
    ours, _ = both
    assert ours.get_run_value(XGM, "gain") == 7
    assert ours.get_run_value(XGM, "classId") == "DoocsXGM"
    np.testing.assert_array_equal(ours.get_run_value(XGM, "only.inRun"), [1.5, 2.5])
    assert ours.select(XGM, "state").get_run_value(XGM, "gain.value") == 7
    assert ours[rich_run.SETTINGS].run_values(inc_timestamps=False)["mode"] == "fast"
    assert ours[rich_run.SETTINGS].is_run_only
    assert ours[rich_run.SETTINGS].keys() == set()
    assert ours[rich_run.SETTINGS].device_class == "Settings"
    assert ours[CAMERA].device_class is None
    with pytest.raises(KeyError, match="did you mean 'gain"):
        ours.get_run_value(XGM, "gai")
    with pytest.raises(ValueError, match="no control source"):
        ours.get_run_values(CAMERA)


def test_units(both):
    ours, _ = both
    assert (ours[POSITION].units, ours[POSITION].units_name) == ("mm", "millimetre")
    assert ours[POSITION].xarray().attrs == {"units": "mm"}
    assert ours[XGM, "state"].units is None
    assert ours[XGM, "state"].units_name is None


def test_strings_are_text(both):
    ours, _ = both
    state = ours[XGM, "state"]
    assert state.dtype == object
    assert all(type(v) is str for v in state.ndarray())
    assert all(type(v) is str for _, v in state.trains())
    assert type(state.train_from_index(0)[1]) is str
    assert type(ours.train_from_index(0, [(XGM, "state")])[1][XGM]["state.value"]) is str
    assert state[:0].ndarray().dtype == object


def test_what_is_shown(both, capsys):
    ours, _ = both
    assert ours.files[0].path.endswith("AGIPD00-S00000.h5")
    ours.train_info(ours.train_ids[2])
    shown = capsys.readouterr().out
    assert XGM in shown
    assert rich_run.SETTINGS not in shown
    ours.auxiliary.info()
    assert "0 reduction sources" in capsys.readouterr().out
    assert ours._ipython_key_completions_() == sorted(ours.all_sources)
    assert "beamPosition.ixPos" in ours[XGM]._ipython_key_completions_()
    assert not hasattr(extra_data.DataCollection, "no_such_method")
    with pytest.raises(TypeError):
        iter(ours)


def test_detector_info(build_mock):
    ours, theirs = open_both(build_mock("spb_raw-1.3"))
    source = sorted(theirs.detector_sources)[0]
    assert ours.detector_info(source) == theirs.detector_info(source)


def test_public_names_are_those_of_extra_data():
    from extra_data.keydata import KeyData as TheirKey
    from extra_data.sourcedata import SourceData as TheirSource
    from xfelcat.loader.collection import DataCollection
    from xfelcat.loader.keydata import KeyData
    from xfelcat.loader.sourcedata import SourceData

    not_ours = {"from_path", "from_paths"}  # ways to open, which are functions here
    for ours, theirs in (
        (DataCollection, extra_data.DataCollection),
        (SourceData, TheirSource),
        (KeyData, TheirKey),
    ):
        public = {n for n in dir(theirs) if not n.startswith("_")}
        assert public - set(dir(ours)) - not_ours == set()


def test_attributes_are_those_of_extra_data(both):
    ours, theirs = both
    for a, b in zip(
        (ours, ours[XGM], ours[POSITION]), (theirs, theirs[XGM], theirs[POSITION]), strict=True
    ):
        public = {n for n in vars(b) if not n.startswith("_")} - {"ctx_closes"}
        assert {n for n in public if not hasattr(a, n)} == set()
        assert [f.path for f in a.files] == sorted(f.filename for f in b.files)
        assert (a.inc_suspect_trains, a.is_single_run) == (True, True)


positions = st.lists(st.integers(0, 9), min_size=1, max_size=8)


@settings(max_examples=60)
@given(positions, positions)
def test_any_trains_of_a_disordered_run(disordered, chosen, others):
    ours, theirs = open_both(disordered)
    for selection in (chosen, others):
        unique = sorted(set(selection))
        a, b = ours.select_trains(unique), theirs.select_trains(unique)
        for place in (("A/B/C", "x"), ("A/B/C:out", "data.y")):
            assert_sorted(a[place], b[place])
    joined = ours.select_trains(sorted(set(chosen))) | ours.select_trains(sorted(set(others)))
    assert joined.train_ids == [ours.train_ids[i] for i in sorted({*chosen, *others})]


def test_a_run_knows_its_name(demo):
    paths = [demo.summary.run(900032, n).path for n in (1, 2)]
    first, second = (xfelcat.RunDirectory(p, catalog=demo.location) for p in paths)
    assert (first.proposal, first.run, first.data_class) == (900032, 1, "raw")
    assert first.path == str(paths[0])
    assert repr(first).startswith("<xfelcat.DataCollection p900032 raw r0001 for ")
    both = first | second
    assert (both.proposal, both.run, both.data_class, both.path) == (900032, None, "raw", None)
    assert repr(both).startswith("<xfelcat.DataCollection p900032 raw for ")


def test_a_loose_run_has_no_name(rich):
    run = open_scanned(rich)
    assert (run.proposal, run.run, run.data_class, run.path) == (None, None, None, str(rich))
    assert repr(run).startswith("<xfelcat.DataCollection for ")
