"""Lines and modules of the package, tests left out. Run as a script, it prints them by folder.

    python tests/support/code_size.py

Lines of Python, SQL, JavaScript, CSS and HTML count, comments and blank ones among them: whoever
reads the code reads those too.
"""

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PARTS = ("catalog", "loader", "cli", "migrations")
SUFFIXES = {".py", ".sql", ".js", ".css", ".html"}

# What the redesign of 2026 left, 33,000 lines in 135 modules; since then pulse and cell IDs in the
# catalog, what programs written for EXtra-data ask of the API, and what public reports of problems
# with other packages found here: odd texts, types and numbers, links, pipes, full disks; less what
# was there twice, which was looked for in all modules. Not counted are the detector classes and the
# stand-ins for modules of EXtra-data. After that, reasons for answers without rows. More has to be
# worth more than these lines. Then what answers lack for the rights of their reader, and limits;
# and 500 that find datasets and their chunks without HDF5's library, of all chunk indexes, and what
# one file says of others: first reads take a third. And 290 that answer what people looked for and
# did not find: samples and types of runs, METADATA in SQL, what is not calibrated, values by run.
# And 60 for links to other files: findings, or followed where that is set. And 490 for locks that
# hold over nodes, trying them, and versions that are kept and asked; and 370 for executors. And
# 1,400 that draw: keys, runs, many runs, beamtimes; and many runs with aliases, globs and times.
# And 800 for the report: verdicts, what to do, proposals, phone and paper, a digest. And 1,800 for
# the command line and notebooks: completion, doctor, waive, search by likeness, sentences.
# And 550 for the lake, and 140 for copies of catalogs; and 40 for facts that are sent to workers.
# And 490 for a demo with a beam in it, and 50 for a pager. And 250 for what SLURM refuses, first
# reads, and small deflated chunks. And 80 that read files side by side where they make one wait.
MOST_LINES, MOST_MODULES = 42_070, 166
NOT_COUNTED = ("loader/detectors", "loader/compat")


def count_by_folder():
    """Lines and modules of each folder of the parts: two counters."""
    lines, modules = Counter(), Counter()
    for part in PARTS:
        for path in (ROOT / part).rglob("*"):
            folder = path.parent.relative_to(ROOT).as_posix()
            if path.suffix in SUFFIXES and not folder.startswith(NOT_COUNTED):
                lines[folder] += len(path.read_text().splitlines())
                modules[folder] += path.suffix == ".py"
    return lines, modules


def code_size():
    """All lines and all modules."""
    lines, modules = count_by_folder()
    return lines.total(), modules.total()


if __name__ == "__main__":
    lines, modules = count_by_folder()
    for folder in sorted(lines):
        sys.stdout.write(f"{folder:30} {lines[folder]:6} lines {modules[folder]:4} modules\n")
    sys.stdout.write(f"{'all':30} {lines.total():6} lines {modules.total():4} modules\n")
    sys.stdout.write(f"{'at most':30} {MOST_LINES:6} lines {MOST_MODULES:4} modules\n")
