"""Opening costs by layouts and train lists, not by files; facts are asked for, not copied."""

import numpy as np
import pytest
import richrun
from bothways import open_scanned
from xfelcat.loader.collection import DataCollection


class Counting:
    """Facts that count what they are asked."""

    def __init__(self, facts):
        self.facts = facts
        self.asked = []

    def __getattr__(self, name):
        value = getattr(self.facts, name)
        if not callable(value):
            return value

        def counted(*args):
            self.asked.append(name)
            return value(*args)

        return counted


@pytest.fixture
def counting(tmp_path):
    run = open_scanned(richrun.write_rich_run(tmp_path))
    return Counting(run._inventory.refs[0].facts)


def test_opening_asks_for_trains_and_layouts_only(counting):
    run = DataCollection.from_facts(counting)
    n_files = len(counting.files)
    assert sorted(counting.asked) == ["layout"] * n_files + ["trains"] * n_files
    counting.asked.clear()
    assert len(run.train_ids) == 26
    assert run.all_sources
    assert run[5:].select("*CAM*").deselect("*CAM*").all_sources == set()
    assert counting.asked == []


def test_sources_of_the_same_files_share_them(counting):
    run = DataCollection.from_facts(counting)
    entries = run._inventory.sources
    assert entries[richrun.XGM].files is entries[richrun.MOTOR].files
    assert entries[richrun.XGM].files is not entries[richrun.MODULE].files
    assert len(entries[richrun.XGM].files.groups) == 1
    assert len(run._inventory.groups) == 2


def test_keys_of_a_group_are_worked_out_together(counting):
    run = DataCollection.from_facts(counting)
    counting.asked.clear()
    shapes = [run[richrun.MODULE, key].shape for key in ("image.data", "image.pulseId")]
    assert shapes[0][0] == shapes[1][0]
    assert counting.asked.count("pattern") == 2  # files with the source, once each


def test_only_the_files_of_selected_trains_are_asked(counting):
    run = DataCollection.from_facts(counting)
    counting.asked.clear()
    part = run[richrun.CAMERA, "data.exposure"][-3:]
    np.testing.assert_array_equal(part.data_counts().index, run.train_ids[-3:])
    assert counting.asked.count("pattern") == 1
