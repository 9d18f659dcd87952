"""Copies of catalogs: whole, continued, of several into one, and what they do not overwrite."""

import pytest
from support.catalog_state import state
from support.run_records import later, make_run, write
from typer.testing import CliRunner
from xfelcat import Catalog
from xfelcat.catalog.model.errors import CatalogNotFoundError, CatalogWriteError
from xfelcat.catalog.store.care import check
from xfelcat.catalog.store.copying import copy_catalogs
from xfelcat.catalog.store.store import Store
from xfelcat.cli.app import app

SMALL = {"n_aggregators": 1, "n_modules": 0, "n_sequences": 1, "n_control": 1, "n_keys": 1}


@pytest.fixture
def target(tmp_path):
    return Store(tmp_path / "copy")


def test_a_copy_says_what_the_catalog_says_and_is_continued(two_proposals, target):
    Catalog(two_proposals.location).audit()
    done = copy_catalogs([two_proposals], target)
    assert done.copied == ["p002012", "p002013", "audits"]
    assert done.bytes > 100_000
    assert state(target) == state(two_proposals)
    assert check(target) == []
    again = copy_catalogs([two_proposals], target)
    assert (again.copied, again.unchanged, again.bytes) == ([], 3, 0)
    write(two_proposals, make_run(2, 2013, **SMALL))
    two_proposals.publish_merged()
    assert copy_catalogs([two_proposals], target).copied == ["p002013"]
    assert state(target) == state(two_proposals)


def test_one_that_was_stopped_is_continued(two_proposals, target):
    copy_catalogs([two_proposals], target)
    (target.versions("p002012").directory / "copied").unlink()  # before it was noted
    assert copy_catalogs([two_proposals], target).copied == ["p002012"]
    assert copy_catalogs([two_proposals], target).copied == []


def test_several_become_one(two_proposals, target, tmp_path):
    other = Store(tmp_path / "other")
    write(other, make_run(1, 2014, **SMALL))
    copy_catalogs([two_proposals, other], target)
    runs = Catalog(target.location).runs()
    assert runs["proposal"].tolist() == [2012, 2013, 2014]
    assert check(target) == []
    with pytest.raises(CatalogWriteError, match="both have p002012"):
        copy_catalogs([two_proposals, target], Store(tmp_path / "third"))


def test_nothing_of_others_is_overwritten(two_proposals, target):
    write(target, make_run(7, 2012, **SMALL))
    with pytest.raises(CatalogWriteError, match=r"has p002012 already, not as a copy.*--replace"):
        copy_catalogs([two_proposals], target)
    assert Catalog(target.location).runs()["run"].tolist() == [7]
    copy_catalogs([two_proposals], target, replace=True)
    assert state(target) == state(two_proposals)
    write(target, make_run(1, 2012, moment=later(1), **SMALL))  # written to since
    with pytest.raises(CatalogWriteError, match="not as a copy of this"):
        copy_catalogs([two_proposals], target)
    with pytest.raises(CatalogWriteError, match="to itself"):
        copy_catalogs([two_proposals], two_proposals)


def test_the_command(two_proposals, target, tmp_path):
    def run(*words):
        return CliRunner().invoke(app, [str(w) for w in words])

    words = ("db", "copy", two_proposals.location, target.location)
    done = run(*words)
    assert done.exit_code == 0
    assert done.stderr.startswith("2 databases copied (")
    assert "0 databases copied (0 B), 2 as they were" in run(*words).stderr
    assert run("db", "copy", target.location).exit_code == 2
    absent = run("db", "copy", tmp_path / "no", target.location)
    assert absent.exit_code == 1
    with pytest.raises(CatalogNotFoundError):
        copy_catalogs([Store(tmp_path / "no")], target)
