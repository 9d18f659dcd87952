"""``Catalog`` in a notebook: what it shows, where it leads, how filters and errors are shown."""

import inspect
import re
import warnings

import numpy as np
import pytest
import xfelcat
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from xfelcat.catalog.model.errors import RunNotFoundError
from xfelcat.catalog.questions.filters import FILTERS

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def catalog(demo):
    return xfelcat.Catalog(demo.location)


def test_what_it_shows(catalog, demo, tmp_path):
    assert repr(catalog) == f"<Catalog {demo.location}: 29 runs of 4 proposals, 52.0 MB>"
    html = catalog._repr_html_()
    assert all(text in html for text in ("900021", "FXE", "202405", "29 runs of 4 proposals"))
    none = xfelcat.Catalog(tmp_path / "<none>")
    assert repr(none) == f"<Catalog {tmp_path}/<none>: nothing ingested yet>"
    assert "&lt;none&gt;" in none._repr_html_()


def test_proposals(catalog):
    frame = catalog.proposals()
    runs = catalog.runs()
    assert frame["proposal"].tolist() == [900010, 900021, 900032, 900043]
    for name in ("files", "bytes"):
        assert frame[name].tolist() == runs.groupby("proposal")[name].sum().tolist()
    raw = runs[runs["data_class"] == "raw"]
    assert frame["trains"].tolist() == raw.groupby("proposal")["trains"].sum().tolist()
    both = ("raw", "proc")
    assert frame["data_classes"].tolist() == [both, both, (*both, "red"), ("raw",)]
    assert catalog.proposals(instrument="FXE")["runs"].tolist() == [12]


@pytest.mark.parametrize(
    "named",
    [(900032, 1, "raw"), ("900032/1",), ("p900032/raw/r0001",), ("p900032", "r0001", ["raw"])],
)
def test_open_leads_to_the_run(catalog, demo, named):
    run = catalog.open(*named)
    assert run.path == str(demo.summary.run(900032, 1).path)
    assert run.alias  # those of the proposal


def test_open_what_there_is_not(catalog, demo):
    path = demo.summary.run(900021, 3, "raw").path
    assert catalog.open(path).path == str(path)
    assert catalog.open("900032/proc/1").data_class == "proc"
    with pytest.raises(RunNotFoundError, match=r"has no run of proposal 900033.*900032"):
        catalog.open(900033, 1)
    with pytest.raises(RunNotFoundError, match="r0099"):
        catalog.open(900032, 99, "raw")


def test_diff_and_profile(catalog, demo, tmp_path):
    found = catalog.diff("900032/5", (900032, 6), values=False)
    assert set(found["what"]) == {"source", "shape"}
    run = catalog.open("900032/5")
    assert catalog.diff(run, run).empty
    own = xfelcat.Catalog(demo.copy_catalog(tmp_path / "catalog").location)
    report = own.profile("SA1*XGM*", "pulseEnergy.photonFlux", proposal=900032, run=1, jobs=0)
    assert report.keys_read == 1
    assert len(own.find_runs("mean(SA1*XGM* pulseEnergy.photonFlux) > 0")) == 1


def test_filters_are_in_signatures_and_docstrings(catalog):
    for name in ("find", "runs", "proposals", "audit", "profile", "coverage", "search"):
        method = getattr(xfelcat.Catalog, name)
        parameters = inspect.signature(method).parameters
        doc = inspect.getdoc(method).partition("Other Parameters\n----------------\n")[2]
        named = re.findall(r"^(\w+)\n    Only ", doc, re.M)
        own = [f.name for f in FILTERS if f.name in parameters and f.name in named]
        assert named == own
        assert {"proposal", "since", "below"} <= set(named)
        assert (
            "where" not in parameters
            or parameters["where"].kind is not inspect.Parameter.VAR_KEYWORD
        )
    with pytest.raises(xfelcat.XfelcatError, match="no filter 'propsal'; use proposal"):
        catalog.runs(propsal=1)


@pytest.fixture
def notebook(catalog, demo, monkeypatch):
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(demo.root))
    shell = InteractiveShell.instance()
    shell.colors = "nocolor"
    shell.push({"catalog": catalog, "xfelcat": xfelcat, "np": np})
    yield shell
    InteractiveShell.clear_instance()


@pytest.mark.slow  # by Jedi, which reads all of pandas
def test_completion_offers_filters(notebook):
    lines = {"catalog.find(propo": "proposal=", "catalog.runs(data_c": "data_class="}
    for line, wanted in lines.items():
        with provisionalcompleter():
            offered = [found.text for found in notebook.Completer.completions(line, len(line))]
        assert wanted in offered


def test_an_error_is_shown_down_to_the_call(notebook, capsys):
    notebook.run_cell("def load(run):\n    return catalog.open(900032, run, 'raw')\nload(99)")
    shown = capsys.readouterr().out
    assert "return catalog.open(900032, run" in shown
    assert "load(99)" in shown
    assert "RunNotFoundError: run r0099 (raw) not found" in shown
    assert "open.py" not in shown
    assert len(shown.splitlines()) < 20
    notebook.run_cell("catalog.open('900032/1', file_filter=3)")  # a bug of somebody's
    assert "open.py" in capsys.readouterr().out


def test_warnings_point_at_the_line_of_the_caller(demo, monkeypatch):
    monkeypatch.setenv("XFELCAT_DATA_ROOT", str(demo.root))
    monkeypatch.delenv("XFELCAT_DEFAULT_DATA", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xfelcat.open_run(900032, 1)
        xfelcat.Catalog(demo.location).open(900032, 1)
    assert len(caught) == 2
    assert all(w.filename == __file__ for w in caught)
