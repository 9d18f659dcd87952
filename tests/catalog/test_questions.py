"""Every question over runs gives what a walk through the files gives, without the catalog."""

import re
from collections import defaultdict
from fnmatch import fnmatchcase
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.questions import has, identities, identity, means, named, walked
from xfelcat import Catalog
from xfelcat.catalog.model.errors import QueryError

XGM = "SA1_XTD2_XGM/XGM/DOOCS"
ENERGY = f"{XGM} pulseEnergy.photonFlux"
# A train that is twice in a file counts twice in the catalog.
TWICE = (900021, "raw", 105)


@pytest.fixture(scope="module")
def facility(demo):
    """The walked runs by (proposal, data_class, run), and a catalog of them."""
    return SimpleNamespace(catalog=Catalog(demo.location), runs=walked(demo.root))


def device_class(run, source):
    value = run.device_values.get((source.partition(":")[0], "classId.value"))
    return None if value is None else value[1] if isinstance(value, tuple) else value


def trains_with_data(run, key):
    return sum(n > 0 for n in run.counts(key.source, key.group).values())


# Rows per run, source and key -------------------------------------------------------------------

DATA = {
    "glob": ({"source": "*XGM*", "key": "beam*"}, lambda r, k: True),
    "regex": (
        {"source": r"re:.*_(XGM|CAM)/.*", "key": r"re:[a-z]+Position\.\w+|trigger.*|exp.*"},
        None,
    ),
    "compiled": ({"source": re.compile("spb.*motor.*", re.I)}, None),
    "several": ({"source": ["*XGM*", "*MOTOR*"], "key": ["actualPosition", "state"]}, None),
    "dtype": ({"source": "*", "dtype": "float32"}, lambda r, k: k.dtype == "<f4"),
    "dtypes": (
        {"source": "*", "key": "image.*", "dtype": ["uint16", "<u8"]},
        lambda r, k: k.dtype in ("<u2", "<u8"),
    ),
    "text": ({"source": "*", "dtype": "str"}, lambda r, k: k.dtype == "str"),
    "shape": ({"source": "*", "shape": (2, 32, 16)}, lambda r, k: k.shape == (2, 32, 16)),
    "shape as text": ({"source": "*", "shape": "2x32x16"}, lambda r, k: k.shape == (2, 32, 16)),
    "scalar": ({"source": "*:output", "shape": "scalar"}, lambda r, k: k.shape == ()),
    "unit": ({"source": "*", "unit": "mm"}, lambda r, k: k.unit == "mm"),
    "unit glob": ({"source": "*", "unit": "[μm]?"}, lambda r, k: k.unit in ("μJ", "mm", "mV")),
    "unit with the micro sign": (
        {"source": "*", "unit": ["\u00b5J", "kg"]},
        lambda r, k: k.unit == "μJ",
    ),
    "unit as in the files": ({"source": "*", "unit": "uJ"}, lambda r, k: k.unit == "μJ"),
    "unit by regex": ({"source": "*", "unit": "re:\u00b5[JK]"}, lambda r, k: k.unit == "μJ"),
    "class": (
        {"source": "*", "key": "*", "device_class": "Doocs*"},
        lambda r, k: fnmatchcase(device_class(r, k.source) or "", "Doocs*"),
    ),
    "trains": (
        {"source": "*", "key": "image.data", "min_trains": 16},
        lambda r, k: trains_with_data(r, k) >= 16,
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_find_by_what_data_are(name, facility):
    asked, also = DATA[name]
    several = {n: v if isinstance(v, list) else [v] for n, v in asked.items()}
    patterns = [p if isinstance(p, str) else "re:(?i)" + p.pattern for p in several["source"]]
    keys = several.get("key", ["*"])
    by_key = {"key", "dtype", "shape", "unit"} & asked.keys()
    expected = sorted(
        (*identity(run), k.source, k.key if by_key else f"{k.group}.*".lstrip("."))
        for run in facility.runs.values()
        for k in run.keys
        if any(named(p, k.source) for p in patterns)
        and any(means(p, k.section, k.key) for p in keys)
        and (also is None or also(run, k))
    )
    frame = without_legacy(facility, facility.catalog.find(**asked))
    frame = frame[frame["section"].isin(["CONTROL", "INSTRUMENT"])]
    assert expected
    assert sorted(
        {(*i, s, k) for i, s, k in zip(identities(frame), frame.source, frame.key, strict=True)}
    ) == (sorted(set(expected)))


def without_legacy(facility, frame):
    """The rows but those of the old names of renamed sources."""
    legacy = facility.catalog.sql("SELECT run_id, source FROM run_sources WHERE legacy_of NOTNULL")
    legacy = set(zip(legacy["run_id"], legacy["source"], strict=True))
    return frame[[pair not in legacy for pair in zip(frame.run_id, frame.source, strict=True)]]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"has": "*XGM*"}, lambda r: has(r, "*XGM*")),
        ({"has": ["*XGM*", "*AGIPD* image.data"]}, lambda r: has(r, "*XGM*") and has(r, "*AGIPD*")),
        ({"has": ("*MOTOR*", "actualPosition")}, lambda r: has(r, "*MOTOR*", "actualPosition")),
        ({"has_not": "*XGM*"}, lambda r: not has(r, "*XGM*")),
        ({"has_not": ["*XGM*", "*JUNGFRAU*"]}, lambda r: not has(r, "re:.*(XGM|JUNGFRAU).*")),
        ({"has": "*XGM*", "has_not": "*AGIPD*"}, lambda r: has(r, "*XGM*") > has(r, "*AGIPD*")),
        ({"min_trains": 25}, lambda r: len(r.train_ids) >= 25),
        ({"source": "*AGIPD*", "data_class": "proc"}, lambda r: has(r, "*AGIPD*")),
        ({"key": "*Position", "instrument": "SPB"}, lambda r: has(r, "*", "*Position")),
    ],
)
def test_runs_by_what_they_have(asked, wanted, facility):
    expected = [
        i
        for i, run in facility.runs.items()
        if wanted(run) and all(getattr(run, n) == asked[n] for n in asked.keys() & OF_RUN)
    ]
    assert expected
    assert identities(facility.catalog.runs(**asked)) == expected


OF_RUN = {"data_class", "instrument"}


@settings(max_examples=40)
@given(data=st.data())
def test_runs_by_train(data, facility):
    every = sorted({t for run in facility.runs.values() for t in run.train_ids})
    most = 2**64 - 1  # a run of the facility has a broken train ID, which is this one
    first = min(data.draw(st.sampled_from(every)) + data.draw(st.integers(-2, 2)), most)
    last = min(first + data.draw(st.sampled_from([0, 0, 1, 5, 100, 10**7])), most)
    expected = [
        i for i, run in facility.runs.items() if any(first <= t <= last for t in run.train_ids)
    ]
    given_as = data.draw(
        st.sampled_from([(first, last), f"{first}-{last}", slice(first, last + 1)])
    )
    assert identities(facility.catalog.runs(train=given_as)) == expected
    if first == last:
        assert identities(facility.catalog.runs(train=first)) == expected


# Sums and contents ------------------------------------------------------------------------------


def test_sources(facility):
    frame = facility.catalog.sources("*", instrument="SPB", data_class="raw")
    chosen = [r for r in facility.runs.values() if (r.instrument, r.data_class) == ("SPB", "raw")]
    expected = defaultdict(int)
    for run in chosen:
        for section, source in run.sources:
            expected[section, source] += 1
    legacy = set(frame["source"]) - {source for _, source in expected}
    frame = frame[~frame["source"].isin(legacy)]
    assert dict(zip(zip(frame.section, frame.source, strict=True), frame.runs, strict=True)) == (
        dict(expected)
    )
    assert list(frame["source"]) == sorted(frame["source"])
    xgm = frame.set_index("source").loc[f"{XGM}:output"]
    groups = [run.counts(f"{XGM}:output", "data") for run in chosen]
    assert xgm["trains"] == sum(sum(n > 0 for n in counts.values()) for counts in groups)
    assert xgm["entries"] == sum(sum(counts.values()) for counts in groups)


def test_keys(facility):
    frame = facility.catalog.keys("*XGM*", "*", instrument="SPB")
    expected = defaultdict(int)
    for run in facility.runs.values():
        if run.instrument == "SPB":
            for k in run.keys:
                if named("*XGM*", k.source) and means("*", k.section, k.key):
                    expected[k.source, k.key, k.group, k.dtype, k.shape, k.unit] += 1
    rows = frame[["source", "key", "index_group", "dtype", "shape", "unit"]]
    found = dict(zip(rows.itertuples(index=False, name=None), frame["runs"], strict=True))
    assert found == expected


@pytest.mark.parametrize("source", [None, "*XGM*", "*AGIPD*"])
def test_files_and_train_ranges(source, facility):
    asked = {"proposal": 900032} | ({"source": source} if source else {})
    files = facility.catalog.files(**asked)
    ranges = facility.catalog.train_ranges(**asked)
    expected, trains = [], {}
    for i, run in facility.runs.items():
        if run.proposal == 900032:
            of_run = [
                f for f in run.files if not source or any(named(source, s) for _, s in f.sources)
            ]
            expected += [(*i, f.path.name) for f in of_run]
            trains[i] = sorted({t for f in of_run for t in f.train_ids.tolist()})
    found = [(*i, name) for i, name in zip(identities(files), files["name"], strict=True)]
    readable = {(*i, f.path.name) for i, r in facility.runs.items() for f in r.files}
    assert [f for f in found if f in readable] == expected
    listed = defaultdict(list)
    for i, first, last in zip(
        identities(ranges), ranges["first_train"], ranges["last_train"], strict=True
    ):
        listed[i] += range(first, last + 1)
    assert listed == {i: ids for i, ids in trains.items() if ids}
    assert (ranges["trains"] == ranges["last_train"] - ranges["first_train"] + 1).all()
    later = ranges.groupby(["proposal", "data_class", "run"])
    assert (later["first_train"].shift(-1) - ranges["last_train"]).dropna().gt(1).all()


def test_run_values(facility):
    frame = facility.catalog.run_values("*XGM*", "*", proposal=900032, data_class="raw")
    expected = {}
    for i, run in facility.runs.items():
        if i[:2] == (900032, "raw"):
            units = {(k.source, k.key): k.unit for k in run.keys}
            for (source, key), value in run.device_values.items():
                if named("*XGM*", source) and means("*", "CONTROL", key):
                    expected[(*i, source, key)] = (value, units.get((source, key)))
    found = {}
    rows = frame.astype(object).where(frame.notna(), None)
    for i, row in zip(identities(frame), rows.itertuples(), strict=True):
        value = row.number if row.text is None else row.text
        found[(*i, row.source, row.key)] = (value, row.unit)
    assert expected
    assert found == expected
    assert len(found) == len(frame)


# Neighbours and coverage ------------------------------------------------------------------------


@pytest.mark.parametrize("at_least", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize(
    "data",
    [
        ["*XGM*"],
        ["*XGM*:output data.*", "*AGIPD* image.*"],
        pytest.param(["*", "*"], marks=pytest.mark.slow),
    ],
)
def test_coverage(data, at_least, facility):
    frame = facility.catalog.coverage(data, at_least=at_least, data_class=["raw", "proc"])
    expected = {}
    for i, run in facility.runs.items():
        if run.data_class == "red":  # has auxiliary sources of the same names
            continue
        sets = []
        for spec in data:
            source, _, key = spec.partition(" ")
            groups = {
                (k.source, k.group)
                for k in run.keys
                if named(source, k.source) and (not key or means(key, k.section, k.key))
            }
            counts = [run.counts(*group) for group in groups]
            sets.append({t for c in counts for t, n in c.items() if n > 0})
        together = len(set.intersection(*sets))
        if together and together >= at_least * len(run.train_ids):
            expected[i] = (*map(len, sets), together)
    columns = [c for c in frame.columns if c.startswith("*")]
    found = dict(
        zip(
            identities(frame),
            frame[[*columns, "together"]].itertuples(index=False, name=None),
            strict=True,
        )
    )
    assert {i: n for i, n in found.items() if i != TWICE} == {
        i: n for i, n in expected.items() if i != TWICE
    }
    assert (frame["together"] == frame["at_most"]).all()


def test_coverage_beyond_what_is_decoded_is_bounded(facility):
    data = ["*XGM*:output data.*", "*AGIPD* image.*"]
    exact = facility.catalog.coverage(data)
    rough = facility.catalog.coverage(data, most_decoded=0)
    both = exact.merge(rough, on="run_id", suffixes=("", "_rough"))
    assert len(both) == len(exact)
    assert (both["together_rough"] <= both["together"]).all()
    assert (both["at_most_rough"] >= both["together"]).all()
    assert (both["at_most_rough"] > both["together_rough"]).any()


@pytest.mark.parametrize(("neighbours", "at_least"), [(1, 1), (2, 2), (5, 4), (3, 6)])
def test_lacking(neighbours, at_least, facility):
    series = defaultdict(list)
    for i, run in facility.runs.items():
        series[i[:2]].append(run)
    expected = []
    for runs in series.values():
        every = sorted({pair for run in runs for pair in run.sources})
        for at, run in enumerate(runs):
            around = runs[max(at - neighbours, 0) : at] + runs[at + 1 : at + 1 + neighbours]
            for section, source in every:
                n = sum((section, source) in other.sources for other in around)
                if (section, source) not in run.sources and n >= at_least:
                    expected.append((*identity(run), section, source, n, len(around)))
    frame = facility.catalog.lacking(neighbours=neighbours, at_least=at_least)
    frame = frame[frame["section"].isin(["CONTROL", "INSTRUMENT"])]
    columns = [frame[n] for n in ("section", "source", "neighbours_with", "neighbours")]
    rows = zip(identities(frame), *columns, strict=True)
    assert [(*i, *row) for i, *row in rows] == expected
    some = facility.catalog.lacking(
        "*XGM*", neighbours=neighbours, at_least=at_least, proposal=900032, run="2-4"
    )
    chosen = [e for e in expected if e[0] == 900032 and 2 <= e[2] <= 4 and "XGM" in e[4]]
    assert len(some) == len(chosen)


# What means nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"colour": "red"}, "no filter 'colour'"),
        ({"sorce": "*"}, "use source"),
        ({"source": "re:(?=x)"}, "cannot be run"),
        ({"source": 5}, "is no name"),
        ({"dtype": "floaty"}, "is no dtype"),
        ({"shape": "2y3"}, "is no shape"),
        ({"train": "last"}, "is no train ID"),
        ({"train": (5, 4)}, "is no train ID"),
        ({"min_trains": -1}, "give a number of trains"),
        ({"has": "a b c"}, "names no data"),
    ],
)
def test_filters_that_mean_nothing(asked, message, facility):
    with pytest.raises(QueryError, match=message):
        facility.catalog.runs(**asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"at_least": 1.5}, "a share from 0 to 1"),
        ({"data": []}, "coverage of what"),
    ],
)
def test_coverage_of_nothing(asked, message, facility):
    with pytest.raises(QueryError, match=message):
        facility.catalog.coverage(**{"data": "*XGM*"} | asked)


def test_lacking_with_impossible_numbers(facility):
    with pytest.raises(QueryError, match="at_least from 1 to 4"):
        facility.catalog.lacking(neighbours=2, at_least=5)
