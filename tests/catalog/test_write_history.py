"""What stays of the past when a run is written again, and what its summaries say."""

import dataclasses

import numpy as np
import pytest
from support.run_records import MOMENT, assert_same_run, later, make_run, with_file, write
from xfelcat.catalog.model.errors import CatalogWriteError
from xfelcat.catalog.model.identity import RunIdentity
from xfelcat.catalog.model.records import (
    Depth,
    FileLayout,
    FileRecord,
    KeyRecord,
    KeySchema,
    Problem,
    SourceRecord,
)
from xfelcat.catalog.model.runlength import TrainList
from xfelcat.catalog.store import write as write_module
from xfelcat.catalog.store.connections import connect_write
from xfelcat.catalog.store.read import load_run


def ask(store, question):
    with store.read("p002012") as cursor:
        return cursor.execute(question).fetchall()


def at_time(record, moment):
    return dataclasses.replace(record, ingested_at=moment)


def utc(moment):
    return moment.replace(tzinfo=None)


def test_a_problem_keeps_when_it_was_first_seen_and_is_resolved_when_it_is_gone(store):
    run = make_run(1)
    path = f"{run.directory}/{run.files[0].name}"
    stays = Problem("I03", "W", "gap in the index", path, "INDEX/a")
    goes = Problem("F05", "E", "run number differs", path)
    whole = Problem("R03", "E", "sequences overlap", run.directory)
    first = dataclasses.replace(with_file(run, 0, problems=(stays, goes)), problems=(whole,))
    write(store, first)
    write(store, at_time(with_file(first, 0, problems=(stays,)), later(1)))
    question = (
        "SELECT check_id, file, place, path, first_seen, last_seen, resolved_at"
        " FROM findings ORDER BY check_id"
    )
    name = run.files[0].name
    t0, t1, t2 = utc(MOMENT), utc(later(1)), utc(later(2))
    assert ask(store, question) == [
        ("F05", name, "", path, t0, t0, t1),
        ("I03", name, "INDEX/a", path, t0, t1, None),
        ("R03", None, "", run.directory, t0, t1, None),
    ]
    write(store, at_time(with_file(first, 0, problems=(goes,)), later(2)))
    assert [row[4:] for row in ask(store, question)] == [
        (t0, t2, None),  # it is back
        (t0, t1, t2),
        (t0, t2, None),
    ]


def test_a_changed_file_leaves_history_and_a_finding(store):
    run = make_run(1)
    old = run.files[2]
    write(store, run)
    grown = with_file(run, 2, size=old.size + 5, scanned_at=later(1))
    write(store, at_time(grown, later(1)))
    write(store, at_time(grown, later(2)))
    assert ask(store, "SELECT name, size, scanned_at, replaced_at FROM file_changes") == [
        (old.name, old.size, utc(MOMENT), utc(later(1)))
    ]
    touched = with_file(grown, 2, mtime_ns=old.mtime_ns + 1)
    write(store, at_time(touched, later(3)))
    found = ask(
        store,
        "SELECT check_id, severity, file, message, first_seen, resolved_at"
        " FROM findings ORDER BY first_seen",
    )
    assert [row[:3] for row in found] == [("C02", "E", old.name)] * 2
    assert f"from {old.size} to {old.size + 5}" in found[0][3]
    assert found[1][3].startswith("modified since it was catalogued: was of 2023-11-14 22:13:20")
    assert [row[4:] for row in found] == [(utc(later(1)), None), (utc(later(3)), None)]
    with store.read("p002012") as cursor:
        assert_same_run(load_run(cursor, run.identity.run_id), at_time(touched, later(3)))


def test_data_that_are_made_anew_may_change(store):
    raw = make_run(1)
    proc = dataclasses.replace(raw, identity=dataclasses.replace(raw.identity, data_class="proc"))
    loose = dataclasses.replace(raw, identity=RunIdentity(loose_path="/copy/of/r0001"))
    for run, severity in ((raw, "E"), (proc, "I"), (loose, "E")):
        write(store, run)
        write(store, at_time(with_file(run, 0, size=10**9), later(1)))
        with store.read(run.identity.shard) as cursor:
            sql = f"SELECT check_id, severity FROM findings WHERE run_id = {run.identity.run_id}"
            assert cursor.execute(sql).fetchall() == [("C02", severity)]


def test_a_file_known_to_be_unfinished_may_change(store):
    run = make_run(1)
    write(store, with_file(run, 0, retry=True, depth=Depth.UNREAD, patterns=()))
    write(store, with_file(run, 0, size=10**9))
    assert ask(store, "SELECT * FROM findings") == []
    assert ask(store, "SELECT * FROM file_changes") == []


def test_a_missing_file_is_a_finding_until_it_is_back(store):
    run = make_run(1)
    name = run.files[1].name
    write(store, run)
    write(store, at_time(with_file(run, 1, missing_since=later(1)), later(1)))
    question = "SELECT check_id, severity, file, first_seen, resolved_at FROM findings"
    assert ask(store, question) == [("C01", "E", name, utc(later(1)), None)]
    assert ask(store, "SELECT files, files_missing, trains FROM runs") == [(9, 1, 30)]
    write(store, at_time(run, later(2)))
    assert ask(store, question) == [("C01", "E", name, utc(later(1)), utc(later(2)))]


def test_places_keep_when_the_run_was_last_there(store):
    run = make_run(1)
    write(store, run)
    moved = dataclasses.replace(run, directory="/new", locations=(run.directory, "/new"))
    write(store, at_time(moved, later(1)))
    assert ask(store, "SELECT path, seen_at FROM run_locations ORDER BY seen_at") == [
        (run.directory, utc(MOMENT)),
        ("/new", utc(later(1))),
    ]
    assert ask(store, "SELECT DISTINCT parse_dirpath(path) FROM files") == [("/new",)]


def test_two_identities_with_one_number_are_refused(store):
    run = make_run(1)
    write(store, run)
    other = RunIdentity(2012, 1, "raw", "OTHER", "202402")
    write(store, dataclasses.replace(run, identity=other))  # only describes otherwise
    versions = store.versions("p002012")
    with versions.lock(), versions.draft() as draft:
        with connect_write(draft) as connection:
            connection.execute("UPDATE run SET data_class = 'proc'")
        versions.publish(draft)
    with pytest.raises(CatalogWriteError, match="same run_id"):
        write(store, run)


def test_runs_of_other_shards_and_unsorted_files_are_refused(store):
    run = make_run(1)
    with pytest.raises(ValueError, match="belongs in shard p000700"), store.write("p002012") as w:
        w.replace_run(make_run(1, 700))
    with pytest.raises(ValueError, match="sorted"), store.write("p002012") as writer:
        writer.replace_run(dataclasses.replace(run, files=run.files[::-1]))


@pytest.mark.parametrize("what", ["key schema", "layout"])
def test_two_contents_with_one_digest_are_refused(store, what):
    run = make_run(1)
    write(store, run)
    file = run.files[-1]
    schema = KeySchema((KeyRecord("other", "", "<f8"),))
    layout = FileLayout((SourceRecord("CONTROL", "other", ("",)),), (None,))
    if what == "key schema":
        schema.__dict__["digest"] = file.layout.schemas[0].digest
        layout = FileLayout(file.layout.sources, (schema,) * len(file.layout.sources))
    else:
        layout.__dict__["digest"] = file.layout.digest
    clashing = with_file(run, -1, layout=layout, depth=Depth.OUTLINE, patterns=())
    with pytest.raises(CatalogWriteError, match=f"two contents of a {what}"):
        write(store, clashing)


# Summaries ----------------------------------------------------------------------------------------


def test_summaries_of_a_run(store):
    run = make_run(3, n_trains=10, n_sequences=3)
    ids = TrainList.from_ids([5, *range(100, 109)], suspect=[0])
    first = run.files[0]
    run = with_file(run, 0, trains=ids, timestamps=np.r_[np.uint64(0), first.timestamps[1:]])
    run = with_file(run, 1, depth=Depth.UNREAD, trains=TrainList.from_ids(()), timestamps=None)
    write(store, run)
    (row,) = ask(
        store,
        "SELECT depth, files, files_unread, bytes, trains, suspect_trains, first_train, last_train,"
        " started_at, ended_at, format_version, recorded_proposal, recorded_run FROM runs",
    )
    usable = [f for f in run.files if f.usable]
    distinct = {int(t) for f in usable for t in f.trains.ids}
    good = {int(t) for f in usable for t in f.trains.ids[f.trains.good]}
    times = np.concatenate([f.timestamps for f in usable])
    assert row[:8] == (
        *("full", 9, 1, sum(f.size for f in run.files), len(distinct), 1, min(good), max(good)),
    )
    as_datetime = times[times > 0].astype("datetime64[ns]").astype("datetime64[us]")
    assert row[8:10] == (as_datetime.min().item(), as_datetime.max().item())
    assert row[10:] == ("1.2", None, 3)


def test_sources_of_a_run_are_counted_as_the_index_says(store):
    run = make_run(2, n_aggregators=2, n_modules=2, n_sequences=3)
    write(store, run)
    found = ask(store, "SELECT source, index_group, files, trains, entries FROM run_sources")
    assert len(found) == 10
    for source, group, n_files, n_trains, n_entries in found:
        patterns = [
            file.patterns[slot]
            for file in run.files
            for (_, name, its_group), slot in file.layout.slots.items()
            if (name, its_group) == (source, group)
        ]
        assert n_files == len(patterns) == 3
        assert n_trains == sum(int((p.count > 0).sum()) for p in patterns)
        assert n_entries == sum(int(p.count.sum()) for p in patterns)


def test_a_legacy_name_has_what_the_new_one_has(store):
    schema = KeySchema((KeyRecord("image.data", "image", "<f4", (512, 128)),))
    layout = FileLayout(
        (
            SourceRecord("INSTRUMENT", "NEW:out", ("image",)),
            SourceRecord("INSTRUMENT", "OLD:out", (), legacy_of="NEW:out"),
        ),
        (schema, None),
    )
    run = make_run(1, n_aggregators=0)
    pattern = run.files[0].patterns[0]
    for at in range(len(run.files)):
        run = with_file(run, at, layout=layout, patterns=(pattern,))
    write(store, run)
    question = "SELECT source, legacy_of, index_group, trains FROM run_sources ORDER BY source"
    n = 3 * pattern.n_trains_with_rows
    assert ask(store, question) == [
        ("NEW:out", None, "image", n),
        ("OLD:out", "NEW:out", "image", n),
    ]
    assert ask(store, "SELECT source, key, shape, trains FROM run_keys ORDER BY source") == [
        ("NEW:out", "image.data", [512, 128], n),
        ("OLD:out", "image.data", [512, 128], n),
    ]


def test_below_full_depth_sources_are_listed_without_counts(store):
    run = make_run(1, n_modules=0)
    for at, file in enumerate(run.files):
        bare = FileLayout(file.layout.sources, (None,) * len(file.layout.sources))
        run = with_file(run, at, depth=Depth.OUTLINE, layout=bare, patterns=())
    write(store, run)
    assert ask(store, "SELECT DISTINCT depth, trains, entries, files FROM run_sources") == [
        ("outline", None, None, 3)
    ]
    assert ask(store, "SELECT * FROM run_keys") == []
    mixed = with_file(
        run,
        0,
        **{
            f.name: getattr(make_run(1, n_modules=0).files[0], f.name)
            for f in dataclasses.fields(FileRecord)
        },
    )
    write(store, mixed)
    assert (
        ask(store, "SELECT files, trains, depth FROM run_sources WHERE trains > 0")
        == [(3, 10, "outline")] * 4
    )


def test_views_on_units_flags_and_values(store):
    run = make_run(1, n_aggregators=1, n_modules=0, n_sequences=1, n_control=1)
    keys = (KeyRecord("a.value", "", "<f8", (), "m", "metre", "u", "micro"),)
    layout = FileLayout((SourceRecord("CONTROL", "MOTOR", ("",)),), (KeySchema(keys),))
    trains = TrainList.from_ids([10, 11, 12, 7, 8], suspect=[3, 4])
    values = {"MOTOR": {"a.value": np.float32(0.1), "class": "Motor", "list": np.arange(3)}}
    run = with_file(run, 0, layout=layout, trains=trains, run_values=values, timestamps=None)
    write(store, run)
    assert ask(store, "SELECT key, unit, unit_name, shape FROM keys") == [
        ("a.value", "μm", "micrometre", [])
    ]
    assert ask(store, "SELECT first_train, last_train, trains FROM train_ranges ORDER BY 1") == [
        (7, 8, 2),
        (10, 12, 3),
    ]
    assert ask(store, "SELECT position, train_id FROM train_flags ORDER BY position") == [
        (3, 7),
        (4, 8),
    ]
    question = "SELECT source, key, dtype, number, text, shape FROM run_values ORDER BY key"
    assert ask(store, question) == [
        ("MOTOR", "a.value", "<f4", pytest.approx(0.1), None, None),
        ("MOTOR", "class", "str", None, "Motor", None),
        ("MOTOR", "list", "<i8", None, None, [3]),
    ]


def test_loose_runs_have_neither_proposal_nor_run(store):
    who = RunIdentity(loose_path="/home/someone/data")
    run = dataclasses.replace(make_run(1), identity=who)
    write(store, run)
    with store.read(who.shard) as cursor:
        found = cursor.execute("SELECT run_id, proposal, run, data_class FROM runs").fetchall()
    assert found == [(who.run_id, None, None, None)]


def test_writing_a_big_run_takes_few_statements(store, monkeypatch):
    """Not one statement per file or source: the number is the same for any size of run."""
    counted = []
    insert = write_module.insert_rows
    monkeypatch.setattr(
        write_module, "insert_rows", lambda *args: counted.append(args[1]) or insert(*args)
    )
    write(store, make_run(1, n_sequences=20, n_aggregators=3, n_modules=4))
    assert len(counted) == len(set(counted)) <= 18
