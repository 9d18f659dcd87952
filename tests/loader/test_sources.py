"""Opening costs by layouts and train lists, not by files; facts are asked for, not copied."""

from dataclasses import replace

import numpy as np
import pytest
from support import rich_run
from support.both_readers import data_files, open_scanned
from support.same_results import assert_same
from support.tiny_file import CAMERA, XGM, write_tiny
from xfelcat import Catalog, RunDirectory
from xfelcat.catalog.model.records import Depth, FileLayout, SourceRecord
from xfelcat.catalog.opening.scanned import scanned_facts
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.loader.collection import DataCollection

pytestmark = pytest.mark.fast


class Counting:
    """Facts that count the calls of their methods."""

    def __init__(self, facts):
        self.facts = facts
        self.asked = []
        self.indexed = []

    def __getattr__(self, name):
        value = getattr(self.facts, name)
        if not callable(value):
            return value

        def counted(*args):
            self.asked.append(name)
            if name == "pattern_numbers":
                self.indexed.append(args[0])
            return value(*args)

        return counted


@pytest.fixture
def counting(tmp_path):
    run = open_scanned(rich_run.write_rich_run(tmp_path))
    return Counting(run.selected.table.refs[0].facts)


def test_opening_takes_columns_and_asks_for_nothing(counting):
    run = DataCollection.from_facts(counting)
    assert counting.asked == []  # columns only: no call per file
    assert len(run.train_ids) == 26
    assert run.all_sources
    assert run[5:].select("*CAM*").deselect("*CAM*").all_sources == set()
    assert counting.asked == []


def test_sources_of_the_same_files_share_them(counting):
    run = DataCollection.from_facts(counting)
    entries = run.selected.table.sources
    assert entries[rich_run.XGM].files is entries[rich_run.MOTOR].files
    assert entries[rich_run.XGM].files is not entries[rich_run.MODULE].files
    assert len(entries[rich_run.XGM].files.groups) == 1
    assert len(run.selected.table.groups) == 2


def test_keys_of_a_group_are_worked_out_together(counting):
    run = DataCollection.from_facts(counting)
    counting.asked.clear()
    shapes = [run[rich_run.MODULE, key].shape for key in ("image.data", "image.pulseId")]
    assert shapes[0][0] == shapes[1][0]
    assert counting.asked.count("pattern_numbers") == 1
    assert list(map(len, counting.indexed)) == [2]  # files with the source


def test_only_the_files_of_selected_trains_are_asked(counting):
    run = DataCollection.from_facts(counting)
    counting.asked.clear()
    part = run[rich_run.CAMERA, "data.exposure"][-3:]
    np.testing.assert_array_equal(part.data_counts().index, run.train_ids[-3:])
    assert counting.asked.count("pattern_numbers") == 1
    assert list(map(len, counting.indexed)) == [1]


@pytest.mark.parametrize("depth", [Depth.OUTLINE, Depth.NAMES])
def test_what_the_facts_lack_comes_from_the_files(tmp_path, depth):
    place = rich_run.write_rich_run(tmp_path)
    full = open_scanned(place)
    if depth == Depth.NAMES:
        records = [named(r) for r in map(scan_file, data_files(place))]
    else:
        records = [scan_file(path, depth=depth) for path in data_files(place)]
    assert {r.depth for r in records} == {depth}
    run = DataCollection.from_facts(scanned_facts(str(place), records))
    assert run.train_ids == full.train_ids
    assert run.all_sources == full.all_sources
    assert run.legacy_sources == full.legacy_sources
    for source in sorted(full.all_sources - full.legacy_sources.keys()):
        mine, other = run[source], full[source]
        assert mine.keys() == other.keys()
        assert mine.is_run_only == other.is_run_only
        assert mine.index_groups == other.index_groups
        assert_same(mine.data_counts(), other.data_counts())
        for key in other.keys():  # noqa: SIM118 - a set of names
            assert_same(mine[key].ndarray(), other[key].ndarray())
            assert mine[key].units == other[key].units
    for options in ({"require_all": True}, {"require_any": True}):
        selection = [rich_run.CAMERA, (rich_run.MODULE, "header.*")]
        chosen = run.select(selection, **options)
        assert chosen.train_ids == full.select(selection, **options).train_ids
    assert run.get_run_values(rich_run.XGM).keys() == full.get_run_values(rich_run.XGM).keys()
    assert run.run_metadata() == full.run_metadata()
    assert_same(run.train_timestamps(), full.train_timestamps())


def test_an_index_group_that_the_source_list_lacks(tmp_path):
    """The outline of a file has the listed groups only, and the keys lie in others too."""
    with write_tiny(tmp_path / "RAW-R0007-DA01-S00000.h5") as f:
        f.copy(f[f"INSTRUMENT/{CAMERA}/data"], f[f"INSTRUMENT/{CAMERA}"], "more")
        f.copy(f[f"INDEX/{CAMERA}/data"], f[f"INDEX/{CAMERA}"], "more")
        f[f"INSTRUMENT/{CAMERA}/more/sum/x"][:] += 0.5
        stored = f[f"INSTRUMENT/{CAMERA}/more/sum/x"][:]
    for depth in (Depth.OUTLINE, Depth.FULL):
        records = [scan_file(path, depth=depth) for path in data_files(tmp_path)]
        run = DataCollection.from_facts(scanned_facts(str(tmp_path), records))
        assert_same(run[CAMERA, "more.sum.x"].ndarray(), stored)
        assert run[CAMERA, "more.sum.x"].data_counts().tolist() == [2] * 10
        assert run[CAMERA].index_groups == {"data", "more"}
        assert run[CAMERA].data_counts(index_group="more").tolist() == [2] * 10
        empty = run.select_trains(np.s_[:5]).select(CAMERA, require_all=True)
        assert empty.train_ids == run.train_ids[:5]


@pytest.mark.parametrize("lost", ["", "/first", "/count"])
@pytest.mark.parametrize("place", [XGM, f"{CAMERA}/data"])
def test_rows_that_the_index_leaves_out_are_told_of(tmp_path, place, lost):
    directory = tmp_path / "run"
    directory.mkdir()
    with write_tiny(directory / "RAW-R0007-DA01-S00000.h5") as f:
        del f[f"INDEX/{place}{lost}"]
    source, key, n = (XGM, "power", 10) if place == XGM else (CAMERA, "sum.x", 20)
    key = key if place == XGM else f"data.{key}"
    Catalog(tmp_path / "catalog").ingest(directory, jobs=0)
    runs = [RunDirectory(directory, catalog=tmp_path / "catalog")]
    for depth in (Depth.OUTLINE, Depth.FULL):
        records = [scan_file(path, depth=depth) for path in data_files(directory)]
        runs.append(DataCollection.from_facts(scanned_facts(str(directory), records)))
    for run in runs:
        with pytest.warns(UserWarning, match=f"S00000.h5: INDEX has no trains for {n} rows"):
            assert len(run[source, key].ndarray()) == 0
        assert run[source, key].data_counts().tolist() == [0] * 10


def named(record):
    """A record as a JSON data map knows it: trains and source names only."""
    sources = tuple(
        SourceRecord(s.section, s.name, (), s.legacy_of)
        for s in record.layout.sources
        if s.section in ("CONTROL", "INSTRUMENT")
    )
    return replace(
        record,
        depth=Depth.NAMES,
        layout=FileLayout(sources, (None,) * len(sources)),
        patterns=(),
        timestamps=None,
        metadata={},
        run_values={},
    )
