"""The facts of a catalogued run are those that were put in, and cost little to get."""

import dataclasses
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from extra_data.tests import make_examples
from support.run_records import assert_same_values, identity, later, make_run, with_file, write
from xfelcat.catalog.model.errors import ChangedFileError, RunNotFoundError, SourceNameError
from xfelcat.catalog.model.facts import KnownFile
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.records import (
    Depth,
    FileLayout,
    KeyRecord,
    KeySchema,
    Problem,
    RunRecord,
    SourceRecord,
)
from xfelcat.catalog.opening import catalogued
from xfelcat.catalog.opening.catalogued import (
    catalogued_facts,
    find_run,
)
from xfelcat.catalog.opening.scanned import scanned_facts
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.catalog.store.connections import POOL
from xfelcat.catalog.store.read import fetch_identity, file_stats, only_run, run_locations


def assert_facts(facts, record, files=None):
    """Everything the Protocol can say about these files of the record."""
    files = record.files if files is None else files
    assert [(f.path, f.size, f.mtime_ns, f.aggregator, f.sequence) for f in facts.files] == [
        (os.path.join(facts.directory, f.name), f.size, f.mtime_ns, f.aggregator, f.sequence)
        for f in files
    ]
    for number, file in enumerate(files):
        assert facts.trains(number).token == file.trains.token
        assert facts.layout(number).sources == file.layout.sources
        for source, schema in zip(file.layout.sources, file.layout.schemas, strict=True):
            assert facts.schema(number, source.section, source.name).keys == schema.keys
            for group in source.groups:
                slot = file.layout.slots[source.section, source.name, group]
                (found,) = facts.patterns([number], source.section, source.name, group)
                assert found.token == file.patterns[slot].token
        assert facts.timestamps(number).tolist() == file.timestamps.tolist()
        assert facts.metadata(number) == file.metadata
        for source, values in file.run_values.items():
            found = facts.run_values(source)
            assert found.keys() == values.keys()
            for key, value in values.items():
                assert_same_values(found[key], value)


def test_facts_are_what_was_put_in(store):
    records = [make_run(n, n_modules=3, changing=0.5) for n in (1, 2, 3)]
    write(store, *records)
    for record in records:
        facts = find_run(store, record.identity.run_id)
        assert facts.directory == record.directory
        with store.read("p002012") as cursor:
            assert fetch_identity(cursor, record.identity.run_id)[0] == record.identity
        assert facts.problems == ()
        assert_facts(facts, record)
    assert find_run(store, identity(4).run_id) is None
    assert find_run(store, identity(1, 700).run_id) is None
    with pytest.raises(RunNotFoundError):
        catalogued_facts(store, "p002012", 12)


def test_what_is_equal_is_the_same_object(store):
    write(store, make_run(1, n_modules=2), make_run(2, n_modules=2))
    facts = find_run(store, identity(1).run_id)
    by_aggregator = {}
    for number, file in enumerate(facts.files):
        by_aggregator.setdefault(file.aggregator, []).append(number)
    for numbers in by_aggregator.values():
        assert len({id(facts.layout(n)) for n in numbers}) == 1
    assert len({id(facts.trains(n)) for n in range(len(facts.files))}) == 3
    control = by_aggregator["DA00"]
    name = facts.layout(control[0]).sources[0].name
    assert len({id(facts.schema(n, "CONTROL", name)) for n in control}) == 1
    assert len({id(p) for p in facts.patterns(control, "CONTROL", name, "")}) == 1
    other = find_run(store, identity(2).run_id)
    assert other.layout(control[0]) is facts.layout(control[0])
    assert other.schema(control[0], "CONTROL", name) is facts.schema(control[0], "CONTROL", name)


def test_patterns_of_many_files_are_those_of_each(store):
    record = make_run(1, n_aggregators=1, n_modules=2, n_sequences=40, n_control=2)
    write(store, record)
    chosen = [f for f in record.files if f.sequence % 3]
    facts = catalogued_facts(
        store, "p002012", record.identity.run_id, names=[f.name for f in chosen]
    )
    for aggregator in ("DA00", "AGIPD00", "AGIPD01"):
        numbers = [n for n, f in enumerate(chosen) if f.aggregator == aggregator][::-1]
        numbers += numbers[:5]
        layout = facts.layout(numbers[0])
        for (section, source, group), slot in layout.slots.items():
            found = facts.patterns(numbers, section, source, group)
            expected = [chosen[n].patterns[slot].token for n in numbers]
            assert [p.token for p in found] == expected
            assert len({id(p) for p in found}) == len(set(expected))


def test_files_can_be_chosen_and_lie_elsewhere(store):
    record = make_run(1)
    write(store, record)
    names = [f.name for f in record.files if "DA01" in f.name]
    facts = catalogued_facts(
        store, "p002012", record.identity.run_id, directory="/moved/r0001", names=names
    )
    assert facts.directory == "/moved/r0001"
    assert_facts(facts, record, [f for f in record.files if f.name in names])
    assert facts.problems == ()
    assert facts.run_values("DA00/MOTOR/M000") == {}  # no chosen file has this source


def test_files_without_use_are_problems(store):
    record = make_run(1)
    paths = [os.path.join(record.directory, f.name) for f in record.files]
    unread = Problem("F06", "W", "permission denied", paths[0])
    harmless = Problem("I03", "W", "gap in the index", paths[1])
    record = with_file(
        record, 0, depth=Depth.UNREAD, patterns=(), retry=True, problems=(unread,), run_values={}
    )
    record = with_file(record, 1, problems=(harmless,))
    record = with_file(record, 2, missing_since=later(5))
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    assert_facts(facts, record, record.files[1:2] + record.files[3:])
    assert [(p.check, p.path) for p in facts.problems] == [("F06", paths[0]), ("C01", paths[2])]
    assert facts.problems[0] == unread
    assert "missing" in facts.problems[1].message


def test_unknown_names_are_named(store):
    write(store, make_run(1))
    facts = find_run(store, identity(1).run_id)
    with pytest.raises(SourceNameError, match="did you mean 'DA00/MOTOR/M00"):
        facts.schema(3, "CONTROL", "DA00/MOTOR/M00")
    assert facts.run_values("no/such/source") == {}
    assert facts.run_values("XMPL_DET_AGIPD1M-1/DET/0CH0:xtdf") == {}


def test_a_legacy_name_stands_for_the_new_one(store):
    record = make_run(1, n_aggregators=0, n_sequences=1)
    schema = KeySchema((KeyRecord("image.data", "image", "<f4", (512, 128)),))
    sources = (
        SourceRecord("INSTRUMENT", "NEW:out", ("image",)),
        SourceRecord("INSTRUMENT", "OLD:out", (), legacy_of="NEW:out"),
    )
    record = with_file(record, 0, layout=FileLayout(sources, (schema, None)))
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    assert facts.schema(0, "INSTRUMENT", "OLD:out") is facts.schema(0, "INSTRUMENT", "NEW:out")
    (found,) = facts.patterns([0], "INSTRUMENT", "OLD:out", "image")
    assert found is facts.patterns([0], "INSTRUMENT", "NEW:out", "image")[0]
    assert found.token == record.files[0].patterns[0].token


class Asked:
    """Stands in for the files of a run: records what was asked of them."""

    def __init__(self, directory, table, train_lists):
        self.asked = []

    def __getattr__(self, name):
        def answer(*args):
            self.asked.append((name, *args))
            return {"pattern_numbers": [4], "patterns": ["pattern"]}.get(name, name)

        return answer


def test_what_the_depth_lacks_comes_from_the_file(store, monkeypatch):
    monkeypatch.setattr(catalogued, "Probe", Asked)
    full = make_run(1, n_modules=0, n_aggregators=1, n_sequences=3)
    bare = FileLayout(full.files[0].layout.sources, (None,) * 4)
    record = with_file(full, 0, depth=Depth.NAMES, layout=bare, patterns=(), run_values={})
    record = with_file(record, 0, timestamps=None, metadata={})
    record = with_file(record, 1, depth=Depth.OUTLINE, layout=bare, patterns=())
    record = with_file(record, 2, depth=Depth.OUTLINE, layout=bare, patterns=(), timestamps=None)
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    name = bare.sources[0].name
    assert facts.timestamps(0) == "timestamps"
    assert facts.metadata(0) == "metadata"
    assert facts.schema(0, "CONTROL", name) == "schema"
    assert facts.patterns([0], "CONTROL", name, "") == ["pattern"]
    assert facts.run_values(name) == "run_values"
    assert facts.timestamps(1).tolist() == record.files[1].timestamps.tolist()
    assert facts.timestamps(2) is None
    assert facts.metadata(1) == record.files[1].metadata
    assert facts.probe.asked == [
        ("timestamps", 0),
        ("metadata", 0),
        ("schema", 0, "CONTROL", name),
        ("pattern_numbers", [0], "CONTROL", name, ""),
        ("patterns", [4]),
        ("run_values", [0], name),
    ]


def test_at_full_depth_no_file_is_asked(store, monkeypatch):
    monkeypatch.setattr(catalogued, "Probe", Asked)
    record = make_run(1)
    record = with_file(record, 3, run_values={})  # sources that have no RUN
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    assert_facts(facts, record)
    for layout in map(facts.layout, range(len(facts.files))):
        for source in layout.sources:
            facts.run_values(source.name)
    assert facts.probe.asked == []


def test_what_freshness_and_lookup_ask(store):
    record = make_run(1)
    record = with_file(record, 0, verified=True, retry=True, missing_since=later(1))
    write(store, dataclasses.replace(record, locations=("/old", "/new")))
    with store.read("p002012") as cursor:
        known = file_stats(cursor, record.identity.run_id)
        assert list(known) == [f.name for f in record.files]
        first, second = record.files[:2]
        assert known[first.name] == KnownFile(
            first.size, first.mtime_ns, Depth.FULL, True, True, True
        )
        assert known[second.name] == KnownFile(second.size, second.mtime_ns, Depth.FULL)
        assert file_stats(cursor, 5) == {}
        assert run_locations(cursor, record.identity.run_id) == ("/old", "/new")
        assert run_locations(cursor, 5) == ()
        assert only_run(cursor) == record.identity.run_id
    write(store, make_run(2))
    with store.read("p002012") as cursor:
        assert only_run(cursor) == -1


# Pickling, forking, threads -----------------------------------------------------------------------


def test_facts_pickle_as_a_reference(store):
    record = make_run(1)
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    facts.schema(3, "CONTROL", "DA00/MOTOR/M000")
    sent = pickle.dumps(facts)
    assert len(sent) < 1000
    assert_facts(pickle.loads(sent), record)
    POOL.close()
    for number in (2, 3, 4):  # the version it refers to is gone
        write(store, make_run(number))
    assert not os.path.exists(facts.fetcher._source.path)
    assert_facts(pickle.loads(sent), record)
    write(store, with_file(record, 0, size=1))
    write(store, make_run(5))
    POOL.close()
    with pytest.raises(ChangedFileError, match="catalogued anew"):
        pickle.loads(sent)


def test_facts_in_hand_stay_whole_while_the_catalog_goes_on(store):
    record = make_run(1)
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    for number in (2, 3, 4):
        write(store, make_run(number))
    with store.write("p002012") as writer:
        writer.forget_run(record.identity.run_id)
    assert_facts(facts, record)
    assert find_run(store, record.identity.run_id) is None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("publishes", [0, 3])
def test_facts_survive_a_fork(store, publishes):
    record = make_run(1)
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    for number in range(2, 2 + publishes):
        write(store, make_run(number))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert_facts(facts, record)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert_facts(facts, record)


def test_facts_can_be_asked_by_many_threads(store):
    record = make_run(1, n_modules=4, n_control=20)
    write(store, record)
    for _ in range(3):
        facts = find_run(store, record.identity.run_id)
        with ThreadPoolExecutor(8) as pool:
            for result in [pool.submit(assert_facts, facts, record) for _ in range(8)]:
                result.result()


def test_layouts_of_many_sources_keep_their_order(store):
    names = sorted(f"S{n}" for n in range(40))
    sources = tuple(SourceRecord("INSTRUMENT", n, ("a", "b")) for n in names)
    record = make_run(1, n_aggregators=0, n_sequences=1)
    file = record.files[0]
    per_slot = tuple(
        dataclasses.replace(file.patterns[0], offsets=file.patterns[0].offsets + n)
        for n in range(80)
    )
    layout = FileLayout(sources, (KeySchema(()),) * 40)
    record = with_file(record, 0, layout=layout, patterns=per_slot)
    write(store, record)
    facts = find_run(store, record.identity.run_id)
    assert facts.layout(0).slots == layout.slots
    for (section, source, group), slot in layout.slots.items():
        (found,) = facts.patterns([0], section, source, group)
        assert np.array_equal(found.offsets, per_slot[slot].offsets)


def test_catalogued_facts_are_those_of_the_files(store, tmp_path):
    """On files that another tool wrote; and without opening them once they are catalogued."""
    directory = tmp_path / "r0450"
    directory.mkdir()
    make_examples.make_fxe_run(str(directory), format_version="1.3")
    paths = sorted(directory.glob("*.h5"))
    records = tuple(scan_file(str(p), depth=Depth.FULL) for p in paths)
    who = RunIdentity(loose_path=str(directory))
    write(store, RunRecord(who, str(directory), str(directory), records, later(0)))
    scanned = scanned_facts(str(directory), records)
    for path in paths:  # files of the same size and time, without content
        was = path.stat()
        path.write_bytes(b"")
        os.truncate(path, was.st_size)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    facts = find_run(store, who.run_id)
    assert [*facts.files] == [*scanned.files]
    for number in range(len(facts.files)):
        assert facts.trains(number).token == scanned.trains(number).token
        assert facts.metadata(number) == scanned.metadata(number)
        assert facts.timestamps(number).tolist() == scanned.timestamps(number).tolist()
        layout = facts.layout(number)
        assert layout.sources == scanned.layout(number).sources
        for source in layout.sources:
            where = (source.section, source.name)
            assert facts.schema(number, *where).keys == scanned.schema(number, *where).keys
            for group in source.groups:
                (found,) = facts.patterns([number], *where, group)
                assert found.token == scanned.patterns([number], *where, group)[0].token
            if source.section == "CONTROL" and any(source.name in r.run_values for r in records):
                values = scanned.run_values(source.name)
                assert facts.run_values(source.name).keys() == values.keys()
                for key, value in values.items():
                    assert_same_values(facts.run_values(source.name)[key], value)
