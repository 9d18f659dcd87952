"""``xfelcat values``: every format, and what it says where there is nothing."""

import csv
import json

import pyarrow.parquet as pq
import pytest
from xfelcat import Catalog

XGM = ("*XGM/DOOCS", "pulseEnergy.photonFlux")
NAME = "SA1_XTD2_XGM/XGM/DOOCS pulseEnergy.photonFlux [μJ]"


@pytest.fixture
def expected(demo):
    found = Catalog(demo.location).values(*XGM, proposal=900032, data_class="raw")
    return dict(zip(found["run"].tolist(), found[NAME].tolist(), strict=True))


def test_every_format(xfelcat, demo, expected, tmp_path):
    words = ("values", *XGM, "-p", "900032", "-d", "raw", "-c", demo.location)
    assert len(expected) == 6
    rows = json.loads(xfelcat(*words, "-f", "json").stdout)
    assert {row["run"]: row[NAME] for row in rows} == expected
    xfelcat(*words, "-o", tmp_path / "x.csv")
    with (tmp_path / "x.csv").open() as file:
        assert {int(r["run"]): float(r[NAME]) for r in csv.DictReader(file)} == expected
    xfelcat(*words, "-o", tmp_path / "x.parquet")
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert {row["run"]: row[NAME] for row in rows} == expected
    head, _, *table = xfelcat(*words, "--limit", "2").stdout.splitlines()
    assert head.startswith("proposal  run  data_class  started_at ")
    assert NAME in head
    assert len(table) == 2
    paths = xfelcat(*words, "-f", "paths").stdout.split()
    assert [path[-5:] for path in paths] == [f"r{run:04d}" for run in expected]


def test_no_rows(xfelcat, demo):
    nothing = xfelcat("values", "*XGN*", "*", "-c", demo.location)
    assert "has a source '*XGN*'; did you mean" in nothing.stderr
    unread = xfelcat("values", *XGM, "--profile", "mean", "-c", demo.location)
    assert "only keys that `xfelcat profile` has read have profiles" in unread.stderr


@pytest.mark.parametrize(
    "words", [("*XGM*",), ("*", "*", "--profile", "median"), ("*", "*", "-p", "x")]
)
def test_wrong_usage(xfelcat, demo, words):
    result = xfelcat("values", *words, "-c", demo.location)
    assert (result.exit_code, result.stdout) == (2, "")


def test_all_of_a_catalog_is_profiled_only_when_that_is_meant(xfelcat, demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    done = xfelcat("profile", "-c", store.location)
    assert done.exit_code == 2
    assert "this reads all control values in 389 files of 29 runs: name sources" in done.stderr
    done = xfelcat("profile", "*XGM*", "-r", "1", "-p", "900032", "-j", "0", "-c", store.location)
    assert done.exit_code == 0
    done = xfelcat("profile", "-y", "-j", "0", "-c", store.location)
    assert done.exit_code == 0
    assert "29 runs searched" in done.stderr
    assert "R07 keys of a source change within a run (error), 1:" in done.stderr
