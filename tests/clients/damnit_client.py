"""DAMNIT end to end: a context file over a demo run, on EXtra-data and on xfelcat, cell by cell.

DAMNIT starts a process that evaluates the context file (its ``ctxrunner``); so does this script,
once plainly and once from a program that runs under ``xfelcat.compat``, as DAMNIT itself would.
"""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

import h5py
import numpy as np

PROPOSAL = 900032
RUNS = [(1, "raw"), (1, "all"), (4, "all"), (5, "raw")]
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


def compute(command, environ, run, data):
    """The cells that a command computes for a run."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "context.py").write_text(CONTEXT)
        command = [*command, "exec", str(PROPOSAL), str(run), data, "--record-output", "written"]
        done = subprocess.run(
            command, cwd=place, env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        return cells(Path(place, "written").read_text().strip())


def same(a, b):
    if isinstance(a, h5py.Empty) or isinstance(b, h5py.Empty):
        return type(a) is type(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def main():
    (support,) = {
        f.locate().parent for f in files("damnit") if f.parts[-2:] == ("ctxsupport", "ctxrunner.py")
    }
    differences = []
    with tempfile.TemporaryDirectory(prefix="xfelcat-damnit-") as place:
        facility = f"{place}/facility"
        made = [sys.executable, "-m", "xfelcat", "demo", facility]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        environ = {**os.environ, "EXTRA_DATA_DATA_ROOT": facility, "PYTHONPATH": str(support)}
        theirs = [sys.executable, "-m", "ctxrunner"]
        # The launcher runs under compat and starts ctxrunner as DAMNIT does: a child of a child.
        launch = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
        Path(place, "launch.py").write_text(launch)
        ours = [sys.executable, "-m", "xfelcat.compat", f"{place}/launch.py", *theirs]
        for run, data in RUNS:
            a = compute(theirs, environ, run, data)
            b = compute(ours, environ, run, data)
            readers = a.pop("reader/data"), b.pop("reader/data")
            for each in (a, b):
                each.pop(".reduced/reader", None)
            if readers != (b"extra_data", b"xfelcat"):
                differences.append(f"run {run} {data}: read by {readers}")
            names = sorted(a.keys() | b.keys())
            wrong = [n for n in names if n not in a or n not in b or not same(a[n], b[n])]
            differences += [f"run {run} {data}: {n}: {a.get(n)!r} | {b.get(n)!r}" for n in wrong]
            print(f"run {run} {data}: {len(names)} values compared; errors: {a['errors']}")  # noqa: T201
    print("\n".join(differences) or "the same cells as on EXtra-data")  # noqa: T201
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
