"""`xfelcat plot`: pictures in files, and lines on the terminal."""

import sys

import pytest

XGM, FLUX = "SA1_XTD2_XGM/XGM/DOOCS", "pulseEnergy.photonFlux"


@pytest.fixture
def plot(xfelcat, demo):
    return lambda *words: xfelcat("plot", *words, "-c", demo.location)


@pytest.mark.parametrize(
    ("words", "ending", "start"),
    [
        (("900032/2", XGM, FLUX), "png", b"\x89PNG"),
        (("900032/2",), "svg", b"<?xml"),
        (("p900032", "--by", "sample"), "pdf", b"%PDF"),
    ],
)
def test_pictures_are_files_of_the_kind_of_their_ending(plot, tmp_path, words, ending, start):
    target = tmp_path / f"picture.{ending}"
    done = plot(*words, "-o", target)
    assert done.exit_code == 0, done.stderr
    assert (done.stdout, target.read_bytes()[: len(start)]) == ("", start)
    assert f"picture written to {target}" in done.stderr


def test_a_key_as_text(plot):
    name, bars, numbers, trains = plot("900032/2", XGM, FLUX).stdout.splitlines()
    assert name == f"{XGM} {FLUX}.value"
    assert len(bars) == 32
    assert {"▁", "█"} <= set(bars)
    assert numbers.startswith("min 890.132, mean 946.576, max 996.518 μJ")
    assert trains == "data for 32 of 32 trains, 2508792000 to 2508792031, 3.2 s"
    *_, last = plot("900032/3", f"{XGM}:output", "data.intensityTD").stdout.splitlines()
    assert last == "each bar is the mean of one train: 60 of 120 were read"
    for words in (("xgm", FLUX), ("SA1*DOOCS", "*Flux")):
        assert plot("900032/2", *words).stdout.splitlines()[1] == bars
    assert "data.intensityTD" in plot("900032/2", "pulse-intensity").stdout
    assert "2 texts, most often:" in plot("900032/5", "SPB_XTD9_ATT/MDL/MAIN", "state").stdout


def test_a_run_and_a_proposal_as_text(plot):
    head, *rows = plot("900032/2").stdout.splitlines()
    assert head.endswith("r0002, 32 trains")
    shares = {row.split()[2]: row.split()[1] for row in rows}
    assert shares["SPB_DET_AGIPD1M-1/DET/*CH0:xtdf"] == "75.0%"  # of the images
    assert shares["SA1_XTD2_XGM/XGM/DOOCS"] == "100.0%"
    head, hours, day = plot("p900032").stdout.splitlines()
    assert head == "p900032, 10 runs; hours of the day in UTC"
    assert hours.split() == ["00", "03", "06", "09", "12", "15", "18", "21"]
    assert day.startswith("Tue 2024-11-12  ·")
    assert "█" in day


def test_what_cannot_be_plotted(plot, tmp_path, monkeypatch):
    assert plot("900032/2", "-o", tmp_path / "x.gif").exit_code == 2
    done = plot("900032/2", XGM)
    assert done.exit_code == 2
    assert FLUX in " ".join(done.stderr.split())
    for words in (("xgm",), (XGM, "beamPosition.*")):
        assert plot("900032/2", *words).exit_code == 2
    assert plot("900032/2", "no-such-alias").exit_code == 1
    done = plot("900032/2", XGM, "no.such")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 2)
    done = plot("900032/2", "-o", tmp_path / "no" / "x.png")
    assert (done.exit_code, "is not written: No such" in done.stderr) == (1, True)
    assert plot("p900032", "--by", "colour").exit_code == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = plot("900032/2", "-o", tmp_path / "x.png")
    assert (done.exit_code, "pip install 'xfelcat[plot]'" in done.stderr) == (1, True)
    assert plot("900032/2", XGM, FLUX).exit_code == 0  # text needs no matplotlib
