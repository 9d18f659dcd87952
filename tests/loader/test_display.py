"""Are runs, sources and keys shown truly, in text and in HTML?"""

import contextlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.both_readers import open_both, open_oracle, open_scanned
from support.count_opens import forbid_opening
from xfelcat.catalog.model.names import number_ranges
from xfelcat.loader.examples import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.examples.specs import Unit
from xfelcat.loader.show.display import (
    compact_names,
    detector_groups,
)
from xfelcat.loader.show.inspection import natural_key

XGM = "SA1_XTD2_XGM/XGM/DOOCS"


def collection_info(run, details=(), **options):
    """What ``run.info()`` shows."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        run.info(details, **options)
    return shown.getvalue().removesuffix("\n")


@pytest.fixture(scope="module")
def run(facility):
    return open_scanned(facility.run(900032, 4).path)


# Grouping of names


def test_names_are_grouped_and_none_is_lost():
    names = [
        "A/MOTOR/X_LEFT",
        "A/MOTOR/X_RIGHT",
        "A/CAM/C2:out",
        "A/CAM/C10:out",
        "lone",
        "A/CAM/C2",
    ]
    assert compact_names(names) == [
        "A/CAM/{C2, C10}:out",
        "A/CAM/C2",
        "A/MOTOR/X_{LEFT, RIGHT}",
        "lone",
    ] or sorted(compact_names(names)) == sorted(
        ["A/CAM/{C2, C10}:out", "A/CAM/C2", "A/MOTOR/X_{LEFT, RIGHT}", "lone"]
    )
    assert compact_names([]) == []
    assert compact_names(["A/B/", "/", ":x"]) == sorted(["A/B/", "/", ":x"], key=natural_key)


def test_detectors_are_found_and_the_rest_is_kept():
    names = [f"S_DET_A1M-1/DET/{n}CH0:xtdf" for n in (0, 1, 2, 10, 12)]
    groups, others = detector_groups([*reversed(names), "S/CORR/3CH0:output", "X/DET/CAM:xtdf"])
    assert [(pattern, list(modules)) for pattern, modules in groups.items()] == [
        ("S/CORR/*CH0:output", [3]),
        ("S_DET_A1M-1/DET/*CH0:xtdf", [0, 1, 2, 10, 12]),
    ]
    assert list(groups["S_DET_A1M-1/DET/*CH0:xtdf"].values()) == names
    assert others == ["X/DET/CAM:xtdf"]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([5, 0, 1, 2], "0-2, 5"), (range(16), "0-15")]
)
def test_number_ranges(numbers, text):
    assert number_ranges(numbers) == text


def test_natural_order():
    names = ["A10", "A2", "A2B", "B1", "a1", "A02"]
    assert sorted(names, key=natural_key)[:4] == ["A02", "A2", "A2B", "A10"]


# Text


def test_info_of_a_run(run):
    assert collection_info(run) == (
        "Run:            p900032, run 4\n"
        "Sample:         Lysozyme\n"
        "First train at: 2024-11-12 17:20:00 UTC\n"
        "# of trains:    20\n"
        "Duration:       0:00:02.0\n"
        "First train ID: 2508816000\n"
        "Last train ID:  2508816019\n"
        "\n"
        "16 detector modules of SPB_DET_AGIPD1M-1/DET/*CH0:xtdf (0-15)\n"
        "  e.g. module 0: 32 × 16 pixels, 60 frames; "
        "data for 15 of 20 trains (75.00%), 3–5 entries per train\n"
        "\n"
        "4 other instrument sources:\n"
        "  - SA1_XTD2_XGM/XGM/DOOCS:output\n"
        "  - SPB_IRU_CAM/CAM/SIDEMIC:daqOutput\n"
        "  - SPB_XTD9_ADC/ADC/1:network\n"
        "  - SPB_XTD9_XGM/XGM/DOOCS:output\n"
        "\n"
        "10 control sources:\n"
        "  - SA1_XTD2_XGM/XGM/DOOCS\n"
        "  - SPB_IRU_CAM/CAM/SIDEMIC\n"
        "  - SPB_IRU_MOTORS/MOTOR/SAMPLE_{X, Y}\n"
        "  - SPB_IRU_MOTORS/MOTOR/SLIT_{LEFT, RIGHT}\n"
        "  - SPB_RR_SYS/TSYS/TIMESERVER\n"
        "  - SPB_XTD2_UND/DOOCS/ENERGY\n"
        "  - SPB_XTD9_ATT/MDL/MAIN\n"
        "  - SPB_XTD9_XGM/XGM/DOOCS"
    )


def test_info_says_what_extra_data_says(facility, capsys):
    """Its lines about trains and sources without braces are in ours, word for word."""
    for proposal, number in ((900010, 3), (900021, 5), (900032, 3)):
        path = facility.run(proposal, number).path
        open_oracle(path).info()
        theirs = {line.strip() for line in capsys.readouterr().out.splitlines()}
        open_scanned(path).info()
        ours = {line.strip() for line in capsys.readouterr().out.splitlines()}
        kept = {
            t for t in theirs if t.startswith(("#", "Dur", "First", "Last", "-")) and "{" not in t
        }
        assert len(kept) > 8
        assert kept <= ours


def test_details_name_keys_types_units_and_run_values(run):
    text = collection_info(run, "*XGM/DOOCS:output")
    assert "      - data.intensityTD\t[float32, entry shape 16, μJ]" in text
    assert "    - data: data for 15 of 20 trains (75.00%), 1 entry per train" in text
    text = collection_info(run, ["*ENERGY", "*TIMESERVER", f"{XGM}", "*/3CH0:*"])
    assert "      - actualPosition\t[float64, keV]" in text
    assert "      - classId\t= UndulatorEnergy" in text
    assert "      - period\t= 100" in text
    assert "      - state\t[string]" in text
    assert "      - image.data\t[uint16, entry shape 2 × 32 × 16]" in text
    every_key = re.findall(r"^ +- (\S+)\t", text, flags=re.MULTILINE)
    assert {"beamPosition.ixPos", "gainMode", "trailer.status"} <= set(every_key)
    assert "\t" not in collection_info(run, "no such*")


def test_options_of_info(run):
    text = collection_info(run, counts=True, with_aggregators=True, with_auxiliary=True)
    assert "  - [AGIPD07] SPB_DET_AGIPD1M-1/DET/7CH0:xtdf\n" in text
    assert "  - [DA02] SPB_IRU_MOTORS/MOTOR/SLIT_LEFT\n" in text
    assert "    - peaks: data for 10 of 20 trains (50.00%), 2 entries per train\n" in text
    assert "0 reduction sources:" in text
    assert "1 errata source:\n  - [DA01] TRAINS_OUTSIDE_BUFFER_RANGE\n" in text
    assert "- event: data for 6 of 20 trains" in text
    assert "  - SPB_IRU_MOTORS/MOTOR/SLIT_LEFT\n" in collection_info(run, group_sources=False)


def test_legacy_names_are_listed_once(facility):
    text = collection_info(open_scanned(facility.run(900032, 1, "proc").path))
    assert "16 detector modules of SPB_DET_AGIPD1M-1/CORR/*CH0:output (0-15)" in text
    assert text.count("detector modules") == 1
    arrow = "  - SPB_DET_AGIPD1M-1/DET/*CH0:xtdf -> SPB_DET_AGIPD1M-1/CORR/*CH0:output (0-15)"
    assert f"16 legacy source names:\n{arrow}" in text


def test_old_runs_and_joined_runs_and_empty_selections(facility, run):
    old = open_scanned(facility.run(900010, 3).path)
    text = collection_info(old)
    assert text.startswith("# of trains:    90\n")
    assert "First train at" not in text
    joined = old.union(run)
    assert collection_info(joined, "*").startswith("Run:            several, joined\n")
    assert "Additional run keys" in collection_info(run, "*")
    empty = collection_info(run.select({})[:0], "*")
    assert "# of trains:    0\n" in empty
    assert "0 instrument sources:\n\n0 control sources:" in empty
    assert "data for 0 of 0 trains" in collection_info(run[:0], "*")


def test_modules_without_images(run):
    text = collection_info(run.select("*/DET/*", "trailer.*"))
    assert "  e.g. module 0: 1 key" in text


def test_an_implausible_train_does_not_stop_info(tmp_path):
    ids = (1000, 1001, 2**64 - 1)
    write_run(tmp_path, RunSpec(1, 1, (FileSpec("DA01", 0, ids, (devices.motor("M/M/M"),)),)))
    text = collection_info(open_scanned(tmp_path), "*")
    assert f"Last train ID:  {2**64 - 1}\n" in text
    assert "Duration:       unknown" in text


def test_nothing_is_read_for_display(facility, monkeypatch):
    run = open_scanned(facility.run(900032, 2).path)
    monkeypatch.setattr("h5py.File", None)
    forbid_opening(monkeypatch)
    assert "XGM" in collection_info(run, "*", counts=True, with_aggregators=True)
    assert run._repr_html_()
    assert run[XGM]._repr_html_()
    assert run[XGM, "state"]._repr_html_()


# HTML


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects text and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.styles = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.styles += [value for name, value in attrs if name == "style"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(html):
    parser = Outline()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def test_html_of_run_source_and_key(run):
    page = outline(run._repr_html_())
    text = "".join(page.text)
    assert "30 sources, 20 trains" in text
    assert "2024-11-12 17:20:00 UTC" in text
    assert "SPB_IRU_MOTORS/MOTOR/SLIT_{LEFT, RIGHT}" in text
    page = outline(run[XGM]._repr_html_())
    text = "".join(page.text)
    assert all(word in text for word in (XGM, "beamPosition.ixPos", "float32", "mm", "gainMode"))
    page = outline(run[f"{XGM}:output"]._repr_html_())
    assert "data for 20 of 20 trains (100.00%), 1 entry per train" in "".join(page.text)
    page = outline(run[f"{XGM}:output", "data.intensityTD"]._repr_html_())
    text = "".join(page.text)
    assert all(word in text for word in ("20 × 16", "μJ", "microjoule", "1.3 kB"))


def test_html_suits_light_and_dark_pages(run):
    for shown in (run, run[XGM], run[XGM, "state"]):
        for style in outline(shown._repr_html_()).styles:
            assert not re.search(r"#[0-9a-f]{3}|white|black", style)
            assert re.sub(r"rgba\(128,128,128,\.35\)|inherit|none", "", style).count("color:") == (
                style.count("color:inherit")
            )
            assert "background" not in style.replace("background:none", "")


def test_html_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>&\"'"
    name = evil.replace("/", "|")
    key = KeySpec("<b>k", "f4", unit=Unit("<i>", "<u>"))
    sources = (
        control(f"{name}CTRL", key, run={"<img>": "<svg onload=x>"}),
        instrument(f"{name}:out", GroupSpec("<g>", (key,))),
    )
    spec = replace(RunSpec(1, 1, split([5, 6], {"DA01": sources})), sample="<h1>sample")
    write_run(tmp_path, spec)
    run = open_scanned(tmp_path)
    pages = [run._repr_html_()]
    for source in run.all_sources:
        pages.append(run[source]._repr_html_())
        pages += [run[source, k]._repr_html_() for k in run.keys_for_source(source)]
    for page in pages:
        tags = set(re.findall(r"<(\w+)", page))
        allowed = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "details"}
        assert tags <= allowed | {"summary", "ul", "li", "code"}
        assert "<script" not in page
        outline(page)


def test_both_views_have_representations(facility):
    ours, theirs = open_both(facility.run(900010, 3).path)
    name = " p900010 raw r0003"  # which theirs do not know
    assert repr(ours).replace("xfelcat", "extra_data").replace(name, "") == repr(theirs)
    assert name in repr(ours)
