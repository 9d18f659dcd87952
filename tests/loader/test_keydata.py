"""Sources and keys as values: selecting leaves them as they are; names resolve; nothing is read."""

import dataclasses

import numpy as np
import pytest
from support import rich_run
from support.both_readers import open_scanned
from xfelcat.catalog.model.errors import PropertyNameError

pytestmark = pytest.mark.fast

XGM, CAMERA, MODULE = rich_run.XGM, rich_run.CAMERA, rich_run.MODULE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_scanned(rich_run.write_rich_run(tmp_path_factory.mktemp("rich")))


def test_selecting_never_changes_what_it_selects_from(run):
    key, source = run[CAMERA, "data.exposure"], run[XGM]
    before = (run.train_ids, run.selection, key.train_ids, source.keys(), key.shape)
    key[:3].drop_empty_trains()
    source.select_keys("state").select_trains([1])
    run.select(XGM, "state")[:2].deselect(XGM)
    run[:3].union(run[5:])
    assert before == (run.train_ids, run.selection, key.train_ids, source.keys(), key.shape)
    for thing in (run, key, source):
        with pytest.raises(dataclasses.FrozenInstanceError):
            thing.selected = None
    ids = run.train_ids
    ids.append(3)
    assert run.train_ids == ids[:-1]
    with pytest.raises(ValueError, match="read-only"):
        run.selected.trains.ids[0] = 1


def test_no_selection_of_all_is_a_copy(run):
    key = run[XGM, "state"]
    assert key[:] is key
    assert run.select_trains(np.s_[:]) is run
    assert run[XGM].select_keys("*").source == XGM


def test_names_of_control_keys(run):
    assert run[XGM, "state"].key == run[XGM]["state.value"].key == "state.value"
    assert run[XGM, "state.timestamp"].key == "state.timestamp"
    assert "state" in run[XGM]
    assert "stat" not in run[XGM]
    assert 3 not in run[XGM]
    with pytest.raises(PropertyNameError):
        run[CAMERA, "data.exposure.value"]
    assert run[XGM].one_key() in run[XGM].keys()  # noqa: SIM118 - a set of names


def test_index_groups(run):
    assert run[MODULE].index_groups == {"header", "image"}
    assert run[MODULE].select_keys("header.*").index_groups == {"header"}
    assert run[XGM].index_groups == {""}
    assert run[MODULE].one_key("header") == "header.pulseCount"
    with pytest.raises(ValueError, match=r"'header', 'image'"):
        run[MODULE].one_key("nonsense")
    with pytest.raises(ValueError, match="different counts"):
        run[MODULE].train_id_coordinates()
    of_header = run[MODULE].train_id_coordinates("header")
    assert of_header.tolist() == run[MODULE, "header.pulseCount"].train_id_coordinates().tolist()
    counts = [run[MODULE].data_counts(index_group=g) for g in ("header", "image")]
    assert run[MODULE].data_counts().tolist() == np.maximum(*counts).tolist()


def test_trains_of_sources(run):
    source = run[MODULE]
    with_data = source.drop_empty_trains()
    assert with_data.train_ids == [t for t, n in source.data_counts().items() if n]
    assert source[:4].train_ids == run.train_ids[:4]
    parts = list(source.split_trains(trains_per_part=7))
    assert sum(len(p.train_ids) for p in parts) == 26
    assert source["image.data"].shape[0] == sum(p["image.data"].shape[0] for p in parts)


def test_facts_need_no_file(run, tmp_path):
    fresh = open_scanned(rich_run.write_rich_run(tmp_path))
    for source in sorted(fresh.all_sources - fresh.legacy_sources.keys()):
        for name in fresh[source].keys():  # noqa: SIM118 - a set of names
            key = fresh[source, name]
            assert key.nbytes == key.dtype.itemsize * int(np.prod(key.shape))
            assert key.data_counts(labelled=False).sum() == key.shape[0]
            assert (key.units is None) == (name != "beamPosition.ixPos.value")
            assert key.size_gb * 1000 == pytest.approx(key.size_mb)
        fresh[source].data_counts()
    fresh.select("*", require_any=True)
    fresh.run_metadata()
    fresh.train_timestamps()
    fresh.get_run_values(XGM)
    assert fresh.selected.files.n_opened == 0


def test_attributes_come_from_the_file(run):
    found = run[XGM, "beamPosition.ixPos"].attributes()
    assert found["unitSymbol"] in ("m", b"m")
