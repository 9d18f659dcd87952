"""The prompt of ``xfelcat sql``: what entries do, what is offered, and the whole on a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from xfelcat.catalog.model.errors import CatalogNotFoundError
from xfelcat.catalog.questions.sql import describe_views
from xfelcat.catalog.store.store import Store
from xfelcat.cli import prompt
from xfelcat.cli.prompt import Conversation, Words, as_command, is_complete

ENDLESS = "SELECT count(*) FROM range(1000000000000) a WHERE a.range % 7 = sin(a.range);"
WORDS = Words(
    {"runs": {"run_id": "number", "trains": "how many"}, "run_keys": {"run_id": "", "key": ""}},
    ("count", "regexp_matches"),
    ("SELECT", "WHERE"),
    {".format": ("table", "csv"), ".help": ()},
)


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "xfelcat" / "sql_history"


def offered(before, text=None):
    return [word for word, _, _ in WORDS.offer(before, text or before)]


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("SELECT * FROM ru", ["runs", "run_keys"]),
        ("select * from runs join RUN_", ["run_keys"]),
        ("SELECT r.r", []),
        ("sel", ["SELECT"]),
        ("SELECT cou", ["count"]),
        ("SELECT regexp_matches", []),
        ("SELECT ", []),
        (".f", [".format"]),
        (".format c", ["csv"]),
        (".format csv x", []),
        (".help x", []),
    ],
)
def test_words_offered(before, words):
    assert offered(before) == words


def test_columns_offered_are_those_of_the_views_named():
    assert offered("SELECT r", "SELECT r FROM run_keys") == [
        "run_id",
        "runs",
        "run_keys",
        "regexp_matches",
    ]
    assert offered("SELECT k", "SELECT k FROM runs") == []
    assert offered("SELECT a.", "SELECT a. FROM runs AS a") == ["run_id", "trains"]
    assert offered("SELECT runs.t", "SELECT runs.t FROM runs") == ["trains"]
    assert list(WORDS.offer("SELECT tr", "SELECT tr FROM runs")) == [("trains", 2, "how many")]


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1\n;  ", True),
        ("SELECT ';", False),
        ("SELECT ';'", False),
        ("SELECT 'it''s';", True),
        ("SELECT 1; -- so", True),
        ("SELECT 1 -- so;", False),
        ("SELECT 1 /* so;", False),
        (".help", True),
        ("quit", True),
    ],
)
def test_where_an_entry_ends(text, complete):
    assert is_complete(text) is complete


def test_statements_answer_in_the_chosen_format(demo, capsysbinary, tmp_path):
    talk = Conversation(demo.store)
    n = str(len(demo.summary.runs))
    assert talk.take("SELECT count(*) AS n FROM runs;")
    assert capsysbinary.readouterr().out.decode().split() == ["n", "-" * len(n), n]
    assert talk.take(".format json")
    talk.take("SELECT count(*) AS n FROM runs;")
    assert json.loads(capsysbinary.readouterr().out) == [{"n": int(n)}]
    target = tmp_path / "a b.parquet"
    assert talk.take(f".format parquet '{target}'")
    talk.take("SELECT nosuch FROM runs;")  # a mistake does not use it up
    talk.take("SELECT run FROM runs;")
    assert pq.read_table(target).num_rows == int(n)
    talk.take("SELECT 1 AS x;")
    assert json.loads(capsysbinary.readouterr().out) == [{"x": 1}]


def test_commands(demo, capsys):
    talk = Conversation(demo.store)
    assert talk.take(".help")
    assert ".schema [VIEW]" in capsys.readouterr().out
    talk.take(".schema train_flags")
    assert "train_flags: Trains whose ID is suspect." in capsys.readouterr().out
    talk.take(".format")
    assert capsys.readouterr().out == "table\n"
    assert talk.take("")
    assert talk.take(" ; ")
    assert capsys.readouterr() == ("", "")
    assert [talk.take(word) for word in (".quit", ".exit", "quit", "EXIT;")] == [False] * 4


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("SELECT sorce FROM run_keys;", "did you mean 'source'"),
        ("DROP TABLE run;", "DROP is refused"),
        ("SELECT 1; SELECT 2;", "2 statements at once"),
        (".fromat csv", "did you mean .format?"),
        (".format xml", "NAME one of table, json"),
        (".format csv a b", "NAME one of"),
        (".format 'csv", "no closing quotation"),
        (".schema rns", "did you mean 'runs'"),
        (ENDLESS, "took longer than 0.2 s"),
        ("SELECT * FROM range(1000000000);", "more than 0.1 GB of memory"),
    ],
)
def test_mistakes_are_one_line_and_end_nothing(demo, capsys, entry, said):
    talk = Conversation(demo.store, time_limit=0.2 if entry == ENDLESS else 60, memory_limit=10**8)
    assert talk.take(entry)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert len(shown.err.splitlines()) == 1


def test_ctrl_c_stops_the_query_and_nothing_else(demo, capsys):
    talk = Conversation(demo.store)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert talk.take(ENDLESS)
    assert capsys.readouterr().err == "interrupted\n"
    assert talk.take("SELECT 1 AS x;")
    assert capsys.readouterr().err.startswith("1 row in ")


def test_the_session_reads_lines_completes_and_remembers(demo, state):
    with create_pipe_input() as keys:
        session = prompt.new_session(demo.store, input=keys, output=DummyOutput())
        keys.send_text("SELECT path\nFROM train_fl\t")
        threading.Timer(1, keys.send_text, (";\n",)).start()  # completing takes its moment
        assert session.prompt() == "SELECT path\nFROM train_flags;"
    assert "+FROM train_flags;" in state.read_text()
    assert state.stat().st_mode & 0o777 == 0o600


def test_a_history_that_cannot_be_kept_is_told(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert list(prompt.history().load_history_strings()) == []
    assert "no history is kept" in capsys.readouterr().err


def test_no_catalog_is_told_at_once(tmp_path):
    with pytest.raises(CatalogNotFoundError):
        prompt.run_prompt(Store(tmp_path), None, None, prompt.Format.TABLE)


def test_every_documented_word_can_be_completed(demo):
    words = prompt._words(demo.store)
    assert list(words.views) == [v.name for v in describe_views()]
    assert {"count", "regexp_matches", "list_sum"} <= set(words.functions)
    assert {"SELECT", "WHERE", "GROUP", "BY"} <= set(words.keywords)


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, *words):
        executable = Path(sys.executable).parent / "xfelcat"
        self.end, other = pty.openpty()
        self.seen = b""
        environ = os.environ | {"TERM": "xterm", "COLUMNS": "100", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            [executable, *words],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its own terminal
        )
        os.close(other)

    def type(self, text):
        self.seen = b""
        os.write(self.end, text.encode())

    def wait_for(self, text, seconds=300):
        """What is shown until this text is; the next call looks behind it."""
        until = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < until, self.seen
            if select.select([self.end], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.end, 65536)
                except OSError:
                    raise AssertionError(f"it ended: {self.seen.decode()}") from None
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode()


def test_on_a_terminal(demo):
    terminal = Terminal("sql", "-c", str(demo.location))
    try:
        terminal.wait_for("xfelcat>")
        terminal.type("SELECT 40 + 2\rAS answer;\r")
        assert "42" in terminal.wait_for("1 row in ")
        terminal.wait_for("xfelcat>")
        terminal.type(ENDLESS + "\r")
        time.sleep(1.5)
        terminal.type("\x03")
        terminal.wait_for("interrupted")
        terminal.wait_for("xfelcat>")
        terminal.type("SELECT half")
        terminal.wait_for("half")
        terminal.type("\x03")
        terminal.wait_for("xfelcat>")
        terminal.type("SELECT 6 * 7 AS again;\r")
        assert "42" in terminal.wait_for("1 row in ")
        terminal.wait_for("xfelcat>")
        terminal.type("\x04")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.end)


@pytest.mark.parametrize(
    ("entry", "command"),
    [
        ("exit", ".quit"), ("QUIT;", ".quit"), ("\\q", ".quit"), (".tables", ".schema"),
        ("\\d runs", ".schema runs"), ("help", ".help"), (".mode csv", ".format csv"),
        ("SELECT 1;", "SELECT 1;"), ("help me", "help me"), (".schema runs", ".schema runs"),
    ],
)  # fmt: skip
def test_words_of_other_prompts(entry, command):
    assert as_command(entry) == command
