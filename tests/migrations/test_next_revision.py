"""An upgrade to a schema version after ours, of a catalog with odd runs, keeps what it has."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from support.examples import some
from support.next_revision import become_next_version
from support.rich_run import write_rich_run
from support.run_records import assert_same_run, identity, later, make_run, with_file
from xfelcat.catalog.model.errors import CatalogNotFoundError
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.records import (
    Depth,
    FileLayout,
    KeyProfile,
    KeyRecord,
    KeySchema,
    Problem,
    RunRecord,
    SourceRecord,
)
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.opening.catalogued import find_run
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.catalog.store import care, schema, versions
from xfelcat.catalog.store import store as store_module
from xfelcat.catalog.store.care import check, check_file, compact, shard_states, upgrade_shards
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.read import load_run
from xfelcat.catalog.store.store import Store
from xfelcat.catalog.store.versions import SCHEMA_VERSION

SHARD = "p002012"
LOOSE = RunIdentity(loose_path="/data/odd\udcff")


def scanned_run(directory, number):
    """Files with every kind of data: index gaps, RUN only, structures, units, legacy names."""
    place = write_rich_run(directory, gaps=(1, 3))
    files = tuple(scan_file(str(p)) for p in sorted(place.glob("*.h5")))
    return RunRecord(identity(number), str(place), str(place), files, later(0), (str(place),))


def faulty_run(number):
    """Files that were read in part, not at all, or are gone; odd names, trains and problems."""
    run = make_run(number, n_modules=2, changing=0.5)
    sources = run.files[7].layout.sources
    bare = FileLayout(sources, (None,) * len(sources))
    ids = np.array([2**64 - 2, 2**64 - 1, 0, 7, 8, 9, 3, 2**63], np.uint64)
    odd = run.files[0].name.replace(".h5", "\udcff µ.h5")
    unread = Problem("F06", "W", "permission denied", f"{run.directory}/{run.files[6].name}")
    run = with_file(run, 0, name=odd, size=2**62, mtime_ns=-(2**63), timestamps=None)
    run = with_file(run, 1, trains=TrainList.from_ids(ids, [2, 6], [0, 4]), timestamps=ids)
    run = with_file(run, 2, missing_since=later(2), verified=True, locality="NEARLINE")
    run = with_file(run, 7, depth=Depth.OUTLINE, layout=bare, patterns=(), run_values={})
    nothing = {"patterns": (), "run_values": {}, "trains": TrainList.from_ids(())}
    run = with_file(
        run,
        6,
        **nothing,
        **{"depth": Depth.UNREAD, "layout": FileLayout((), ()), "timestamps": None},
        **{"retry": True, "problems": (unread,), "metadata": {}},
    )
    problem = Problem("R03", "E", "sequences overlap", run.directory)
    return dataclasses.replace(run, locations=("/old", "/nè\udcfew"), problems=(problem,))


def legacy_run(number):
    """Sources by their old names, of several index groups and of none, with odd keys and units."""
    keys = (
        KeyRecord("image.data", "image", "<f4", (512, 128), "µm", "micro\udcfe", "µ", "micro"),
        KeyRecord("image.list", "image", '{"of": "<f4", "shape": [2]}', (10**6,)),
        KeyRecord("more.\udcffkey", "more", "str"),
    )
    sources = (
        SourceRecord("CONTROL", "RUN/ONLY", ("",), run_only=True),
        SourceRecord("INSTRUMENT", "NEW:out", ("image", "more")),
        SourceRecord("INSTRUMENT", "OLD:\udcff", (), legacy_of="NEW:out"),
        SourceRecord("REDUCTION", "R", ()),
    )
    layout = FileLayout(sources, (KeySchema(()), KeySchema(keys), None, KeySchema(keys[:1])))
    run = make_run(number, n_aggregators=0, n_modules=1, n_sequences=40)
    for at, file in enumerate(run.files):  # 81 patterns
        (counts,) = file.patterns
        gap = IndexPattern.from_arrays(np.arange(10) * 5 + at, np.full(10, 2))
        nothing = IndexPattern.from_arrays((), ())
        run = with_file(run, at, layout=layout, patterns=(nothing, counts, gap))
    return with_file(run, 0, run_values={"RUN/ONLY": {"x.value": np.float64("nan")}})


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    empty = dataclasses.replace(make_run(9), files=())
    return [
        scanned_run(tmp_path_factory.mktemp("rich"), 34),
        faulty_run(2),
        legacy_run(3),
        empty,
        make_run(1, changing=0.5),
    ]


@pytest.fixture
def store(records, tmp_path):
    """Runs of a proposal, one of them replaced and one with a profile; and a loose run."""
    made = Store(tmp_path / "catalog")
    *others, last = records
    profile = KeyProfile("DA00/MOTOR/M000", "prop000.value", later(1), 10, 2, 0.0, 5.0, 2.5)
    with made.write(SHARD) as writer:
        for record in (with_file(last, 0, size=5), *others):
            writer.replace_run(record)
    with made.write(SHARD) as writer:
        writer.replace_run(last)
        writer.replace_profiles(last.identity.run_id, [profile])
    with made.write(LOOSE.shard) as writer:
        writer.replace_run(dataclasses.replace(records[1], identity=LOOSE))
    return made


def differences(path, other):
    """Rows of one file that the other lacks, by table; of its stamp, what it is."""
    found = {}
    with connect_write(path, attach=other) as connection:
        tables = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'other'"
        ).fetchall()
        for (table,) in tables:
            what = "kind, name, schema_version" if table == "catalog_info" else "*"
            here, there = (f"SELECT {what} FROM {place}.{table}" for place in ("xfelcat", "other"))
            for one, two in ((here, there), (there, here)):
                rows = connection.execute(f"{one} EXCEPT ALL {two}").fetchall()
                if rows:
                    found.setdefault(table, []).append(rows)
    return found


def shard_files(store):
    return {shard: store.versions(shard).current() for shard in store.shards()}


def packed_ids(path):
    with connect_write(path) as connection:
        assert check_file(connection) == []
        return connection.execute("SELECT run_id FROM run_packed").fetchall()


def copies(store, folder):
    """Copies of the current version of each shard, to be opened for writing."""
    folder.mkdir()
    found = shard_files(store)
    return {name: shutil.copyfile(path, folder / name) for name, path in found.items()}


def test_compacting_keeps_every_row_and_sorts_them(store, tmp_path):
    """Row by row, and packed values byte by byte."""
    before = shard_files(store)
    compact(store)
    after = copies(store, tmp_path / "after")
    for number, (name, path) in enumerate(after.items()):
        found = differences(path, before[name])
        # Names and layouts of the run that was replaced are gone; what is there was there.
        assert {table for table in found if "run" in table or "file" in table} == set()
        ids = packed_ids(path)
        assert ids == sorted(ids)
        assert len(ids) == (1 if number else 5)


def test_every_row_is_kept_by_an_upgrade(store, tmp_path, monkeypatch):
    before = shard_files(store)
    become_next_version(monkeypatch, tmp_path)
    upgrade_shards(store)
    for name, path in copies(store, tmp_path / "after").items():
        found = differences(path, before[name])
        assert found.pop("catalog_info")  # the store stamps it
        assert found.pop("alembic_version")
        assert found == {}
        with connect_write(path) as connection:
            assert check_file(connection) == []
            notes = connection.execute("SELECT note FROM run_note ORDER BY run_id").fetchall()
            runs = connection.execute("SELECT run FROM runs ORDER BY run_id").fetchall()
        assert notes == [("run " if run is None else f"run {run}",) for (run,) in runs]


def told(store, record):
    """Everything that is said of a run as it is opened, and as it is loaded to be written again."""
    facts = find_run(store, record.identity.run_id)
    by_name = {f.name: f for f in record.files}
    said = [facts.directory, facts.run_key, list(facts.files), facts.problems]
    for number, file in enumerate(facts.files):
        times, layout = facts.timestamps(number), facts.layout(number)
        said += [facts.trains(number).token, facts.metadata(number), layout.sources]
        said.append(None if times is None else times.tolist())
        if by_name[os.path.basename(file.path)].depth < Depth.FULL:
            continue  # the file itself would be asked
        for source in layout.sources:
            where = (source.section, source.name)
            said += [facts.schema(number, *where).keys, repr(facts.run_values(source.name))]
            for group in source.groups:
                said += [p.token for p in facts.patterns([number], *where, group)]
    return said


def load(store, who):
    with store.read(who.shard) as cursor:
        return load_run(cursor, who.run_id)


@pytest.mark.parametrize("how", some(["upgrade", "write"], ["write"]))
def test_an_upgraded_store_serves_the_same_runs(store, records, how, tmp_path, monkeypatch):
    known = [*records, dataclasses.replace(records[1], identity=LOOSE)]
    before = [(told(store, record), load(store, record.identity)) for record in known]
    names = sorted(store.shards())
    old = shard_files(store)
    newer = become_next_version(monkeypatch, tmp_path)
    contents = {path: path.read_bytes() for path in old.values()}
    assert not store.exists()
    assert find_run(store, LOOSE.run_id) is None
    states = [(s.shard, s.schema_versions, s.can_be_upgraded) for s in shard_states(store)]
    assert states == [(name, (SCHEMA_VERSION,), True) for name in names]
    if how == "upgrade":
        assert upgrade_shards(store) == names
    else:
        for more in (make_run(50), known[-1]):
            with store.write(more.identity.shard) as writer:
                writer.replace_run(more)
    assert [s.schema_versions for s in shard_states(store)] == [(SCHEMA_VERSION, newer)] * 2
    assert {path: path.read_bytes() for path in old.values()} == contents
    assert check(store) == []
    for record, (said, loaded) in zip(known, before, strict=True):
        assert told(store, record) == said
        assert_same_run(load(store, record.identity), loaded)
    store.publish_merged()
    with store.read_merged() as cursor:
        n_runs = len(known) + (how == "write")
        assert cursor.execute("SELECT count(*) FROM runs").fetchall() == [(n_runs,)]


def test_what_is_older_than_any_upgrade_is_ingested_again(store, records, monkeypatch):
    run = records[-1]
    for module in (versions, schema, store_module, care):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
        if hasattr(module, "OLDEST_UPGRADED"):
            monkeypatch.setattr(module, "OLDEST_UPGRADED", SCHEMA_VERSION + 1)
    assert [(s.can_be_upgraded, s.is_too_old) for s in shard_states(store)] == [(False, True)] * 2
    assert upgrade_shards(store) == []
    with pytest.raises(CatalogNotFoundError, match="cannot upgrade it: ingest its runs again"):
        store.require()
    with store.write(run.identity.shard) as writer:
        writer.replace_run(run)
    assert_same_run(load(store, run.identity), run)
    assert [s.is_too_old for s in shard_states(store)] == [True, False]
