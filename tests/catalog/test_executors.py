"""Batches of files on executors of the caller's: threads, processes, and a Dask cluster."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import distributed
import pytest
from support.catalog_state import state
from support.dask_cluster import connected, local_cluster
from support.tiny_file import write_tiny
from typer.testing import CliRunner
from xfelcat import Catalog
from xfelcat.catalog.model.errors import ConfigError
from xfelcat.catalog.scan.executors import Batch, n_workers_of, watched
from xfelcat.catalog.scan.jobs import n_workers, run_batches
from xfelcat.catalog.store.store import Store
from xfelcat.cli.app import app
from xfelcat.loader.jobs.validation import validate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")


def say_where(paths, options, note):
    """The process that looked at each path; some paths mean trouble."""
    found = {}
    for path in paths:
        note(path)
        if path.startswith("hangs"):
            time.sleep(1000)
        if path.startswith("kills"):
            os._exit(1)
        if path.startswith("slow"):
            time.sleep(0.2)
        found[path] = os.getpid()
    return found


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with connected(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two proposals with two runs each of four files; one file is cut off."""
    tree = tmp_path_factory.mktemp("tree") / "MID"
    for proposal in (2012, 2013):
        for run in (1, 2):
            folder = tree / "202401" / f"p{proposal:06d}" / "raw" / f"r{run:04d}"
            folder.mkdir(parents=True)
            for da in range(4):
                path = folder / f"RAW-R{run:04d}-DA{da:02d}-S00000.h5"
                write_tiny(path, run=run).close()
    os.truncate(path, 20_000)
    return tree


@pytest.fixture(scope="module")
def alone(tree, tmp_path_factory):
    """What the catalog has to say, by an ingest in this process."""
    catalog = Catalog(tmp_path_factory.mktemp("alone") / "catalog")
    catalog.ingest(tree, jobs=0)
    return state(Store(catalog.location))


DASK = pytest.param("dask", marks=pytest.mark.slow)  # a cluster needs seconds, and its own clocks


@pytest.mark.parametrize("kind", ["threads", "processes", DASK])
def test_the_same_as_without(kind, tree, alone, tmp_path, request):
    catalog = Catalog(tmp_path / "catalog")
    if kind == "dask":
        report = catalog.ingest(tree, client=request.getfixturevalue("client"))
    else:
        spawn = {"mp_context": get_context("spawn")} if kind == "processes" else {}
        make = ProcessPoolExecutor if kind == "processes" else ThreadPoolExecutor
        with make(2, **spawn) as executor:
            assert n_workers(executor) == 2
            report = catalog.ingest(tree, client=executor)
    assert (report.runs_written, report.files_scanned) == (4, 16)
    assert state(Store(catalog.location)) == alone


@pytest.mark.slow
def test_commands_use_a_cluster(cluster, client, tree, alone, tmp_path):
    catalog, address = tmp_path / "catalog", cluster.scheduler_address

    def run(*words):
        return CliRunner().invoke(app, [str(w) for w in words])

    done = run("ingest", tree, "-c", catalog, "--dask", address)
    assert done.exit_code == 0, done.output
    assert f"workers: 2 of {address}" in done.stderr
    assert "not known whether nodes see each other's locks by flock" in done.stderr
    assert state(Store(catalog)) == alone
    client.write_scheduler_file(str(tmp_path / "scheduler.json"))
    profiled = run("profile", "*", "--yes", "-c", catalog, "--dask", tmp_path / "scheduler.json")
    assert profiled.exit_code == 0, profiled.output
    assert "4 runs searched: 4 profiled" in profiled.stderr
    audited = run("audit", "--deep", "-c", catalog, "--dask", address, "--fail-on", "never")
    assert audited.exit_code == 0, audited.output
    found = run("validate", tree / "202401/p002012/raw/r0001", "--dask", address, "-f", "csv")
    here = run("validate", tree / "202401/p002012/raw/r0001", "-j", "0", "-f", "csv")
    assert (found.exit_code, found.stdout) == (here.exit_code, here.stdout)
    both = run("ingest", tree, "-c", catalog, "--dask", address, "--slurm", "1")
    assert both.exit_code == 2
    nobody = run("ingest", tree, "-c", catalog, "--dask", tmp_path / "no.json")
    assert (nobody.exit_code, "no Dask scheduler answers" in nobody.stderr) == (1, True)


SBATCH = """#!/bin/sh
if [ "$1" = --test-only ]; then
  grep -q upex && exit 0
  echo "sbatch: error: invalid partition specified" >&2
  exit 1
fi
setsid sh "$1" > "$1.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1"
"""


@pytest.mark.slow
def test_commands_make_a_cluster_of_slurm(tree, alone, tmp_path):
    """With commands in place of SLURM's, which take and end jobs as they do."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    config, catalog = tmp_path / "config.toml", tmp_path / "catalog"
    words = [sys.executable, "-m", "xfelcat", "ingest", tree, "-c", catalog, "--slurm", "2"]

    def start(queue, *path):
        config.write_text(f'[slurm]\nqueue = "{queue}"\ncores = 1\nmemory = "2GB"\n')
        env = os.environ | {"XFELCAT_CONFIG": str(config), "PATH": ":".join(map(str, path))}
        return subprocess.Popen(words, stderr=subprocess.PIPE, env=env, cwd=tmp_path, text=True)

    here = os.environ["PATH"]
    with start("upex", "/nowhere") as absent, start("nosuch", tmp_path, here) as refused:
        assert "needs SLURM's commands on this machine" in absent.communicate()[1]
        assert "SLURM refuses jobs" in (said := refused.communicate()[1])
        assert "invalid partition specified" in said
    assert (absent.returncode, refused.returncode) == (1, 1)
    with start("upex", tmp_path, here) as ended:
        while "2 jobs submitted to SLURM" not in (line := ended.stderr.readline()):
            assert line
        ended.send_signal(signal.SIGINT)
        assert "interrupted" in ended.communicate()[1]
    assert ended.returncode == 130
    with start("upex", tmp_path, here) as done:
        said = done.communicate()[1]
    assert done.returncode == 0, said
    assert state(Store(catalog)) == alone


class Deadly:
    """An executor whose Dask gave up whatever has a deadly file in it."""

    _max_workers = 2

    def submit(self, fn, /, work, paths, *args):
        future = Future()
        if any(path.startswith("kills") for path in paths):
            future.set_exception(distributed.scheduler.KilledWorker("task", None, 3))
        else:
            future.set_result(fn(work, paths, *args))
        return future


@pytest.mark.parametrize("kind", ["in words", DASK])
def test_a_file_that_kills_workers_is_set_aside(kind, request):
    jobs = Deadly() if kind == "in words" else request.getfixturevalue("client")
    paths = (*(f"file {n}" for n in range(6 if kind == "in words" else 1)), "kills it")
    (done,) = run_batches(say_where, [Batch("k", paths)], jobs=jobs)
    assert done.results.keys() == set(paths) - {"kills it"}
    assert done.blamed == {"kills it": "reading it killed the reading process (damaged?)"}


def test_a_file_that_waited_for_a_worker_that_was_killed_is_not_blamed():
    class Suspicious(Deadly):
        """As Dask: what was there when a worker ended is suspected with what ended it."""

        suspected = 0

        def submit(self, fn, work, paths, *args):
            if paths == ("file",) and not self.suspected:
                self.suspected += 1
                paths = ("kills the worker that it waits for",)
            return super().submit(fn, work, paths, *args)

    batches = [Batch("a", ("file",)), Batch("b", ("kills it",))]
    jobs = Suspicious()
    done = {found.batch.key: found for found in run_batches(say_where, batches, jobs=jobs)}
    assert jobs.suspected == 1
    assert done["a"].blamed == {}
    assert list(done["a"].results) == ["file"]
    assert list(done["b"].blamed) == ["kills it"]


@pytest.mark.slow
def test_the_files_of_a_lost_worker_are_read_again(client):
    batches = [Batch(n, (f"slow {n}",)) for n in range(6)]
    killed = None
    found = {}
    for done in run_batches(say_where, batches, jobs=client):
        found |= done.results
        if killed is None:
            (killed,) = done.results.values()
            os.kill(killed, signal.SIGKILL)
    assert len(found) == 6
    assert len(set(found.values())) >= 2


def test_a_file_that_hangs_is_given_up_and_the_rest_is_read():
    with ThreadPoolExecutor(2) as executor:
        batches = [Batch(0, ("a", "hangs", "b")), Batch(1, ("c",))]
        found = {
            d.batch.key: d for d in run_batches(say_where, batches, jobs=executor, time_limit=1)
        }
    assert found[0].results.keys() == {"a", "b"}
    assert found[0].blamed == {"hangs": "reading it took longer than 1 s (timed out)"}
    assert found[1].results.keys() == {"c"}


def test_only_so_many_batches_are_out_at_a_time():
    submitted = []

    class Held:
        _max_workers = 3

        def submit(self, fn, /, *args):
            submitted.append((Future(), fn, args))
            return submitted[-1][0]

    batches = [Batch(n, (f"file {n}",)) for n in range(100)]
    found = run_batches(say_where, batches, jobs=Held())
    seen = set()

    def finish():
        """Do the oldest of what is out, as its worker would."""
        future, fn, args = next(s for s in submitted if not s[0].done())
        future.set_result(fn(*args))

    threading.Timer(0.1, finish).start()
    for done in found:
        seen.add(done.batch.key)
        assert len(submitted) - len(seen) < 6
        if len(seen) < 100:
            finish()
    assert seen == set(range(100))
    assert n_workers_of(Held()) == 3


def test_lost_workers_are_a_sentence():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(ConfigError, match="the workers, or the way to them, are lost"):
        list(run_batches(say_where, [Batch(0, ("a",))], jobs=executor))
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with executor, pytest.raises(ConfigError, match="are lost"):
        list(run_batches(say_where, [Batch(0, ("kills",))], jobs=executor))


def test_a_bug_in_the_work_is_raised():
    with pytest.raises(AttributeError):
        watched(say_where, [1], None, 10)


def test_validate_on_an_executor(tree):
    run = tree / "202401/p002013/raw/r0002"
    with ThreadPoolExecutor(2) as executor:
        found = validate(run, deep=True, jobs=executor)
    assert found.problems == validate(run, deep=True, jobs=0).problems != []
