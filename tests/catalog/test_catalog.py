"""The public class finds its place and delegates."""

import doctest
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from support.demo_facility import no_settings
from xfelcat import Catalog
from xfelcat.catalog import catalog as module
from xfelcat.catalog.model.errors import CatalogNotFoundError, QueryError, RunNotFoundError
from xfelcat.loader.jobs import catalog as facade

__all__ = ["no_settings"]


def test_location(no_settings, tmp_path, monkeypatch):
    assert Catalog().location == str(no_settings.data / "xfelcat" / "catalog")
    config = no_settings.config / "xfelcat" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'catalog = "{tmp_path / "configured"}"\n')
    assert Catalog().location == str(tmp_path / "configured")
    monkeypatch.setenv("XFELCAT_CATALOG", str(tmp_path / "environment"))
    assert Catalog().location == str(tmp_path / "environment")
    assert Catalog(tmp_path / "named").location == str(tmp_path / "named")
    assert not Catalog(tmp_path / "named").exists()
    assert list(tmp_path.iterdir()) == []
    assert repr(Catalog("/x/y")) == "<Catalog /x/y: nothing ingested yet>"


def test_the_whole_way(demo, tmp_path):
    facility = tmp_path / "facility"
    shutil.copytree(demo.root / "SPB" / "201830", facility / "SPB" / "201830")
    catalog = Catalog(tmp_path / "catalog")
    report = catalog.ingest(facility, jobs=0)
    expected = [r for r in demo.summary.runs if r.spec.proposal == 900010]
    assert (report.runs_written, report.problems) == (len(expected), [])
    again = catalog.ingest([facility / "SPB"], jobs=0)
    assert (again.runs_unchanged, again.files_scanned) == (len(expected), 0)

    shutil.rmtree(facility)  # from here on, the catalog alone
    frame = catalog.runs(data_class="raw")
    assert frame["run"].tolist() == [r.spec.run for r in expected if r.data_class == "raw"]
    found = catalog.find("*XGM/DOOCS", "beamPosition.*", run="1-2", limit=3)
    assert isinstance(found, pd.DataFrame)
    assert len(found) == 3
    assert found.attrs["location"] == catalog.location
    assert catalog.sql("SELECT ? + 1 AS x", [41])["x"].tolist() == [42]
    assert catalog.forget("p900010/proc") == 2
    catalog.compact()
    assert catalog.runs()["data_class"].unique().tolist() == ["raw"]


def test_answers_survive_pandas_own_writers(demo, tmp_path):
    frame = Catalog(demo.location).find("*XGM*", "beamPosition.*")
    target = tmp_path / "x.parquet"
    frame.to_parquet(target)
    assert pd.read_parquet(target)["run_id"].tolist() == frame["run_id"].tolist()


def test_errors(demo, tmp_path):
    catalog = Catalog(tmp_path / "none")
    with pytest.raises(CatalogNotFoundError):
        catalog.runs()
    with pytest.raises(RunNotFoundError):
        catalog.ingest(tmp_path / "nowhere")
    assert not (tmp_path / "none").exists()
    with pytest.raises(QueryError, match="is no proposal"):
        Catalog(demo.location).find("*", proposal="x")
    with pytest.raises(QueryError, match="no filter 'colour'"):
        Catalog(demo.location).runs(colour="red")


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys, xfelcat; xfelcat.Catalog('/nowhere').location;"
        "heavy = {'pandas', 'pyarrow', 'sqlalchemy', 'duckdb', 'h5py'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_examples_in_the_docstrings(demo, tmp_path, monkeypatch):
    (tmp_path / "demo").mkdir()
    os.symlink(demo.root, tmp_path / "demo" / "facility")
    demo.copy_catalog(tmp_path / "demo" / "catalog")
    monkeypatch.chdir(tmp_path)
    for tested, n_least in ((module, 30), (facade, 4)):
        outcome = doctest.testmod(tested, extraglobs={"Catalog": Catalog})
        assert outcome.failed == 0
        assert outcome.attempted > n_least
