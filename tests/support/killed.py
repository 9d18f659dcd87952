"""An ingest in which one part kills itself by SIGKILL, at the n-th step of its work.

    python -m support.killed ROLE STEP MARK TREE CATALOG

Steps are the calls and returns of functions, of Python and of C, so that a kill may come between
any two system calls or statements. Parts are:

- ``scanner``: the worker that scans a batch of files; the others and the ingest go on;
- ``committer``: the process of the ingest while it writes to a shard; its workers are left behind;
- ``publisher``: the same while it publishes the merged database.

Only one is killed: the file MARK says so. With step 0 none is, and MARK gets the number of steps of
each time that the part was at work, one per line.
"""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from xfelcat.catalog.ingest import ingest as ingesting
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.store.store import Store

ROLES = ("scanner", "committer", "publisher")
PLAN = "XFELCAT_TEST_KILL"  # the step and MARK, to workers
scan_batch = ingesting.scan_batch


@contextmanager
def steps(step, mark):
    """Count the steps of the block; end the process at one of them, unless one was ended."""
    n = 0

    def count(*_):
        nonlocal n
        n += 1
        if n == step and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
    if not step:
        with open(mark, "a") as file:
            file.write(f"{n}\n")


def scan_counted(paths, options, note):
    """``scan_batch`` in a worker, with its steps counted."""
    step, mark = os.environ[PLAN].split(maxsplit=1)
    with steps(int(step), mark):
        return scan_batch(paths, options, note)


def main(role, step, mark, tree, catalog):
    """Ingest the tree."""
    write, publish = Store.write, Store.publish_merged

    @contextmanager
    def write_counted(*args, **options):
        with steps(int(step), mark), write(*args, **options) as writer:
            yield writer

    def publish_counted(*args, **options):
        with steps(int(step), mark):
            return publish(*args, **options)

    os.environ[PLAN] = f"{step} {mark}"
    if role == "scanner":
        ingesting.scan_batch = scan_counted
    elif role == "committer":
        Store.write = write_counted
    else:
        Store.publish_merged = publish_counted
    ingest(Store(catalog), [tree], IngestOptions(jobs=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
