"""The benchmark of questions asks what it says, of a run that is there, and shows it."""

import json

import pytest
from xfelcat import Catalog
from xfelcat.catalog.store.store import Store

from benchmarks import questions

from .synthetic import Scale, fill

SCALE = Scale(proposals=3, runs=4, sequences=1, trains=20)


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    where = tmp_path_factory.mktemp("questions") / "catalog"
    fill(where, SCALE, jobs=1)
    return str(where)


@pytest.mark.slow
def test_every_question_finds_something(location, tmp_path, capsys, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"# Head\n{questions.BEGIN}\nold\n{questions.END}\nfoot\n")
    given = ["--repeats", "1", "--json", str(tmp_path / "out.json"), "--page", str(page)]
    monkeypatch.setattr(questions, "ask_first", lambda *_: 0.5)
    assert questions.main([location, *given]) == 0
    told = json.loads((tmp_path / "out.json").read_text())
    rows = {q["title"]: q["rows"] for q in told["questions"]}
    n_runs = SCALE.proposals * SCALE.runs
    assert rows["all runs"] == rows["find a key by globs of source and key, all runs"] == n_runs
    assert rows["a run by its number"] == rows["the run that holds a train"] == 1
    assert 0 < rows["the runs with a RUN value above a number"] < n_runs
    # The synthetic runs of a proposal all have the same sources.
    assert rows.pop("what the runs of a proposal lack") == 0
    assert all(rows.values())
    files = told["size"]["files"]
    assert files == n_runs * SCALE.files_per_run
    on_disk = sum(p.stat().st_size for p in Store(location).location.rglob("*.duckdb"))
    assert told["size"]["shards"] + told["size"]["merged"] <= on_disk
    assert told["opening"]["ratio"] > 0
    table = capsys.readouterr().out
    assert table in page.read_text()
    assert page.read_text().startswith("# Head\n")
    assert page.read_text().endswith("\nfoot\n")
    assert "\nold\n" not in page.read_text()


def test_the_first_question_is_asked_in_a_process_of_its_own(location):
    example = questions.Example.of(Catalog(location))
    assert 0.01 < questions.ask_first(location, questions.QUESTIONS[4], example) < 60
