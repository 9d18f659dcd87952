"""Help is quick, complete, and the documentation mentions every command and option."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.duckdb_versions import binds_without_pandas
from support.examples import some
from xfelcat import __version__
from xfelcat.cli.app import app
from xfelcat.cli.examples import EXAMPLES

ROOT = Path(__file__).parents[2]


def commands():
    """(words, command) of every command, of groups too."""

    def below(words, command):
        if hasattr(command, "commands"):
            for name in command.list_commands(None):
                child = command.get_command(None, name)
                yield from below((*words, name), child)
        else:
            yield words, command

    return list(below((), typer.main.get_command(app)))


NAMES = [" ".join(words) for words, _ in commands()]


def test_there_are_the_promised_commands():
    promised = ["ingest", "find", "sql", "ls", "forget", "locality", "demo"]
    assert set(promised) <= set(NAMES)
    assert {"db status", "db upgrade", "db compact", "db check"} <= set(NAMES)


@pytest.mark.parametrize(("words", "command"), commands(), ids=NAMES)
def test_every_command_and_option_has_help(words, command):
    assert command.help
    assert command.help.strip().endswith(".")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{words}: {parameter.name} has no help"


@pytest.mark.parametrize(("words", "command"), commands(), ids=NAMES)
def test_help_is_shown(xfelcat, words, command):
    result = xfelcat(*words, "--help")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert option in shown


@pytest.mark.parametrize(("words", "command"), commands(), ids=NAMES)
def test_the_documentation_mentions_it(words, command):
    page = (ROOT / "docs" / "commands.md").read_text()
    name = "xfelcat " + " ".join(words)
    assert f"\n## `{name}" in page
    section = page[page.index(f"\n## `{name}") + 1 :]
    section = section[: section.find("\n## ", 10) if "\n## " in section[10:] else None]
    for parameter in command.params:
        options = [o for o in parameter.opts if o.startswith("--") and o != "--help"]
        for option in options:
            assert option in section, f"{name}: {option} is not documented"
    everything = page + (ROOT / "README.md").read_text()
    assert re.search(rf"xfelcat {words[0]}\b", everything)


def test_the_readme_mentions_the_main_commands():
    readme = (ROOT / "README.md").read_text()
    for name in ("demo", "ingest", "find"):
        assert f"xfelcat {name}" in readme


def test_showing_help_loads_nothing_heavy():
    code = (
        "import sys, json\n"
        "from xfelcat.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stderr))
    assert not loaded & {"duckdb", "pandas", "numpy", "pyarrow", "sqlalchemy", "h5py", "xarray"}


@binds_without_pandas
@pytest.mark.parametrize("words", [("find", "*XGM*", "--run", "1"), ("info", "p900032")])
def test_questions_do_not_load_pandas(demo, words):
    words = [*words, "--catalog", str(demo.location)]
    code = (
        "import sys\n"
        "from xfelcat.cli.app import app\n"
        f"try: app({words!r})\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'pandas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "XGM" in done.stdout


def test_version(xfelcat):
    assert xfelcat("--version").stdout.split() == ["xfelcat", __version__]


@pytest.mark.parametrize(
    "words",
    [
        ("nosuch",),
        ("ingest",),
        ("find", "--colour", "red"),
        ("find", "a", "b", "c"),
        ("find", "--format", "xml"),
        ("find", "--limit", "-1"),
        ("db", "nosuch"),
        ("forget",),
        ("locality", "/nowhere/at/all"),
        ("ingest", "/nowhere", "--jobs", "-1"),
        ("ingest", "/nowhere", "--since", "soon"),
        ("find", "--proposal", "abc"),
        ("find", "--run", "9-3"),
        ("find", "--since", "2024-02-02", "--until", "2024-02-01"),
        ("sql", "SELECT 1", "--file", __file__),
        ("sql", "--file", "/nowhere.sql"),
        ("demo", "/proc/nothing"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(xfelcat, words):
    result = xfelcat(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr) > 20
    assert "Traceback" not in result.stderr


NOT_HERE = {"forget", "open", "db locks"}  # run last; needs a terminal; needs another node


def test_the_commands_have_panels_examples_and_names(xfelcat):
    shown = xfelcat("--help").stdout
    for panel in ("Fill the catalog", "Ask it", "Work with runs", "Check", "Look after"):
        assert f" {panel}" in shown
    assert "Where to start" in shown
    assert sorted(EXAMPLES) == sorted(NAMES)
    for words, command in commands():
        shown = xfelcat(*words, "--help").stdout
        assert not re.search(r"<(str|int|float|bool|list|path|file|dir)", shown), words
        assert EXAMPLES[" ".join(words)][0].split()[1] in shown.partition("Examples:")[2]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert re.fullmatch("[A-Z]+", parameter.metavar)


@pytest.mark.slow  # 60 commands
def test_the_examples_run(xfelcat, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XFELCAT_CATALOG", str(tmp_path / "catalog"))
    for name in ("demo", "ingest", *sorted(set(EXAMPLES) - {"demo", "ingest", *NOT_HERE})):
        for line in EXAMPLES[name]:
            done = xfelcat(*shlex.split(line)[1:])
            assert done.exit_code == 0, f"{line}: {done.stderr}"
    assert xfelcat(*shlex.split(EXAMPLES["forget"][0])[1:]).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("find", "-n", "x"), "xfelcat find: '--limit' / '-n': must be an integer (see `xfelcat"),
        (("find", "-n", "-1"), "must be 0 or more"),
        (("find", "-f", "yaml"), "'yaml' is not one of 'table', 'json'"),
        (("db", "nosuch"), "xfelcat db: no such command 'nosuch'"),
        (("waive", "F05"), "missing option '--until'"),
        (("find", "--since", "last mnth"), "'last mnth' is no time: write 2024-05-01"),
    ],
)
def test_wrong_usage_is_one_line(xfelcat, words, said):
    done = xfelcat(*words)
    (line,) = done.stderr.splitlines()
    assert said in line
    assert done.exit_code == 2


COMPLETIONS = {
    "find SA1_XTD2": ["SA1_XTD2_XGM/XGM/DOOCS", "SA1_XTD2_XGM/XGM/DOOCS:output"],
    "find x beamPosition.i": ["beamPosition.ixPos", "beamPosition.iyPos"],
    "find -p p9": ["p900010", "p900021", "p900032", "p900043"],
    "info p900032/red/": ["p900032/red/r0004"],
    "open 900010/": ["900010/1", "900010/2", "900010/3", "900010/4"],
    "audit --check C": ["C01", "C02", "C03"],
    "sql --schema run_m": ["run_metadata"],
    "fi": ["find"],
}


@pytest.mark.parametrize("words", COMPLETIONS)
def test_the_shell_completes_names(words, demo, monkeypatch, capsys):
    monkeypatch.setenv("_XFELCAT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"xfelcat {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    for location, wanted in ((demo.location, COMPLETIONS[words]), (demo.root / "none", None)):
        monkeypatch.setenv("XFELCAT_CATALOG", str(location))
        with pytest.raises(SystemExit):
            app(prog_name="xfelcat")
        shown = capsys.readouterr()
        assert shown.err == ""
        if wanted is not None:
            assert shown.out.split() == wanted


def test_completion_is_quick(demo):
    code = (
        "import sys\n"
        "from xfelcat.cli.app import app\n"
        "try: app(prog_name='xfelcat')\n"
        "except SystemExit: pass\n"
        "assert not {'pandas', 'pyarrow', 'duckdb', 'sqlalchemy'} & set(sys.modules)\n"
    )
    env = {
        "_XFELCAT_COMPLETE": "complete_bash",
        "COMP_WORDS": "xfelcat find SA1",
        "COMP_CWORD": "2",
    }
    env |= {"XFELCAT_CATALOG": str(demo.location)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | env
    )
    assert done.returncode == 0, done.stderr
    assert "SA1_XTD2" in done.stdout


EXAMPLE = re.compile(r"^```sh\n([^\n]+)\n```\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = EXAMPLE.findall((ROOT / "docs" / "commands.md").read_text())


@pytest.mark.parametrize("example", some(SHOWN, 5), ids=lambda example: example[0][:30])
def test_the_documentation_shows_what_commands_print(process, demo, example):
    command, shown = example

    def words(text):
        text = re.sub(r"(?m)^((?:Catalogued|Ingested):.*)$", without_times, text)
        return [[w for w in line.split() if set(w) != {"-"}] for line in text.splitlines()]

    def without_times(line):
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "then", line[1])

    command = command.replace("demo/catalog", str(demo.location))
    done = process(*shlex.split(command)[1:], text=True)
    assert done.returncode == 0, done.stderr
    assert words(done.stdout.replace(str(demo.root), "/demo/facility")) == words(shown)


@pytest.mark.parametrize(
    ("tried", "meant"), [("list", "ls"), ("search", "find"), ("version", "--version")]
)
def test_what_people_try_first(xfelcat, tried, meant):
    done = xfelcat(tried)
    assert done.exit_code == 2
    assert f"see `xfelcat {meant}`" in done.stderr
