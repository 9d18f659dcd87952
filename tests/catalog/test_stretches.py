"""RUN values of a shard are rows for stretches of runs, exact whatever comes, goes and changes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.run_records import make_run
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.store.care import check_file
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.packing import encode_value
from xfelcat.catalog.store.schema import create_schema
from xfelcat.catalog.store.write import ShardWriter

TEMPLATE = make_run(1, 5, n_aggregators=1, n_modules=0, n_sequences=1, n_trains=2)
VALUES = st.sampled_from(
    [
        *(None, 1.0, 2.0, np.nan, np.float32(1.0), np.int64(1), "1", "2", np.uint64(2**63)),
        *(np.array([1, 2]), np.array([[1, 2]]), np.array([1, 3])),
    ]
)
FEW = st.sampled_from([None, 1.0, 2.0])
RUNS = st.tuples(st.integers(0, 6), st.sampled_from(["raw", "proc"]))
# Put a run in with two values, take one out, or publish: fold what is there.
STEPS = st.one_of(
    st.tuples(st.just("put"), RUNS, st.one_of(FEW, VALUES), FEW),
    st.tuples(st.just("forget"), RUNS),
    st.tuples(st.just("fold")),
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("stretches")


def identity_of(run):
    number, data_class = run
    return RunIdentity(5, number, data_class, "X", "202401")


def put(writer, run, values):
    file = dataclasses.replace(TEMPLATE.files[0], run_values={"S": values})
    record = dataclasses.replace(TEMPLATE, identity=identity_of(run), files=(file,))
    writer.replace_run(record)


def unfolded(connection):
    """What each run has, as the view says it."""
    return sorted(
        repr(row)
        for row in connection.execute(
            "SELECT r.run_id, k.name, v.* EXCLUDE (first_run, last_run, source_id, key_id)"
            " FROM run_value AS v JOIN key AS k USING (key_id)"
            " JOIN run AS r ON r.run_id BETWEEN v.first_run AND v.last_run"
        ).fetchall()
    )


def expected(model):
    return sorted(
        repr((identity_of(run).run_id, key, *encode_value(value)))
        for run, values in model.items()
        for key, value in values.items()
    )


@settings(max_examples=examples(8))
@given(st.lists(STEPS, min_size=1, max_size=24))
def test_stretches_are_exact_whatever_comes_and_goes(scratch, steps):
    path = scratch / "shard.duckdb"
    path.unlink(missing_ok=True)
    model = {}
    with connect_write(path) as connection:
        create_schema(connection, "shard", "p000005")
        writer = ShardWriter(connection, "p000005", "nowhere")
        for what, *given_ in [*steps, ("fold",)]:
            if what == "put":
                run, a, b = given_
                model[run] = {k: v for k, v in (("a", a), ("b", b)) if v is not None}
                put(writer, run, model[run])
            elif what == "forget":
                known = model.pop(given_[0], None) is not None
                assert writer.forget_run(identity_of(given_[0]).run_id) == known
            else:
                writer.finish()
                assert unfolded(connection) == expected(model)
                assert check_file(connection) == []
                writer = ShardWriter(connection, "p000005", "nowhere")
        # No two rows of a key that could be one.
        assert connection.execute(
            """
            SELECT count(*) FROM run_value AS x JOIN run_value AS y ON
                x.key_id = y.key_id AND x.first_run >> 20 = y.first_run >> 20
                AND x.last_run < y.first_run
                AND row(x.dtype, x.number, x.text, x.raw, x.shape)
                    IS NOT DISTINCT FROM row(y.dtype, y.number, y.text, y.raw, y.shape)
            WHERE NOT EXISTS (
                FROM run AS r WHERE r.run_id > x.last_run AND r.run_id < y.first_run
            )"""
        ).fetchall() == [(0,)]


def test_values_that_stay_cost_one_row(scratch):
    path = scratch / "constant.duckdb"
    with connect_write(path) as connection:
        create_schema(connection, "shard", "p000005")
        writer = ShardWriter(connection, "p000005", "nowhere")
        for number in range(50):
            put(writer, (number, "raw"), {"a": 1.0, "b": float(number)})
        writer.finish()
        rows = connection.execute("SELECT key_id, count(*) FROM run_value GROUP BY ALL ORDER BY 1")
        assert [n for _, n in rows.fetchall()] == [1, 50]
