"""Opening takes facts from the catalog where they hold, and from the files where they do not."""

import os
import shutil
import threading

import extra_data
import numpy as np
import pytest
from support.count_opens import record_opening
from xfelcat.catalog.config import user_catalog
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.errors import CatalogNotFoundError, FileStructureError, RunNotFoundError
from xfelcat.catalog.opening import resolve as lookup_module
from xfelcat.catalog.opening.catalogued import ShardFetcher
from xfelcat.catalog.opening.resolve import look_up_run
from xfelcat.catalog.opening.scanned import RecordFetcher
from xfelcat.catalog.store.store import Store
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    auxiliary,
    control,
    split,
    write_run,
)

RUN = "exp/SPB/202201/p002012/raw/r0001"
XGM = control("SA1_XTD2_XGM/XGM/DOOCS", KeySpec("beamPosition.ixPos"))


def spec(trains=range(1000, 1020), run=1):
    return RunSpec(2012, run, split(list(trains), {"DA01": [XGM]}, sequences=4))


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """No catalog or setting of the user's; nothing outlives a test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("XFELCAT_CATALOG", "XFELCAT_CONFIG", "XFELCAT_TRUST"):
        monkeypatch.delenv(name, raising=False)
    yield
    saved()


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / RUN, spec())
    return tmp_path / RUN


@pytest.fixture
def catalog(tmp_path, run):
    store = Store(tmp_path / "catalog")
    ingest(store, [str(run)], IngestOptions(jobs=0))
    return str(store.location)


def saved():
    """Wait for outlines to be saved."""
    for thread in threading.enumerate():
        if thread.name == "xfelcat-save":
            thread.join()


def trains(facts):
    return np.concatenate([facts.trains(i).ids for i in range(len(facts.files))]).tolist()


@pytest.fixture
def opened(monkeypatch):
    """Names of files that are opened."""
    return record_opening(monkeypatch)


def test_a_catalogued_run_opens_no_file(run, catalog, opened):
    facts = look_up_run(str(run), catalog=catalog)
    assert isinstance(facts.fetcher, ShardFetcher)
    assert trains(facts) == list(range(1000, 1020))
    assert opened == []


def test_the_setting_names_a_catalog(run, catalog, monkeypatch):
    monkeypatch.setenv("XFELCAT_CATALOG", catalog)
    assert isinstance(look_up_run(str(run), save=False).fetcher, ShardFetcher)


def test_only_what_changed_is_scanned(run, catalog, opened):
    name = "RAW-R0001-DA01-S00002.h5"
    os.utime(run / name, ns=(0, 10**18))
    extra = "RAW-R0001-DA02-S00000.h5"
    shutil.copy(run / name, run / extra)
    (run / "RAW-R0001-DA01-S00000.h5").unlink()
    facts = look_up_run(str(run), catalog=catalog, save=False)
    assert isinstance(facts.fetcher, RecordFetcher)
    assert sorted(opened) == [name, extra]
    assert sorted(set(trains(facts))) == list(range(1005, 1020))
    assert len(facts.files) == 4


def test_a_file_that_is_back_as_it_was_is_used_again(run, catalog, opened):
    path, aside = run / "RAW-R0001-DA01-S00002.h5", run.parent / "aside"
    path.rename(aside)
    ingest(Store(catalog), [str(run)], IngestOptions(jobs=0))
    without = look_up_run(str(run), catalog=catalog)
    assert trains(without) == [*range(1000, 1010), *range(1015, 1020)]
    opened.clear()
    aside.rename(path)
    facts = look_up_run(str(run), catalog=catalog)
    assert isinstance(facts.fetcher, ShardFetcher)
    assert trains(facts) == list(range(1000, 1020))
    assert facts.problems == ()
    assert opened == []


def test_never_stat_believes_the_catalog(run, catalog):
    shutil.rmtree(run)
    facts = look_up_run(str(run), catalog=catalog, trust="never-stat")
    assert trains(facts) == list(range(1000, 1020))
    with pytest.raises(RunNotFoundError, match="r0001"):
        look_up_run(str(run), catalog=catalog)


def test_a_trusted_directory_is_listed_and_no_file_is_looked_at(run, catalog, opened, monkeypatch):
    looked_at = []
    stat = os.stat
    monkeypatch.setattr(
        os, "stat", lambda path, **o: looked_at.append(os.fspath(path)) or stat(path, **o)
    )
    last, new = run / "RAW-R0001-DA01-S00003.h5", run / "RAW-R0001-DA01-S00009.h5"
    os.utime(last, ns=(0, 10**18))  # changed in place: not seen until it is opened
    facts = look_up_run(str(run), catalog=catalog, trust="directory")
    assert trains(facts) == list(range(1000, 1020))
    assert isinstance(facts.fetcher, ShardFetcher)
    assert [p for p in looked_at if p.endswith(".h5")] == []
    aside = run.parent / "aside.h5"
    last.rename(aside)
    assert trains(look_up_run(str(run), catalog=catalog, trust="directory")) == [*range(1000, 1015)]
    assert opened == []
    shutil.copy(aside, new)
    assert trains(look_up_run(str(run), catalog=catalog, trust="directory")) == [*range(1000, 1020)]
    assert opened == [new.name]  # facts of the others are still taken from the catalog
    assert looked_at
    for name in os.listdir(run):
        os.unlink(run / name)
    with pytest.raises(RunNotFoundError, match=r"has no data file"):
        look_up_run(str(run), catalog=catalog, trust="directory")


def test_a_choice_of_files_judges_no_others(run, catalog, opened):
    chosen = ["RAW-R0001-DA01-S00001.h5"]
    facts = look_up_run(str(run), catalog=catalog, choose=lambda names: chosen)
    assert trains(facts) == list(range(1005, 1010))
    os.utime(run / "RAW-R0001-DA01-S00003.h5", ns=(0, 10**18))
    facts = look_up_run(str(run), catalog=catalog, choose=lambda names: chosen)
    assert isinstance(facts.fetcher, ShardFetcher)
    assert opened == []


def test_an_outline_is_saved_in_the_proposals_scratch(run, opened):
    scratch = run.parent.parent / "scratch"
    scratch.mkdir()
    first = look_up_run(str(run))
    assert isinstance(first.fetcher, RecordFetcher)
    assert len(opened) == 4
    saved()
    assert Store(scratch / ".xfelcat").exists()
    opened.clear()
    second = look_up_run(str(run))
    assert isinstance(second.fetcher, ShardFetcher)
    assert trains(second) == trains(first)
    assert opened == []


def test_without_scratch_it_is_the_users_catalog(run, catalog, monkeypatch):
    monkeypatch.setenv("XFELCAT_CATALOG", str(run.parent / "none-here"))
    look_up_run(str(run))
    saved()
    assert Store(user_catalog()).exists()
    assert not os.path.exists(run.parent / "none-here")
    assert not (run / ".xfelcat").exists()


def test_a_copied_loose_run_takes_its_catalog_along(tmp_path, opened):
    write_run(tmp_path / "here", spec())
    look_up_run(str(tmp_path / "here"))
    saved()
    shutil.copytree(tmp_path / "here", tmp_path / "copy", symlinks=True)
    opened.clear()
    facts = look_up_run(str(tmp_path / "copy"))
    assert opened == []
    assert trains(facts) == list(range(1000, 1020))
    assert facts.files[0].path == str(tmp_path / "copy" / "RAW-R0001-DA01-S00000.h5")


def test_nothing_is_saved_if_not_wanted_or_not_whole(run):
    look_up_run(str(run), save=False)
    look_up_run(str(run), choose=lambda names: names[:1])
    saved()
    assert not Store(user_catalog()).exists()


def test_failing_to_save_is_no_error(run, monkeypatch):
    look_up_run(str(run))

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lookup_module, "Store", refuse)
    monkeypatch.setattr(lookup_module, "_candidates", lambda *_: iter(()))
    assert trains(look_up_run(str(run))) == list(range(1000, 1020))
    saved()


def test_an_outline_never_replaces_full_facts(run, catalog, monkeypatch):
    """The same run, opened through a stale own catalog and a full one: the full one answers."""
    scratch = run.parent.parent / "scratch"
    scratch.mkdir()
    ingest(Store(scratch / ".xfelcat"), [str(run)], IngestOptions(jobs=0))
    os.utime(run / "RAW-R0001-DA01-S00002.h5", ns=(0, 10**18))
    look_up_run(str(run))
    saved()
    store = Store(scratch / ".xfelcat")
    with store.read("p002012") as cursor:
        depths = cursor.execute("SELECT depth FROM file ORDER BY name").fetchall()
    assert depths == [(3,), (3,), (2,), (3,)]
    assert look_up_run(str(run)).files[2].mtime_ns == 10**18


def test_a_catalog_that_is_named_must_exist(run, tmp_path):
    with pytest.raises(CatalogNotFoundError, match="typo"):
        look_up_run(str(run), catalog=tmp_path / "typo")


def test_absent_and_empty_directories(tmp_path):
    with pytest.raises(RunNotFoundError, match="nowhere"):
        look_up_run(str(tmp_path / "nowhere"))
    with pytest.raises(RunNotFoundError, match=r"\*\.h5"):
        look_up_run(str(tmp_path))


def test_a_directory_that_cannot_be_listed_is_a_clear_error(run, tmp_path, monkeypatch):
    with pytest.raises(FileStructureError, match="not a directory; H5File"):
        look_up_run(str(run / "RAW-R0001-DA01-S00000.h5"))
    with pytest.raises(RunNotFoundError, match="r0001") as caught:
        look_up_run(str(run.parent / "r0011"))
    assert caught.value.nearest == (str(run),)

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(lookup_module, "list_run", refuse)
    with pytest.raises(FileStructureError, match="cannot be listed: Permission denied"):
        look_up_run(str(run))


def test_a_damaged_catalog_does_not_keep_a_run_from_opening(run, catalog):
    path = Store(catalog).versions("p002012").current()
    path.chmod(0o644)
    path.write_bytes(b"no database" * 1000)
    with pytest.warns(UserWarning, match=path.name):
        facts = look_up_run(str(run), catalog=catalog, save=False)
    assert isinstance(facts.fetcher, RecordFetcher)
    assert trains(facts) == list(range(1000, 1020))


def test_a_path_that_is_no_text(tmp_path):
    """DuckDB cannot write there, so the outline goes to the user's catalog."""
    directory = tmp_path / os.fsdecode(b"run\xff\xfe")
    write_run(directory, spec())
    look_up_run(str(directory))
    saved()
    assert not (directory / ".xfelcat").exists()
    again = look_up_run(str(directory))
    assert isinstance(again.fetcher, ShardFetcher)
    assert trains(again) == list(range(1000, 1020))
    assert again.files[0].path == str(directory / "RAW-R0001-DA01-S00000.h5")


def test_never_stat_does_not_hide_files_that_are_asked_for(run, catalog):
    name = "RAW-R0001-DA01-S00003.h5"
    shutil.copy(run / name, run / "copy.h5")
    facts = look_up_run(
        str(run), catalog=catalog, trust="never-stat", choose=lambda names: ["copy.h5"]
    )
    assert trains(facts) == list(range(1015, 1020))


def test_a_part_of_a_run_in_another_place_is_not_saved_over_it(run, tmp_path):
    look_up_run(str(run))
    saved()
    version = Store(user_catalog()).shards()
    other = tmp_path / "elsewhere" / RUN
    write_run(other, spec(range(50, 60), run=3))
    assert trains(look_up_run(str(other))) == list(range(50, 60))
    saved()
    assert Store(user_catalog()).shards() == version
    assert isinstance(look_up_run(str(run)).fetcher, ShardFetcher)


def test_a_bad_file_is_a_problem_of_the_run(tmp_path):
    write_run(tmp_path / RUN, spec())
    (tmp_path / RUN / "RAW-R0001-DA09-S00000.h5").write_text("no HDF5")
    facts = look_up_run(str(tmp_path / RUN), save=False)
    assert trains(facts) == list(range(1000, 1020))
    assert [os.path.basename(p.path) for p in facts.problems] == ["RAW-R0001-DA09-S00000.h5"]


def test_a_run_known_by_a_data_map_has_its_auxiliary_sources(tmp_path):
    """A JSON map lists none; they come from the file, at the first opening and at later ones."""
    late = auxiliary("ERRATA", "SPB/DAQ/LATE", GroupSpec("late", (KeySpec("trainId", "u8"),)))
    files = split(range(1000, 1020), {"DA01": [XGM, late]}, sequences=2)
    write_run(tmp_path / "run", RunSpec(2012, 1, files))
    extra_data.RunDirectory(tmp_path / "run", _use_voview=False)
    assert (tmp_path / "run/karabo_data_map.json").exists()
    for kind in (RecordFetcher, ShardFetcher):
        facts = look_up_run(str(tmp_path / "run"))
        saved()
        assert isinstance(facts.fetcher, kind)
        assert [s.name for s in facts.layout(0).sources] == [XGM.name]
        assert {s.name for s in facts.full_layout(0).sources} == {XGM.name, late.name}
        assert [k.name for k in facts.schema(0, "ERRATA", late.name).keys] == ["late.trainId"]
        assert facts.patterns([0], "ERRATA", late.name, "late")[0].n_rows == 10
