"""Views as Parquet: the same rows as in the catalog, complete or not there at all."""

import json
import os

import duckdb
import pyarrow.parquet as pq
import pytest
from xfelcat import Catalog
from xfelcat.catalog.model.errors import CatalogNotFoundError, QueryError, TargetWriteError
from xfelcat.catalog.questions import export
from xfelcat.catalog.questions.sql import describe_views

NAMES = [view.name for view in describe_views()]


@pytest.fixture
def catalog(demo):
    return Catalog(demo.location)


def sorted_rows(table):
    return sorted(map(repr, table.to_pylist()))


def in_sql(catalog, statement, *values):
    from xfelcat.catalog.questions.sql import run_sql

    return run_sql(catalog._store, statement, values).table


def test_all_views_row_by_row(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_RUNS_AT_FIRST", 4)
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", 300)
    told = []
    written = catalog.export(tmp_path / "new/folder", progress=lambda *of: told.append(of))
    assert [file.view for file in written] == NAMES
    for file in written:
        table = pq.read_table(file.path)
        expected = in_sql(catalog, f"FROM {file.view}")
        assert sorted_rows(table) == sorted_rows(expected)
        assert table.schema.types == expected.schema.types
        assert (file.rows, file.size) == (len(table), file.path.stat().st_size)
        if "run_id" in table.column_names and file.view != "findings":
            assert table["run_id"].to_pylist() == sorted(expected["run_id"].to_pylist())
    n = len(catalog.runs())
    steps = [done for view, done, total in told if view == "run_keys"]
    assert len(steps) > 3  # some runs at a time
    assert (steps, steps[-1]) == (sorted(set(steps)), n)
    basis = json.loads(pq.read_schema(written[0].path).metadata[b"xfelcat"])
    assert (basis["view"], basis["runs_searched"]) == ("runs", n)
    assert basis["location"] == catalog.location


def test_only_the_runs_that_were_chosen(catalog, tmp_path):
    written = catalog.export(tmp_path, proposal=900010, run="1-2", data_class="raw")
    assert [file.view for file in written] == [
        name for name in NAMES if name not in ("sources", "keys", "audits")
    ]
    for file in written:
        expected = in_sql(
            catalog,
            f"FROM {file.view} WHERE proposal = ? AND run <= 2 AND data_class = 'raw'",
            900010,
        )
        assert sorted_rows(pq.read_table(file.path)) == sorted_rows(expected)
    assert {file.view: file.rows for file in written}["runs"] == 2


def test_runs_are_chosen_as_in_any_question(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_RUNS_AT_FIRST", 2)
    choice = {"has": "*XGM/DOOCS beamPosition.*", "has_not": "*AGIPD*", "min_trains": 50}
    (written,) = catalog.export(tmp_path, "files", **choice)
    chosen = catalog.runs(**choice)
    assert 3 < len(chosen) < len(catalog.runs())
    table = pq.read_table(written.path)
    assert sorted(set(table["run_id"].to_pylist())) == sorted(chosen["run_id"])
    assert table.num_rows == chosen["files"].sum()
    (one,) = catalog.export(tmp_path, "runs", train=int(chosen["first_train"].iloc[0]))
    assert one.rows == 1
    with pytest.raises(QueryError, match="no filter 'source"):
        catalog.export(tmp_path / "a", "runs", sources="x")


@pytest.mark.of_file
def test_findings_of_no_run_are_exported_too(demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    path = store.merged.current()
    os.chmod(path, 0o644)
    known = Catalog(demo.location).runs()["run_id"]
    with duckdb.connect(str(path)) as connection:
        for run_id in (None, 1, int(known.iloc[3]) + 1, 2**64 - 1):
            connection.execute(
                "INSERT INTO finding (run_id, check_id, severity, message, path)"
                " VALUES (?, 'C01', 'W', 'dark', '/somewhere')",
                [run_id],
            )
    catalog = Catalog(store.location)
    (written,) = catalog.export(tmp_path, "findings")
    messages = pq.read_table(written.path)["message"].to_pylist()
    assert messages.count("dark") == 4
    assert written.rows == len(catalog.sql("FROM findings"))


def test_nothing_is_replaced_unasked(catalog, tmp_path):
    (tmp_path / "files.parquet").write_text("mine")
    with pytest.raises(TargetWriteError, match=r"files\.parquet.*--force") as caught:
        catalog.export(tmp_path, "runs", "files")
    assert isinstance(caught.value, OSError)
    assert [p.name for p in tmp_path.iterdir()] == ["files.parquet"]
    catalog.export(tmp_path, "runs", "files", force=True)
    assert len(pq.read_table(tmp_path / "files.parquet")) == len(catalog.sql("FROM files"))


def test_all_files_or_none(catalog, tmp_path):
    (tmp_path / "runs.parquet").write_text("before")

    def stop(view, done, total):
        if view == "files":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catalog.export(tmp_path, "runs", "files", force=True, progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["runs.parquet"]
    assert (tmp_path / "runs.parquet").read_text() == "before"


def test_wrong_questions(catalog, tmp_path):
    with pytest.raises(QueryError, match="no view 'run'; did you mean 'runs'"):
        catalog.export(tmp_path / "a", "run")
    with pytest.raises(QueryError, match="keys, audits: not about single runs"):
        catalog.export(tmp_path / "a", "runs", "keys", "audits", run=1)
    with pytest.raises(TargetWriteError, match="not written"):
        catalog.export("/proc/nowhere", "runs")
    with pytest.raises(CatalogNotFoundError):
        Catalog(tmp_path / "none").export(tmp_path / "a", "runs")
    assert not (tmp_path / "a").exists()


def test_no_runs_make_empty_files_with_all_columns(catalog, tmp_path):
    (written,) = catalog.export(tmp_path, "run_keys", proposal=1)
    assert written.rows == 0
    schema = in_sql(catalog, "FROM run_keys LIMIT 0").schema
    assert pq.read_schema(written.path).names == schema.names


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(catalog, tmp_path, there):
    target = tmp_path / "elsewhere" / "real.parquet"
    target.parent.mkdir()
    if there:
        target.touch()
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / "runs.parquet"
    link.symlink_to("../elsewhere/real.parquet")
    catalog.export(tmp_path / "out", "runs", force=True)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert pq.read_table(target).num_rows == len(catalog.runs())
