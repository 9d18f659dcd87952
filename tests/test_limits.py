"""Limits that facilities and notebooks set: open files, rights, homes, threads; and sizes."""

import os
import resource
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.tiny_file import CAMERA, XGM, write_sources, write_tiny
from xfelcat import Catalog, RunDirectory

PIXELS = (CAMERA, "data.img")
POWER = (XGM, "power.value")


def write_run_of(path, files, trains=3):
    """A run of many small sequence files, each with the trains after those of the one before."""
    path.mkdir(parents=True)
    for n in range(files):
        ids = range(1000 + n * trains, 1000 + (n + 1) * trains)
        name = f"RAW-R0007-DA01-S{n:05d}.h5"
        write_tiny(path / name, train_ids=tuple(ids), sequence=n).close()
    return path


def python(code, *words, files=None, env=None, **options):
    """Run code in a process with at most so many open files; its output."""

    def limit():
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, words)],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={**os.environ, **(env or {})},
        timeout=600,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READ_ALL = """
    import sys, resource, numpy as np
    import xfelcat
    from xfelcat.cli.app import app
    run, catalog = sys.argv[1:3]
    def check(run):
        data = run["A/CAM/1:out", "data.img"]
        first = data.ndarray()
        assert len(first) == 2 * len(run.train_ids), first.shape
        assert run["A/XGM/1", "power.value"].ndarray().shape == (len(run.train_ids),)
        if "dask" in sys.argv:
            lazy = data.dask_array()
            assert (lazy.compute(scheduler="threads", num_workers=8) == first).all()
            assert (lazy[::7].compute() == first[::7]).all()
        assert sum(1 for _ in run.trains()) == len(run.train_ids)
        return len(run.train_ids)
    n = check(xfelcat.RunDirectory(run, save=False))
    app(["ingest", run, "-c", catalog, "-j", sys.argv[3]], standalone_mode=False)
    assert check(xfelcat.RunDirectory(run, catalog=catalog, save=False)) == n
    app(["validate", run, "-j", sys.argv[3]], standalone_mode=False)
    print(n)
"""


def test_a_run_of_more_files_than_may_be_open(tmp_path):
    run = write_run_of(tmp_path / "p002012" / "raw" / "r0007", 120)
    said = python(READ_ALL, run, tmp_path / "catalog", 0, "dask", files=64)
    assert said.splitlines()[-1] == "360"


@pytest.mark.slow
def test_a_thousand_files_with_64_open(tmp_path):
    run = write_run_of(tmp_path / "p002012" / "raw" / "r0007", 1000)
    said = python(READ_ALL, run, tmp_path / "catalog", 2, "dask", files=64)
    assert said.splitlines()[-1] == "3000"


def test_no_home(tmp_path):
    """Unset, absent, a file, or not to be written to: opening and asking need none."""
    run = write_run_of(tmp_path / "p002012" / "raw" / "r0007", 2)
    catalog = Catalog(tmp_path / "catalog")
    catalog.ingest(str(run), jobs=0)
    (tmp_path / "file").touch()
    code = """
        import os, sys
        import xfelcat
        from xfelcat.cli.app import app
        for home in (None, *sys.argv[3:]):
            for name in [n for n in os.environ if n.startswith("XDG_")]:
                del os.environ[name]
            os.environ.pop("HOME", None)
            if home is not None:
                os.environ["HOME"] = home
            if os.geteuid() == 0 and home is None:
                import pwd  # without HOME the home is that of the user database
                pwd.getpwuid = lambda uid: (_ for _ in ()).throw(KeyError(uid))
            run = xfelcat.RunDirectory(sys.argv[1])
            assert len(run.train_ids) == 6
            assert len(xfelcat.RunDirectory(sys.argv[1], catalog=sys.argv[2]).train_ids) == 6
            assert len(xfelcat.Catalog(sys.argv[2]).sql("SELECT * FROM runs")) == 1
            for words in (["ls", sys.argv[1]], ["sql", "SELECT 1"]):
                assert not app([*words, "-c", sys.argv[2]], standalone_mode=False), words
            # Where the user has no home, only a command that needs the user's own catalog fails.
            failed = app(["ls", sys.argv[1]], standalone_mode=False)
            assert bool(failed) == (home in (None, "relative", "")), home
    """
    homes = (tmp_path / "absent", tmp_path / "file", "/proc", "relative", "")
    python(code, run, catalog.location, *homes, cwd=tmp_path)
    assert not (tmp_path / "relative").exists()


def test_data_and_catalog_that_may_only_be_read(tmp_path, public_path):
    """What a mount for reading only gives, for a user who is nobody; nothing is left behind."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    run = write_run_of(public_path / "p002012" / "raw" / "r0007", 3)
    catalog = public_path / "catalog"
    Catalog(catalog).ingest(str(run), jobs=0)
    before = sorted(public_path.rglob("*"))
    code = """
        import os, sys
        import xfelcat
        from xfelcat.cli.app import app
        def use(run, catalog):
            if not os.path.exists(catalog):
                xfelcat.Catalog(catalog).ingest(run, jobs=0)
            for where in (None, catalog):
                opened = xfelcat.RunDirectory(run, catalog=where)
                assert opened["A/CAM/1:out", "data.img"].ndarray().any()
            assert len(xfelcat.Catalog(catalog).sql("SELECT * FROM runs")) == 1
            app(["validate", run, "-j", "0"], standalone_mode=False)
            app(["sql", "SELECT 1", "-c", catalog], standalone_mode=False)
            try:
                xfelcat.Catalog(catalog).ingest(run, jobs=0, force=True)
            except xfelcat.XfelcatError as error:
                assert "cannot be written" in str(error), error
                return "refused"
            return "written"
        # Root may read and write everything: become nobody, once all is imported.
        assert use(*sys.argv[1:3]) == "written"
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        print(use(*sys.argv[3:5]))
    """
    warm = write_run_of(tmp_path / "p002013" / "raw" / "r0007", 1)
    said = python(code, warm, tmp_path / "warm", run, catalog, env={"HOME": "/nonexistent"})
    assert said.splitlines()[-1] == "refused"
    assert sorted(public_path.rglob("*")) == before


def test_many_threads_on_one_collection(tmp_path):
    """They read, select, look and close its files in any order, and see the same."""
    path = write_run_of(tmp_path / "p002012" / "raw" / "r0007", 12)
    run = RunDirectory(str(path), save=False)
    expected, power = run[PIXELS].ndarray(), run[POWER].ndarray()
    ids = run.train_ids
    end = time.monotonic() + 3

    def work(seed):
        choose = np.random.default_rng(seed)
        rounds = 0
        while time.monotonic() < end:
            a, b = sorted(choose.integers(0, len(ids), 2))
            part = run.select_trains(np.s_[a : b + 1])
            match choose.integers(5):
                case 0:
                    assert (part[PIXELS].ndarray() == expected[2 * a : 2 * b + 2]).all()
                case 1:
                    got = part.select("*XGM*", "power.value")[POWER].ndarray()
                    assert (got == power[a : b + 1]).all()
                case 2:
                    for f in run.files:
                        f.close()
                case 3:
                    assert [t for t, _ in part.select(XGM).trains()] == ids[a : b + 1]
                case 4:
                    assert part.train_from_id(ids[a])[0] == ids[a]
            rounds += 1
        return rounds

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) > 50


@pytest.mark.slow
def test_fifty_thousand_sources_in_a_file(tmp_path):
    path = tmp_path / "p002012" / "raw" / "r0007"
    path.mkdir(parents=True)
    names = [f"A/B{n // 100}/C{n}" for n in range(50_000)]
    with write_tiny(path / "RAW-R0007-DA01-S00000.h5") as f:
        write_sources(f, [f"CONTROL/{name}" for name in names])
        for name in names:
            for place in (f"INDEX/{name}/first", f"INDEX/{name}/count"):
                f[place] = f[f"INDEX/{XGM}/{place.rpartition('/')[2]}"]
            f[f"CONTROL/{name}/x/value"] = f[f"CONTROL/{XGM}/power/value"]
    code = """
        import resource, sys, time
        import xfelcat
        started = time.process_time()
        xfelcat.Catalog(sys.argv[2]).ingest(sys.argv[1], jobs=0)
        for catalog in (None, sys.argv[2]):
            run = xfelcat.RunDirectory(sys.argv[1], catalog=catalog, save=False)
            assert len(run.all_sources) == 50_000
            part = run.select("A/B7/*").select_trains(slice(2, 5))
            assert len(part.all_sources) == 100
            assert run["A/B499/C49999", "x.value"].ndarray().shape == (10,)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(time.process_time() - started, peak)
    """
    seconds, megabytes = map(float, python(code, path, tmp_path / "catalog").split())
    sys.stderr.write(f"50,000 sources: {seconds:.0f} s of CPU, {megabytes:.0f} MB\n")
    assert megabytes < 2000


@pytest.mark.slow
def test_a_million_trains(tmp_path):
    path = tmp_path / "p002012" / "raw" / "r0007"
    path.mkdir(parents=True)
    n = 1_000_000
    ids = np.arange(10**9, 10**9 + 2 * n, 2)[:n]  # no two follow each other
    write_tiny(path / "RAW-R0007-DA01-S00000.h5", train_ids=ids).close()
    code = """
        import resource, sys, time
        import numpy as np
        import xfelcat
        started = time.process_time()
        xfelcat.Catalog(sys.argv[2]).ingest(sys.argv[1], jobs=0)
        for catalog in (None, sys.argv[2]):
            run = xfelcat.RunDirectory(sys.argv[1], catalog=catalog, save=False)
            part = run.select_trains(xfelcat.by_id[10**9 + 1000 : 10**9 + 3000])
            assert len(part.train_ids) == 1000
            assert part["A/XGM/1", "power.value"].ndarray()[0] == 500_001
            assert len(run.select_trains(np.s_[::1000]).train_ids) == 1000
            assert run["A/CAM/1:out", "data.img"].shape[0] == 2_000_000
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(time.process_time() - started, peak)
    """
    seconds, megabytes = map(float, python(code, path, tmp_path / "catalog").split())
    sys.stderr.write(f"10^6 trains: {seconds:.0f} s of CPU, {megabytes:.0f} MB\n")
    assert megabytes < 2000
