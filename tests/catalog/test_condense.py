"""Findings that differ in numbers and names only are one line; Python and SQL agree on which."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xfelcat.catalog.audit.findings import (
    PATTERN_SQL,
    TEMPLATE_SQL,
    message_template,
    place_pattern,
)

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("not an HDF5 file", "not an HDF5 file"),
        ("INDEX/trainId is missing", "INDEX/trainId is missing"),
        ("truncated: 90885 of 136328 bytes", "truncated: N of N bytes"),
        (
            "sequence file S00001 missing (2 of 3 are there)",
            "sequence file N missing (N of N are there)",
        ),
        ("2 of 16 modules missing: number 3, 7", "N of N modules missing: number N"),
        ("no format version recorded: 0.5 or older", "no format version recorded: N or older"),
        (
            "'data.image.pixels' is <u2 [32, 32], but was <u2 [24, 32] in run 5",
            "'…' is TYPE SHAPE, but was TYPE SHAPE in run N",
        ),
        ("'x' is |u1 [], but was <f4 []", "'…' is TYPE SHAPE, but was TYPE SHAPE"),
        (
            "1 of its trains, such as 14, are also in RAW-R0105-DA01-S00000.h5, for A/B/C:d",
            "N of its trains, such as N, are also in FILE, for SOURCE",
        ),
        (
            "trains 1 to 9 are also those of p002012/raw/r0003",
            "trains N to N are also those of RUN",
        ),
    ],
)
def test_templates(message, template):
    assert message_template(message) == template


@pytest.mark.parametrize(
    ("place", "pattern"),
    [
        ("", ""),
        (
            "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/15CH0:xtdf",
            "INSTRUMENT/SPB_DET_AGIPD#M-#/DET/#CH#:xtdf",
        ),
        ("DA02", "DA#"),
    ],
)
def test_patterns(place, pattern):
    assert place_pattern(place) == pattern


PIECES = st.sampled_from(
    [
        *("'a b'", "'", " ", "12", "S00012", "0.5", ", 7", "RAW-R0001-DA01-S00000.h5"),
        *("p002012/raw/r0001", "<f4", "|u1", "[2, 3]", "[]", "A/B/C:d", "A1/B2", "HDF5"),
        *("…", "(", "µm", "\n", "N", "x_1"),
    ]
)


@settings(max_examples=60)
@given(texts=st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=20))
def test_sql_says_the_same(texts):
    sql = f"""
        SELECT {TEMPLATE_SQL}, {PATTERN_SQL}
        FROM (SELECT unnest($texts::VARCHAR[]) AS message, unnest($texts::VARCHAR[]) AS place)
    """
    told = duckdb.execute(sql, {"texts": texts}).fetchall()
    assert told == [(message_template(t), place_pattern(t)) for t in texts]
