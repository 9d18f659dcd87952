"""Each fault of the files of a run together, put into real files, is found there by validation.

Each function of ``FAULTS`` breaks a run at a place that Hypothesis picks, and says what is to be
found: (check, severity, file name or "", place). Files are described anew and written again, or
taken away.
"""

import dataclasses
import os
import shutil
from pathlib import Path

import h5py
import pytest
import xfelcat
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    auxiliary,
    control,
    instrument,
    split,
)
from xfelcat.loader.examples.writing import write_file, write_run
from xfelcat.loader.jobs.validation import applicable_checks

N, SEQUENCES = 40, 3
SLOW, MODULES = ("DA01", "DA02"), ("PROTO00", "PROTO01", "PROTO02")
TRAINS = range(10**9, 10**9 + N * SEQUENCES)
COPIES = ("{} (copy).h5", "old_{}.h5", "subset.h5")
FAMILY = "SPB_DET_PROTO-1/DET/#CH0:xtdf"


def module(n):
    return FAMILY.replace("#", str(n))


def aggregators():
    image = GroupSpec("image", (KeySpec("data", "u2", (2, 4)),), counts=(2, 3))
    made = {
        name: [control(f"{name}/MOTOR/{n}", KeySpec("position", "f8")) for n in range(2)]
        for name in SLOW
    }
    return made | {name: [instrument(module(n), image)] for n, name in enumerate(MODULES)}


SPEC = RunSpec(2013, 8, split(TRAINS, aggregators(), sequences=SEQUENCES))


@dataclasses.dataclass
class Broken:
    """A run to be broken."""

    directory: Path
    draw: object

    def pick(self, values):
        return self.draw(st.sampled_from(list(values)))

    def file(self, aggregator, sequence):
        return next(f for f in SPEC.files if (f.aggregator, f.sequence) == (aggregator, sequence))

    def path(self, aggregator, sequence):
        return self.directory / SPEC.file_name(self.file(aggregator, sequence))

    def write_again(self, aggregator, sequence, **changes):
        file = dataclasses.replace(self.file(aggregator, sequence), **changes)
        write_file(self.path(aggregator, sequence), SPEC, file)
        return SPEC.file_name(file)


def many_suspect_trains(run):
    aggregator, sequence = run.pick(SLOW + MODULES), run.pick(range(SEQUENCES))
    trains = run.file(aggregator, sequence).train_ids
    suspect = run.draw(st.sets(st.sampled_from(trains), min_size=5, max_size=10))
    name = run.write_again(aggregator, sequence, suspect=frozenset(suspect))
    return {("T04", "W", name, "INDEX/flag")}


def trains_in_no_file(run):
    sequence, at = run.pick(range(SEQUENCES)), run.draw(st.integers(1, N - 8))
    n = run.draw(st.integers(1, 6))
    for aggregator in SLOW + MODULES:
        trains = run.file(aggregator, sequence).train_ids
        run.write_again(aggregator, sequence, train_ids=trains[:at] + trains[at + n :])
    return {("T06", "I", "", "")}


def lost_sequence(run):
    aggregator = run.pick(SLOW)
    run.path(aggregator, run.draw(st.integers(0, SEQUENCES - 2))).unlink()
    return {("R01", "E", "", aggregator)}


def train_twice(run):
    aggregator, sequence = run.pick(SLOW), run.draw(st.integers(1, SEQUENCES - 1))
    earlier = run.file(aggregator, sequence - 1).train_ids
    trains = run.file(aggregator, sequence).train_ids
    name = run.write_again(aggregator, sequence, train_ids=(run.pick(earlier), *trains[1:]))
    return {("R02", "E", name, aggregator)}


def copied_file(run):
    """Under a name that tells no aggregator, or under two of them."""
    aggregator = run.pick(SLOW + MODULES)
    source = run.path(aggregator, run.pick(range(SEQUENCES)))
    names = run.draw(st.lists(st.sampled_from(COPIES), min_size=1, unique=True))
    for name in names:
        shutil.copy2(source, source.with_name(name.format(source.stem)))
    return {("R02", "E", name.format(source.stem), aggregator) for name in names}


def trains_lost_at_a_break(run):
    aggregator, sequence = run.pick(SLOW), run.draw(st.integers(1, SEQUENCES - 1))
    trains = run.file(aggregator, sequence).train_ids
    name = run.write_again(aggregator, sequence, train_ids=trains[run.draw(st.integers(1, 9)) :])
    return {("R03", "E", name, aggregator)}


def aggregator_ends_early(run):
    aggregator = run.pick(SLOW)
    for sequence in range(1, SEQUENCES):
        run.path(aggregator, sequence).unlink()
    return {("R04", "W", "", aggregator)}


def source_absent_from_a_sequence(run):
    aggregator, sequence = run.pick(SLOW), run.pick(range(SEQUENCES))
    sources = run.file(aggregator, sequence).sources
    lost = run.pick(sources)
    kept = tuple(s for s in sources if s is not lost)
    run.write_again(aggregator, sequence, sources=kept)
    return {("R05", "W", "", f"CONTROL/{lost.name}")}


def module_without_files(run):
    for sequence in range(SEQUENCES):
        run.path(MODULES[1], sequence).unlink()
    return {("R06", "W", "", FAMILY)}


def module_with_fewer_frames(run):
    n, sequence = run.pick(range(3)), run.pick(range(SEQUENCES))
    image = GroupSpec("image", (KeySpec("data", "u2", (2, 4)),), counts=(2, 3, 0))
    run.write_again(MODULES[n], sequence, sources=(instrument(module(n), image),))
    return {("R06", "W", "", f"INSTRUMENT/{module(n)}")}


def late_trains(run):
    aggregator, sequence = run.pick(SLOW), run.pick(range(SEQUENCES))
    name = run.draw(st.from_regex(r"[A-Z]{3,9}_LATE", fullmatch=True))
    event = GroupSpec("event", (KeySpec("trainId", "u8"),), counts=lambda ids: ids % 7 == 0)
    sources = (*run.file(aggregator, sequence).sources, auxiliary("ERRATA", name, event))
    run.write_again(aggregator, sequence, sources=sources)
    return {("R09", "W", "", f"ERRATA/{name}")}


# What else may be found with it.
FAULTS = {
    many_suspect_trains: set(),
    trains_in_no_file: set(),
    lost_sequence: set(),
    train_twice: {"R03"},
    copied_file: {"R02", "R06"},  # two copies repeat each other, a module's make it uneven
    trains_lost_at_a_break: set(),
    aggregator_ends_early: set(),
    source_absent_from_a_sequence: set(),
    module_without_files: set(),
    module_with_fewer_frames: set(),
    late_trains: set(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "SPB/202401/p002013/raw/r0008"
    write_run(directory, SPEC)
    return directory


def validated(directory):
    report = xfelcat.validate(directory, jobs=0)
    return {
        (
            p.check,
            p.severity,
            os.path.basename(p.path) if p.path != report.path else "",
            p.where,
        )
        for p in report.problems
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@settings(max_examples=examples(1), derandomize=True)
@given(data=st.data())
def test_fault_is_found_where_it_is(whole, tmp_path_factory, fault, data):
    directory = tmp_path_factory.mktemp("broken") / "/".join(whole.parts[-5:])
    shutil.copytree(whole, directory)
    expected = fault(Broken(directory, data.draw))
    found = validated(directory)
    assert expected <= found
    assert {f for f in found - expected if f[0] not in FAULTS[fault]} == set()
    shutil.rmtree(directory)


def test_nothing_is_found_where_nothing_is_wrong(whole):
    assert validated(whole) == set()


def test_there_is_a_fault_for_every_check():
    of_files = {c.id for c in applicable_checks(one_file=True) if c.origin == "scan"}
    of_runs = {c.id for c in applicable_checks()} - of_files
    text = Path(__file__).read_text(encoding="utf-8")
    assert {c for c in of_runs if f'("{c}", ' not in text} == set()


def test_the_files_are_as_described(whole):
    with h5py.File(whole / "RAW-R0008-DA02-S00002.h5") as f:
        assert f["INDEX/trainId"][()].tolist() == list(TRAINS[2 * N :])
