"""``xfelcat export`` writes what it was asked for, says so, and replaces nothing unasked."""

import json

import pyarrow.parquet as pq
import pytest
from xfelcat import Catalog, RunDirectory


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


MODULE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"


def test_keys_as_references(xfelcat, demo, tmp_path):
    target = tmp_path / "refs.json"
    words = ("export", "zarr", "p900032/raw/r0001", MODULE, "image.*", target)
    result = xfelcat(*words, "--catalog", demo.location)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{target}: image.cellId, image.data, image.pulseId, image.trainId, 60 rows\n"
    )
    refs = json.loads(target.read_text())["refs"]
    run = RunDirectory(demo.summary.run(900032, 1).path, catalog=demo.location)
    key = run[MODULE, "image.data"]
    assert json.loads(refs["image.data/.zarray"])["shape"] == list(key.shape)
    assert refs["image.data/0.0.0.0"][0] == str(key.source_file_paths[0])
    again = xfelcat(*words, "--catalog", demo.location)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "it exists; --force" in again.stderr
    assert xfelcat(*words, "--force", "--catalog", demo.location).exit_code == 0


@pytest.mark.parametrize(
    ("source", "key", "said"),
    [
        (MODULE, "image.dat", "did you mean 'image.data'"),
        (MODULE, "*", "several index groups (detector, header, image, trailer): name one"),
        ("SPB_DET", "image.data", "no source 'SPB_DET'"),
        ("SA1_XTD2_XGM/XGM/DOOCS", "state", "variable-length str"),
    ],
)
def test_what_cannot_be_referred_to(xfelcat, demo, tmp_path, source, key, said):
    target = tmp_path / "refs.json"
    words = ("export", "zarr", "900032/1", source, key, target, "--catalog", demo.location)
    result = xfelcat(*words)
    assert result.exit_code == (2 if key == "*" else 1)
    assert result.stdout == ""
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not target.exists()
