"""Conditions on RUN values: what they say, and which runs of the files fulfil them."""

from contextlib import suppress
from fnmatch import fnmatchcase
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.questions import identities, means, named, walked
from xfelcat import Catalog, profile
from xfelcat.catalog.model.errors import QueryError
from xfelcat.catalog.questions.conditions import conditions_of, parse_condition

pytestmark = pytest.mark.fast

XGM = "SA1_XTD2_XGM/XGM/DOOCS"
ENERGY = f"{XGM} pulseEnergy.photonFlux"


@pytest.fixture(scope="module")
def facility(demo):
    """The walked runs by (proposal, data_class, run), and a catalog of them."""
    return SimpleNamespace(catalog=Catalog(demo.location), runs=walked(demo.root))


# Conditions on RUN values -----------------------------------------------------------------------


def truth(run, operand, test):
    """Whether a RUN value that the operand means fulfils a test."""
    source, key = operand.split()
    return any(
        named(source, s) and means(key, "CONTROL", k) and value is not None and test(value)
        for (s, k), value in run.device_values.items()
    )


CONDITIONS = {
    f"{XGM} gainMode = 2": lambda r: truth(r, f"{XGM} gainMode", lambda v: v == 2),
    "*XGM* gasSupply.gasTypeId in (1, 4)": lambda r: truth(
        r, "*XGM* gasSupply.gasTypeId", lambda v: v in (1, 4)
    ),
    "*XGM* gasSupply.gasTypeId != 0": lambda r: truth(
        r, "*XGM* gasSupply.gasTypeId", lambda v: v != 0
    ),
    f"{ENERGY} < 900": lambda r: truth(r, ENERGY, lambda v: v < 900),
    "*MOTOR* actualPosition between 21 and 22": lambda r: truth(
        r, "*MOTOR* actualPosition", lambda v: 21 <= v <= 22
    ),
    "not *MOTOR* actualPosition >= 21": lambda r: (
        not truth(r, "*MOTOR* actualPosition", lambda v: v >= 21)
    ),
    "*MOTOR* deviceId glob '*M0[0-4]'": lambda r: truth(
        r, "*MOTOR* deviceId", lambda v: fnmatchcase(v, "*M0[0-4]")
    ),
    f"{XGM} classId = DoocsXGM and ({ENERGY} > 1200 or {ENERGY} <= 800)": lambda r: (
        truth(r, f"{XGM} classId", lambda v: v == "DoocsXGM")
        and truth(r, ENERGY, lambda v: v > 1200 or v <= 800)
    ),
    "* classId not in ('DoocsXGM', 'TimeServer')": lambda r: (
        not truth(r, "* classId", lambda v: v in ("DoocsXGM", "TimeServer"))
    ),
    "*MOTOR* isMoving = true": lambda r: truth(r, "*MOTOR* isMoving", bool),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_find_runs(condition, facility):
    expected = [i for i, run in facility.runs.items() if CONDITIONS[condition](run)]
    frame = facility.catalog.find_runs(condition)
    assert 0 < len(expected) < len(facility.runs)
    assert identities(frame) == expected
    assert identities(facility.catalog.runs(where=condition)) == expected
    found = facility.catalog.find("*", where=condition)
    assert set(identities(found)) == set(expected)


@settings(max_examples=40)
@given(data=st.data())
def test_find_runs_compares_every_number_as_numpy_does(data, facility):
    numbers = sorted(
        {
            (s, k.removesuffix(".value"))
            for run in facility.runs.values()
            for (s, k), value in run.device_values.items()
            if isinstance(value, np.number) and not k.endswith("timestamp")
        }
    )
    source, key = data.draw(st.sampled_from(numbers))
    values = [
        value
        for run in facility.runs.values()
        if (value := run.device_values.get((source, f"{key}.value"))) is not None
    ]
    bound = data.draw(st.sampled_from(values)).item()
    sign = data.draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
    compare = {
        "=": lambda v: v == v.dtype.type(bound),
        "!=": lambda v: v != v.dtype.type(bound),
        "<": lambda v: v < v.dtype.type(bound),
        "<=": lambda v: v <= v.dtype.type(bound),
        ">": lambda v: v > v.dtype.type(bound),
        ">=": lambda v: v >= v.dtype.type(bound),
    }[sign]
    expected = [i for i, run in facility.runs.items() if truth(run, f"{source} {key}", compare)]
    text = f"{source} {key} {sign} {bound!r}"
    assert identities(facility.catalog.runs(where=text)) == expected
    assert identities(facility.catalog.runs(where={f"{source} {key}": (sign, bound)})) == expected
    several = {f"{source} {key}": [bound, 0.0]}
    as_array = {f"{source} {key}": np.array([bound, 0.0])}
    assert conditions_of(as_array) == conditions_of(several)


def test_find_runs_shows_values_units_and_whose_they_are(facility):
    frame = facility.catalog.find_runs("SPB*MOTOR* actualPosition > 20 and *XGM* gainMode >= 0")
    assert list(frame.columns[5:9]) == [
        "SPB*MOTOR* actualPosition [mm]",
        "SPB*MOTOR* actualPosition: source",
        "*XGM* gainMode",
        "*XGM* gainMode: source",
    ]
    for i, value, source in zip(identities(frame), frame.iloc[:, 5], frame.iloc[:, 6], strict=True):
        values = {
            s: v
            for (s, k), v in facility.runs[i].device_values.items()
            if k == "actualPosition.value" and named("SPB*MOTOR*", s) and v > 20
        }
        assert (source, value) == (min(values), values[min(values)])
    assert len(frame)


def test_what_happened_during_runs(demo, tmp_path):
    """Conditions on profiles give what numpy says of all values of the runs."""
    store = demo.copy_catalog(tmp_path / "catalog")
    catalog = Catalog(store.location)
    functions = {
        "min": np.min,
        "max": np.max,
        "mean": np.mean,
        "std": np.std,
        "first": lambda v: v[0],
        "last": lambda v: v[-1],
        "changes": lambda v: np.count_nonzero(np.diff(v)),
        "entries": len,
    }
    values = {}
    for i, run in walked(demo.root).items():
        if i[0] == 900032 and ("CONTROL", XGM) in run.sources:
            files = [f for f in run.files if ("CONTROL", XGM) in f.sources]
            place = f"CONTROL/{XGM}/pulseEnergy/photonFlux/value"
            rows = [f.get(place)[f.get(f"INDEX/{XGM}/count") > 0] for f in files]
            values[i] = np.concatenate(rows).astype(float)
    assert catalog.find_runs(f"max({ENERGY}) > 0").empty  # nothing is known before it is read
    report = profile(XGM, "pulseEnergy.photonFlux", proposal=900032, catalog=store.location, jobs=0)
    assert report.keys_read == len(values)
    for name, function in functions.items():
        of_run = {i: function(v) for i, v in values.items()}
        bound = float(np.median(list(of_run.values())))
        frame = catalog.find_runs(f"{name}({ENERGY}) >= {bound!r}")
        expected = {i: v for i, v in of_run.items() if v >= bound or np.isclose(v, bound)}
        assert identities(frame) == list(expected)
        assert frame.iloc[:, 5].to_numpy() == pytest.approx(list(expected.values()))
        assert frame.columns[5].startswith(f"{name}({ENERGY})")


def test_conditions_as_python_says_them(facility):
    find_runs = facility.catalog.find_runs
    text = find_runs(f"{XGM} gainMode in (1, 2) and {ENERGY} between 0 and 950")
    assert len(text)
    for given_as in (
        {f"{XGM} gainMode": [1, 2], ENERGY: ("between", 0, 950)},
        {(XGM, "gainMode"): ("in", 1, 2), tuple(ENERGY.split()): ("between", 0, 950)},
        [f"{XGM} gainMode in (1, 2)", {ENERGY: ("between", 0, 950)}],
    ):
        assert find_runs(given_as).equals(text)
    assert identities(find_runs({f"{XGM} gainMode": np.int64(2)})) == identities(
        find_runs(f"{XGM} gainMode == 2.0")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a source expected at the start, not the end"),
        ("A", "a key expected after 'A', not the end"),
        ("A x", "a comparison .* expected after 'A x', not the end"),
        ("A x <", "a value expected"),
        ("A x < 1 and", "a source expected after '< 1 and'"),
        ("A x < 1 B y > 2", "'and', 'or' or the end expected"),
        ("A x between 1", "'and' expected"),
        ("A x between 2 and 1", "nothing is between 2.0 and 1.0"),
        ("A x in 1, 2", r"'\(' expected"),
        ("A x in (1, 'b')", "cannot be mixed"),
        ("A x glob 5", "glob needs a text"),
        ("A x = 'open", "is never closed"),
        ("A x = nan", "nothing is equal to nan"),
        ("average(A x) > 1", r"a function \(min, max"),
        ("max(A x) = ON", "is a number"),
        ("(A x < 1", r"'\)' expected"),
        ("A x not < 1", "between, in, glob"),
        ("re:( x < 1", "."),
    ],
)
def test_conditions_that_mean_nothing(text, message):
    with pytest.raises(QueryError, match=message):
        parse_condition(text)


@settings(max_examples=200)
@given(st.text(alphabet="A x<>=()'\"!,0.5andorinbetw[]*", max_size=40))
def test_any_text_is_a_condition_or_a_query_error(text):
    with suppress(QueryError):
        assert parse_condition(text) == parse_condition(f" ({text}) ")
