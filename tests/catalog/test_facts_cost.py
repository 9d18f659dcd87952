"""What opening a catalogued run costs, and asking for its facts: queries in queries."""

import statistics
import subprocess
import sys
import time

import pytest
from support.run_records import identity, make_run, with_file, write
from xfelcat.catalog.model.records import FileLayout, KeyRecord, KeySchema
from xfelcat.catalog.opening.catalogued import find_run
from xfelcat.catalog.store.store import Store


@pytest.mark.parametrize("size", [1, 30])
def test_the_number_of_queries_does_not_grow_with_the_run(store, queries, size):
    record = make_run(1, n_sequences=size, n_aggregators=size, n_modules=2, n_trains=2)
    write(store, record, make_run(2))
    find_run(store, identity(2).run_id)
    queries.clear()
    facts = find_run(store, record.identity.run_id)
    assert len(queries) <= 4  # the run, what is packed of it, its layouts, names of sources
    queries.clear()
    find_run(store, record.identity.run_id)
    assert len(queries) == 2  # the layouts are known
    queries.clear()
    name = "DA00/MOTOR/M000"
    numbers = [n for n, f in enumerate(facts.files) if f.aggregator == "DA00"]
    for number in numbers:
        facts.schema(number, "CONTROL", name)
    assert len(queries) == 1
    queries.clear()
    for number in numbers:
        facts.patterns([number], "CONTROL", name, "")
    facts.patterns(numbers, "CONTROL", name, "")
    assert queries == []
    for number in range(len(facts.files)):
        facts.timestamps(number)
        facts.metadata(number)
    assert len(queries) == 3


def test_all_of_many_things_take_few_queries(store, queries):
    record = make_run(1, n_aggregators=12, n_control=25, n_modules=0, n_sequences=1)
    for at, file in enumerate(record.files):  # 300 sources, each with keys of its own
        schemas = tuple(
            KeySchema((KeyRecord(f"k{at}.{i}", "", "<f8"),))
            for i in range(len(file.layout.sources))
        )
        layout = FileLayout(file.layout.sources, schemas)
        record = with_file(record, at, layout=layout)
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    queries.clear()
    for number, file in enumerate(record.files):
        for source, schema in zip(file.layout.sources, file.layout.schemas, strict=True):
            assert facts.schema(number, "CONTROL", source.name).keys == schema.keys
    assert len(queries) == 3  # of one, of what is worth a query, and the rest
    queries.clear()
    for file in record.files:
        for source in file.layout.sources:
            assert facts.run_values(source.name)
    assert len(queries) == 4  # as well, and the names of keys


@pytest.mark.slow  # its clock wants a quiet machine
def test_opening_costs_the_same_among_a_thousand_runs(tmp_path):
    few, many = Store(tmp_path / "few"), Store(tmp_path / "many")
    size = {"n_aggregators": 4, "n_modules": 4, "n_sequences": 5, "n_control": 6, "n_keys": 5}
    write(few, make_run(500, **size))
    with many.write("p002012") as writer:
        writer.replace_run(make_run(500, **size))
        for number in range(1, 1001):
            if number != 500:
                writer.replace_run(make_run(number, **size))

    def clock(store):
        started = time.perf_counter()
        facts = find_run(store, identity(500).run_id)
        facts.schema(20, "CONTROL", "DA00/MOTOR/M003")
        facts.run_values("DA00/MOTOR/M003")
        facts.patterns([0], "INSTRUMENT", "XMPL_DET_AGIPD1M-1/DET/0CH0:xtdf", "image")
        return time.perf_counter() - started

    times = {store: [] for store in (few, many)}
    for _ in range(40):
        for store, its_times in times.items():  # interleaved: both see the same noise
            its_times.append(clock(store))
    ratio = statistics.median(times[many][5:]) / statistics.median(times[few][5:])
    assert ratio <= 2, ratio


def test_opening_imports_nothing_heavy(store):
    write(store, make_run(1))
    script = f"""
import sys
from xfelcat.catalog.opening.catalogued import find_run
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.store.store import Store
facts = find_run(Store({str(store.location)!r}), RunIdentity(2012, 1, "raw").run_id)
name = "DA00/MOTOR/M001"
facts.schema(3, "CONTROL", name), facts.patterns([3], "CONTROL", name, ""), facts.run_values(name)
facts.timestamps(3), facts.metadata(3), facts.problems, facts.files
heavy = "pandas pyarrow xarray dask sqlalchemy alembic h5py matplotlib rich IPython".split()
print([m for m in heavy if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
