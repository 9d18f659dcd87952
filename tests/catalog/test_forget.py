"""Forgetting takes out the runs that are meant, and nothing else."""

import os
import shutil

import pytest
from support.questions import find, runs
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.errors import CatalogNotFoundError, RunNotFoundError
from xfelcat.catalog.model.identity import shard_of
from xfelcat.catalog.questions.find import find_known, forget
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.store import Store


@pytest.fixture
def store(demo, tmp_path):
    return demo.copy_catalog(tmp_path / "catalog")


def names(store):
    return [r.name for r in find_known(store, ["/"])]


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("p900010/raw/r0001", lambda r: r.path.parts[-3:] == ("p900010", "raw", "r0001")),
        *(
            pytest.param(target, meant, marks=pytest.mark.slow)
            for target, meant in (
                ("p900010/raw", lambda r: r.path.parts[-3:-1] == ("p900010", "raw")),
                ("p900010", lambda r: r.path.parts[-3] == "p900010"),
                ("{root}/FXE", lambda r: "FXE" in r.path.parts),
            )
        ),
        ("{root}/SPB/202405/p900032/red/r0004", lambda r: r.data_class == "red"),
        ("{root}", lambda r: True),
    ],
)
def test_a_target_means_these_runs(demo, store, target, meant):
    kept = names(store)
    known = find_known(store, [target.format(root=demo.root)])
    expected = {str(r.path) for r in demo.summary.runs if meant(r)}
    assert {r.path for r in known} == expected
    assert forget(store, known) == len(expected)
    gone = {r.name for r in known}
    left = [n for n in kept if n not in gone]
    assert (names(store) if left else []) == left
    frame = runs(store).to_frame()
    assert set(frame["path"]) == {str(r.path) for r in demo.summary.runs} - expected
    assert not set(find(store).to_frame()["path"]) & expected
    assert check(store) == []


def test_data_files_stay(demo, store):
    before = sorted(p.name for p in demo.root.rglob("*.h5"))
    forget(store, find_known(store, ["p900010"]))
    assert sorted(p.name for p in demo.root.rglob("*.h5")) == before


def test_several_targets_at_once_count_each_run_once(store):
    known = find_known(store, ["p900010/raw/r0001", "p900010/raw", "p900021/proc"])
    assert len(known) == len({r.run_id for r in known})
    assert {shard_of(r.run_id) for r in known} == {"p900010", "p900021"}


def test_forgetting_again_finds_nothing(store):
    known = find_known(store, ["p900010/raw/r0001"])
    assert forget(store, known) == 1
    assert forget(store, known) == 0
    with pytest.raises(RunNotFoundError, match="p900010/raw/r0001"):
        find_known(store, ["p900010/raw/r0001"])


def test_an_unknown_target_names_the_nearest_and_deletes_nothing(demo, store):
    with pytest.raises(RunNotFoundError) as caught:
        find_known(store, ["p900010/raw/r0001", "p900010/raw/r0009"])
    assert any(n.startswith("p900010/raw/") for n in caught.value.nearest)
    assert len(names(store)) == len(demo.summary.runs)


def test_a_loose_run_is_forgotten_by_its_path_also_when_it_is_gone(demo, tmp_path):
    loose = tmp_path / "copy"
    shutil.copytree(demo.summary.run(900010, 4).path, loose)
    store = Store(tmp_path / "own")
    ingest(store, [str(loose)], IngestOptions(jobs=0))
    shutil.rmtree(loose)
    (known,) = find_known(store, [loose])
    assert known.name == known.path == str(loose)
    assert forget(store, [known]) == 1
    assert runs(store).table.num_rows == 0


def test_a_link_means_what_it_leads_to(demo, store, tmp_path):
    link = tmp_path / "link"
    os.symlink(demo.root / "SPB" / "201830" / "p900010" / "proc", link)
    assert {r.name for r in find_known(store, [link])} == {
        "p900010/proc/r0001",
        "p900010/proc/r0002",
    }


def test_no_catalog_is_a_clear_error(tmp_path):
    with pytest.raises(CatalogNotFoundError):
        find_known(Store(tmp_path / "none"), ["p000001"])
