"""What does a lake cost next to a file? The merged database as each; what `make bench-lake` runs.

    python -m benchmarks.lake CATALOG [--server DSN] [--repeats N] [--page FILE]

1. The merged database of the catalog is made anew, as a file, as a lake in files and, with a
   ``--server``, as a lake in PostgreSQL.
2. One proposal changes, and is published in each.
3. The questions of ``benchmarks.questions`` are asked of each; answers must have the same length.

Times are CPU time of this process, and the time that passed. The catalog is changed.
"""

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from xfelcat import Catalog
from xfelcat.catalog.store.connections import POOL
from xfelcat.catalog.store.store import Store

from .questions import QUESTIONS, Example
from .report import machine

BEGIN, END = (
    "<!-- begin: written by make bench-lake -->",
    "<!-- end: written by make bench-lake -->",
)


def timed(work):
    """What it gives; CPU seconds; seconds."""
    cpu, passed = time.process_time(), time.perf_counter()
    given = work()
    return given, time.process_time() - cpu, time.perf_counter() - passed


def files_below(*folders):
    return {p: p.stat().st_size for f in folders for p in f.rglob("*") if p.is_file()}


def measure(store, setting, repeats):
    """The row titles of the table, with CPU seconds and seconds of each for one setting."""
    os.environ["XFELCAT_MERGED"] = setting
    folders = store.location / "merged", store.location / "lake"
    found = {}
    _, *found["all proposals merged"] = timed(store.publish_merged)
    shard = list(store.shards())[len(store.shards()) // 2]
    before = set(files_below(*folders))
    with store.write(shard) as writer:
        with store.read(shard) as cursor:
            ((last,),) = cursor.execute("SELECT max(run_id) FROM run").fetchall()
        writer.forget_run(last)
    _, *found["a proposal that changed, published"] = timed(store.publish_merged)
    after = files_below(*folders)
    written = sum(size for path, size in after.items() if path not in before)
    POOL.close()
    _, *found["opened"] = timed(store.open_merged)
    catalog = Catalog(store.location)
    example = Example.of(catalog)
    rows = {}
    for question in QUESTIONS:
        times = [timed(lambda q=question: q.ask(catalog, example)) for _ in range(repeats + 1)]
        rows[question.title] = len(times[0][0])
        medians = (statistics.median(t[i] for t in times[1:]) for i in (1, 2))
        found[question.title] = list(medians)
    return found, rows, written


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("catalog", help="one made by make synthetic, or a copy of it")
    parser.add_argument("--server", help="DSN of a PostgreSQL server")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--page", type=Path, help="page to put the table into")
    given = parser.parse_args()
    store = Store(given.catalog)
    for name in ("merged", "lake"):
        shutil.rmtree(store.location / name, ignore_errors=True)
    kinds = {"file": "", "lake in files": "ducklake:lake/meta.ducklake"}
    if given.server:
        kinds["lake in PostgreSQL"] = f"ducklake:postgres:{given.server}"
    results = {kind: measure(store, s, given.repeats) for kind, s in kinds.items()}
    lines = ["| CPU ms (passed) | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for title in results["file"][0]:
        times = (results[kind][0][title] for kind in kinds)
        cells = (f"{1000 * cpu:.0f} ({1000 * passed:.0f})" for cpu, passed in times)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    written = " | ".join(f"{results[kind][2] / 1e6:.1f} MB" for kind in kinds)
    lines.append(f"| written for the proposal that changed | {written} |")
    all_rows = [rows for _, rows, _ in results.values()]
    for rows in all_rows:
        different = {t for t in rows if abs(rows[t] - all_rows[0][t]) > 0.01 * rows[t] + 5}
        assert not different, different  # each kind forgot a run more
    with store.read_merged() as cursor:
        ((runs, files),) = cursor.execute("SELECT count(*), sum(files) FROM runs").fetchall()
    facts = ", ".join(f"{k} {v}" for k, v in machine().items())
    about = f"{len(store.shards())} proposals, {runs} runs, {files} files: {facts}."
    text = "\n".join([about, "", *lines])
    sys.stdout.write(f"{text}\n")
    if given.page:
        page = given.page.read_text()
        head, _, rest = page.partition(BEGIN)
        given.page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
