"""Faults in real files of a real tree: what the checks over the catalog and the disk make of them.

A raw run of two aggregators and a detector of two modules in three sequences, and its corrected
run, are written with one fault at a place that Hypothesis picks, ingested and audited. The same
faults, and those between many runs, are tried without files in ``test_run_checks``.
"""

import os
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xfelcat.catalog.audit.audit import AuditOptions, audit
from xfelcat.catalog.audit.disk import DiskOptions
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.checks import Limits
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.examples.specs import RunSpec, split, train_at
from xfelcat.loader.examples.writing import write_run

pytestmark = pytest.mark.slow
DETECTOR = "XMPL_DET_TINY-1"
LIMITS = Limits(early_trains=4, detector_sizes={"TINY": 2}, settling_minutes=0)
TRAINS, SEQUENCES = 36, 3
FAULTS = {}


def fault(*finds, follows=(), after_ingest=False):
    def register(function):
        FAULTS[function.__name__] = (function, set(finds), set(follows), after_ingest)
        return function

    return register


def clean_runs():
    first = train_at(datetime(2024, 3, 2, tzinfo=UTC))
    trains = range(first, first + TRAINS)
    slow = {
        da: (devices.motor(f"{da}/MOTOR/X"), devices.motor(f"{da}/MOTOR/Y"))
        for da in ("DA01", "DA02")
    }
    modules = {f"TINY{n:02d}": (devices.module(DETECTOR, n, shape=(1, 4, 4)),) for n in (0, 1)}
    corrected = {
        f"TINY{n:02d}": (devices.corrected_module(DETECTOR, n, shape=(4, 4)),) for n in (0, 1)
    }
    raw = RunSpec(2012, 7, split(trains, slow | modules, SEQUENCES), version="1.3")
    proc = RunSpec(2012, 7, split(trains, corrected, SEQUENCES), version="1.3", prefix="CORR")
    return {"raw": raw, "proc": proc}


def change(
    runs, draw, change_file, *, data_class="raw", aggregators=("DA01", "DA02"), sequences=None
):
    """Put another file in the place of one; or none where ``change_file`` gives None."""
    sequences = range(SEQUENCES) if sequences is None else sequences
    where = (draw(st.sampled_from(aggregators)), draw(st.sampled_from(list(sequences))))
    spec = runs[data_class]
    files = {(f.aggregator, f.sequence): f for f in spec.files}
    made = change_file(files[where])
    files = (
        {**files, where: made}
        if made is not None
        else {k: v for k, v in files.items() if k != where}
    )
    runs[data_class] = replace(spec, files=tuple(files.values()))
    return where


@fault("T04")
def suspect_trains(runs, draw):
    change(runs, draw, lambda f: replace(f, suspect=frozenset(f.train_ids[1:8])))


@fault("T06", follows=("R03",))  # where they lie at a break
def trains_nowhere(runs, draw):
    at = draw(st.integers(1, TRAINS - 3))
    missing = set(runs["raw"].train_ids[at : at + 2])
    for name, spec in runs.items():
        files = (
            replace(f, train_ids=tuple(t for t in f.train_ids if t not in missing))
            for f in spec.files
        )
        runs[name] = replace(spec, files=tuple(files))


@fault("R01")
def lost_sequence(runs, draw):
    change(runs, draw, lambda f: None, sequences=range(SEQUENCES - 1))


@fault("R02", follows=("T05",))
def train_twice(runs, draw):
    def repeat(file):
        return replace(file, train_ids=(file.train_ids[0] - 1, *file.train_ids[1:]))

    change(runs, draw, repeat, sequences=range(1, SEQUENCES))


@fault("R03")
def lost_at_a_break(runs, draw):
    n = draw(st.integers(1, 8))
    change(
        runs, draw, lambda f: replace(f, train_ids=f.train_ids[n:]), sequences=range(1, SEQUENCES)
    )


@fault("R04")
def ends_early(runs, draw):
    last = [SEQUENCES - 1]
    change(runs, draw, lambda f: replace(f, train_ids=f.train_ids[:3]), sequences=last)


@fault("R05")
def source_not_in_all(runs, draw):
    change(runs, draw, lambda f: replace(f, sources=f.sources[:1]))


@fault("R06", "P02")
def fewer_frames(runs, draw):
    def halve(file):
        (source,) = file.sources
        groups = (replace(g, counts=1) if g.name == "image" else g for g in source.groups)
        return replace(file, sources=(replace(source, groups=tuple(groups)),))

    change(runs, draw, halve, aggregators=("TINY00", "TINY01"))


@fault("R09")
def late_trains(runs, draw):
    change(runs, draw, lambda f: replace(f, sources=(*f.sources, devices.errata())))


@fault("P02")
def module_not_corrected(runs, draw):
    name = draw(st.sampled_from(("TINY00", "TINY01")))
    spec = runs["proc"]
    runs["proc"] = replace(spec, files=tuple(f for f in spec.files if f.aggregator != name))


@fault("C01", after_ingest=True)
def removed(files, draw):
    draw(st.sampled_from(files)).unlink()


@fault("C01", after_ingest=True)
def added(files, draw):
    file = draw(st.sampled_from(files))
    shutil.copyfile(file, file.with_name(file.name.replace("-S0000", "-S0009")))


@fault("C02", after_ingest=True)
def cut_off(files, draw):
    file = draw(st.sampled_from(files))
    os.truncate(file, draw(st.integers(1, file.stat().st_size - 1)))


def write_and_audit(place, runs, change_files=None):
    below = place / "XMPL/202401/p002012"
    files = [
        path for name, spec in runs.items() for path in write_run(below / name / "r0007", spec)
    ]
    store = Store(place / "catalog")
    ingest(store, [str(place / "XMPL")], IngestOptions(jobs=0))
    if change_files is not None:
        change_files(files)
    report = audit(store, options=AuditOptions(limits=LIMITS, disk=DiskOptions(jobs=0)))
    return {f["check_id"] for f in report.findings.table.to_pylist() if f["severity"] != "I"} | {
        f["check_id"] for f in report.findings.table.to_pylist() if f["check_id"] == "T06"
    }


@pytest.mark.parametrize("name", FAULTS)
@settings(max_examples=2, derandomize=True, database=None)
@given(data=st.data())
def test_a_fault_in_files_is_found(name, data):
    put_in, finds, follows, after_ingest = FAULTS[name]
    runs = clean_runs()
    with tempfile.TemporaryDirectory() as place:
        if after_ingest:
            found = write_and_audit(Path(place), runs, lambda files: put_in(files, data.draw))
        else:
            put_in(runs, data.draw)
            found = write_and_audit(Path(place), runs)
    assert finds <= found <= finds | follows


def test_a_tree_without_faults_has_no_findings(tmp_path):
    assert write_and_audit(tmp_path, clean_runs()) == set()
