"""Opening a catalogued run costs what it must: counted in calls, not in seconds."""

import os
import subprocess
import sys
import threading

import pytest
import xfelcat
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.scan import discover
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import KeySpec, RunSpec, control, split, write_run
from xfelcat.loader.select import sources

N_SEQUENCES = {"small": 2, "large": 12}
SOURCES = [control(f"A/MOTOR/M{n}", KeySpec("position", "f8")) for n in range(5)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs, of 2 and of 12 sequences of 2 aggregators, and their catalog."""
    root = tmp_path_factory.mktemp("cost")
    for run, (name, sequences) in enumerate(N_SEQUENCES.items()):
        parts = {"DA01": SOURCES[:3], "DA02": SOURCES[3:]}
        spec = RunSpec(2012, run + 1, split(range(1000, 1060), parts, sequences))
        write_run(root / name, spec)
    ingest(Store(root / "catalog"), [str(root)], IngestOptions(jobs=0))
    return root


def open_run(place, name, **options):
    return xfelcat.RunDirectory(place / name, catalog=place / "catalog", save=False, **options)


@pytest.fixture
def stats(monkeypatch):
    """Grows by the name of each data file that is stat'ed, and the thread that did it."""
    made = []
    stat = os.stat

    def count(path, **options):
        if str(path).endswith(".h5"):
            made.append((os.path.basename(path), threading.get_ident()))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", count)
    return made


@pytest.mark.parametrize("name", N_SEQUENCES)
def test_queries_are_few_and_files_are_stated_once(place, name, queries, stats):
    run = open_run(place, name)
    assert len(queries) == 3  # what is packed of it, layouts, names of sources
    assert sorted(n for n, _ in stats) == sorted(os.listdir(place / name))
    queries.clear()
    stats.clear()
    again = open_run(place, name, trust="never-stat")
    assert len(queries) == 1  # the layouts are known
    assert stats == []
    assert again.train_ids == run.train_ids == list(range(1000, 1060))
    assert len(run.all_sources) == len(SOURCES)
    assert len(queries) == 1


def test_on_a_slow_file_system_stats_are_made_in_parallel(place, stats, monkeypatch):
    names = set(os.listdir(place / "large"))
    monkeypatch.setattr(discover, "_FIRST_STATS", 4)
    listed = discover.list_run(str(place / "large"))
    assert list(listed) == sorted(names)
    here = threading.get_ident()
    assert {t for _, t in stats} == {here}
    stats.clear()
    monkeypatch.setattr(discover, "_SLOW_STAT", 0.0)
    assert discover.list_run(str(place / "large")) == listed
    assert sorted(n for n, _ in stats) == sorted(names)
    assert sum(t == here for _, t in stats) == 4


def test_sources_are_made_when_they_are_asked_for(place, monkeypatch):
    made = []
    entry = sources.SourceEntry

    def count(*args, **more):
        made.append(args[1])
        return entry(*args, **more)

    monkeypatch.setattr(sources, "SourceEntry", count)
    run = open_run(place, "large")
    n_checked = len(made)
    assert n_checked <= 2  # one of each aggregator, for duplicate trains
    assert SOURCES[4].name in run
    run[SOURCES[4].name].keys()
    run[SOURCES[4].name].keys()
    assert len(made) == n_checked + 1
    assert made[-1] == SOURCES[4].name


def test_no_file_is_opened_and_nothing_heavy_imported(place):
    code = f"""
import sys, xfelcat
run = xfelcat.RunDirectory({str(place / "small")!r}, catalog={str(place / "catalog")!r}, save=False)
key = run["A/MOTOR/M1", "position"]
some = run.select([("A/MOTOR/M*", "position.value")], require_all=True)[:5]
print(key.dtype, key.shape, key.units, len(some.train_ids), len(run.get_run_values("A/MOTOR/M1")))
heavy = {{"h5py", "pandas", "pyarrow", "xarray", "dask", "sqlalchemy", "alembic", "matplotlib"}}
heavy |= {{"IPython", "rich", "typer", "loky", "multiprocessing", "duckdb"}}  # its core only
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["float64 (60,) None 5 2", "[]"]
