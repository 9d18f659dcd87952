"""Shards that no answer has, by their schema version or their rights, and the word about them."""

import os
import shutil
import subprocess
import sys
import warnings

import pytest
from support.examples import some
from support.next_revision import become_next_version
from support.run_records import make_run
from support.tiny_file import write_tiny
from xfelcat import Catalog, RunDirectory
from xfelcat.catalog.model.errors import CatalogNotFoundError, CatalogReadError, CatalogWriteError
from xfelcat.catalog.store.store import Store, lacking
from xfelcat.catalog.store.versions import SCHEMA_VERSION

QUESTIONS = (
    lambda c: c.runs(),
    lambda c: c.find(source="*"),
    lambda c: c.find_runs("* * > 0"),
    lambda c: c.sources(),
    lambda c: c.keys(),
    lambda c: c.files(),
    lambda c: c.train_ranges(),
    lambda c: c.run_values(source="*", key="*"),
    lambda c: c.coverage("*"),
    lambda c: c.lacking("*"),
    lambda c: c.sql("SELECT * FROM runs"),
    lambda c: c.inventory(),
    lambda c: c.audit(save=False),
)


def write(store, run):
    with store.write(run.identity.shard) as writer:
        writer.replace_run(run)
    store.publish_merged()


@pytest.fixture
def catalog(two_proposals):
    """A catalog of two proposals, one run each."""
    return Catalog(two_proposals.location)


@pytest.mark.parametrize("ask", some(QUESTIONS, 4))
def test_the_first_question_warns_of_shards_of_another_version(catalog, tmp_path, monkeypatch, ask):
    become_next_version(monkeypatch, tmp_path)
    write(Store(catalog.location), make_run(2, 2012))  # upgrades this shard alone
    told = "1 shard of another schema version left out: see `xfelcat db status`"
    with pytest.warns(UserWarning, match=told) as caught:
        ask(catalog)
    assert [w.filename for w in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(catalog)


def test_a_catalog_of_another_version_is_refused_with_both(catalog, tmp_path, monkeypatch):
    newer = become_next_version(monkeypatch, tmp_path)
    told = f"has schema version {SCHEMA_VERSION}, this xfelcat reads {newer}.*xfelcat db upgrade"
    for ask in QUESTIONS:
        with pytest.raises(CatalogNotFoundError, match=told):
            ask(catalog)


@pytest.mark.parametrize("how", ["argument", "setting"])
def test_opening_warns_where_the_named_catalog_has_the_run_in_another_version(
    tmp_path, monkeypatch, how
):
    run = tmp_path / "p002012" / "raw" / "r0007"
    run.mkdir(parents=True)
    write_tiny(run / "RAW-R0007-DA01-S00000.h5").close()
    catalog = Catalog(tmp_path / "catalog")
    catalog.ingest(str(run), jobs=0)
    monkeypatch.setenv("XFELCAT_CATALOG", str(catalog.location) if how == "setting" else "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = {"catalog": catalog.location} if how == "argument" else {}
        RunDirectory(str(run), save=False, **named)
    become_next_version(monkeypatch, tmp_path)
    other = make_run(1, 2013)
    write(Store(catalog.location), other)  # so that the catalog itself is one of this version
    shard = next(s for s in Store(catalog.location).shard_folders() if s != other.identity.shard)
    assert shard
    with pytest.warns(UserWarning, match="opened without a catalog: .*this xfelcat reads"):
        opened = RunDirectory(str(run), save=False, **named)
    assert len(opened.train_ids) == 10


def as_nobody(code, *words):
    """What code prints that a user runs who is not root and owns nothing; ``words`` is in argv."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    # Root may read everything: become nobody, once all is imported.
    head = (
        "import os, sys, warnings, duckdb, pandas, pyarrow, pyarrow.compute\n"
        "from xfelcat import Catalog, RunDirectory, XfelcatError\n"
        "from xfelcat.cli.app import app\n"
        "import xfelcat.catalog.store.care, xfelcat.catalog.store.merge\n"
        "Catalog(sys.argv[1]).runs(); Catalog(sys.argv[1]).sql('SELECT 1')\n"
        "app(['sql', 'SELECT 1', '-c', sys.argv[1]], standalone_mode=False)\n"
        "print('-' * 9, flush=True)\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("-" * 9 + "\n")[2]


@pytest.fixture
def split(public_path):
    """A catalog that all may enter but for the shard of proposal 2013 and the merged database."""
    store = Store(public_path / "catalog")
    for proposal in (2012, 2013, 2014):
        write(store, make_run(1, proposal))
    Catalog(store.location).audit()
    store.publish_merged()
    store.audits.directory.chmod(0o700)
    (store.location / "shards" / "p002013").chmod(0o700)
    store.merged.directory.chmod(0o700)
    return store


def test_a_reader_sees_the_shards_that_the_rights_allow_and_is_told(split, public_path):
    warm = public_path / "warm"
    shutil.copytree(split.location, warm, symlinks=True)
    code = (
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    print(Catalog(sys.argv[2]).sql('SELECT proposal FROM runs ORDER BY 1')"
        "['proposal'].tolist(), *(w.message for w in told), sep='|')\n"
        "app(['sql', 'SELECT proposal FROM runs ORDER BY 1', '-c', sys.argv[2]],"
        " standalone_mode=False)\n"
        "sys.stdout.flush()\n"
    )
    head, _, rest = as_nobody(code, warm, split.location).partition("\n")
    told = "1 shard that this user may not read left out: see `xfelcat db status`"
    assert head == f"[2012, 2014]|{split.location}: {told}"
    assert "2013" not in rest
    # Who may read all still does, and nothing was published.
    assert Catalog(split.location).runs()["proposal"].tolist() == [2012, 2013, 2014]


def test_a_reader_who_may_read_no_shard_is_told_so(split, public_path):
    warm = public_path / "warm"
    shutil.copytree(split.location, warm, symlinks=True)
    (split.location / "shards").chmod(0o700)
    code = (
        "try:\n"
        "    Catalog(sys.argv[2]).runs()\n"
        "except XfelcatError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    said = as_nobody(code, warm, split.location)
    assert said.startswith(f"CatalogReadError the catalog file {split.location / 'shards'} cannot")
    assert "may not read it" in said


def test_who_may_not_read_a_shard_does_not_merge_without_it(split, monkeypatch):
    """Nobody would see its runs any more."""
    write(split, make_run(2, 2012))
    before = split.merged.current()
    hidden = split.location / "shards" / "p002013"
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, how: path != hidden and allowed(path, how))
    with split.write("p002012") as writer:
        writer.replace_run(make_run(3, 2012))
    with pytest.raises(CatalogWriteError, match="p002013 cannot be read"):
        split.publish_merged()
    assert split.merged.current() == before
    with pytest.raises(CatalogReadError, match="p002013"):
        raise lacking(split, ["p002013"])


@pytest.mark.parametrize("umask", some([0o000, 0o022, 0o077], [0o077]))
@pytest.mark.parametrize("mode", [0o2770, 0o775, 0o700])
def test_files_have_the_rights_of_their_folder_whatever_the_umask(tmp_path, umask, mode):
    top = tmp_path / "top"
    top.mkdir()
    top.chmod(mode)
    before = os.umask(umask)
    try:
        store = Store(top / "catalog")
        write(store, make_run(1, 2012))
        write(store, make_run(2, 2012))
    finally:
        os.umask(before)
    found = {p: p.lstat().st_mode & 0o7777 for p in store.location.rglob("*") if not p.is_symlink()}
    assert found
    for path, has in found.items():
        assert not has & 0o002, path
        if path.is_dir():
            assert has & 0o070 == mode & 0o070 | (0o050 & ~umask), path
        elif path.suffix == ".duckdb":
            assert has & 0o222 == 0, path
            assert has & 0o040, path
        else:
            assert has & 0o020 == mode & 0o020, path
