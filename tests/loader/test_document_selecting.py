"""The document, "Selecting & combining data", writing and data problems: each sentence."""

import h5py
import numpy as np
import pytest
from support.both_readers import open_both
from support.documented_data import FAST, MODULE, SLOW_FAST, XGM
from support.same_results import assert_same
from xfelcat import DataCollection, H5File, by_id, by_index
from xfelcat.catalog.model.errors import TargetFileError
from xfelcat.loader.examples import FileSpec, RunSpec, write_run
from xfelcat.loader.examples import specs as devices

pytestmark = pytest.mark.filterwarnings("ignore:.*legacy name:DeprecationWarning")
PATTERNS = [
    ("*/XGM/*",),
    ("*/DOOCS*", "data.*"),
    ([("*XGM*", "data.xTD"), ("*XGM*", "beam*")],),
    (["*XGM*", "SPB_XTD2_UND/DOOCS/ENERGY"],),
    ({FAST: {"data.xTD"}, XGM: set()},),
    ("SA?_XTD[0-9]_XGM/*",),
    ("SA1_XTD[!3]_XGM/*",),
]


def contents(collection):
    return {s: collection.keys_for_source(s) for s in collection.all_sources}


@pytest.mark.parametrize("selection", PATTERNS, ids=str)
def test_select_and_deselect_in_every_way(view, selection):
    before = contents(view.run)
    for name in ("select", "deselect"):
        ours, theirs = (getattr(c, name)(*selection) for c in (view.run, view.theirs))
        assert isinstance(ours, DataCollection)
        assert contents(ours) == contents(theirs)
        assert ours.train_ids == theirs.train_ids == view.run.train_ids
    assert contents(view.run) == before  # run still includes all the data


def test_globs_are_case_sensitive(view):
    with pytest.raises(ValueError, match="xgm"):
        view.run.select("*/xgm/*")


def test_select_the_same_as_in_another_object(view):
    chosen = view.run.select([(XGM, "beam*"), FAST])
    assert contents(view.run.select(chosen)) == contents(chosen)
    assert contents(view.run.select(view.run[FAST])) == {FAST: view.run.keys_for_source(FAST)}
    assert contents(view.run.select(view.run[FAST, "data.xTD"])) == {FAST: {"data.xTD"}}


def test_require_all_and_any_restrict_trains(view):
    selection = [XGM, SLOW_FAST]
    for option in ("require_all", "require_any"):
        ours, theirs = (c.select(selection, **{option: True}) for c in (view.run, view.theirs))
        assert ours.train_ids == theirs.train_ids
        assert (len(ours.train_ids) < len(view.run.train_ids)) == (option == "require_all")
    only_gaps = view.run.select(SLOW_FAST, require_any=True).train_ids
    assert only_gaps == view.run[SLOW_FAST].drop_empty_trains().train_ids


def test_a_warning_tells_that_trains_are_dropped(view):
    without = set(view.run.train_ids) - set(view.run[SLOW_FAST].drop_empty_trains().train_ids)
    rest = view.run.select_trains(by_id[sorted(without)])
    with pytest.warns(UserWarning, match=SLOW_FAST):
        assert rest.select([XGM, SLOW_FAST], require_all=True).train_ids == []
    with pytest.warns(UserWarning, match=SLOW_FAST):
        few = view.run.select([XGM, SLOW_FAST], require_all=True, warn_drop_trains_frac=0.2)
    assert few.train_ids


def test_select_trains_by_position_and_id(view):
    ids = view.run.train_ids
    for spelt, expected in (
        (np.s_[:5], ids[:5]),
        (by_index[2:4], ids[2:4]),
        (by_id[ids[2] : ids[7]], ids[2:7]),
        (by_id[[ids[1], ids[4], ids[5]]], [ids[1], ids[4], ids[5]]),
        (by_id[: 2**64 - 1], ids),
        (by_id[ids[-2] : ids[-1] + 900], ids[-2:]),
    ):
        assert view.run.select_trains(spelt).train_ids == expected
    with pytest.raises(ValueError, match=str(ids[-1])) as raised:
        view.run.select_trains(by_id[5:9])
    assert str(ids[0]) in str(raised.value)
    with pytest.raises(ValueError, match="train"):
        view.run.select_trains(by_id[[5, 6]])


def test_split_trains_of_a_collection(view):
    eleven = view.run[:11]
    parts = eleven.split_trains(trains_per_part=8)
    assert iter(parts) is parts
    assert sorted(len(p.train_ids) for p in parts) == [5, 6]
    assert [len(p.train_ids) for p in eleven.split_trains(parts=20)] == [1] * 11
    joined = [t for part in eleven.split_trains(parts=3) for t in part.train_ids]
    assert joined == eleven.train_ids
    with pytest.raises(ValueError, match="parts"):
        list(eleven.split_trains())


def test_union_joins_sources_and_trains_in_any_order(view):
    place = (XGM, "beamPosition.ixPos")
    one, two = view.run.select(XGM)[:6], view.run.select(FAST)[3:9]
    for joined in (one.union(two), two.union(one), one | two):
        assert joined.all_sources == {XGM, FAST}
        assert joined.train_ids == view.run.train_ids[:9]
        assert joined[XGM].train_ids == joined.train_ids
        assert joined[FAST, "data.xTD"].train_ids == joined.train_ids
    theirs = view.theirs.select(XGM)[:6].union(view.theirs.select(FAST)[3:9])
    assert_same(one.union(two)[place].ndarray(), theirs[place].ndarray())


@pytest.mark.parametrize("method", ["write", "write_virtual"])
def test_written_files_hold_the_selected_data(view, tmp_path, method):
    wanted = [XGM, SLOW_FAST, *([MODULE] if MODULE in view.run.all_sources else [])]
    run = view.run.select([*wanted, "*TIMESERVER"])[2:15]
    target = tmp_path / "new.h5"
    target.write_text("overwritten if it already exists")
    getattr(run, method)(target)
    for opened in open_both(target):
        assert [int(t) for t in opened.train_ids] == run.train_ids
        assert opened.all_sources - {MODULE} == run.all_sources - {MODULE}
        for source in wanted:
            for key in sorted(run.keys_for_source(source))[:4]:
                assert_same(opened[source, key].ndarray(), run[source, key].ndarray())
                assert_same(opened[source, key].data_counts(), run[source, key].data_counts())
    with h5py.File(target) as f:
        assert f[f"INSTRUMENT/{SLOW_FAST}/data/xTD"].is_virtual == (method == "write_virtual")


@pytest.mark.parametrize("method", ["write", "write_virtual"])
def test_a_target_among_the_sources_is_refused(view, method):
    path = view.run[XGM].files[0].path
    with open(path, "rb") as f:
        before = f.read()
    with pytest.raises(TargetFileError):
        getattr(view.run.select(XGM), method)(path)
    with open(path, "rb") as f:
        assert f.read() == before


def test_a_maximal_train_id_can_be_left_out(tmp_path, capsys):
    ids = (10, 11, 12, 2**64 - 1)
    spec = RunSpec(1, 1, (FileSpec("DA01", 0, ids, (devices.motor("M/M/M"),)),), version="1.0")
    (path,) = write_run(tmp_path, spec)
    run = H5File(path)
    run.info()
    assert "4" in capsys.readouterr().out
    selected = run.select_trains(by_id[: 2**64 - 1])
    assert selected.train_ids == [10, 11, 12]
    assert selected["M/M/M", "actualPosition"].ndarray().shape == (3,)
