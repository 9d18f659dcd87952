"""What is said to be there is what lies on disk: counted here from the files themselves."""

import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from support.demo_facility import demo, demo_and_report
from support.run_records import later, make_run, with_file, write
from xfelcat import Catalog, H5File
from xfelcat.catalog.model.errors import QueryError
from xfelcat.catalog.model.identity import parse_file_name
from xfelcat.catalog.questions.inventory import GROUPS, PERIODS, QUESTIONS
from xfelcat.catalog.store.store import Store

__all__ = ["demo", "demo_and_report"]


@pytest.fixture(scope="module")
def on_disk(demo):
    """(instrument, cycle, proposal, data class, run, aggregator, size) of every data file."""
    rows = []
    for path in sorted(demo.root.rglob("*.h5")):
        instrument, cycle, proposal, data_class, run = path.relative_to(demo.root).parts[:5]
        parsed = parse_file_name(path.name)
        who = (instrument, cycle, int(proposal[1:]), data_class, int(run[1:]))
        rows.append((*who, parsed.aggregator, path.stat().st_size))
    return rows


@pytest.fixture(scope="module")
def catalog(demo):
    return Catalog(demo.location)


COLUMN = {"instrument": 0, "cycle": 1, "proposal": 2, "data_class": 3, "aggregator": 5}


@pytest.mark.parametrize(
    "by", [("instrument",), ("cycle", "data_class"), ("proposal", "aggregator"), tuple(COLUMN)]
)
def test_volume_is_that_of_the_files(catalog, on_disk, by):
    expected = defaultdict(lambda: [set(), 0, 0])
    for row in on_disk:
        entry = expected[tuple(row[COLUMN[b]] for b in by)]
        entry[0].add(row[2:5])
        entry[1] += 1
        entry[2] += row[6]
    found = catalog.inventory(by=by)
    got = {tuple(r[: len(by)]): list(r[len(by) :]) for r in found.itertuples(index=False)}
    assert got == {k: [len(v[0]), v[1], v[2]] for k, v in expected.items()}


def test_volume_by_source_is_that_of_the_files_that_hold_it(catalog, demo):
    expected = defaultdict(lambda: [set(), 0, 0])
    for run in demo.summary.runs:
        if run.spec.proposal == 900021:  # with files that cannot be opened
            continue
        for path in sorted(run.path.glob("*.h5")):
            for source in H5File(path).all_sources:
                entry = expected[source]
                entry[0].add(run.path)
                entry[1] += 1
                entry[2] += path.stat().st_size
    found = catalog.inventory(by="source", proposal=[900010, 900032, 900043])
    got = {r.source: [r.runs, r.files, r.bytes] for r in found.itertuples()}
    assert {s: got[s] for s in expected} == {s: [len(v[0]), *v[1:]] for s, v in expected.items()}


def test_filters_are_those_of_every_question(catalog):
    few = catalog.inventory(by="proposal", instrument="SPB", data_class="raw", run="1-2")
    assert few["runs"].tolist() == [2, 2, 1]
    assert few.attrs["runs_searched"] == 5


@pytest.mark.parametrize("per", PERIODS)
def test_growth_sums_up_to_all_there_is(catalog, on_disk, per):
    found = catalog.inventory("growth", per=per)
    total = sum(row[6] for row in on_disk)
    assert found["bytes"].sum() == total
    assert found["total_bytes"].tolist() == found["bytes"].cumsum().tolist()
    assert found["runs"].sum() == len({row[2:5] for row in on_disk})
    assert found["period"].is_monotonic_increasing


def test_growth_by_instrument_sums_up_each(catalog, on_disk):
    found = catalog.inventory("growth", by="instrument", per="year")
    for instrument, rows in found.groupby("instrument"):
        size = sum(row[6] for row in on_disk if row[0] == instrument)
        assert rows["total_bytes"].iloc[-1] == size


def test_the_largest_runs(catalog, on_disk):
    sizes = defaultdict(int)
    for row in on_disk:
        sizes[row[2:5]] += row[6]
    found = catalog.inventory("largest", limit=5)
    assert found["bytes"].tolist() == sorted(sizes.values(), reverse=True)[:5]
    for row in found.itertuples():
        assert sizes[row.proposal, row.data_class, row.run] == row.bytes


def test_runs_that_are_there_twice(demo, tmp_path):
    catalog = Catalog(tmp_path / "catalog")
    run = demo.summary.run(900032, 1).path
    proposal = tmp_path / "exp/SPB/202405/p900032/raw"
    shutil.copytree(run, proposal / "r0001")
    shutil.copytree(run, tmp_path / "copy")  # the same files, times and all
    (tmp_path / "old").mkdir()
    shutil.copytree(demo.summary.run(900032, 2).path, proposal / "r0002")
    catalog.ingest([tmp_path / "exp", tmp_path / "copy"], jobs=0)
    found = catalog.inventory("duplicates")
    assert found["kind"].tolist() == ["files"]
    assert {found["path"][0], found["other_path"][0]} == {
        str(proposal / "r0001"),
        str(tmp_path / "copy"),
    }
    moved = tmp_path / "moved/SPB/202405/p900032/raw"
    moved.mkdir(parents=True)
    (proposal / "r0002").rename(moved / "r0002")
    catalog.ingest([moved], jobs=0)
    found = catalog.inventory("duplicates", proposal=900032)
    place = found[found["kind"] == "location"]
    assert place[["path", "other_path"]].values.tolist() == [
        [str(moved / "r0002"), str(proposal / "r0002")]
    ]


def test_the_same_names_with_other_sizes_are_no_duplicates(catalog):
    found = catalog.inventory("duplicates", proposal=[900010, 900032], data_class="raw")
    assert len(found) == 0


def test_processed_runs_without_raw(demo, tmp_path):
    catalog = Catalog(tmp_path / "catalog")
    for data_class, run in (("raw", 1), ("proc", 1), ("proc", 2)):
        of_class = tmp_path / f"exp/SPB/201830/p900010/{data_class}/r{run:04d}"
        shutil.copytree(demo.summary.run(900010, run, data_class).path, of_class)
    catalog.ingest(tmp_path / "exp", jobs=0)
    found = catalog.inventory("orphans")
    assert found[["data_class", "run"]].values.tolist() == [["proc", 2]]
    for path in Path(tmp_path / "exp").rglob("raw/r0001/*.h5"):
        path.unlink()
    (tmp_path / "exp/SPB/201830/p900010/raw/r0001/RAW-R0001-DA99-S00000.h5").touch()
    catalog.ingest(tmp_path / "exp", jobs=0)
    assert catalog.inventory("orphans")["run"].tolist() == [2]  # a raw file is still there


def test_raw_runs_without_calibrated_data(catalog, on_disk):
    runs = {row[2:5] for row in on_disk}
    expected = {}
    for proposal in {proposal for proposal, _, _ in runs}:
        raw = {run for p, data_class, run in runs if (p, data_class) == (proposal, "raw")}
        calibrated = {run for p, data_class, run in runs if (p, data_class) == (proposal, "proc")}
        without = tuple(sorted(raw - calibrated))
        n = len(raw - set(without))
        expected[proposal] = (len(raw), n, len(without), n / len(raw), without)
    found = catalog.inventory("uncalibrated")
    columns = found[["raw_runs", "calibrated", "uncalibrated", "share", "runs_without"]]
    assert dict(
        zip(found["proposal"], columns.itertuples(index=False, name=None), strict=True)
    ) == (expected)
    assert found["share"].is_monotonic_increasing
    few = catalog.inventory("uncalibrated", proposal=900032, run="1-3")
    assert few["runs_without"].tolist() == [(3,)]


def test_what_counts_as_calibrated(tmp_path):
    """Reduced data, other proposals and files that are gone are none; a folder of its own is."""
    store = Store(tmp_path / "catalog")
    gone = make_run(2, data_class="proc")
    for at in range(len(gone.files)):
        gone = with_file(gone, at, missing_since=later(1))
    raw = [make_run(number) for number in range(1, 6)]
    red, other = make_run(3, data_class="red"), make_run(5, 9, "proc")
    write(store, *raw, make_run(1, data_class="proc"), gone, red, make_run(4, data_class="mine"))
    with store.write("p000009") as writer:
        writer.replace_run(other)
    (row,) = Catalog(store.location).inventory("uncalibrated").itertuples()
    assert (row.proposal, row.raw_runs, row.calibrated, row.uncalibrated) == (2012, 5, 2, 3)
    assert (row.share, row.runs_without) == (pytest.approx(0.4), (2, 3, 5))


def test_what_was_never_verified(demo, tmp_path):
    catalog = Catalog(tmp_path / "catalog")
    run = demo.summary.run(900010, 3).path
    catalog.ingest(run, jobs=0)
    found = catalog.inventory("unverified")
    later = [p for p in run.glob("*.h5") if "S00000" not in p.name]
    assert found["unverified_files"].tolist() == [len(later)]
    assert found["unverified_bytes"].tolist() == [sum(p.stat().st_size for p in later)]
    catalog.ingest(run, verify=True, jobs=0)
    assert len(catalog.inventory("unverified")) == 0


@pytest.mark.parametrize(
    ("question", "options", "said"),
    [
        ("volumes", {}, "orphans"),
        ("volume", {"by": "sauce"}, "did you mean source"),
        ("volume", {"by": []}, "nothing"),
        ("growth", {"per": "fortnight"}, "month"),
        ("growth", {"by": "source"}, "instrument"),
        ("largest", {"by": "cycle"}, "takes no by"),
    ],
)
def test_what_makes_no_sense_is_said(catalog, question, options, said):
    with pytest.raises(QueryError, match=said):
        catalog.inventory(question, **options)


def test_columns_are_the_same_when_there_is_nothing(catalog):
    for question in QUESTIONS:
        some, none = (catalog.inventory(question, proposal=p) for p in (None, 1))
        assert len(none) == 0
        assert none.columns.tolist() == some.columns.tolist()
        assert none.dtypes.tolist() == some.dtypes.tolist()
    assert set(GROUPS) > set(COLUMN)
