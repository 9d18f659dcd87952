"""Questions over runs give what the runs were written with, and say what they rest on."""

import dataclasses
import itertools
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pandas as pd
import pytest
from support.oracle import expected_counts, expected_keys
from support.questions import find, runs
from xfelcat.catalog.model.errors import CatalogNotFoundError
from xfelcat.catalog.model.records import Depth
from xfelcat.catalog.questions.filters import RunFilter
from xfelcat.catalog.store.store import Store

pytestmark = pytest.mark.fast

COLUMNS = [
    *("proposal", "run", "data_class", "started_at", "source", "key", "trains", "section"),
    *("dtype", "shape", "unit", "entries", "instrument", "cycle", "depth", "run_id", "path"),
]


def written_keys(summary):
    """(run, source as named, section, key) of every key in the clean runs, with its counts."""
    for run in summary.runs:
        if not run.clean:
            continue
        specs = {s.name: s for f in run.spec.files for s in f.sources}
        for source in specs.values():
            for key in expected_keys(run.spec, source.name):
                counts = expected_counts(run.spec, source.name, key)
                for name in filter(None, (source.name, source.legacy_name)):
                    yield run, name, source.section, key, counts


def means(glob, section, key):
    if section != "CONTROL":
        return fnmatchcase(key, glob)
    if key.endswith(".timestamp") and not glob.endswith("timestamp"):
        return False
    return fnmatchcase(key, glob) or fnmatchcase(key.removesuffix(".value"), glob)


def identity(run):
    return (run.spec.proposal, run.data_class, run.spec.run)


def clean_rows(frame, summary):
    """Rows of the clean runs, as tuples."""
    clean = {identity(r) for r in summary.runs if r.clean}
    rows = frame[["proposal", "data_class", "run", "source", "key", "trains", "entries"]]
    return [r for r in rows.itertuples(index=False, name=None) if r[:3] in clean]


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("*XGM*", "beamPosition.*"),
        ("*XGM*", "beamPosition.ixPos"),
        ("*XGM*", "beamPosition.ixPos.value"),
        ("*XGM*", "*.timestamp"),
        ("*XGM*", "*"),
        ("*:output", "data.*"),
        ("SA1_XTD2_XGM/XGM/DOOCS", "*Pos*"),
        ("*DET*", "image.[dt]*"),
        ("*DET*", "image.[!dt]*"),
        ("*/MOTOR/*", "actual?osition"),
        ("*", "*rain*"),
        ("sa1*", "*"),
        ("*", "nosuch"),
    ],
)
def test_find_equals_what_was_written(demo, source, key):
    expected = sorted(
        (*identity(run), name, k, sum(n > 0 for n in counts.values()), sum(counts.values()))
        for run, name, section, k, counts in written_keys(demo.summary)
        if fnmatchcase(name, source) and means(key, section, k)
    )
    frame = find(demo.store, source, key).to_frame()
    assert list(frame.columns) == COLUMNS
    assert sorted(clean_rows(frame, demo.summary)) == expected
    assert bool(expected) == (key != "nosuch" and source != "sa1*")


def test_find_tells_dtype_shape_unit_and_place(demo):
    rows = find(demo.store, "SA1_XTD2_XGM/XGM/DOOCS", "*ixPos", RunFilter.of(proposal=900032))
    row = rows.to_frame().iloc[0]
    written = demo.summary.run(900032, 1)
    assert (row["dtype"], row["shape"], row["unit"]) == ("<f4", (), "mm")
    assert (row["instrument"], row["cycle"], row["section"]) == ("SPB", "202405", "CONTROL")
    assert (row["path"], row["depth"]) == (str(written.path), "full")
    modules = find(demo.store, "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", "image.data").to_frame()
    specs = {
        key.shape
        for run in demo.summary.runs
        for file in run.spec.files
        for source in file.sources
        if "AGIPD" in source.name
        for group in source.groups
        for key in group.keys
        if (group.name, key.name) == ("image", "data")
    }
    assert set(modules["shape"]) <= specs
    assert len(modules)


def test_find_is_ordered_and_limited(demo):
    frame = find(demo.store, "*XGM*", "*").to_frame()
    order = list(zip(frame["run_id"], frame["source"], frame["key"], strict=True))
    assert order == sorted(order)
    limited = find(demo.store, "*XGM*", "*", limit=7).to_frame()
    pd.testing.assert_frame_equal(limited, frame.iloc[:7])


def expected_entries(run, source, group):
    key = f"{group.name}.{group.keys[0].name}"
    return sum(expected_counts(run, source.name, key).values())


def test_find_by_source_has_a_row_per_index_group(demo):
    frame = find(
        demo.store, "*XTDF*".lower(), None, RunFilter.of(proposal=900032, run=1)
    ).to_frame()
    assert list(frame.columns) == COLUMNS
    assert frame["dtype"].isna().all()
    assert frame["unit"].isna().all()
    rows = frame[(frame["data_class"] == "raw") & frame["source"].str.endswith("/0CH0:xtdf")]
    files = demo.summary.run(900032, 1).spec.files
    spec = next(s for f in files for s in f.sources if s.name.endswith("/0CH0:xtdf"))
    assert rows.set_index("key")["entries"].to_dict() == {
        f"{group.name}.*": expected_entries(demo.summary.run(900032, 1).spec, spec, group)
        for group in spec.groups
    }
    control = find(demo.store, "SA1_XTD2_XGM/XGM/DOOCS").to_frame()
    assert set(control["key"]) == {"*"}
    assert len(rows) == len(spec.groups)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"proposal": "p900010"},
        {"proposal": [900010, 900032], "run": "1-2"},
        {"run": [1, 4]},
        {"instrument": "FXE"},
        {"instrument": "[FS]*", "data_class": "proc"},
        {"cycle": 202405},
        {"data_class": "r*"},
        {"proposal": 1},
    ],
)
def test_filters_choose_runs(demo, parts):
    def wanted(run):
        spec, folder = run.spec, run.path.relative_to(demo.root).parts
        several = {k: v if isinstance(v, list) else [v] for k, v in parts.items()}
        numbers = {f"p{spec.proposal}", spec.proposal}
        ranges = {"1-2": {1, 2}, 1: {1}, 4: {4}}
        return all(
            {
                "proposal": lambda vs: any(v in numbers for v in vs),
                "run": lambda vs: any(spec.run in ranges[v] for v in vs),
                "instrument": lambda vs: any(fnmatchcase(folder[0], v) for v in vs),
                "cycle": lambda vs: any(folder[1] == str(v) for v in vs),
                "data_class": lambda vs: any(fnmatchcase(run.data_class, v) for v in vs),
            }[name](values)
            for name, values in several.items()
        )

    expected = sorted(identity(r) for r in demo.summary.runs if wanted(r))
    answer = runs(demo.store, RunFilter.of(**parts))
    frame = answer.to_frame()
    found = frame[["proposal", "data_class", "run"]].itertuples(index=False, name=None)
    assert sorted(found) == expected
    assert answer.provenance.runs_searched == len(expected)
    assert frame.attrs["runs_searched"] == len(expected)


def test_time_ranges_are_half_open_and_name_the_undated(demo):
    every = runs(demo.store).to_frame()
    dated = every.dropna(subset="started_at").sort_values("started_at")
    undated = len(every) - len(dated)
    assert undated == sum(r.spec.version == "0.5" for r in demo.summary.runs)
    first, last = dated["started_at"].iloc[0], dated["ended_at"].max()

    def count(**parts):
        answer = runs(demo.store, RunFilter.of(**parts))
        assert answer.provenance.runs_undated == undated
        return answer.provenance.runs_searched

    assert count(since=first) == len(dated)
    assert count(until=first) == 0
    assert count(until=first + pd.Timedelta("1us")) == (dated["started_at"] == first).sum()
    assert count(since=last) == (dated["ended_at"] == last).sum()
    assert count(since=last + pd.Timedelta("1us")) == 0


def test_runs_below_a_path(demo, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(demo.root / "FXE")
    for path in (demo.root / "FXE", link, demo.root / "FXE" / "202102" / ".." / "202102"):
        frame = runs(demo.store, RunFilter.of(below=path)).to_frame()
        assert set(frame["instrument"]) == {"FXE"}
        assert len(frame) == sum("FXE" in r.path.parts for r in demo.summary.runs)
    # A name that merely begins alike is not below.
    assert runs(demo.store, RunFilter.of(below=demo.root / "FX")).table.num_rows == 0


def test_runs_tell_what_was_written(demo):
    frame = runs(demo.store).to_frame().set_index(["proposal", "data_class", "run"])
    assert frame["run_id"].is_monotonic_increasing
    for written in demo.summary.runs:
        if not written.clean:
            continue
        row = frame.loc[identity(written)]
        files = list(written.path.glob("*.h5"))
        assert row["files"] == len(files)
        assert row["bytes"] == sum(p.stat().st_size for p in files)
        assert row["trains"] == len(written.spec.train_ids)
        assert row["first_train"] == written.spec.train_ids[0]
        assert row["last_train"] == written.spec.train_ids[-1]
        assert row["path"] == str(written.path)
        assert row["format_version"] == written.spec.version


def test_empty_answers_have_the_same_columns_and_types(demo):
    nowhere = RunFilter.of(proposal=1)
    for full, empty in (
        (runs(demo.store), runs(demo.store, nowhere)),
        (find(demo.store, "*XGM*", "*"), find(demo.store, "*XGM*", "*", nowhere)),
        (find(demo.store, "*XGM*"), find(demo.store, "*XGM*", None, nowhere)),
    ):
        assert full.table.num_rows
        assert empty.table.num_rows == 0
        full_types, empty_types = full.to_frame().dtypes, empty.to_frame().dtypes
        assert full_types.equals(empty_types)
        assert empty.provenance.runs_searched == 0
        assert empty.provenance.oldest_ingest is None


def test_provenance_counts_outlines_and_finds_the_oldest(demo, tmp_path):
    store = demo.copy_catalog(tmp_path / "catalog")
    searched = runs(demo.store).provenance.runs_searched
    (row,) = runs(store, RunFilter.named("p900032/raw/r0002")).table.to_pylist()
    long_ago = datetime(2001, 2, 3, tzinfo=UTC)
    with store.write("p900032") as writer:
        record = writer.load_run(row["run_id"])
        files = tuple(dataclasses.replace(f, depth=Depth.OUTLINE) for f in record.files)
        writer.replace_run(dataclasses.replace(record, files=files, ingested_at=long_ago))
    store.publish_merged()
    answer = find(store, "*XGM*", "beamPosition.*")
    assert answer.provenance.runs_outline_only == 1
    assert answer.provenance.runs_searched == searched
    assert answer.provenance.oldest_ingest == long_ago.replace(tzinfo=None)
    partly, old = answer.provenance.remarks()
    assert partly.startswith(f"of 1 of the {searched} runs the catalog knows files and sources")
    assert "is of 2001-02-03" in old
    assert answer.provenance.remarks(datetime(2001, 2, 20)) == [partly]
    assert answer.to_frame().attrs["oldest_ingest"] == "2001-02-03T00:00:00"


def test_no_catalog_is_a_clear_error(tmp_path):
    for question in (find, runs):
        with pytest.raises(CatalogNotFoundError, match="xfelcat ingest"):
            question(Store(tmp_path / "none"))


def test_names_are_bound_not_formatted(demo):
    hostile = ["'", "';--", "%", "_", "\\", "$1", ":x", "?';drop table run;--", "a\x00b"]
    for text, other in itertools.product(hostile, ["*", "'"]):
        assert find(demo.store, text, other).table.num_rows == 0
        assert find(demo.store, other, text).table.num_rows == 0
        assert runs(demo.store, RunFilter.of(instrument=text)).table.num_rows == 0
