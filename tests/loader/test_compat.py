"""Programs written for EXtra-data: what they ask of objects, and ``xfelcat.compat`` around them."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import extra_data
import h5py
import numpy as np
import pytest
import xfelcat
from support import rich_run
from support.both_readers import open_oracle
from support.count_opens import forbid_opening
from support.rich_run import CAMERA, DIGITIZER, MODULE, SETTINGS, XGM
from xfelcat import DataCollection, H5File, RunDirectory, by_id, by_index, open_run
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.errors import ChangedFileError, FileStructureError, RunNotFoundError
from xfelcat.catalog.store.store import Store
from xfelcat.loader.compat import functions
from xfelcat.loader.compat.file_access import FileAccess
from xfelcat.loader.compat.install import MODULES
from xfelcat.loader.output.stacking import StackView


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return rich_run.write_rich_run(tmp_path_factory.mktemp("rich"))


@pytest.fixture
def run(directory):
    return RunDirectory(directory, save=False)


# -- beside EXtra-data -----------------------------------------------------------------------------


def test_spellings_of_extra_data_are_taken_wherever_ours_are(run):
    ids = run.train_ids
    theirs, at = extra_data.by_id, extra_data.by_index
    for selected in (ids[3], slice(ids[2], ids[9]), [ids[1], ids[4]]):
        assert run[theirs[selected]].train_ids == run[by_id[selected]].train_ids
        assert run[XGM, "state"][theirs[selected]] == run[XGM, "state"][by_id[selected]]
    assert run.select_trains(at[-2]).train_ids == ids[-2:-1]
    assert run[XGM].select_trains(at[np.array(5, np.int8)]).train_ids == [ids[5]]
    pixels = run[CAMERA, "data.image.pixels"]
    for theirs, ours in ((at[1:3], np.s_[1:3]), ((at[1], at[:2]), np.s_[1, :2])):
        np.testing.assert_array_equal(pixels.ndarray(roi=theirs), pixels.ndarray(roi=ours))
    for other in ("no selection", type("by_id", (), {"value": 3})()):
        with pytest.raises(TypeError):
            run.select_trains(other)


def test_the_same_data_are_equal_and_one_in_a_set(run, directory):
    again = RunDirectory(directory, save=False)
    for of in (lambda r: r[XGM], lambda r: r[XGM, "state"], lambda r: r[XGM].select_keys("state")):
        assert (
            of(run)
            == of(run)
            == of(again)
            == of(copy.copy(run))
            == pickle.loads(pickle.dumps(of(run)))
        )
        assert len({of(run), of(again), of(run)}) == 1
        assert of(run) != of(run[:3])
        assert of(run[:3]) == of(again[[0, 1, 2]])
    keys = [run[XGM, k] for k in ("state", "beamPosition.ixPos")]
    every = [run[XGM], run[CAMERA], run[XGM].select_keys("state"), run[XGM][1:], *keys]
    assert len(set(every)) == len(every)
    assert run[XGM] != XGM
    only_good = RunDirectory(directory, save=False, inc_suspect_trains=False)
    assert run[XGM, "state"] != only_good[XGM, "state"]


def test_isinstance_and_except_of_extra_data_take_ours(run):
    """The more that EXtra's components and EXtra-data's functions need: ``make test-clients``."""
    key = run[XGM, "beamPosition.ixPos"]
    pairs = [(run, "DataCollection"), (run[XGM], "SourceData"), (key, "KeyData")]
    pairs += [(by_id[[3, 4]], "by_id"), (by_index[2:], "by_index")]
    for ours, name in pairs:
        made_again = [copy.copy(ours), pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)]
        for each in (ours, *made_again):
            assert isinstance(each, getattr(extra_data, name))
            assert isinstance(each, getattr(xfelcat, name))
            assert type(each) is getattr(xfelcat, name)
            assert not isinstance(each, extra_data.FileAccess)
        assert repr(made_again[1]) == repr(ours)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(key)).ndarray(), key.ndarray())
    absent = [
        (extra_data.SourceNameError, lambda: run["A/B/C"]),
        (extra_data.PropertyNameError, lambda: run[XGM, "absent"]),
        (extra_data.exceptions.TrainIDError, lambda: run.train_from_id(1)),
        (extra_data.AliasError, lambda: run.alias["absent"]),
    ]
    for theirs, ask in absent:
        ours = getattr(xfelcat, theirs.__name__)
        with pytest.raises(theirs) as caught:
            ask()
        again = pickle.loads(pickle.dumps(caught.value))
        for error in (caught.value, again):
            assert isinstance(error, ours)
            assert isinstance(error, theirs)
        assert str(again) == str(caught.value)
        assert vars(again) == vars(caught.value)
    assert not issubclass(xfelcat.SourceNameError, extra_data.SourceNameError)


def test_a_source_is_the_same_object_and_takes_attributes(run):
    assert run[XGM] is run[XGM]
    key = run[XGM, "beamPosition.ixPos"]
    run.note = run[XGM].note = key.note = "mine"
    assert (run.note, run[XGM].note, key.note) == ("mine", "mine", "mine")
    run.is_single_run = False
    assert not run.is_single_run
    key.ndarray = lambda: np.full(4, 2.5)
    assert key.as_single_value() == 2.5
    del key.ndarray
    assert len(key.ndarray()) == key.shape[0]
    with pytest.raises(TypeError, match="no numbers"):
        run[XGM, "state"].as_single_value(reduce_by="mean")
    assert not hasattr(pickle.loads(pickle.dumps(key)), "note")


def test_small_things_that_programs_ask(run, capsys):
    assert run[XGM, "beamPosition.ixPos"].run_value(False) == run.get_run_value(
        XGM, "beamPosition.ixPos"
    )
    assert run[SETTINGS].one_key() is None
    run.auxiliary.info(details_for_sources="*", with_aggregators=True)
    assert "reduction source" in capsys.readouterr().out
    nothing = run.select_trains(np.s_[:0])
    for data in (nothing, nothing[XGM], nothing[XGM, "state"]):
        assert len(data.files) == 1
        assert data.files[0] in run.files
    view = StackView({0: np.zeros((1, 4))}, 1, (1, 4), np.dtype("f8"), 0, stack_axis=0)
    assert view.shape == (1, 1, 4)
    assert view.squeeze().shape == (4,)
    assert view.squeeze(axis=-2).shape == (1, 4)
    with pytest.raises(np.exceptions.AxisError):
        view.squeeze(axis=4)


def test_pasha_maps_over_trains(run):
    """The protocol of its functors; ``make test-clients`` has pasha itself."""
    for data, expected in (
        (run.select(XGM, "state"), list(run.select(XGM, "state").trains())),
        (
            run[CAMERA, "data.exposure"],
            list(run[CAMERA, "data.exposure"].trains(include_empty=True)),
        ),
    ):
        functor = data._pasha_functor_()
        shares = functor.split(4)
        assert [s.stop for s in shares[:-1]] == [s.start for s in shares[1:]]
        found = [each for share in shares for each in functor.iterate(share)]
        assert [at for at, _, _ in found] == list(range(len(data.train_ids)))
        assert [train_id for _, train_id, _ in found] == data.train_ids
        assert repr([values for _, _, values in found]) == repr([values for _, values in expected])


# -- files -----------------------------------------------------------------------------------------


def test_files_say_what_extra_datas_say(run):
    for ours in run.files:
        theirs = open_oracle(ours.path).files[0]
        for name in ("filename", "format_version", "aggregator", "sequence", "run", "proposal"):
            assert getattr(ours, name) == getattr(theirs, name), name
        for name in ("instrument", "cycle", "storage_class", "data_category", "legacy_sources"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.control_sources == theirs.control_sources
        assert ours.instrument_sources == theirs.instrument_sources
        assert ours.all_sources == theirs.all_sources
        assert ours.metadata()["runNumber"] == theirs.metadata()["runNumber"]
        for name in ("train_ids", "valid_train_ids", "validity_flag"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        for source in ours.all_sources:
            assert ours.index_groups(source) == theirs.index_groups(source)
            assert ours.get_keys(source) == theirs.get_keys(source)
            for group in ours.index_groups(source):
                first, count = ours.get_index(source, group)
                their_first, their_count = theirs.get_index(source, group)
                np.testing.assert_array_equal(count, their_count)
                np.testing.assert_array_equal(first[count > 0], their_first[count > 0])
        with pytest.raises(xfelcat.SourceNameError):
            ours.get_keys("NO/SUCH/SOURCE")


def test_a_file_of_the_facility_knows_its_place_and_opens_nothing(demo, monkeypatch):
    forbid_opening(monkeypatch)
    path = demo.root / "SPB/202405/p900032/proc/r0001"
    run = RunDirectory(path, catalog=demo.location)
    file = run.files[0]
    assert (file.instrument, file.cycle, file.proposal) == ("SPB", "202405", 900032)
    assert (file.storage_class, file.run) == ("proc", 1)
    for file in run.files:
        assert file.valid_train_ids.size <= file.train_ids.size == len(run.train_ids)
        assert file.format_version == "1.3"
        for source in file.instrument_sources - file.legacy_sources.keys():
            for group in file.index_groups(source):
                assert file.get_index(source, group)[1].sum() == (
                    run[source].data_counts(index_group=group).sum()
                )
            assert file.get_keys(source) == run[source].keys()
    with pytest.raises(AssertionError, match="was opened"):
        _ = file.file


def test_a_file_is_opened_when_it_is_asked_for(run, tmp_path):
    file = run.files[0]
    again = FileAccess(file.path)
    assert again == file == pickle.loads(pickle.dumps(file))
    assert len({again, file}) == 1
    assert isinstance(file.file, h5py.File)
    np.testing.assert_array_equal(file.file["INDEX/trainId"][: len(file.train_ids)], file.train_ids)
    kept = file.file
    assert file.file is kept
    file.close()
    assert kept.id.valid  # what the program still has stays usable
    assert file.file is not kept
    with pytest.raises(RunNotFoundError):
        FileAccess(tmp_path / "absent.h5")


def test_a_file_that_was_closed_may_be_written_to(tmp_path):
    directory = rich_run.write_rich_run(tmp_path)
    run = RunDirectory(directory, save=False)
    x = run[XGM, "beamPosition.ixPos"]
    before = x.ndarray()
    another = RunDirectory(directory, save=False)
    assert len(another[XGM, "state"].ndarray())  # opened by another run too
    for file in run.files:
        file.close()
        with h5py.File(file.filename, "a") as f:
            f["INDEX/timestamp"][:] += np.uint64(10**9)
            if XGM in file.control_sources:
                f[f"CONTROL/{XGM}/beamPosition/ixPos/value"][:] *= 2
    times = RunDirectory(directory, save=False).train_timestamps()
    np.testing.assert_array_equal(run.train_timestamps(), times)
    np.testing.assert_array_equal(x.ndarray(), before * 2)
    file = run[XGM].files[0]
    run.close()
    with h5py.File(file.filename, "a") as f:  # without closing it by us
        f["INDEX/timestamp"][:] = 0
    with pytest.raises(ChangedFileError):
        x.ndarray()
    file.close()
    with h5py.File(file.filename, "a") as f:
        f["INDEX/trainId"][0] -= 1
    with pytest.raises(ChangedFileError, match="trains"):
        x.ndarray()


def test_a_run_that_was_copied_with_its_outlines_opens(tmp_path):
    directory = rich_run.write_rich_run(tmp_path)
    ingest(Store(directory / ".xfelcat"), [str(directory)], IngestOptions(jobs=1))
    shutil.copytree(directory, tmp_path / "copy")  # links become files
    assert not any(p.is_symlink() for p in (tmp_path / "copy").rglob("*"))
    copied = RunDirectory(tmp_path / "copy", save=False)
    assert copied.train_ids == RunDirectory(directory, save=False).train_ids


def test_a_program_that_ends_at_once_says_nothing(directory, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(directory, place)
    code = f"from xfelcat import RunDirectory; RunDirectory({str(place)!r}, parallelize=False)"
    done = run_python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / ".xfelcat").is_dir()  # its outline was saved all the same


def test_some_files_as_one_collection(run, directory, tmp_path):
    paths = [f.path for f in run.files]
    every = DataCollection.from_paths(paths)
    assert every.train_ids == run.train_ids
    assert every.all_sources == run.all_sources
    assert every[CAMERA, "data.exposure"] == run[CAMERA, "data.exposure"]
    elsewhere = tmp_path / Path(paths[-1]).name
    os.link(paths[-1], elsewhere)
    apart = DataCollection.from_paths([*paths[:-1], elsewhere])
    assert apart.train_ids == run.train_ids
    np.testing.assert_array_equal(
        apart[DIGITIZER, run[DIGITIZER].one_key()].ndarray(),
        run[DIGITIZER, run[DIGITIZER].one_key()].ndarray(),
    )
    assert DataCollection.from_path(paths[0]).all_sources == H5File(paths[0]).all_sources
    (tmp_path / "empty.h5").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"left out: .*empty\.h5"):
        assert DataCollection.from_paths([tmp_path / "empty.h5", paths[0]]).train_ids
    with pytest.raises(FileStructureError):
        DataCollection.from_paths([tmp_path / "empty.h5"])
    with pytest.raises(RunNotFoundError, match="absent"):
        DataCollection.from_paths([paths[0], Path(directory, "absent.h5")])
    with pytest.raises(ValueError, match="no paths"):
        DataCollection.from_paths([])


# -- opening ---------------------------------------------------------------------------------------


@pytest.fixture
def tree(demo, tmp_path, monkeypatch):
    """A facility with a run that is raw and proc, one that is raw, and no catalog."""
    proposal = tmp_path / "SPB/202405/p900032"
    for run in ("raw/r0001", "proc/r0001", "raw/r0003"):
        (proposal / run).parent.mkdir(parents=True, exist_ok=True)
        (proposal / run).mkdir()
        for path in (demo.root / "SPB/202405/p900032" / run).glob("*.h5"):
            os.link(path, proposal / run / path.name)
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(tmp_path))
    monkeypatch.delenv("XFELCAT_DEFAULT_DATA")
    return proposal


def folders(run):
    return {Path(f.path).parts[-3] for f in run.files}


def test_open_run_says_that_raw_is_not_all(tree, monkeypatch):
    def open_often():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("default")
            for _ in range(3):
                found = folders(open_run(900032, 1, save=False))
        return found, [str(w.message) for w in told]

    found, told = open_often()
    assert found == {"raw"}
    assert len(told) == 1
    assert "data='default'" in told[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folders(open_run(900032, 3, save=False)) == {"raw"}  # nothing processed
        assert folders(open_run(900032, 1, "raw", save=False)) == {"raw"}
        both = open_run(900032, 1, "default", save=False)
        assert folders(both) == {"raw", "proc"}
        for value, expected in (("raw", {"raw"}), ("default", {"raw", "proc"}), ("proc", {"proc"})):
            monkeypatch.setenv("XFELCAT_DEFAULT_DATA", value)
            assert folders(open_run(900032, 1, save=False)) == expected
        by_numpy = open_run(np.int64(900032), np.uint16(1), "default", save=False)
    assert by_numpy.all_sources == both.all_sources


def test_a_folder_without_files_counts_as_absent(tree):
    (tree / "proc/r0003").mkdir()
    assert folders(open_run(900032, 3, "default", save=False)) == {"raw"}
    for data in ("all", ["raw", "proc"]):
        with pytest.warns(UserWarning, match="without proc data"):
            assert folders(open_run(900032, 3, data, save=False)) == {"raw"}
    with pytest.raises(RunNotFoundError):
        open_run(900032, 3, "proc", save=False)


def test_aliases_of_the_instrument_and_where_they_come_from(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("EXTRA_DATA_SW_ROOT", str(tmp_path / "sw"))
    template = tmp_path / "sw/SPB/extra-data-aliases-default.yml"
    template.parent.mkdir(parents=True)
    template.write_text(f"xgm: {XGM}\n")
    run = open_run(900032, 1, "raw", save=False)
    assert run.alias["xgm"] is run[XGM]
    assert run.alias.file_paths() == [str(template)]
    assert run.alias.jhub_links() == {}
    own = tree / "usr/extra-data-aliases.yml"
    own.parent.mkdir()
    own.write_text(f"mine: {XGM}\n")
    run = open_run(900032, 1, "raw", save=False)
    assert list(run.alias) == ["mine"]
    assert f"Alias file: {own}" in repr(run.alias)
    more = tmp_path / "more.json"
    more.write_text("{}")
    joined = run.with_aliases({"x": XGM}, more, more).union(run)
    assert joined.alias.file_paths() == [str(own), more]
    assert "Alias files:\n" in repr(joined.alias)
    assert run.drop_aliases().alias.file_paths() == []
    run._alias_files[:] = ["/gpfs/exfel/a.yml"]
    assert run.alias.jhub_links()["/gpfs/exfel/a.yml"].endswith("/tree/GPFS/exfel/a.yml")


# -- xfelcat.compat --------------------------------------------------------------------------------


def test_functions_by_the_signatures_of_extra_data(run):
    import extra_data.read_machinery as theirs
    from extra_data.keydata import expand_indexing
    from extra_data.utils import default_num_threads

    for args in ((10, 3), (10, None, 4), (10, 2, 3), (3, 7)):
        assert functions.split_trains(*args) == theirs.split_trains(*args)
    for roi in ((), np.s_[2], np.s_[1:3, ::2], np.s_[..., [0, 2]]):
        as_tuple = roi if isinstance(roi, tuple) else (roi,)
        assert functions.roi_shape((5, 6), as_tuple) == theirs.roi_shape((5, 6), as_tuple)
        for ours, other in zip(
            functions.expand_indexing((5, 6), as_tuple),
            expand_indexing((5, 6), as_tuple),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, other)
    ids = run.train_ids
    for selected in (np.s_[2:5], 3, by_id[ids[4]], by_index[[1, 2]]):
        assert functions.select_train_ids(ids, selected) == run[selected].train_ids
    assert functions.same_run(run, run[:3], run[XGM])
    assert functions.default_num_threads(1) == default_num_threads(1) == 1
    assert functions.default_num_threads() == default_num_threads()
    assert functions.isinstance_no_import(run, "xfelcat", "DataCollection")
    assert not functions.isinstance_no_import(run, "no_such_module", "Class")
    file = run[MODULE].files[0]
    chunk = functions.DataChunk(file, f"INSTRUMENT/{MODULE}/image/pulseId", 2, ids[:2], [3, 1])
    assert (chunk.slice, chunk.total_count) == (slice(2, 6), 4)
    assert chunk.dataset.name.endswith("pulseId")


def test_writers_write(run, tmp_path):
    for kind in (functions.FileWriter, functions.VirtualFileWriter):
        target = tmp_path / f"{kind.__name__}.h5"
        with kind(target, run.select(XGM)) as writer:
            writer.write()
        written = H5File(target)[XGM, "beamPosition.iyPos"].ndarray()
        np.testing.assert_array_equal(written, run[XGM, "beamPosition.iyPos"].ndarray())


SCRIPT = """
import importlib, subprocess, sys
import extra_data
from extra_data import *
from extra_data.components import *
import xfelcat, xfelcat.loader.compat.install as compat

assert sys.argv[1:] == ["-x", "1"], sys.argv
assert extra_data.__version__ == "1.25.0"
assert extra_data.keydata.KeyData is KeyData is xfelcat.KeyData
assert SourceNameError is xfelcat.SourceNameError
assert RunHandler is RunDirectory is xfelcat.RunDirectory
for submodule, names in compat.MODULES.items():
    module = importlib.import_module(f"extra_data.{submodule}".rstrip("."))
    assert set(names) <= set(dir(module)), module
    for name in names:
        found = getattr(module, name)
        assert isinstance(found, str) or found.__module__.startswith("xfelcat."), name
for statement in ("import extra_data.validation", "from extra_data.reader import no_such_name"):
    try:
        exec(statement)
    except ImportError:
        continue
    raise AssertionError(statement)
try:
    extra_data.no_such_name
except AttributeError as error:
    assert "docs/compat.md" in str(error)
child = "import extra_data, xfelcat; print(extra_data.KeyData is xfelcat.KeyData, extra_data)"
subprocess.run([sys.executable, "-c", child], check=True)
"""


def run_python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("how", ["script", "module"])
def test_a_program_imports_xfelcat_by_the_name_of_extra_data(how, tmp_path):
    (tmp_path / "program.py").write_text(SCRIPT)
    named = [str(tmp_path / "program.py")] if how == "script" else ["-m", "program"]
    done = run_python("-m", "xfelcat.compat", *named, "-x", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True <module 'extra_data' (xfelcat)>"


def test_usage_of_the_command():
    done = run_python("-m", "xfelcat.compat", "--help")
    assert (done.returncode, "usage:" in done.stdout) == (0, True)
    for wrong in ((), ("-m",)):
        done = run_python("-m", "xfelcat.compat", *wrong)
        assert (done.returncode, "usage:" in done.stderr) == (2, True)


def test_installing_is_asked_for_and_comes_first(monkeypatch):
    monkeypatch.delenv("XFELCAT_DEFAULT_DATA", raising=False)
    code = """
import sys
import xfelcat.compat
assert not [name for name in sys.modules if name.partition(".")[0] == "extra_data"]
xfelcat.compat.install()
xfelcat.compat.install()
import extra_data, os
assert extra_data.open_run.__module__.startswith("xfelcat.")
assert os.environ["XFELCAT_DEFAULT_DATA"] == "default"
assert "h5py" not in sys.modules
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    late = "import extra_data, xfelcat.compat; xfelcat.compat.install()"
    done = run_python("-c", late)
    assert done.returncode == 1
    assert "already imported" in done.stderr


def test_components_are_those_of_xfelcat():
    code = """
import sys, types
import xfelcat.compat
fake = types.ModuleType("xfelcat.components")
fake.AGIPD1M, fake.__all__ = object(), ["AGIPD1M"]
sys.modules["xfelcat.components"] = fake
xfelcat.compat.install()
from extra_data.components import *
assert AGIPD1M is fake.AGIPD1M
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_every_name_is_documented():
    page = (Path(__file__).parents[2] / "docs/compat.md").read_text()
    for submodule, names in MODULES.items():
        assert f".{submodule}`" in page or not submodule
        if submodule not in ("reader", "exceptions"):
            assert [n for n in names if f"`{n}`" not in page and f".{n}`" not in page] == []
