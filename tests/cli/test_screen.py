"""Tables on a terminal are legible at its width, and lose nothing but what is told above them."""

from collections import Counter

import pytest
from xfelcat.cli.output import show_table

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
