"""An answer without rows says which filter left nothing, and what may have been meant."""

import pytest
from xfelcat.catalog.questions.empty import why_empty
from xfelcat.catalog.questions.find import find, runs
from xfelcat.catalog.questions.question import Question
from xfelcat.catalog.store.store import Store

XGMS = "'FXE_XTD9_XGM/XGM/DOOCS' or 'SA1_XTD2_XGM/XGM/DOOCS' or 'SPB_XTD9_XGM/XGM/DOOCS'"
ALONE = [
    ({"source": "*XGN*"}, f"has a source '*XGN*'; did you mean {XGMS}?"),
    ({"key": "beamPositon.*"}, "has a key 'beamPositon.*'; did you mean 'beamPosition.ixPos"),
    ({"proposal": 900033}, "is of proposal 900033; there are 900010, 900021, 900032"),
    ({"instrument": "spb"}, "is of instrument 'spb'; there are FXE, SPB"),
    ({"data_class": "prok"}, "is of data class 'prok'; there are proc, raw, red"),
    ({"sample": "Lyzo*"}, "has a sample 'Lyzo*'; there are Fe(bpy)3 in water, Lysozyme"),
    ({"run_type": "dark"}, "is of type 'dark'; there are Dark, Test DAQ"),
    ({"source": "*XGM*", "unit": "kg"}, "has data in unit 'kg'; there are K, keV, mm, μJ"),
    ({"since": "2040-01-01"}, "has trains after 2040-01-01 00:00"),
    ({"min_trains": 10**6}, "has 1000000 trains or more"),
    ({"where": "*XGM* pulseEnergy.* < -5"}, "fulfils the condition"),
    ({"has": "NOTHING*"}, "has 'NOTHING*'"),
    ({"source": "*", "dtype": "complex128"}, "has data of this type"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "why"), ALONE)
def test_a_filter_that_matches_nothing(demo, asked, why):
    question = Question.of(**asked)
    answer = find(demo.store, question) if "source" in asked or "key" in asked else None
    assert answer is None or not answer.table.num_rows
    assert why_empty(demo.store, question).startswith(f"no run in the catalog {why}")


def test_filters_that_exclude_each_other(demo):
    asked = Question.of(proposal=900010, instrument="FXE")
    assert not runs(demo.store, asked).table.num_rows
    (n,) = (runs(demo.store, Question.of(proposal=900010)).table.num_rows,)
    assert why_empty(demo.store, asked) == (
        f"no run that is of proposal 900010 is of instrument 'FXE'; {n} without that filter"
    )
    three = Question.of(proposal=900032, data_class="raw", run="90-99")
    assert why_empty(demo.store, three).startswith("no run in the catalog has the number 90-99")


def test_an_answer_with_rows_needs_no_reason(demo):
    assert why_empty(demo.store, Question.of(source="*XGM*")) == ""
    assert why_empty(demo.store, Question()) == ""


def test_a_catalog_without_runs(tmp_path):
    store = Store(tmp_path)
    with store.write("p002012"):
        pass
    store.publish_merged()
    assert "has no runs: `xfelcat ingest PATH`" in why_empty(store, Question.of(proposal=1))
