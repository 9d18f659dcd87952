"""Counts by run-length are those that counting train by train gives, whatever files look like."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from xfelcat.catalog.model.facts import FileTable, RunFacts
from xfelcat.catalog.model.records import Depth, FileLayout, KeySchema, SourceRecord
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.opening.scanned import Probe
from xfelcat.loader.select.rows import FileGroup, FileRef, FileSet
from xfelcat.loader.select.sources import SourceEntry
from xfelcat.loader.select.trains import TrainSet

LAYOUT = FileLayout((SourceRecord("INSTRUMENT", "s", ("g",)),), (None,))


class Patterns:
    """A fetcher that has nothing but the pattern of one source in each of several files."""

    def __init__(self, patterns):
        self.by_file = patterns

    def schema(self, file, section, source):
        return KeySchema(())

    def pattern_numbers(self, files, section, source, group):
        assert (section, source, group) == ("INSTRUMENT", "s", "g")
        return files

    def patterns(self, numbers):
        return [self.by_file[number] for number in numbers]


def facts_of(lists, patterns):
    n = len(lists)
    table = FileTable(range(n), depths=[Depth.FULL] * n, train_lists=range(n), layouts=[0] * n)
    probe = Probe("", table, lists)
    recipe = partial(facts_of, lists, patterns)
    return RunFacts("", 0, table, lists, {0: LAYOUT}, Patterns(patterns), probe, recipe)


@st.composite
def files(draw):
    """Files whose trains follow each other, have gaps, repeat or go back; INDEX may be short."""
    made = []
    for _ in range(draw(st.integers(0, 4))):
        first, n = draw(st.integers(1, 40)), draw(st.integers(0, 12))
        if draw(st.booleans()):
            ids = list(range(first, first + n))
        else:
            ids = draw(st.lists(st.integers(1, 50), max_size=12))
        suspect = draw(st.sets(st.integers(0, max(len(ids) - 1, 0)), max_size=2)) if ids else set()
        n_indexed = draw(st.one_of(st.just(len(ids)), st.integers(0, 14)))
        counts = draw(st.lists(st.integers(0, 3), min_size=n_indexed, max_size=n_indexed))
        made.append((ids, sorted(suspect), counts))
    return made


def by_train(made, selected, good_only):
    """The rows of each selected train, one train after the other."""
    rows = dict.fromkeys(sorted(selected), 0)
    for ids, suspect, counts in made:
        for at, (train, count) in enumerate(zip(ids, counts, strict=False)):
            if train in rows and not (good_only and at in suspect):
                rows[train] += count
    return rows


@settings(max_examples=300)
@given(files(), st.sets(st.integers(1, 52)), st.booleans(), st.booleans())
def test_counts_are_those_of_each_train(made, wanted, take_all, good_only):
    lists = [TrainList.from_ids(ids, suspect) for ids, suspect, _ in made]
    patterns = [IndexPattern.from_arrays(np.cumsum(c) - c, np.array(c, int)) for _, _, c in made]
    facts = facts_of(lists, patterns)
    refs = tuple(
        FileRef(facts, number, listed, TrainSet.from_list(listed, good_only), good_only)
        for number, listed in enumerate(lists)
    )
    entry = SourceEntry("INSTRUMENT", "s", "s", FileSet((FileGroup(refs),)))
    trains = (
        TrainSet.union_of([r.trains for r in refs])
        if take_all
        else TrainSet.from_ids(sorted(wanted))
    )
    expected = by_train(made, trains.to_list(), good_only)
    rows = entry.rows("g", trains)
    assert rows.counts.tolist() == list(expected.values())
    assert rows.n_rows == sum(expected.values())
    found = entry.rows("g", TrainSet.from_ids(range(60))).trains_with_rows
    every = by_train(made, range(60), good_only)
    assert found.to_list() == [train for train, n in every.items() if n]


def test_a_group_that_the_files_lack_has_no_rows():
    listed = TrainList.from_ids(range(5))
    ref = FileRef(facts_of([listed], []), 0, listed, TrainSet.from_list(listed), False)
    entry = SourceEntry("INSTRUMENT", "s", "s", FileSet((FileGroup((ref,)),)))
    assert entry.rows("other", ref.trains).n_rows == 0
    assert entry.rows("other", ref.trains).counts.tolist() == [0] * 5
