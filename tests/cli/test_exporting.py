"""``xfelcat export`` writes what it was asked for, says so, and replaces nothing unasked."""

import pyarrow.parquet as pq
import pytest
from xfelcat import Catalog


def test_views_as_parquet(xfelcat, demo, tmp_path):
    words = ("export", "parquet", tmp_path, "runs", "files", "--catalog", demo.location)
    result = xfelcat(*words, "--instrument", "SPB")
    assert result.exit_code == 0
    runs = pq.read_table(tmp_path / "runs.parquet")
    assert set(runs["instrument"].to_pylist()) == {"SPB"}
    assert runs.num_rows == len(Catalog(demo.location).runs(instrument="SPB"))
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{tmp_path}/runs.parquet: {runs.num_rows} rows, ")
    assert len(lines) == 2
    assert "2 files written" in result.stderr

    again = xfelcat(*words)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "runs.parquet is not written: it exists; --force" in again.stderr
    assert pq.read_metadata(tmp_path / "runs.parquet").num_rows == runs.num_rows
    assert xfelcat(*words, "--force").exit_code == 0
    assert pq.read_metadata(tmp_path / "runs.parquet").num_rows > runs.num_rows


@pytest.mark.parametrize(
    "words", [(), ("DIR", "runz"), ("DIR", "keys", "--run", "1"), ("DIR", "--run", "x")]
)
def test_wrong_usage(xfelcat, demo, tmp_path, words):
    words = [tmp_path / "new" if word == "DIR" else word for word in words]
    result = xfelcat("export", "parquet", *words, "--catalog", demo.location)
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()
