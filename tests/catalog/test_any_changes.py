"""Whatever happens to a tree between ingests of parts of it, a full ingest then says what is there.

A machine of Hypothesis writes, replaces, truncates, touches, deletes, renames and moves files and
runs, and ingests some of them in between. After an ingest of the whole tree, each file in it is
recorded as a new catalog records it, the views say the same of runs from which nothing is missing,
and what is recorded besides is marked as missing. Opening through the catalog, whatever its state,
gives what the files have.
"""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import xfelcat
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from support.catalog_state import content
from support.examples import examples
from support.same_records import same
from support.tiny_file import CAMERA, XGM, write_tiny
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.errors import XfelcatError
from xfelcat.catalog.store.read import load_run
from xfelcat.catalog.store.store import Store

RUNS = st.sampled_from([(2012, 1), (2012, 2), (2013, 1)])
SEQUENCES = st.integers(0, 2)
VARIANTS = st.integers(0, 5)
OPTIONS = IngestOptions(jobs=0)


def make_variants(folder):
    """Files of several contents: 0 and 1 have the same size, 4 is truncated and 5 is empty."""
    paths = [folder / f"variant-{n}.h5" for n in range(6)]
    write_tiny(paths[0], train_ids=range(1000, 1010)).close()
    write_tiny(paths[1], train_ids=range(2000, 2010)).close()
    write_tiny(paths[2], train_ids=range(1005, 1030), padding=3).close()
    with write_tiny(paths[3], train_ids=range(3000, 3004)) as f:
        del f[f"CONTROL/{XGM}/beam"], f[f"INSTRUMENT/{CAMERA}/data/sum"]
    paths[4].write_bytes(paths[0].read_bytes()[:30_000])
    paths[5].write_bytes(b"")
    assert paths[0].stat().st_size == paths[1].stat().st_size
    return [path.read_bytes() for path in paths]


class ChangingTree(RuleBasedStateMachine):
    """A facility that changes, its catalog, and what Hypothesis may do to them."""

    contents = None

    def __init__(self):
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="xfelcat-test-"))
        if ChangingTree.contents is None:
            ChangingTree.contents = make_variants(self.place)
        self.tree = self.place / "MID" / "202401"
        self.tree.mkdir(parents=True)
        self.store = Store(self.place / "catalog")
        self.now = 1_700_000_000 * 10**9
        self.write((2012, 1), 0, 0)

    def teardown(self):
        shutil.rmtree(self.place)

    def folder(self, run):
        return self.tree / f"p{run[0]:06d}" / "raw" / f"r{run[1]:04d}"

    def path(self, run, sequence):
        return self.folder(run) / f"RAW-R{run[1]:04d}-DA01-S{sequence:05d}.h5"

    def stamp(self, path):
        """A time of its own for each change: one that leaves size and time is beyond noticing."""
        self.now += 10**9
        os.utime(path, ns=(self.now, self.now))

    @rule(run=RUNS, sequence=SEQUENCES, variant=VARIANTS)
    def write(self, run, sequence, variant):
        self.folder(run).mkdir(parents=True, exist_ok=True)
        path = self.path(run, sequence)
        path.write_bytes(self.contents[variant])
        self.stamp(path)

    @rule(run=RUNS, sequence=SEQUENCES)
    def replace_by_the_same_size(self, run, sequence):
        path = self.path(run, sequence)
        if path.exists() and path.read_bytes() in self.contents[:2]:
            other = 1 - self.contents.index(path.read_bytes())
            path.with_suffix(".new").write_bytes(self.contents[other])
            path.with_suffix(".new").replace(path)
            self.stamp(path)

    @rule(run=RUNS, sequence=SEQUENCES)
    def touch(self, run, sequence):
        if self.path(run, sequence).exists():
            self.stamp(self.path(run, sequence))

    @rule(run=RUNS, sequence=SEQUENCES)
    def delete(self, run, sequence):
        self.path(run, sequence).unlink(missing_ok=True)

    @rule(run=RUNS, a=SEQUENCES, b=SEQUENCES)
    def rename(self, run, a, b):
        if self.path(run, a).exists():
            self.path(run, a).rename(self.path(run, b))

    @rule(run=RUNS)
    def delete_run(self, run):
        shutil.rmtree(self.folder(run), ignore_errors=True)

    @rule(run=RUNS, to=RUNS)
    def move_run(self, run, to):
        if self.folder(run).exists() and run != to:
            shutil.rmtree(self.folder(to), ignore_errors=True)
            self.folder(to).parent.mkdir(parents=True, exist_ok=True)
            self.folder(run).rename(self.folder(to))

    @rule(run=RUNS)
    def ingest_run(self, run):
        if self.folder(run).exists():
            ingest(self.store, [str(self.folder(run))], OPTIONS)

    @rule(run=RUNS)
    def ingest_proposal(self, run):
        folder = self.tree / f"p{run[0]:06d}"
        if folder.exists():
            ingest(self.store, [str(folder)], OPTIONS)

    @rule(run=RUNS)
    def open_run(self, run):
        """The catalog may be old: what is opened is what is there."""
        if not self.folder(run).exists():
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes = []
            known = {"catalog": self.store.location} if self.store.exists() else {}
            for options in (known, {}):
                try:
                    found = xfelcat.RunDirectory(self.folder(run), save=False, **options)
                except XfelcatError as error:
                    outcomes.append(type(error))
                    continue
                trains = found.train_ids
                counts = {s: found[s].data_counts().tolist() for s in sorted(found.all_sources)}
                try:
                    data = found[CAMERA, "data.img"].ndarray().tobytes()
                except (XfelcatError, KeyError) as error:
                    data = type(error)
                outcomes.append((trains, counts, data))
        assert outcomes[0] == outcomes[1]

    @rule()
    def ingest_all(self):
        ingest(self.store, [str(self.place / "MID")], OPTIONS)
        fresh = Store(self.place / f"fresh-{self.now}")
        ingest(fresh, [str(self.place / "MID")], OPTIONS)
        if not self.store.exists():
            assert not fresh.exists()
            return
        ours, theirs = records(self.store), records(fresh)
        assert theirs.keys() <= ours.keys()
        for run, record in ours.items():
            there = {f.name: f for f in record.files if f.missing_since is None}
            expected = {f.name: f for f in theirs[run].files} if run in theirs else {}
            assert there.keys() == expected.keys()
            for name, file in there.items():
                same(file, expected[name])
        whole = {
            r for r, record in ours.items() if all(f.missing_since is None for f in record.files)
        }
        if not fresh.exists():
            assert whole == set()
            return
        with self.store.read_merged() as cursor:
            mine = content(cursor, history=False)
        with fresh.read_merged() as cursor:
            new = content(cursor, history=False)
        assert {r: mine[r] for r in whole} == {r: new[r] for r in whole}
        shutil.rmtree(fresh.location)


def records(store):
    """The records of all runs by run_id."""
    found = {}
    for shard in store.shards():
        with store.read(shard) as cursor:
            for (run,) in cursor.execute("SELECT run_id FROM run").fetchall():
                found[run] = load_run(cursor, run)
    return found


def test_any_changes():
    run_state_machine_as_test(
        ChangingTree,
        settings=settings(max_examples=examples(2), stateful_step_count=20, derandomize=True),
    )
