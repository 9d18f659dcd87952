"""``info``, ``diff`` and ``open``: what they say is what EXtra-data and h5py find in the files."""

import csv
import dataclasses
import io
import json
import re
import sys

import h5py
import numpy as np
import pytest
from support import tiny_file
from support.count_opens import forbid_opening
from support.documented_data import open_paths
from support.questions import runs
from xfelcat import Catalog
from xfelcat.catalog.ingest.ingest import IngestOptions, ingest
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.questions.coverage import coverage_by_class
from xfelcat.catalog.questions.filters import RunFilter
from xfelcat.catalog.questions.inventory import count_runs, summarize
from xfelcat.catalog.store.store import Store
from xfelcat.cli.info import bar, info_command
from xfelcat.loader.open import RunDirectory
from xfelcat.loader.show.inspection import (
    compare_runs,
    file_rows,
    key_rows,
    same_value,
    source_rows,
)

XGM = "SPB_XTD9_XGM/XGM/DOOCS"
MODULE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"


@pytest.fixture
def info(xfelcat, demo):
    def run(*words):
        return xfelcat("info", *words, "-c", demo.location)

    return run


def rows_of(result):
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# Above a run ------------------------------------------------------------------------------------


def test_summaries_are_those_of_the_runs(demo):
    answer = summarize(demo.store)
    frame = Catalog(demo.location).runs()
    for row in answer.table.to_pylist():
        of = frame[(frame.proposal == row["proposal"]) & (frame.data_class == row["data_class"])]
        assert row["runs"] == len(of)
        assert row["path"] is None
        for name in ("files", "files_missing", "files_unread", "bytes", "trains"):
            assert row[name] == of[name].sum()
        assert row["first_data"] == (None if of.started_at.isna().all() else of.started_at.min())
        assert row["last_data"] == (None if of.ended_at.isna().all() else of.ended_at.max())
        assert row["oldest_ingest"] == of.ingested_at.min()
    assert sum(answer.table.column("runs").to_pylist()) == len(demo.summary.runs)
    assert count_runs(demo.store, RunFilter.of(instrument="FXE")) == 12


def test_presence_of_sources_is_what_the_files_have(demo):
    where = RunFilter.of(proposal=900032, data_class="raw", run="1-5")
    found = {}
    for n in range(1, 6):
        run = open_paths(demo.summary.run(900032, n).path)
        for name in run.control_sources | run.instrument_sources:
            source = run[name]
            groups = sorted(source.index_groups)
            counts = [source.data_counts(labelled=False, index_group=g) for g in groups]
            most = max((int((c > 0).sum()) for c in counts), default=0)
            n_runs, with_data, trains = found.get(name, (0, 0, 0))
            found[name] = (n_runs + 1, with_data + most, trains + len(run.train_ids))
    rows = coverage_by_class(demo.store, where).table.to_pylist()
    told = {
        r["source"]: (r["runs"], r["trains"], r["of_trains"])
        for r in rows
        if r["section"] in ("CONTROL", "INSTRUMENT")
    }
    # A source with RUN values only has no index, and EXtra-data none of its trains.
    only_run = {name for name, (_, with_data, _) in found.items() if not with_data}
    assert told.keys() == found.keys()
    for name in told.keys() - only_run:
        assert told[name] == found[name], name
    assert {r["of_runs"] for r in rows} == {5}


def test_part_of_a_name_leads_to_the_whole(info):
    result = info("900032/1", "xgm")
    assert result.exit_code == 1
    assert "no source 'xgm'; did you mean 'SA1_XTD2_XGM/XGM/DOOCS' or" in result.stderr


def test_a_key_that_was_profiled(xfelcat, demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    words = ("info", "900032/1", XGM, "pulseEnergy.photonFlux", "-c", store.location)
    before = xfelcat(*words).stdout
    assert "Profiled:" not in before
    done = xfelcat(
        "profile", XGM, "-p", 900032, "-r", 1, "-d", "raw", "-j", 0, "-c", store.location
    )
    assert done.exit_code == 0
    told = xfelcat(*words).stdout.splitlines()
    facts = dict(line.split(": ", 1) for line in told if re.match(r"[A-Z][^:/]*: ", line))
    facts = {name: text.strip() for name, text in facts.items()}
    values = open_paths(demo.summary.run(900032, 1).path)[XGM, "pulseEnergy.photonFlux"].ndarray()
    values = values.astype(float)
    assert facts["Values"] == f"{values.min():.6g} μJ to {values.max():.6g} μJ"
    assert facts["Mean"].startswith(f"{values.mean():.6g} μJ, ")
    assert facts["Mean"].endswith(f" {values.std():.6g} μJ")
    assert facts["First, last"] == f"{values[0]:.6g} μJ, {values[-1]:.6g} μJ"
    assert facts["Changes"] == f"{np.count_nonzero(np.diff(values))} in {len(values)} entries"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", facts["Profiled"])
    without = [line for line in told if line.partition(":")[0] not in set(facts) or line in before]
    assert without == before.splitlines()
    texts = xfelcat("info", "900032/1", XGM, "state", "-c", store.location).stdout
    assert re.search(r"^First, last: +'ON', 'ON'$", texts, re.M)


def test_a_source_whose_keys_change_within_a_run_is_counted_whole(tmp_path):
    for at, ids in enumerate((range(1000, 1010), range(1010, 1016))):
        path = tmp_path / f"run/RAW-R0007-DA01-S{at:05d}.h5"
        path.parent.mkdir(exist_ok=True)
        with tiny_file.write_tiny(path, train_ids=ids, sequence=at) as f:
            if at:
                del f[f"CONTROL/{tiny_file.XGM}/power"]
    store = Store(tmp_path / "catalog")
    ingest(store, [str(tmp_path / "run")], IngestOptions(jobs=0))
    rows = coverage_by_class(store, RunFilter.of()).table.to_pylist()
    told = {r["source"]: (r["runs"], r["trains"], r["of_trains"]) for r in rows}
    assert told == {tiny_file.XGM: (1, 16, 16), tiny_file.CAMERA: (1, 16, 16)}


@pytest.mark.parametrize(
    ("words", "n_runs", "children"),
    [
        ((), 29, ["SPB", "FXE"]),
        (("SPB",), 17, ["p900010", "p900032", "p900043"]),
        (("SPB/202405",), 10, ["raw", "proc", "red"]),
        (("p900021",), 12, ["raw", "proc"]),
        (("900021",), 12, ["raw", "proc"]),
        (("p900021/raw",), 11, ["raw"]),
    ],
)
def test_info_above_a_run(info, words, n_runs, children):
    result = info(*words)
    assert result.exit_code == 0
    head, table = result.stdout.split("\n\n")[:2]
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    assert int(facts["Runs"]) == n_runs
    assert "100% of the runs" in facts["Fully scanned"]
    assert [line.split()[-1] for line in table.splitlines()[1:]] == children
    assert "only" not in result.stderr
    # Long names come last and run on; all else fits.
    assert all(len(line.rpartition("  ")[0]) <= 60 for line in result.stdout.splitlines())


@pytest.mark.parametrize(("what", "share"), [("900032/1", " 75% "), ("p900032/raw", " 83% ")])
def test_bars_make_room_for_names_on_a_narrow_terminal(demo, capsys, monkeypatch, what, share):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        info_command(what, catalog=demo.location)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        assert max(map(len, lines)) <= width
        shares = [line for line in lines if share in line]
        assert shares
        assert all(("█" in line) == (width == 120) for line in shares)


def test_info_of_a_path_and_its_rows(info, demo):
    assert info(demo.root / "FXE").stdout == info("FXE").stdout
    rows = rows_of(info("-f", "json"))
    assert sum(row["runs"] for row in rows) == 29
    presence = rows_of(info("p900032/red", "-f", "json"))
    assert {row["data_class"] for row in presence} == {"red"}


def test_info_tells_what_is_known_by_outline_only(xfelcat, demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    (row,) = runs(store, RunFilter.named("p900032/raw/r0005")).table.to_pylist()
    with store.write("p900032") as writer:
        record = writer.load_run(row["run_id"])
        files = tuple(dataclasses.replace(f, depth=Depth.OUTLINE) for f in record.files)
        writer.replace_run(dataclasses.replace(record, files=files))
    store.publish_merged()
    result = xfelcat("info", "p900032/raw", "-c", store.location)
    assert "the catalog knows files and sources only" in result.stderr
    assert "████████▍   83% of the runs" in result.stdout


# A run, a source, a key -------------------------------------------------------------------------


@pytest.mark.parametrize(("proposal", "number"), [(900010, 1), (900021, 5), (900032, 1)])
def test_rows_of_sources_are_what_extra_data_finds(demo, proposal, number):
    path = demo.summary.run(proposal, number).path
    theirs = open_paths(path)
    rows = source_rows(RunDirectory(path, catalog=demo.location, save=False).selected)
    assert {row["source"] for row in rows} == {
        name for name in theirs.all_sources if name not in theirs.legacy_sources
    }
    for row in rows:
        source = theirs[row["source"]]
        if not row["keys"]:
            assert row["entries"] == row["trains"] == 0
            continue
        counts = source.data_counts(labelled=False, index_group=row["index_group"] or None)
        with_data = np.asarray(theirs.train_ids)[counts > 0]
        assert row["trains"] == len(with_data)
        assert row["of_trains"] == len(theirs.train_ids)
        assert row["entries"] == counts.sum()
        assert [row["first_train"], row["last_train"]] == [with_data[0], with_data[-1]]
        assert row["aggregator"] == source.aggregator


def test_rows_of_keys_are_what_the_files_have(demo):
    path = demo.summary.run(900032, 1).path
    run = RunDirectory(path, catalog=demo.location, save=False)
    with h5py.File(next(path.glob("*DA01-S00000.h5"))) as file:
        for row in key_rows(run[XGM].selected):
            place = f"{XGM}/{row['key'].replace('.', '/')}/value"
            value = file[f"RUN/{place}"]
            stored = value[0].decode() if value.dtype.kind in "OS" else value[0]
            assert row["run_value"] == stored
            if row["index_group"] == "RUN":
                assert f"CONTROL/{place}" not in file
                continue
            data = file[f"CONTROL/{place}"]
            assert row["dtype"] == ("str" if data.dtype.kind in "OS" else str(data.dtype))
            assert row["shape"] == list(data.shape[1:])
            told = data.parent.attrs  # where format 1.3 has the unit
            prefix = told.get("metricPrefixSymbol", "").replace("u", "μ")
            assert row["unit"] == prefix + told.get("unitSymbol", "")


def test_rows_of_files(demo):
    path = demo.summary.run(900010, 1).path
    key = RunDirectory(path, catalog=demo.location, save=False)[MODULE, "image.data"]
    rows = file_rows(key.selected)
    assert rows
    for row in rows:
        with h5py.File(row["file"]) as file:
            counts = file[f"INDEX/{MODULE}/image/count"][:]
            assert row["trains"] == len(counts)
            assert row["trains_with_data"] == np.count_nonzero(counts)
            assert row["entries"] == counts.sum()


def test_info_of_a_run(info, demo):
    path = demo.summary.run(900032, 1).path
    shown = info("p900032/raw/r0001").stdout
    for words in (("900032/1",), ("900032 1",), ("p900032/r1",), (path,)):
        assert info(*words).stdout == shown
    assert "Catalogued:     in full, " in shown
    line = next(x for x in shown.splitlines() if "image" in x)
    pattern = "SPB_DET_AGIPD1M-1/DET/*CH0:xtdf"
    assert line.split() == ["███████▌", "75%", "4", "AGIPD*", "image", pattern, "(0-15)"]
    assert rows_of(info("900032/1", "-f", "json")) == source_rows(
        RunDirectory(path, catalog=demo.location, save=False).selected
    )
    assert all(len(x) <= 90 for x in shown.splitlines() if str(path) not in x)


def test_info_of_a_source_and_a_key(info):
    shown = info("900032/1", XGM).stdout
    for word in ("Section:        CONTROL", "DoocsXGM", "20 of 20 trains", "mm", "xgmServer"):
        assert word in shown
    assert "at 2024-11-12 16:20:00 UTC" in shown
    both = info("900032/1", f"{XGM}*").stdout
    assert f"\n{XGM}:output\n" in both
    rows = list(csv.DictReader(io.StringIO(info("900032/1", f"{XGM}*", "-f", "csv").stdout)))
    assert {row["source"] for row in rows} == {XGM, f"{XGM}:output"}
    shown = info("900032/1", MODULE, "image.data").stdout
    assert "Entry shape:    2 × 32 × 16" in shown
    assert "15 of 20 trains" in shown
    (row,) = rows_of(info("900032/1", MODULE, "image.data", "-f", "json"))
    assert (row["trains"], row["trains_with_data"]) == (20, 15)


def test_info_says_when_the_catalog_knows_nothing(xfelcat, demo):
    path = demo.summary.run(900032, 1).path
    assert "Catalogued:     no; read from the files just now" in xfelcat("info", path).stdout


def test_info_needs_no_file_of_a_catalogued_run(xfelcat, demo, monkeypatch):
    forbid_opening(monkeypatch)
    for words in (("900032/1",), ("900032/1", "*"), ("900032/1", MODULE, "image.data")):
        assert xfelcat("info", *words, "-c", demo.location).exit_code == 0
    diff = xfelcat("diff", "900032/1", "900032/2", "-c", demo.location)
    assert diff.exit_code == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "nosuch is no file or directory, and names nothing in the catalog"),
        (("900032/77",), "not found"),
        (("900032/1", "NOSUCH"), "has no source 'NOSUCH'"),
        (("900032/1", XGM, "beamPosition.ixPo"), "did you mean 'beamPosition.ixPos"),
    ],
)
def test_info_of_nothing_is_one_line(info, words, said):
    result = info(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 10, "             0%"),
        (10, 10, "██████████ 100%"),
        (1, 1000, "▏           <1%"),
        (999, 1000, "█████████▉  99%"),
        (1, 2, "█████       50%"),
        (0, 0, "              -"),
    ],
)
def test_bars(part, whole, shown):
    assert bar(part, whole) == shown


# ls, for programs -------------------------------------------------------------------------------


def test_ls_of_instruments_and_rows(xfelcat, demo):
    assert xfelcat("ls", "FXE", "-c", demo.location).stdout == (
        xfelcat("ls", "p900021", "-c", demo.location).stdout
    )
    groups = rows_of(xfelcat("ls", "SPB", "-f", "json", "-c", demo.location))
    assert {row["proposal"] for row in groups} == {900010, 900032, 900043}
    listed = rows_of(xfelcat("ls", "p900010", "-f", "json", "-c", demo.location))
    assert [row["run"] for row in listed if row["data_class"] == "raw"] == [1, 2, 3, 4]
    sources = rows_of(xfelcat("ls", "900010/1", "-f", "json", "-c", demo.location))
    assert sources == rows_of(xfelcat("info", "900010/1", "-f", "json", "-c", demo.location))


# diff -------------------------------------------------------------------------------------------


@pytest.fixture
def diff(xfelcat, demo):
    def run(*words):
        return xfelcat("diff", *words, "-c", demo.location)

    return run


def test_a_run_does_not_differ_from_itself(diff):
    for number in ("900010/1", "900021/3", "900032/1"):
        result = diff(number, number, "--timestamps")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "0 differences" in result.stderr
    assert json.loads(diff("900010/1", "900010/1", "-f", "json").stdout) == []


def test_differences_are_those_of_the_files(demo, diff):
    a, b = (demo.summary.run(900032, n).path for n in (1, 2))
    expected = set()
    files = [next(run.glob("*DA01-S00000.h5")) for run in (a, b)]
    with h5py.File(files[0]) as one, h5py.File(files[1]) as two:

        def visit(name, found):
            if not name.endswith("/value") or not isinstance(found, h5py.Dataset):
                return
            if not np.array_equal(found[:], two["RUN"][name][:]):
                device, *parts = ("/".join(name.split("/")[:3]), *name.split("/")[3:-1])
                expected.add((device, ".".join(parts)))

        one["RUN"].visititems(visit)
    result = diff("900032/1", "900032/2", "-f", "json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert {row["what"] for row in rows} == {"value"}
    devices = {device for device, _ in expected}
    assert {(r["source"], r["key"]) for r in rows if r["source"] in devices} == expected
    assert diff("900032/1", "900032/2", "--no-values").exit_code == 0


def test_sources_keys_and_kinds_that_differ(demo):
    old, new = (
        RunDirectory(demo.summary.run(p, 1).path, catalog=demo.location, save=False)
        for p in (900010, 900032)
    )
    found = compare_runs(old.selected, new.selected)
    assert {d.what for d in found} >= {"source", "unit", "value"}
    only = {d.source: (d.first, d.second) for d in found if d.what == "source"}
    theirs = [{n for n in r.all_sources if n not in r.legacy_sources} for r in (old, new)]
    assert only.keys() == theirs[0] ^ theirs[1]
    for name, (first, second) in only.items():
        assert (first is None) == (name not in theirs[0])
        assert (second is None) == (name not in theirs[1])
    backwards = compare_runs(new.selected, old.selected)
    assert [(d.first, d.second) for d in backwards] == [(d.second, d.first) for d in found]
    raw, proc = (
        RunDirectory(demo.summary.run(900010, 1, c).path, catalog=demo.location, save=False)
        for c in ("raw", "proc")
    )
    kinds = {
        (d.what, d.key) for d in compare_runs(raw.selected, proc.selected) if d.source == MODULE
    }
    assert ("dtype", "image.data") in kinds
    assert any(what == "key" for what, _ in kinds)


def test_tolerance_and_timestamps(diff):
    def values(*options):
        rows = json.loads(diff("900032/1", "900032/2", "-f", "json", *options).stdout)
        return {(r["source"], r["key"]): (r["first"], r["second"]) for r in rows}

    exact, loose = values(), values("--tolerance", "0.1")
    for key in exact.keys() - loose.keys():
        a, b = map(float, exact[key])
        assert abs(a - b) <= 0.1 * max(abs(a), abs(b))
    assert exact.keys() - loose.keys()
    assert all(key.endswith(".timestamp") for _, key in values("--timestamps").keys() - exact)


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "same"),
    [
        (1, 1.0, 0, True),
        (2**63 - 1, 2**63 - 2, 0, False),
        (float("nan"), float("nan"), 0, True),
        (float("inf"), 1.0, 0.5, False),
        (1.0, 1.05, 0.05, True),
        (1.0, 1.06, 0.05, False),
        ("a", "b", 1, False),
        ("a", 1, 1, False),
        (None, None, 0, True),
        (None, 0, 1, False),
        (np.arange(3), np.arange(3), 0, True),
        (np.arange(3), np.arange(4), 1, False),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), 1, False),
    ],
)
def test_which_values_are_the_same(a, b, tolerance, same):
    assert same_value(a, b, tolerance) is same
    assert same_value(b, a, tolerance) is same


def test_a_run_that_cannot_be_opened_is_trouble(diff):
    result = diff("900032/1", "/no/such/run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "/no/such/run" in result.stderr.splitlines()[-1]


# open -------------------------------------------------------------------------------------------


def test_open_starts_ipython_with_the_run(process, demo, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    done = process(
        "open",
        "900032/1",
        "-c",
        demo.location,
        input="print('found', len(run.train_ids), len(run.alias), xfelcat.__version__, np.pi)\n",
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "# of trains:    20" in done.stdout
    assert "found 20 7 " in done.stdout


def test_open_without_ipython_says_what_to_do(xfelcat, demo, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)
    result = xfelcat("open", "900032/1", "-c", demo.location)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'xfelcat[notebook]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_open_of_nothing(xfelcat, demo):
    result = xfelcat("open", "nosuch", "-c", demo.location)
    assert result.exit_code == 1
    assert "nosuch" in result.stderr


def test_a_table_of_differences_names_the_runs_and_is_short(xfelcat, demo):
    command = ("diff", "900032/1", "900032/2", "-c", demo.location)
    head, _, *rows = xfelcat(*command).stdout.splitlines()
    assert head.split() == ["what", "source", "key", "900032/1", "900032/2"]
    numbers = [word for row in rows for word in row.split()[3:] if word.lstrip("-")[:1].isdigit()]
    assert len(numbers) > 10
    assert all(len(n.strip("-").replace(".", "").lstrip("0")) <= 6 for n in numbers if "e" not in n)
    every = json.loads(xfelcat(*command, "--format", "json").stdout)
    assert {"first", "second"} <= every[0].keys()
    assert any(len(row["first"] or "") > 9 for row in every if row["what"] == "value")


def test_two_words_name_a_run(xfelcat, demo):
    one = xfelcat("info", "900032/1", "-c", demo.location).stdout
    assert xfelcat("info", "900032", "1", "-c", demo.location).stdout == one
    of_source = ("*XGM/XGM/DOOCS", "-c", demo.location)
    one = xfelcat("info", "900032/1", *of_source).stdout
    assert xfelcat("info", "900032", "1", *of_source).stdout == one
