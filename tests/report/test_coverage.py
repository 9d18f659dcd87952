"""The picture of a run's trains is that of its index, train by train."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_catalogs import gappy_run, store_of, with_suspect_train
from support.run_records import with_file
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.report.content import FULL, run_coverage, stretches


def cells(text):
    """The levels of the cells, one by one."""
    parts = [part.split(":") for part in text.split()]
    return [int(level) for level, *length in parts for _ in range(int(*length or ["1"]))]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 30))
def test_a_cell_says_whether_none_all_or_some_of_its_trains_have_data(present, max_cells):
    present = np.array(present, dtype=bool)
    got = cells(stretches(present, max_cells))
    assert len(got) == min(present.size, max_cells)
    if not present.size:
        return
    edges = np.linspace(0, present.size, len(got) + 1).round().astype(int)
    for level, first, last in zip(got, edges[:-1], edges[1:], strict=True):
        share = present[first:last].mean()
        assert (level == 0) == (share == 0)
        assert (level == FULL) == (share == 1)
        assert 0 <= level <= FULL


def test_each_train_is_a_cell_where_there_is_room():
    present = np.arange(100) % 7 < 3
    assert cells(stretches(present)) == list(np.where(present, FULL, 0))


def coverage_of(tmp_path, run, **options):
    store = store_of(tmp_path / "catalog", [run])
    with store.read(run.identity.shard) as cursor:
        return run_coverage(cursor, run.identity.run_id, **options)


def test_coverage_of_aggregators_and_sources(tmp_path):
    found = coverage_of(tmp_path, gappy_run())
    assert found.n_trains == 20
    assert (found.first_train, found.last_train) == ("1000001000", "1000001019")
    by_name = {row.name: row for row in found.aggregators}
    assert cells(by_name["DA00"].cells) == [FULL] * 20
    assert cells(by_name["AGIPD00"].cells) == [0] * 10 + [FULL] * 10
    assert (by_name["DA00"].n_files, by_name["AGIPD00"].n_files) == (2, 1)
    assert by_name["DA00"].n_bytes == sum(
        f.size for f in gappy_run().files if f.aggregator == "DA00"
    )
    even = [FULL, 0] * 10
    motors, detector = found.sources
    assert cells(motors.cells) == even
    assert (motors.name, motors.alike, motors.n_trains) == ("DA00/MOTOR/M001", 1, 10)
    assert cells(detector.cells) == [0] * 10 + [FULL] * 10
    assert found.n_complete == 1
    assert found.n_left_out == 0


def test_suspect_trains_are_left_out(tmp_path):
    found = coverage_of(tmp_path, with_suspect_train(gappy_run(), 3))
    assert found.n_trains == 18
    motors = found.sources[1]
    assert cells(motors.cells) == [FULL, 0, FULL, FULL, 0, FULL, 0, FULL, 0] * 2


def test_rows_beyond_the_limit_are_counted(tmp_path):
    found = coverage_of(tmp_path, gappy_run(), limit=1)
    assert [row.name for row in found.sources] == ["DA00/MOTOR/M001"]
    assert found.n_left_out == 1


@pytest.mark.parametrize("depth", [Depth.OUTLINE, Depth.UNREAD])
def test_files_whose_index_is_not_known_are_counted(tmp_path, depth):
    run = with_file(gappy_run(), 1, depth=depth, patterns=(), run_values={})
    found = coverage_of(tmp_path, run)
    assert found.n_unknown_files == 1
    assert "DA00/MOTOR/M001" in {row.name for row in found.sources}
