"""``find`` and ``sql``: every format, every filter, and what they say about themselves."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.questions import find
from xfelcat import Catalog
from xfelcat.catalog.questions.filters import RunFilter
from xfelcat.cli.app import app

pytestmark = pytest.mark.fast

XGM = ("*XGM*", "beamPosition.*")


def as_json(rows):
    return json.loads(json.dumps(rows, default=lambda moment: moment.isoformat()))


@pytest.fixture
def expected(demo):
    return find(demo.store, *XGM).table.to_pylist()


def test_json(xfelcat, demo, expected):
    result = xfelcat("find", *XGM, "--format", "json", "-c", demo.location)
    assert json.loads(result.stdout) == as_json(expected)
    lines = xfelcat("find", *XGM, "--format", "jsonl", "-c", demo.location).stdout.splitlines()
    assert list(map(json.loads, lines)) == as_json(expected)


def test_csv(xfelcat, demo, expected):
    result = xfelcat("find", *XGM, "--format", "csv", "-c", demo.location)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, as_json(expected), strict=True):
        assert {k: v or None for k, v in row.items()} == {
            k: json.dumps(v) if isinstance(v, list) else (str(v) if v not in (None, "") else None)
            for k, v in wanted.items()
        }


def test_parquet(xfelcat, process, demo, expected, tmp_path):
    target = tmp_path / "x.parquet"
    assert xfelcat("find", *XGM, "-o", target, "-c", demo.location).stdout == ""
    assert pq.read_table(target).to_pylist() == expected
    piped = process("find", *XGM, "--format", "parquet", "-c", demo.location)
    assert pq.read_table(io.BytesIO(piped.stdout)).to_pylist() == expected


def test_paths(xfelcat, demo, expected):
    result = xfelcat("find", *XGM, "--format", "paths", "-c", demo.location)
    assert result.stdout.splitlines() == list(dict.fromkeys(r["path"] for r in expected))


def test_table_has_everything_and_cuts_nothing(xfelcat, demo, expected, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    lines = xfelcat("find", *XGM, "-c", demo.location).stdout.splitlines()
    head, rule, *rows = lines
    assert set(rule) == {"-", " "}
    assert len(rows) == len(expected)
    names = head.split()
    for name in ("proposal", "run", "data_class", "instrument", "source", "key", "dtype", "path"):
        assert name in names
    for row, wanted in zip(rows, expected, strict=True):
        for name in ("proposal", "run", "data_class", "source", "key", "dtype", "trains", "path"):
            assert str(wanted[name]) in row.split()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("-p p900010", {"proposal": 900010}),
        ("-p 900010 -p 900021 -r 1-2", {"proposal": [900010, 900021], "run": "1-2"}),
        ("--instrument FXE", {"instrument": "FXE"}),
        ("--cycle 202405 -d red", {"cycle": "202405", "data_class": "red"}),
        ("--since 2021-08-28 --until 2021-08-29", {"since": "2021-08-28", "until": "2021-08-29"}),
    ],
)
def test_filters(xfelcat, demo, options, parts):
    result = xfelcat("find", *XGM, *options.split(), "-f", "json", "-c", demo.location)
    answer = find(demo.store, *XGM, RunFilter.of(**parts))
    assert json.loads(result.stdout) == as_json(answer.table.to_pylist())
    assert answer.table.num_rows
    assert (
        "; ".join([f"{answer.table.num_rows} rows", *answer.provenance.remarks()]) in result.stderr
    )


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        (["--train", "2508780005"], {"train": 2508780005}),
        (["--has", "*XGM*", "--has", "*AGIPD* image.data"], {"has": ["*XGM*", "*AGIPD* image.*"]}),
        (["--has-not", "*XGM*", "--min-trains", "20"], {"has_not": "*XGM*", "min_trains": 20}),
        (
            ["--device-class", "DoocsXGM", "-d", "raw"],
            {"device_class": "DoocsXGM", "data_class": "raw"},
        ),
        (["--dtype", "uint16", "--shape", "2x32x16"], {"dtype": "uint16", "shape": (2, 32, 16)}),
        (["--unit", "mm", "-n", "4"], {"unit": "mm"}),
    ],
)
def test_without_a_source_rows_are_runs(xfelcat, demo, options, choice):
    result = xfelcat("find", *options, "-f", "json", "-c", demo.location)
    rows = json.loads(result.stdout)
    expected = Catalog(demo.location).runs(**choice)["path"].tolist()
    assert [row["path"] for row in rows] == expected[: 4 if "-n" in options else None]
    assert rows
    shown = xfelcat("find", *options, "-c", demo.location).stdout.splitlines()
    assert shown[0].split()[:3] == ["proposal", "run", "data_class"]
    assert len(shown) == len(rows) + 2


def test_where_shows_the_values(xfelcat, demo):
    condition = "SA1_XTD2_XGM/XGM/DOOCS pulseEnergy.photonFlux > 1000"
    frame = Catalog(demo.location).find_runs(condition)
    result = xfelcat("find", "--where", condition, "-f", "json", "-c", demo.location)
    name = frame.columns[5]
    assert name.endswith("photonFlux [μJ]")
    assert [row[name] for row in json.loads(result.stdout)] == frame[name].tolist()
    rows = xfelcat("find", "*CAM*", "-w", condition, "-f", "json", "-c", demo.location).stdout
    assert {row["run_id"] for row in json.loads(rows)} <= set(frame["run_id"])
    both = xfelcat("find", "-w", condition, "-w", "* nosuch = 1", "-f", "json", "-c", demo.location)
    assert json.loads(both.stdout) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--where", "A x <"),
        ("--where", "A x = 'open"),
        ("--train", "soon"),
        ("--dtype", "floaty"),
        ("--shape", "2y3"),
        ("--has", "a b c"),
        ("re:(",),
        ("*", "re:(?=x)"),
    ],
)
def test_filters_that_mean_nothing_are_wrong_usage(xfelcat, demo, words):
    result = xfelcat("find", *words, "-c", demo.location)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_below_and_limit(xfelcat, demo):
    words = ("find", *XGM, "--below", demo.root / "FXE", "-n", "5", "-f", "json", "-c")
    rows = json.loads(xfelcat(*words, demo.location).stdout)
    assert len(rows) == 5
    assert {r["instrument"] for r in rows} == {"FXE"}


def test_which_catalog_and_how_many_runs_are_told_on_stderr(xfelcat, demo, monkeypatch):
    monkeypatch.setenv("XFELCAT_CATALOG", str(demo.location))
    result = xfelcat("find", "*XGM*")
    assert f"catalog: {demo.location}" in result.stderr
    n_rows = len(find(demo.store, "*XGM*").table)
    assert result.stderr.splitlines()[1:] == [f"{n_rows} rows"]
    assert "rows" not in result.stdout
    monkeypatch.delenv("XFELCAT_CATALOG")
    before = xfelcat("--catalog", demo.location, "find", "*XGM*")
    assert before.stdout == result.stdout


def test_nothing_found_is_an_answer(xfelcat, demo):
    for chosen, shown in (("json", "[]\n"), ("paths", "")):
        result = xfelcat("find", "nosuch", "-f", chosen, "-c", demo.location)
        assert (result.exit_code, result.stdout) == (0, shown)
    assert "0 rows" in xfelcat("find", "nosuch", "-c", demo.location).stderr


def test_a_missing_catalog_is_one_line_and_1(xfelcat, no_settings):
    for words in (("find", "*"), ("sql", "SELECT 1"), ("ls",), ("forget", "p1", "-y")):
        result = xfelcat(*words)
        assert result.exit_code == 1
        (said,) = result.stderr.splitlines()
        assert said.startswith(
            f"xfelcat: no catalog at {no_settings.data / 'xfelcat' / 'catalog'};"
        )
        assert "xfelcat ingest" in said
        assert "XFELCAT_CATALOG" in said
    assert not no_settings.data.exists()


def test_sql(xfelcat, demo, tmp_path):
    text = "SELECT proposal, count(*) AS n FROM runs GROUP BY proposal ORDER BY proposal"
    wanted = Catalog(demo.location).sql(text).to_dict("records")
    file = tmp_path / "q.sql"
    file.write_text(text)
    for words, stdin in (((text,), None), (("--file", file), None), ((), text), (("-",), text)):
        result = xfelcat("sql", *words, "-f", "json", "-c", demo.location, stdin=stdin)
        assert json.loads(result.stdout) == wanted
    paths = xfelcat("sql", "SELECT path FROM runs", "-f", "paths", "-c", demo.location).stdout
    assert sorted(paths.split()) == sorted(str(r.path) for r in demo.summary.runs)


def test_sql_values_of_every_kind(xfelcat, demo):
    text = """SELECT 1.5 AS decimal, 1e300 * 1e300 AS inf, 'NaN'::DOUBLE AS nan, NULL AS none,
        [1, 2] AS list, {'a': DATE '2024-01-02'} AS struct, '\\x00\\xFF'::BLOB AS blob,
        TIMESTAMP '2024-01-02 03:04:05.5' AS at, true AS yes, 'a,"b"
c' AS text, 18446744073709551615::UBIGINT AS big"""
    (row,) = json.loads(xfelcat("sql", text, "-f", "json", "-c", demo.location).stdout)
    assert row == {
        "decimal": 1.5,
        "inf": None,
        "nan": None,
        "none": None,
        "list": [1, 2],
        "struct": {"a": "2024-01-02"},
        "blob": "00ff",
        "at": "2024-01-02T03:04:05.500000",
        "yes": True,
        "text": 'a,"b"\nc',
        "big": 2**64 - 1,
    }
    shown = xfelcat("sql", text, "-f", "csv", "-c", demo.location).stdout
    (row,) = csv.DictReader(io.StringIO(shown))
    assert row["text"] == 'a,"b"\nc'
    assert json.loads(row["struct"]) == {"a": "2024-01-02"}
    assert len(xfelcat("sql", text, "-c", demo.location).stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT sorce FROM run_keys", "did you mean 'source'"),
        ("DELETE FROM run", "DELETE is refused"),
        ("SELECT * FROM '/etc/passwd'", "no other file"),
        ("SELEC", "syntax error"),
        ("", "no SQL statement"),
    ],
)
def test_bad_sql_is_one_line_and_1(xfelcat, demo, text, said):
    result = xfelcat("sql", text, "-c", demo.location)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) == 2


def test_a_query_can_be_limited_in_time(xfelcat, demo):
    text = "SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = sin(a.range)"
    result = xfelcat("sql", text, "--time-limit", "0.2", "-c", demo.location)
    assert result.exit_code == 1
    assert "took longer than 0.2 s" in result.stderr


def test_sql_schema(xfelcat, tmp_path):
    rows = json.loads(xfelcat("sql", "--schema", "-f", "json").stdout)
    assert set(rows[0]) == {"view", "column", "type", "unit", "meaning"}
    assert len({row["view"] for row in rows}) == 15
    everything = xfelcat("sql", "--schema").stdout
    assert all(len(line) <= 80 for line in everything.splitlines())
    for row in rows:
        assert row["meaning"].split()[0] in everything
    some = xfelcat("sql", "--schema", "files runs").stdout
    assert some.index("files: One row per data file") < some.index("runs: One row per run.")
    target = tmp_path / "schema.txt"
    assert xfelcat("sql", "--schema", "-o", target).stdout == ""
    assert target.read_text() == everything
    wrong = xfelcat("sql", "--schema", "rns")
    assert wrong.exit_code == 2
    assert "'runs'" in wrong.stderr


def test_sql_memory_can_be_limited(xfelcat, demo):
    rows = "SELECT * FROM range(1000000000)"
    result = xfelcat("sql", rows, "--memory-limit", "80MB", "-c", demo.location)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "needed more than 0.08 GB of memory" in result.stderr
    for limit in ("much", "3 kB"):
        result = xfelcat("sql", "SELECT 1", "--memory-limit", limit, "-c", demo.location)
        assert result.exit_code == 2
    free = ("--memory-limit", "0", "--time-limit", "0", "-f", "json", "-c", demo.location)
    assert json.loads(xfelcat("sql", "SELECT 1 AS x", *free).stdout) == [{"x": 1}]


def test_output_to_links_and_pipes(process, demo, tmp_path):
    """What is no plain file stays what it is."""
    (tmp_path / "link.csv").symlink_to("real.csv")
    os.mkfifo(tmp_path / "pipe")
    words = ("sql", "SELECT 1 AS a", "-c", demo.location, "-o")
    assert process(*words, tmp_path / "link.csv").returncode == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "a\n1\n"
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    assert process(*words, tmp_path / "pipe", "-f", "csv").returncode == 0
    assert reader.communicate()[0] == b"a\n1\n"
    assert (tmp_path / "pipe").is_fifo()
    # What the shell has open stays what it is, too: the other commands write on.
    with open(tmp_path / "shell.csv", "wb") as out:
        assert process(*words, "/dev/null").returncode == 0
        command = [sys.executable, "-m", "xfelcat", *map(str, words), "/dev/stdout", "-f", "csv"]
        subprocess.run(command, stdout=out, check=True)
        out.seek(0, os.SEEK_END)
        out.write(b"more\n")
    assert (tmp_path / "shell.csv").read_text() == "a\n1\nmore\n"
    assert Path("/dev/null").is_char_device()


def test_output_replaces_a_file_only_when_all_is_written(xfelcat, demo, tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("precious")
    text = "SELECT INTERVAL 1 DAY AS x"
    bad = xfelcat("sql", text, "-f", "parquet", "-o", target, "-c", demo.location)
    assert bad.exit_code == 2
    assert target.read_text() == "precious"
    assert xfelcat("sql", "SELECT 1 AS x", "-o", target, "-c", demo.location).exit_code == 0
    assert target.read_text() == "x\n1\n"
    nowhere = xfelcat("sql", "SELECT 1", "-o", tmp_path / "no" / "x", "-c", demo.location)
    assert nowhere.exit_code == 2
    assert "No such file or directory" in " ".join(nowhere.stderr.split())
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_tables_for_other_places_and_what_is_missing(xfelcat, demo, tmp_path):
    text = """SELECT 1.23456789 AS x, NULL AS none, '' AS empty, 'a|b\tc' AS text
        UNION ALL SELECT 2, '', NULL, '"'"""

    def shown(chosen):
        return xfelcat("sql", text, "-f", chosen, "-c", demo.location).stdout.splitlines()

    assert shown("csv") == [
        "x,none,empty,text",
        '1.23456789,,"",a|b\tc',
        '2,"",,""""',
    ]
    assert shown("tsv") == [
        "x\tnone\tempty\ttext",
        '1.23456789\t\t""\t"a|b\tc"',
        '2\t""\t\t""""',
    ]
    assert shown("markdown") == [
        "| x | none | empty | text |",
        "| ---: | --- | --- | --- |",
        "| 1.23457 | - |  | a\\|b\tc |",
        '| 2 |  | - | " |',
    ]
    assert shown("table")[2:] == ["1.23456789  -            a|b\tc", '         2        -      "']
    for ending in ("tsv", "md", "jsonl"):
        xfelcat("sql", text, "-o", tmp_path / f"x.{ending}", "-c", demo.location)
    assert (tmp_path / "x.md").read_text().splitlines() == shown("markdown")
    assert (tmp_path / "x.tsv").read_text().splitlines() == shown("tsv")
    assert (tmp_path / "x.jsonl").read_text().splitlines() == shown("jsonl")


@pytest.fixture
def terminal(monkeypatch, capsys):
    """What commands write to a terminal of 80 columns without colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def run(*words):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        app([str(word) for word in words], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    return run


def test_on_a_terminal_find_sums_up(terminal, demo):
    lines = terminal("find", *XGM, "-p", "900032", "-c", demo.location)
    assert lines[:3] == [
        "SA1_XTD2_XGM/XGM/DOOCS beamPosition.ixPos  <f4 mm",
        "  p900032 raw   r1-6: 20 to 120 trains",
        "  p900032 red   r4: 20 trains",
    ]
    assert len(lines) == 12
    lines = terminal("find", "*AGIPD*", "-p", "900032", "-d", "raw", "-c", demo.location)
    assert lines[0] == "SPB_DET_AGIPD1M-1/DET/*CH0:xtdf detector.* (0-15)"
    assert len(lines) == 8
    lines = terminal("find", "-c", demo.location)
    assert all(len(line) <= 80 for line in lines[1:])
    assert {"raw", "proc", "red"} == {line.split()[2] for line in lines[2:]}


def test_a_terminal_does_not_get_everything_unasked(terminal, demo):
    many = ("sql", "SELECT range AS n FROM range(3225)", "-c", demo.location)
    lines = terminal(*many)
    assert (len(lines), lines[-1]) == (102, "… 3 125 more (--limit 0)")
    assert len(terminal(*many, "--limit", "0")) == 3226
    assert len(terminal(*many, "-n", "7")) == 8
    assert len(terminal("ls", "p900032", "--limit", "3", "-c", demo.location)) == 5
    lines = terminal("sql", "SELECT * FROM run_keys", "-c", demo.location)
    assert len(lines) < 120
    assert lines[-1].endswith("more (--limit 0)")


def test_json_needs_different_names(xfelcat, demo):
    text = "SELECT 1 AS a, 2 AS a"
    result = xfelcat("sql", text, "-f", "json", "-c", demo.location)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'a'" in result.stderr
    shown = xfelcat("sql", text, "-f", "csv", "-c", demo.location).stdout
    assert shown.splitlines() == ["a,a", "1,2"]


def test_a_table_rounds_no_number(xfelcat, demo):
    text = "SELECT 1.1::FLOAT AS f, 123456789.125::DOUBLE AS d, 123456789.12 AS e"
    shown = xfelcat("sql", text, "-c", demo.location).stdout
    assert shown.splitlines()[2].split() == ["1.1", "123456789.125", "123456789.12"]


def test_paths_need_a_path(xfelcat, demo):
    result = xfelcat("sql", "SELECT 1 AS x", "-f", "paths", "-c", demo.location)
    assert result.exit_code == 2


def test_a_closed_pipe_is_no_bug(process, demo):
    import subprocess
    import sys
    from pathlib import Path

    executable = Path(sys.executable).parent / "xfelcat"
    command = f"{executable} sql 'SELECT * FROM range(300000)' -c {demo.location} | head -2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["range", "-" * 6]
    assert "Traceback" not in done.stderr
