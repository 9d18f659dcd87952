"""Tables on a terminal are legible at its width, and lose nothing but what is told above them."""

from collections import Counter

import pyarrow as pa
import pytest
import typer
from xfelcat.cli.output import Format, paging, show_table, write_answer

pytestmark = pytest.mark.fast

NAMES = ["proposal", "run", "instrument", "source", "key", "trains", "path"]
NUMBER = [True, True, False, False, False, True, False]


def row(number, *, instrument="SPB"):
    return [
        "900010",
        str(number),
        instrument,
        f"SA{number}_XTD2_XGM/XGM/DOOCS",
        f"beamPosition.{'i' * number}Pos.value",
        str(number * 10),
        f"/gpfs/exfel/exp/{instrument}/202405/p900010/raw/r{number:04d}",
    ]


@pytest.fixture
def shown(capsys, monkeypatch):
    def show(names, rows, is_number, width):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "dumb")
        show_table(names, rows, is_number)
        return capsys.readouterr().out.splitlines()

    return show


def test_what_is_the_same_is_told_once(shown):
    head, names, *rows = shown(NAMES, [row(1), row(2)], NUMBER, 120)
    assert head == (
        "all rows: proposal 900010, instrument SPB, "
        "path below /gpfs/exfel/exp/SPB/202405/p900010/raw/"
    )
    assert names.split() == ["run", "source", "key", "trains", "path"]
    assert [line.split() for line in rows] == [
        ["1", "SA1_XTD2_XGM/XGM/DOOCS", "beamPosition.iPos.value", "10", "r0001"],
        ["2", "SA2_XTD2_XGM/XGM/DOOCS", "beamPosition.iiPos.value", "20", "r0002"],
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_line_is_too_wide_and_nothing_is_cut(shown, width):
    rows = [row(1), row(2, instrument="FXE"), row(3)]
    lines = shown(NAMES, rows, NUMBER, width)
    assert max(map(len, lines[1:])) <= width
    # However it is folded, every character of these columns is there as often as in the values.
    shown_characters = Counter("".join(lines[1:]))
    wanted = Counter("".join(cells[3] + cells[4] + cells[6][-5:] for cells in rows))
    assert wanted <= shown_characters


def test_columns_that_repeat_the_path_go_first(shown):
    rows = [row(1), row(2, instrument="FXE")]
    assert "instrument" in shown(NAMES, rows, NUMBER, 200)[1]
    assert "instrument" not in shown(NAMES, rows, NUMBER, 96)[1]


def test_many_columns_become_blocks(shown):
    names = [f"column{n}" for n in range(20)]
    rows = [[f"value{n}x{r}" for n in range(20)] for r in range(2)]
    lines = shown(names, rows, [False] * 20, 80)
    assert lines[0].startswith("row 1 ")
    assert lines[1].split() == ["column0", "value0x0"]
    assert lines[21].startswith("row 2 ")
    assert lines[-1].split() == ["column19", "value19x1"]


def test_one_row_is_shown_whole(shown):
    (names, cells) = shown(NAMES, [row(1)], NUMBER, 200)
    assert names.split() == NAMES
    assert cells.split() == row(1)


def test_no_rows(shown):
    assert [line.split() for line in shown(["a", "b"], [], [False, False], 80)] == [["a", "b"]]


def test_markup_in_values_is_text(shown):
    assert "[red]x[/red]" in "\n".join(shown(["a"], [["[red]x[/red]"]], [False], 80))


@pytest.fixture
def on_a_terminal(capfd, monkeypatch):
    """What a block prints on a terminal of 10 lines whose pager marks each line."""

    def show(block, **environ):
        settings = {"PAGER": "sed s/^/paged:/", "LINES": "10", "COLUMNS": "80", "TERM": "dumb"}
        with monkeypatch.context() as patch:
            for name in ("stdin", "stdout"):
                patch.setattr(f"sys.{name}.isatty", lambda: True, raising=False)
            patch.delenv("XFELCAT_PAGER", raising=False)
            for name, value in (settings | environ).items():
                patch.setenv(name, value)
            block()
        return capfd.readouterr().out.splitlines()

    return show


def table_of(n_rows):
    return lambda: write_answer(pa.table({"number": range(n_rows)}), Format.TABLE, limit=None)


def test_what_is_longer_than_the_terminal_goes_through_the_pager(on_a_terminal):
    lines = on_a_terminal(table_of(200))
    assert len(lines) == 102
    assert all(line.startswith("paged:") for line in lines)
    assert lines[-1] == "paged:… 100 more (--limit 0)"
    own = on_a_terminal(table_of(200), XFELCAT_PAGER="sed s/^/own:/")
    assert [line.removeprefix("own:") for line in own] == [
        line.removeprefix("paged:") for line in lines
    ]
    for names in ({"XFELCAT_PAGER": "cat"}, {"PAGER": "no-such-pager"}):
        plain = on_a_terminal(table_of(200), **names)
        assert plain == [line.removeprefix("paged:") for line in lines]
    assert len(on_a_terminal(table_of(200), PAGER="head -n 3")) == 3  # who has seen enough
    assert not any("paged:" in line for line in on_a_terminal(table_of(5)))


def test_a_pager_loses_nothing_of_a_command_that_fails(on_a_terminal):
    def fail():
        with paging():
            typer.echo("\n".join(map(str, range(20))))
            raise KeyError

    def block():
        with pytest.raises(KeyError):
            fail()

    assert on_a_terminal(block) == [f"paged:{n}" for n in range(20)]


def test_no_pipe_gets_a_pager(capfd, monkeypatch):
    monkeypatch.setenv("PAGER", "sed s/^/paged:/")
    monkeypatch.setenv("LINES", "10")
    table_of(200)()
    assert "paged:" not in capfd.readouterr().out
