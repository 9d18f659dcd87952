"""DAMNIT end to end: its database of demo runs, made on EXtra-data and on xfelcat, cell by cell.

The commands ``damnit init``, ``db-config``, ``reprocess --direct`` and ``combiner now`` make a
database, evaluate a context file for some runs in processes of their own, and put the results
together, once plainly and once under ``xfelcat.compat``. Compared are the tables of the database,
the HDF5 files of the runs, and what ``damnit.Damnit`` reads. What needs the facility is left out:
Slurm (``--direct`` runs the same processes without it) and the messages by Kafka that tell the
combiner and the GUI of new results (``AMORE_BROKER=none`` is DAMNIT's own way to do without).
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from damnit import Damnit

PROPOSAL = 900032
RUNS = (1, 4, 5)  # the last was not corrected
CONTEXT = """
import numpy as np
from damnit_ctx import Variable

XGM = "SA1_XTD2_XGM/XGM/DOOCS"
CAMERA = "SPB_IRU_CAM/CAM/SIDEMIC:daqOutput"


@Variable(title="Reader")
def reader(run):
    return type(run).__module__.partition(".")[0]


@Variable(title="Trains")
def n_trains(run):
    return len(run.train_ids)


@Variable(title="First train")
def first_train(run):
    return int(run.train_ids[0])


@Variable(title="Sources")
def n_sources(run):
    return len(run.all_sources)


@Variable(title="x", summary="mean")
def x(run):
    return run[XGM, "beamPosition.ixPos"].xarray()


@Variable(title="Mean x", tags=["xgm"])
def mean_x(run, x: "var#x"):
    return float(x.mean())


@Variable(title="By alias")
def by_alias(run):
    return run.alias["xgm"]["beamPosition.iyPos"].ndarray()


@Variable(title="At the start")
def at_start(run):
    return run.get_run_value(XGM, "gasSupply.gasTypeId")


@Variable(title="Time of trains")
def times(run):
    return run.train_timestamps().astype(np.int64)


@Variable(title="Duration")
def seconds(run, times: "var#times"):
    return (times[-1] - times[0]) / 1e9


@Variable(title="Camera", data="raw")
def images(run):
    return run[CAMERA, "data.image.pixels"].ndarray().mean(axis=0)


@Variable(title="Modules", data="proc", summary="sum")
def frames(run):
    modules = sorted(s for s in run.all_sources if "/DET/" in s and s.endswith("xtdf"))
    return np.array([run[s, "image.data"].data_counts(labelled=False).sum() for s in modules])


@Variable(title="Table")
def table(run):
    found = run.get_dataframe([(XGM, "beamPosition.*")])
    return found.sort_index(axis=1).to_numpy()  # EXtra-data orders columns by the hash of a set


@Variable(title="Train by train")
def trains(run):
    return np.array([data[XGM]["beamPosition.iyPos.value"] for _, data in run.trains([(XGM, "*")])])


@Variable(title="Not there")
def absent(run):
    return run["NO/SUCH/SOURCE", "key"].ndarray()


@Variable(title="Needs what is not there")
def absent_too(run, absent: "var#absent"):
    return 1


@Variable(title="Folders")
def folders(run):
    return ", ".join(sorted({f.filename.split("/")[-3] for f in run.files}))
"""


READER = "reader"  # the variable that tells who reads


def cells(path):
    """Every value and attribute of a file of cells, by name; of errors the kind alone."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith(".errors/"):
            found[name] = item[()]
        for key, value in item.attrs.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):  # references, other in each file
                found[f"{name}@{key}"] = value

    with h5py.File(path) as f:
        f.visititems(visit)
        found["errors"] = sorted(f[".errors"]) if ".errors" in f else []
    return found


def rows(path):
    """The tables of the database: without times, and messages of errors."""
    found = {}
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        for table in ("run_info", "variables", "run_variables"):
            for row in map(dict, db.execute(f"SELECT * FROM {table}")):
                left_out = ("timestamp", "added_at", "attributes", "provenance")
                key = (table, *(row.get(n) for n in ("run", "name")))
                found |= {(*key, n): v for n, v in row.items() if n not in left_out}
    return found


def read(place):
    """Whatever ``damnit.Damnit`` reads of every variable of every run."""
    database = Damnit(place)
    assert database.runs() == list(RUNS)
    found = {"columns": list(database.table().columns)}
    for run in RUNS:
        variables = database[run]
        names = variables.keys()
        found |= {(run, name, "data"): variables[name].read() for name in names}
        found |= {(run, name, "summary"): variables[name].summary() for name in names}
    return found


def make_database(place, damnit, environ):
    """The database of the runs, by the commands of DAMNIT; everything that can be read from it."""
    place.mkdir()
    place.with_suffix(".py").write_text(CONTEXT)
    commands = (
        ("init", ".", "--proposal", str(PROPOSAL), "--context", str(place.with_suffix(".py"))),
        ("db-config", "context_python", sys.executable),
        ("reprocess", "--direct", *map(str, RUNS)),
        ("combiner", "now", "."),
    )
    for command in commands:
        done = subprocess.run(
            [*damnit, *command], cwd=place, env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"damnit {' '.join(command)}\n{done.stdout}\n{done.stderr}")
    in_files = {
        (run, name): value
        for run in RUNS
        for name, value in cells(place / f"extracted_data/p{PROPOSAL}_r{run}.h5").items()
    }
    return in_files | rows(place / "runs.sqlite") | read(place)


def same(a, b):
    if isinstance(a, h5py.Empty) or isinstance(b, h5py.Empty):
        return type(a) is type(b)
    if isinstance(a, xr.DataArray):
        return isinstance(b, xr.DataArray) and a.identical(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def main():
    with tempfile.TemporaryDirectory(prefix="xfelcat-damnit-") as home:
        place = Path(home)
        made = [sys.executable, "-m", "xfelcat", "demo", str(place / "facility")]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        own = {"EXTRA_DATA_DATA_ROOT": str(place / "facility"), "AMORE_BROKER": "none"}
        environ = {**os.environ, **own}
        damnit = ["-m", "damnit.cli"]
        a = make_database(place / "theirs", [sys.executable, *damnit], environ)
        ours = [sys.executable, "-m", "xfelcat.compat", *damnit]
        b = make_database(place / "ours", ours, environ)
    differences = []
    for run in RUNS:
        readers = tuple(found[run, READER, "data"] for found in (a, b))
        if readers != ("extra_data", "xfelcat"):
            differences.append(f"run {run}: read by {readers}")
    names = [n for n in a.keys() | b.keys() if not any(READER in str(part) for part in n)]
    assert len(names) > 100 * len(RUNS)
    names.sort(key=str)
    wrong = [n for n in names if n not in a or n not in b or not same(a[n], b[n])]
    differences += [f"{n}: {a.get(n)!r} | {b.get(n)!r}" for n in wrong]
    errors = {run: a[run, "errors"] for run in RUNS}
    print(f"{len(names)} values of runs {RUNS} compared; errors: {errors}")  # noqa: T201
    print("\n".join(differences) or "the same database as on EXtra-data")  # noqa: T201
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
