"""Users' SQL reads the catalog and nothing else, and every refusal is one clear sentence."""

import inspect
import shutil
import time
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd
import pytest
from xfelcat import Catalog
from xfelcat.catalog.model.errors import CatalogNotFoundError, CatalogWriteError, QueryError
from xfelcat.catalog.questions.sql import MEMORY_LIMIT, TIME_LIMIT, describe_views, run_sql
from xfelcat.catalog.store.store import Store

pytestmark = pytest.mark.fast
LOGGING_IS_LOCKED = pytest.mark.skipif(
    duckdb.__version__ < "2", reason="DuckDB 1.5 logs to memory; its lock keeps files out of reach"
)


def test_views_answer(demo):
    answer = run_sql(demo.store, "SELECT count(*) AS n, sum(bytes) AS bytes FROM runs")
    frame = answer.to_frame()
    assert frame["n"].item() == len(demo.summary.runs)
    assert frame["bytes"].item() == demo.summary.n_bytes
    assert str(frame["bytes"].dtype) == "Int64"
    assert answer.provenance.runs_searched == len(demo.summary.runs)


def test_the_tables_below_the_views_are_out_of_the_way(demo):
    for limit in ("4 GB", None):
        listed = run_sql(demo.store, "SHOW TABLES", memory_limit=limit).table.column(0).to_pylist()
        assert sorted(listed) == sorted(view.name for view in describe_views())
        with pytest.raises(QueryError, match="no view 'run'; did you mean 'runs'"):
            run_sql(demo.store, "SELECT * FROM run", memory_limit=limit)
        with pytest.raises(QueryError, match="no view 'keey'; did you mean 'keys'"):
            run_sql(demo.store, "SELECT * FROM keey", memory_limit=limit)
    counted = run_sql(demo.store, "SELECT count(*) AS n FROM xfelcat.run").table.to_pylist()
    assert counted == [{"n": len(demo.summary.runs)}]


def test_values_can_be_bound(demo):
    sql = "SELECT proposal FROM runs WHERE instrument = $1 AND run = $2 ORDER BY ALL"
    rows = run_sql(demo.store, sql, ["FXE", 1]).table.to_pylist()
    assert rows == [{"proposal": 900021}, {"proposal": 900021}]
    rows = run_sql(demo.store, "SELECT ? AS x", ["'; DROP TABLE run"]).table.to_pylist()
    assert rows == [{"x": "'; DROP TABLE run"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(2), 2),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.datetime64("2024-05-01T12:30:00.000001", "ns"), datetime(2024, 5, 1, 12, 30, 0, 1)),
        (np.array([1, 2]), [1, 2]),
        ([np.int64(1), None], [1, None]),
    ],
)
def test_values_of_numpy_can_be_bound(demo, value, expected):
    assert run_sql(demo.store, "SELECT ? AS x", [value]).table.to_pylist() == [{"x": expected}]
    assert run_sql(demo.store, "SELECT $n AS x", {"n": value}).table["x"][0].as_py() == expected


@pytest.mark.parametrize(
    "statement",
    [
        "DESCRIBE runs",
        "SHOW TABLES",
        "SUMMARIZE runs",
        "EXPLAIN SELECT * FROM runs",
        "FROM runs SELECT run LIMIT 1",
        "VALUES (1)",
        "WITH r AS (SELECT * FROM runs) SELECT count(*) FROM r;",
        "SELECT 1 -- with a remark; and a semicolon",
        "PIVOT runs ON data_class IN ('raw', 'proc') USING count(*) GROUP BY proposal",
    ],
)
def test_whatever_reads_is_allowed(demo, statement):
    assert run_sql(demo.store, statement).table.num_rows > 0


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT sorce FROM run_keys", "no column 'sorce'; did you mean 'source'"),
        ("SELECT r.instrumnt FROM runs AS r", "no column 'instrumnt'; did you mean 'instrument'"),
        ("SELECT run FROM runs WHERE trans = 1", "no column 'trans'; did you mean 'trains'"),
        ("SELECT run FROM runs ORDER BY instrumnt", "did you mean 'instrument'"),
        ("SELECT r.run FROM runs r ORDER BY r.proposl", "did you mean 'proposal'"),
        ("SELECT count(*) FROM runs GROUP BY cycel", "did you mean 'cycle'"),
        ("SELECT run FROM runs GROUP BY run HAVING trans > 1", "did you mean 'trains'"),
        ("SELECT run FROM runs QUALIFY row_number() OVER (ORDER BY runn) = 1", "mean 'run'"),
        ("SELECT runs.instrumnt FROM runs", "did you mean 'instrument'"),
        ("SELECT * FROM runs JOIN files USING (run_idd)", "did you mean 'run_id'"),
        ("SELECT 1 FROM runs r JOIN files f ON r.run_id = f.rnu_id", "did you mean 'run_id'"),
        ("SELECT * EXCLUDE (byts) FROM runs", "did you mean 'bytes'"),
        ("SELECT (SELECT max(siz) FROM files f WHERE f.run = r.run) FROM runs r", "mean 'size'"),
        ("PIVOT runs ON data_klass IN ('raw') USING count(*)", "did you mean 'data_class'"),
        ("WITH a AS (SELECT run AS number FROM runs) SELECT numbr FROM a", "mean 'number'"),
        ("SELECT source FROM runs", "no column 'source'; 'source' is one of sources, keys, "),
        ('SELECT run FROM runs WHERE data_class = "xyz"', "in single quotes, 'xyz'"),
        ("SELECT x.run FROM runs", "nothing after FROM is named 'x'"),
        ("SELECT lenght(path) FROM runs", "no function 'lenght'; did you mean 'length'"),
        ("SELECT run, trains FROM runs GROUP BY run", '"trains" must appear in the GROUP BY'),
        ("SELECT number + 'a' FROM run_values", "Could not convert string 'a'"),
        ("SELECT (range // 50000 || 'x')::INTEGER FROM range(10000000)", "convert string '0x'"),
        ("SELECT * FROM run_key", "no view 'run_key'; did you mean 'run_keys'"),
        ("SELECT * FROM zzzzzz", "no view 'zzzzzz' "),
        ("SELEC 1", 'syntax error at or near "SELEC".*line 1: SELEC 1'),
        ("SELECT nosuch(1)", "nosuch"),
        ("SELECT 'a'::INTEGER", "'a'"),
        ("", "no SQL statement"),
        ("-- nothing", "no SQL statement"),
        ("SELECT 1; SELECT 2", "2 statements at once"),
        ("SELECT 1; DROP TABLE run", "DROP is refused"),
        ("SELECT $1", "[Pp]arameter"),
    ],
)
def test_mistakes_are_explained(demo, statement, said):
    with pytest.raises(QueryError, match=said) as caught:
        run_sql(demo.store, statement)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM run",
        "INSERT INTO run (run_id) VALUES (1)",
        "UPDATE run SET run = 1",
        "DROP VIEW runs",
        "CREATE TABLE x (a INTEGER)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "ATTACH '{other}' AS other",
        "DETACH xfelcat",
        "COPY runs TO '{target}'",
        "COPY (SELECT 1) TO '{target}' (FORMAT csv)",
        "EXPORT DATABASE '{target}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 1",
        "USE memory",
        "PRAGMA threads = 1",
        "CALL pragma_version()",
        "BEGIN",
        "CHECKPOINT",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM run",
        "EXPLAIN ANALYZE COPY runs TO '{target}'",
        "SELECT * FROM query('COPY runs TO ''{target}''')",
        "WITH x AS (DELETE FROM run RETURNING *) SELECT * FROM x",
        "IMPORT DATABASE '{target}'",
        "FORCE INSTALL httpfs FROM '{target}'",
        "SET VARIABLE x = 1",
        "RESET lock_configuration",
        "CREATE SECRET (TYPE http)",
        "CREATE MACRO f() AS 1",
        "COMMENT ON VIEW runs IS 'x'",
        "VACUUM",
        "SELECT 1; COPY runs TO '{target}'",
    ],
)
def test_whatever_writes_is_refused(demo, tmp_path, statement):
    target, other = tmp_path / "target", tmp_path / "other.duckdb"
    before = {p: p.stat().st_mtime_ns for p in demo.location.rglob("*.duckdb")}
    with pytest.raises(QueryError) as caught:
        run_sql(demo.store, statement.format(target=target, other=other))
    assert "\n" not in str(caught.value)
    assert not target.exists()
    assert not other.exists()
    assert {p: p.stat().st_mtime_ns for p in demo.location.rglob("*.duckdb")} == before
    count = run_sql(demo.store, "SELECT count(*) AS n FROM runs").table.to_pylist()
    assert count == [{"n": len(demo.summary.runs)}]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_parquet('https://example.org/x.parquet')",
        "SELECT * FROM read_parquet('{secret}')",
        "SELECT * FROM parquet_metadata('{secret}')",
        "SELECT * FROM read_json('{secret}')",
        "SELECT * FROM sniff_csv('{secret}')",
        "SELECT * FROM read_text('/dev/fd/0')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM query_table('{secret}')",
        pytest.param("SELECT * FROM duckdb_secrets()", marks=pytest.mark.of_file),
        "SELECT (SELECT content FROM read_text('{secret}')) FROM runs",
    ],
)
def test_no_other_file_can_be_read(demo, tmp_path, statement):
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nswordfish\n")
    with pytest.raises(QueryError, match="SQL reads the catalog and no other file"):
        run_sql(demo.store, statement.format(secret=secret, folder=tmp_path))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT getenv('HOME')",
        "FROM frame",  # a table of Python's, by the name of its variable
        "FROM parameters",
        "SELECT * FROM python_scan(1)",
        "SELECT * FROM arrow_scan(1, 1, 1)",
        "SELECT * FROM pandas_scan(1)",
        pytest.param("SELECT * FROM enable_logging('QueryLog')", marks=LOGGING_IS_LOCKED),
        "SELECT set_config('threads', '1')",
        "SELECT 1 AS \udc80",
    ],
)
def test_the_process_is_out_of_reach(demo, statement):
    frame = pd.DataFrame({"x": [1]})
    with pytest.raises(QueryError) as caught:
        run_sql(demo.store, statement)
    assert "\n" not in str(caught.value)
    assert len(frame) == 1


@pytest.mark.parametrize("value", ["union_value(a := 1)", "DATE '290000-01-01'"])
def test_what_pandas_cannot_hold_is_an_error_of_ours(demo, value):
    with pytest.raises(QueryError, match="no DataFrame can hold these rows"):
        Catalog(demo.location).sql(f"SELECT {value} AS x")


def test_an_endless_query_is_stopped(demo):
    endless = "SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = sin(a.range)"
    started = time.monotonic()
    with pytest.raises(QueryError, match=r"took longer than 0\.3 s"):
        run_sql(demo.store, endless, time_limit=0.3)
    assert time.monotonic() - started < 200
    assert run_sql(demo.store, "SELECT 1 AS x", time_limit=60).table.to_pylist() == [{"x": 1}]


def test_no_catalog_is_a_clear_error(tmp_path):
    with pytest.raises(CatalogNotFoundError):
        run_sql(Store(tmp_path), "SELECT 1")


@pytest.mark.parametrize("view", describe_views(), ids=lambda view: view.name)
def test_the_example_of_every_view_runs(demo, view):
    run_sql(demo.store, view.example)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT range, range + 1 FROM range(100000000000)",  # rows without end
        "SELECT list(range) FROM range(100000000)",  # one row, too large to be spilled
        "SELECT range AS r, random() AS x FROM range(200000000) ORDER BY x",  # too much to spill
    ],
)
def test_a_query_that_needs_too_much_memory_is_stopped(demo, statement):
    with pytest.raises(QueryError, match=r"needed more than 0\.06 GB of memory") as caught:
        run_sql(demo.store, statement, memory_limit="60 MB")
    assert "\n" not in str(caught.value)
    n = run_sql(demo.store, "SELECT count(*) AS n FROM runs", memory_limit="60 MB")
    assert n.table.to_pylist() == [{"n": len(demo.summary.runs)}]


@pytest.mark.parametrize(("limit", "said"), [("4 apples", "no size"), ("1 kB", "50 MB"), (7, "50")])
def test_memory_limits_that_mean_nothing(demo, limit, said):
    with pytest.raises(QueryError, match=said):
        run_sql(demo.store, "SELECT 1", memory_limit=limit)


def test_limits_hold_unless_said_otherwise(demo):
    sql = "SELECT current_setting('memory_limit') AS m, current_setting('lock_configuration') AS l"
    assert run_sql(demo.store, sql).table.to_pylist() == [{"m": "3.7 GiB", "l": True}]
    (unlimited,) = run_sql(demo.store, sql, memory_limit=None, time_limit=None).table.to_pylist()
    assert unlimited["m"] != "3.7 GiB"
    defaults = inspect.signature(Catalog.sql).parameters
    assert defaults["time_limit"].default == TIME_LIMIT
    assert defaults["memory_limit"].default == MEMORY_LIMIT


@pytest.mark.of_file
def test_a_catalog_that_nobody_may_write_is_limited_too(demo, tmp_path, monkeypatch):
    store = demo.copy_catalog(tmp_path / "catalog")
    shutil.rmtree(store.location / "merged")

    def refuse(*_):
        raise CatalogWriteError(str(store.location), "read-only")

    monkeypatch.setattr(Store, "publish_merged", refuse)
    sql = "SELECT count(*) AS n, current_setting('memory_limit') AS m FROM runs"
    assert run_sql(store, sql).table.to_pylist() == [{"n": len(demo.summary.runs), "m": "3.7 GiB"}]
    with pytest.raises(QueryError, match=r"needed more than 0\.06 GB"):
        run_sql(store, "SELECT * FROM range(100000000000)", memory_limit="60 MB")
    assert not (store.location / "merged").exists()


def test_run_values_are_joined_by_ranges(demo):
    """By DuckDB's own choice it would be a join that takes forty times as long over 10^5 runs."""
    plan = Catalog(demo.location).sql("EXPLAIN SELECT run, number FROM run_values WHERE number > 0")
    joins = " ".join(plan.iloc[:, -1]).casefold().replace("_", " ")
    assert "ie join" in joins
    assert "piecewise" not in joins
