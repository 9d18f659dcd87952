"""The synthetic facility is a catalog like any other: whole, and as described in every run."""

import numpy as np
import pytest
from xfelcat import Catalog, RunDirectory
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.read import load_run
from xfelcat.catalog.store.store import Store

from benchmarks import vocabulary as words

from .synthetic import FIRST_PROPOSAL, Scale, fill

SCALE = Scale(proposals=2, runs=10, sequences=2, trains=50)


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    where = tmp_path_factory.mktemp("synthetic") / "catalog"
    fill(where, SCALE, jobs=1)
    return where


def test_it_is_a_whole_catalog(location):
    store = Store(location)
    assert check(store) == []
    assert not store.merged_is_stale()
    catalog = Catalog(location)
    n_files = SCALE.proposals * SCALE.runs * SCALE.files_per_run
    assert catalog.sql("SELECT count(*) AS n FROM files")["n"].tolist() == [n_files]
    assert len(catalog.runs()) == SCALE.proposals * SCALE.runs


def test_every_run_has_its_run_values_of_which_a_fifth_changes(location):
    counts = Catalog(location).sql(
        "SELECT run_id, count(*) AS n FROM run_values GROUP BY run_id ORDER BY run_id"
    )
    assert counts["n"].tolist() == [8000] * (SCALE.proposals * SCALE.runs)
    with Store(location).read(f"p{FIRST_PROPOSAL:06d}") as cursor:
        spans = cursor.execute("SELECT last_run - first_run, count(*) FROM run_value GROUP BY ALL")
        assert dict(spans.fetchall()) == {0: 1600 * SCALE.runs, SCALE.runs - 1: 6400}


def test_what_is_packed_is_what_an_ingest_packs(location, tmp_path):
    shard, question = f"p{FIRST_PROPOSAL:06d}", "SELECT * FROM run_packed ORDER BY run_id"
    with Store(location).read(shard) as cursor:
        packed = cursor.execute(question).fetchall()
        records = [load_run(cursor, run_id) for run_id, *_ in packed]
    assert len(records) == SCALE.runs
    again = Store(tmp_path)
    with again.write(shard) as writer:
        for record in records:
            writer.replace_run(record)
    with again.read(shard) as cursor:
        assert cursor.execute(question).fetchall() == packed


def test_its_runs_open_without_their_files(location):
    catalog = Catalog(location)
    path = catalog.runs(proposal=FIRST_PROPOSAL + 1, run=10)["path"][0]
    run = RunDirectory(path, catalog=location, trust="never-stat", save=False)
    assert len(run.train_ids) == 2 * 50 - 1
    gaps = np.flatnonzero(np.diff(run.train_ids) > 1)
    assert len(gaps) == 1
    instrument = words.INSTRUMENTS[1]
    module = run[words.module_source(instrument, 3), "image.data"]
    assert module.shape == (250 * 99, 2, 512, 128)
    camera = run[f"{instrument}_EXP_CAM/CAM/CAM2:output", "data.image.pixels"]
    found = catalog.find(camera.source, "data.image.pixels", proposal=FIRST_PROPOSAL + 1, run=10)
    assert camera.data_counts().sum() == found["entries"][0] > 0
    assert (camera.data_counts() > 0).sum() == found["trains"][0] < 99
    classes = {
        run.get_run_value(words.control_source(instrument, c), "classId")
        for c in range(words.N_CLASSES)
    }
    assert len(classes) == words.N_CLASSES
