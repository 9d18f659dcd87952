"""Each check in SQL finds the fault that it is for, where it is, and nothing but what follows.

``FAULTS`` put one fault into the clean facility of ``auditruns``, at a place that Hypothesis picks,
and say what must be found: (run, check, file name or None, place). ``follows`` are the checks that
may find something too, in the same run number.
"""

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audited_records import (
    CAMERA,
    CONTROL,
    DETECTOR,
    FIRST_TRAIN,
    GAUGE,
    LATE,
    LIMITS,
    MODULES,
    RUNS,
    SEQUENCES,
    TRAINS,
    File,
    database,
    facility,
    module,
    name_of,
)
from support.examples import examples, some
from xfelcat.catalog.audit.run_checks import SQL_CHECKS, choose_runs, find_faults, portions
from xfelcat.catalog.model.records import Depth, KeyRecord, KeySchema
from xfelcat.catalog.questions.filters import ALL_RUNS, RunFilter

ALL = {check_id for check_id, _ in SQL_CHECKS}
NOW = datetime(2024, 6, 1)
SLOW = ("DA01", "DA02")
FAULTS = {}


def fault(*finds, follows=()):
    """Register a function (facility, draw) -> what must be found, under its name."""

    def register(function):
        FAULTS[function.__name__] = (function, set(finds), set(follows))
        return function

    return register


def found_in(made, where=ALL_RUNS, ids=ALL, limits=LIMITS):
    with database(made) as cursor:
        choose_runs(cursor, where)
        find_faults(cursor, ids, limits, NOW)
        sql = """
            SELECT
                r.proposal, r.data_class, r.run, f.check_id, f.severity, f.name, f.place, f.message
            FROM found AS f LEFT JOIN run AS r USING (run_id) ORDER BY ALL
        """
        return cursor.execute(sql).fetchall()


def pick(draw, values):
    return draw(st.sampled_from(list(values)))


def raw_name(run, aggregator, sequence):
    return name_of("raw", run, aggregator, sequence)


@fault("T04")
def many_suspect(made, draw):
    run, aggregator, sequence = pick(draw, RUNS), pick(draw, SLOW), pick(draw, SEQUENCES)
    bad = draw(st.sets(st.integers(0, TRAINS - 1), min_size=2))
    made.raw(run)[aggregator, sequence].suspect = tuple(sorted(bad))
    return {(run, "T04", raw_name(run, aggregator, sequence), "INDEX/flag")}


@fault("T06")
def trains_nowhere(made, draw):
    run, sequence = pick(draw, RUNS), pick(draw, SEQUENCES)
    at = draw(st.integers(1, TRAINS - 3))
    n = draw(st.integers(1, TRAINS - 2 - at))
    for files in (made.raw(run), made.runs[2012, "proc", run]):
        for (_, s), file in files.items():
            if s == sequence:
                del file.trains[at : at + n]
    return {(run, "T06", None, "")}


@fault("R01", follows=("T06",))
def lost_sequence(made, draw):
    run, aggregator = pick(draw, RUNS), pick(draw, SLOW)
    sequence = draw(st.integers(0, len(SEQUENCES) - 2))
    del made.raw(run)[aggregator, sequence]
    return {(run, "R01", None, aggregator)}


@fault("R01", "R06", "P02")
def lost_sequence_of_a_module(made, draw):
    run, n = pick(draw, RUNS), pick(draw, MODULES)
    del made.raw(run)[f"TINY{n:02d}", draw(st.integers(0, 1))]
    return {
        (run, "R01", None, f"TINY{n:02d}"),
        (run, "R06", None, f"INSTRUMENT/{module(n)}"),
        (run, "P02", None, f"INSTRUMENT/{module(n)}"),
    }


@fault("R02", follows=("R03",))
def train_twice(made, draw):
    """The first train of a file is one of an earlier file."""
    run, aggregator = pick(draw, RUNS), pick(draw, SLOW)
    sequence = draw(st.integers(1, len(SEQUENCES) - 1))
    earlier = made.raw(run)[aggregator, draw(st.integers(0, sequence - 1))]
    made.raw(run)[aggregator, sequence].trains[0] = pick(draw, earlier.trains)
    return {(run, "R02", raw_name(run, aggregator, sequence), aggregator)}


@fault("R02", "R05")
def source_in_two_aggregators(made, draw):
    run = pick(draw, RUNS)
    key = pick(draw, made.raw(run)["DA01", 0].sources)
    for sequence in SEQUENCES:
        made.raw(run)["DA02", sequence].sources[key] = made.raw(run)["DA01", 0].sources[key]
    place = "/".join(key)
    expected = {(run, "R02", raw_name(run, "DA02", s), place) for s in SEQUENCES}
    return expected | {(run, "R05", None, place)}


@fault("R03")
def sequences_interleaved(made, draw):
    """Neighbours share no train, but the later begins before the earlier ends."""
    run, aggregator = pick(draw, RUNS), pick(draw, SLOW)
    sequence = draw(st.integers(0, len(SEQUENCES) - 2))
    a, b = made.raw(run)[aggregator, sequence], made.raw(run)[aggregator, sequence + 1]
    a.trains[-1], b.trains[0] = b.trains[0], a.trains[-1]
    return {(run, "R03", raw_name(run, aggregator, sequence + 1), aggregator)}


@fault("R03")
def trains_lost_at_a_break(made, draw):
    run, aggregator = pick(draw, RUNS), pick(draw, SLOW)
    sequence = draw(st.integers(1, len(SEQUENCES) - 1))
    del made.raw(run)[aggregator, sequence].trains[: draw(st.integers(1, TRAINS - 1))]
    return {(run, "R03", raw_name(run, aggregator, sequence), aggregator)}


@fault("R04")
def aggregator_stops(made, draw):
    run, aggregator = pick(draw, RUNS), pick(draw, SLOW)
    del made.raw(run)[aggregator, SEQUENCES[-1]].trains[draw(st.integers(1, TRAINS - 5)) :]
    return {(run, "R04", None, aggregator)}


@fault("R05")
def source_absent_from_a_sequence(made, draw):
    run, aggregator, sequence = pick(draw, RUNS), pick(draw, SLOW), pick(draw, SEQUENCES)
    file = made.raw(run)[aggregator, sequence]
    key = pick(draw, file.sources)
    del file.sources[key]
    return {(run, "R05", None, "/".join(key))}


@fault("R05")
def source_moves(made, draw):
    """From one sequence on, another aggregator writes it."""
    run = pick(draw, RUNS)
    key = pick(draw, made.raw(run)["DA01", 0].sources)
    for sequence in range(draw(st.integers(1, len(SEQUENCES) - 1)), len(SEQUENCES)):
        files = made.raw(run)
        files["DA02", sequence].sources[key] = files["DA01", sequence].sources.pop(key)
    return {(run, "R05", None, "/".join(key))}


@fault("R06", "X01", follows=("P02",))
def module_without_a_file(made, draw):
    run, n = pick(draw, RUNS), pick(draw, MODULES)
    for sequence in SEQUENCES:
        del made.raw(run)[f"TINY{n:02d}", sequence]
    expected = {(run, "R06", None, f"{DETECTOR}/DET/#CH0:xtdf")}
    if run > LIMITS.of_neighbours:
        expected.add((run, "X01", None, f"INSTRUMENT/{module(n)}"))
    return expected


@fault("R06", follows=("P02",))
def module_with_fewer_frames(made, draw):
    run, n = pick(draw, RUNS), pick(draw, MODULES)
    made.raw(run)[f"TINY{n:02d}", pick(draw, SEQUENCES)].rows = pick(draw, (0, 1, 3))
    return {(run, "R06", None, f"INSTRUMENT/{module(n)}")}


@fault("R09")
def late_trains(made, draw):
    run, aggregator, sequence = pick(draw, RUNS), pick(draw, SLOW), pick(draw, SEQUENCES)
    made.raw(run)[aggregator, sequence].sources["ERRATA", "TRAINS_OUTSIDE"] = LATE
    return {(run, "R09", None, "ERRATA/TRAINS_OUTSIDE")}


@fault("P01")
def not_corrected(made, draw):
    run = pick(draw, RUNS)
    del made.runs[2012, "proc", run]
    return {(run, "P01", None, "")}


@fault("P02", follows=("X01",))
def module_not_corrected(made, draw):
    run, n = pick(draw, RUNS), pick(draw, MODULES)
    for sequence in SEQUENCES:
        del made.runs[2012, "proc", run][f"TINY{n:02d}", sequence]
    return {(run, "P02", None, f"INSTRUMENT/{module(n)}")}


@fault("P02")
def correction_lost_trains(made, draw):
    run, n, sequence = pick(draw, RUNS), pick(draw, MODULES), SEQUENCES[-1]
    del made.runs[2012, "proc", run][f"TINY{n:02d}", sequence].trains[-draw(st.integers(1, 3)) :]
    return {(run, "P02", None, f"INSTRUMENT/{module(n)}")}


@fault("X01")
def source_gone(made, draw):
    run, aggregator = pick(draw, RUNS[LIMITS.of_neighbours :]), pick(draw, SLOW)
    key = pick(draw, made.raw(run)[aggregator, 0].sources)
    for sequence in SEQUENCES:
        del made.raw(run)[aggregator, sequence].sources[key]
    return {(run, "X01", None, "/".join(key))}


@fault("X03")
def source_renamed(made, draw):
    run, aggregator = pick(draw, RUNS[LIMITS.of_neighbours :]), pick(draw, SLOW)
    old = f"{aggregator}/MOTOR/{pick(draw, ('LEFT', 'RIGHT', 'SAMPLE'))}"
    new = old[:-1] + pick(draw, "XYZ")
    for sequence in SEQUENCES:
        sources = made.raw(run)[aggregator, sequence].sources
        sources["CONTROL", new] = sources.pop(("CONTROL", old))
    return {(run, "X03", None, f"CONTROL/{new}")}


@fault("X02")
def key_changes(made, draw):
    """From one run on; where it is one run only, the next one changes back."""
    run = pick(draw, RUNS[1:])
    last = draw(st.integers(run, RUNS[-1]))
    changed = {
        CONTROL: KeySchema((CONTROL.keys[0], KeyRecord("position.value", "", "<f4", (), "m"))),
        GAUGE: KeySchema((GAUGE.keys[0], KeyRecord("pressure.value", "", "<f4", (), "bar"))),
        CAMERA: KeySchema((KeyRecord("data.pixels", "data", "<u2", (48, 32)),)),
    }
    aggregator = pick(draw, SLOW)
    key, schema = pick(draw, made.raw(run)[aggregator, 0].sources.items())
    for number in range(run, last + 1):
        for sequence in SEQUENCES:
            made.raw(number)[aggregator, sequence].sources[key] = changed[schema]
    back = {last + 1} & set(RUNS)
    return {(number, "X02", None, "/".join(key)) for number in {run} | back}


@fault("X04")
def trains_of_another_run(made, draw):
    """Another proposal of the same instrument has some of the trains, at the same times."""
    run = pick(draw, RUNS)
    first = FIRST_TRAIN + 1000 * run + draw(st.integers(1, 3 * TRAINS - 1))
    file = File(list(range(first, first + TRAINS)), {("CONTROL", "OTHER/MOTOR/1"): CONTROL})
    made.runs[2013, "raw", 1] = {("DA01", 0): file}
    return {(1, "X04", None, "")}


@fault("X04")
def clock_is_wrong(made, draw):
    run = pick(draw, RUNS)
    seconds = draw(st.integers(90, 3600))
    made.clock[2012, "raw", run] = pick(draw, (-1, 1)) * seconds * 10**9
    return {(number, "X04", None, "") for number in {run, run + 1} & set(RUNS[1:])}


@pytest.mark.parametrize("name", some(FAULTS, 11))
@settings(max_examples=examples(1), derandomize=True, database=None)
@given(data=st.data())
def test_a_fault_is_found_where_it_is_and_nothing_else(name, data):
    put_in, finds, follows = FAULTS[name]
    made = facility()
    expected = put_in(made, data.draw)
    found = {(run, check, file, place) for _, _, run, check, _, file, place, _ in found_in(made)}
    assert expected <= found
    assert {check for _, check, *_ in expected} <= finds
    runs = {run for run, *_ in expected}
    others = {(run, check) for run, check, *_ in found - expected}
    assert others <= {(run, check) for run in runs for check in follows}


def test_a_clean_facility_has_no_findings():
    assert found_in(facility()) == []


def test_there_is_a_fault_for_every_check():
    assert set().union(*(finds for _, finds, _ in FAULTS.values())) == ALL


def test_only_the_runs_in_scope_are_told_of_but_others_are_compared_with():
    made = facility()
    for run in (5, 6):
        for sequence in SEQUENCES:
            del made.raw(run)["DA01", sequence].sources["CONTROL", "DA01/MOTOR/LEFT"]
    found = found_in(made, RunFilter.of(run=6))
    assert [(run, check) for _, _, run, check, *_ in found] == [(6, "X01")]
    assert found[0][-1] == "in 4 of the 5 runs before, but not in this one"


def test_a_file_that_was_not_read_excuses_what_its_run_lacks():
    made = facility()
    for aggregator in ("DA01", "TINY01"):
        for sequence in SEQUENCES:
            made.raw(6)[aggregator, sequence].depth = Depth.UNREAD
    assert found_in(made) == []


def test_most_modules_are_right_and_the_others_told():
    made = facility()
    made.raw(3)["TINY02", 1].rows = 1
    messages = [m for *_, check, _, _, _, m in found_in(made, ids={"R06"}) if check == "R06"]
    assert messages == ["50 frames of 'image', most modules have 60"]


def test_missing_modules_are_named():
    made = facility()
    for sequence in SEQUENCES:
        del made.raw(2)["TINY01", sequence]
    ((*_, message),) = found_in(made, ids={"R06"})
    assert message == "1 of 3 modules missing: number 1"


def test_limits_decide():
    made = facility()
    made.raw(2)["DA01", 0].suspect = (1, 4)
    assert len(found_in(made, ids={"T04"})) == 1
    lenient = type(LIMITS)(suspect_share=0.2)
    assert found_in(made, ids={"T04"}, limits=lenient) == []


def test_raw_without_proc_is_no_finding_where_nothing_was_ever_corrected():
    made = facility()
    made.runs = {key: files for key, files in made.runs.items() if key[1] == "raw"}
    assert found_in(made, ids={"P01"}) == []


def test_portions_hold_whole_proposals(monkeypatch):
    made = facility()
    made.runs |= {(2000 + n, "raw", 1): made.runs[2012, "raw", 1] for n in (1, 30)}
    with database(made) as cursor:
        choose_runs(cursor, ALL_RUNS)
        (everything,) = portions(cursor)
        monkeypatch.setattr("xfelcat.catalog.audit.run_checks._FILES_AT_ONCE", 20)
        cut = portions(cursor)
        sql = "SELECT count(*) FROM run WHERE run_id BETWEEN $1 AND $2"
        assert [cursor.execute(sql, span).fetchone()[0] for span in cut] == [1, 12, 1]
        assert (everything[0], everything[1]) == (cut[0][0], cut[-1][1])
