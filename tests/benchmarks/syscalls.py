"""How many system calls do opening and first reads make? What ``make bench-calls`` runs.

    python -m benchmarks.syscalls --place DIR [--page FILE]

Each thing is done by a process of its own below ``strace`` (a package of Debian); what it calls
between two marks is counted, if it names a file or directory of the run: from a parallel file
system each costs milliseconds when it is not in a cache. An ingest is one process, too.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from .bench import make_place, say
from .large_runs import R220
from .report import marked, put_between

BEGIN = "<!-- begin: written by make bench-calls -->"
END = "<!-- end: written by make bench-calls -->"
CALLS = "openat,open,stat,lstat,newfstatat,statx,fstat,pread64,preadv,read,getdents64"
KINDS = {"openat": "open", "newfstatat": "stat", "statx": "stat", "lstat": "stat", "fstat": "stat"}
KINDS |= {"pread64": "read", "preadv": "read", "getdents64": "list"}
HEAD = ("What", "By", "open", "stat", "read", "list")

OURS = "import xfelcat; run = xfelcat.RunDirectory(path, catalog=catalog, save=False)"
TRUSTING = OURS.replace("save=", 'trust="directory", save=')
THEIRS = "import extra_data; run = extra_data.RunDirectory(path)"
PLAIN = "import h5py"
KEY = 'run[min(run.control_sources), "property001.value"].ndarray()'
TABLE = (
    "names = sorted(run.control_sources); "
    'run.get_dataframe([(n, "property001.value") for n in names[:: len(names) // 22][:22]])'
)
FIRST = 'next(iter(run.select("*MOTOR/DEV0*", "property001.value").trains()))'
MODULE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
PULSES = f'run["{MODULE}", "image.pulseId"].ndarray()'
IMAGE = f'run["{MODULE}", "image.data"][:10].ndarray()'
H5PY_KEY = (
    "import glob; "
    '[h5py.File(f)["CONTROL/SA1_XTD2_XGM/XGM/DOOCS/property001/value"][()]'
    ' for f in glob.glob(path + "/*-DA01-*")]'
)
H5PY_PULSES = (
    "import glob; "
    f'[h5py.File(f)["INSTRUMENT/{MODULE}/image/pulseId"][()]'
    ' for f in glob.glob(path + "/*-AGIPD03-*")]'
)
INGEST = (
    "from xfelcat.catalog.ingest.ingest import IngestOptions, ingest; "
    "from xfelcat.catalog.store.store import Store"
)
ROWS: list[tuple[str, str, str, str]] = [  # what, by whom, what comes before, what is counted
    ("open", "xfelcat", "import xfelcat", OURS),
    ('open, trust="directory"', "xfelcat", "import xfelcat", TRUSTING),
    ("open", "EXtra-data", "import extra_data", THEIRS),
    ("first key, 10 files", "xfelcat", OURS, KEY),
    ("first key, 10 files", "EXtra-data", THEIRS, KEY),
    ("first key, 10 files", "h5py", PLAIN, H5PY_KEY),
    ("first train of 60 sources", "xfelcat", OURS, FIRST),
    ("first train of 60 sources", "EXtra-data", THEIRS, FIRST),
    ("first frame numbers of a module", "xfelcat", OURS, PULSES),
    ("first frame numbers of a module", "EXtra-data", THEIRS, PULSES),
    ("first frame numbers of a module", "h5py", PLAIN, H5PY_PULSES),
    ("first 10 trains of images (never written)", "xfelcat", OURS, IMAGE),
    ("first 10 trains of images (never written)", "EXtra-data", THEIRS, IMAGE),
    ("first table of 22 keys, 60 files", "xfelcat", OURS, TABLE),
    ("first table of 22 keys, 60 files", "EXtra-data", THEIRS, TABLE),
    (
        "ingest in full, 220 files",
        "xfelcat",
        INGEST,
        "ingest(Store(scratch), [path], IngestOptions(jobs=0))",
    ),
    (
        "the same facts of all files",
        "EXtra-data",
        "from benchmarks.rows_ingest import facts_of_files; import extra_data, glob",
        'facts_of_files(sorted(glob.glob(path + "/*.h5")), extra_data.H5File)',
    ),
]


def count_calls(before: str, counted: str, path: str, catalog: str) -> Counter[str]:
    """The calls that name something of the run, by kind."""
    with tempfile.TemporaryDirectory() as scratch:
        names = f"path, catalog, scratch = {path!r}, {catalog!r}, {scratch + '/catalog'!r}"
        mark = 'os.stat("/"); os.path.exists("/mark")'
        code = f"import os; {names}; {before}; {mark}; {counted}; {mark}"
        log = f"{scratch}/calls"
        command = ["strace", "-f", "-y", "-qq", "-o", log, "-e", f"trace={CALLS}"]
        subprocess.run([*command, sys.executable, "-c", code], check=True, timeout=1800)
        text = Path(log).read_text(errors="replace")
    inside = text.split('"/mark"')[1]
    found: Counter[str] = Counter()
    for line in inside.splitlines():
        named = re.match(r"\d+\s+(\w+)\(", line)
        if named and path in line:
            found[KINDS.get(named[1], named[1])] += 1
    return found


def main() -> int:
    """Count the system calls of first things, next to EXtra-data and h5py."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--place", type=Path, required=True, help="for the runs")
    parser.add_argument("--page", type=Path, help="page to put the table into")
    given = parser.parse_args()
    if shutil.which("strace") is None:
        say("strace is missing: on Debian, apt-get install strace")
        return 1
    table = [HEAD, tuple("---" for _ in HEAD)]
    with make_place(given.place.absolute(), [R220]) as place:
        for what, by, before, counted in ROWS:
            say(f"{what} ({by})")
            found = count_calls(before, counted, place.runs["R220"], place.catalog)
            table.append((what, by, *(f"{found[kind]:,}" for kind in HEAD[2:])))
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    sys.stdout.write(text + "\n")
    if given.page:
        put_between(given.page, BEGIN, END, f"{marked()}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
