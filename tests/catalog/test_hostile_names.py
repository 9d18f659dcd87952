"""Names, patterns and paths, from users or from files, are data: they never become SQL."""

import inspect
from contextlib import suppress

import numpy as np
import pytest
from support.examples import some
from support.report_catalogs import store_of
from support.run_records import make_run, with_file
from xfelcat import Catalog, XfelcatError
from xfelcat.catalog.model.names import to_text
from xfelcat.catalog.model.records import FileLayout, SourceRecord
from xfelcat.catalog.model.runlength import IndexPattern
from xfelcat.catalog.questions import execute
from xfelcat.catalog.questions.filters import FILTERS

pytestmark = pytest.mark.fast

NAMES = (
    "'; DROP TABLE run; --",
    "' OR 1=1 --",
    'a" OR ""="',
    "%",
    "_",
    "A/B\nC",
    "tab\tand\\backslash",
    "$1 ? ?1 :name {x} %s %(x)s",
    "$$ SELECT 1 $$",
    "/* -- ; */",
    "\u2019 \uff07 \ufe6b",  # what some databases take for quotes
    "<script>alert(1)</script>",
    "re",
    "\udcff",  # bytes of a file that are no UTF-8
)
# Besides those, what no file can hold, or what is absurdly long.
TEXTS = (
    *NAMES,
    "\0",
    "re:\0",
    "re:(",
    "re:'--",
    "re:(a{1000}){1000}",
    "re:" + "x" * 200_000,
    "x" * 1_000_000,
    "*?'" * 50_000,
    "[" * 2_000,
    "",
    " ",
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """A catalog of one run whose sources have these names."""
    run = make_run(1, 2012)
    names = sorted(NAMES)
    layout = FileLayout(
        tuple(SourceRecord("CONTROL", name, ("",)) for name in names),
        (run.files[0].layout.schemas[0],) * len(names),
    )
    every = (IndexPattern.from_arrays(np.arange(10), np.ones(10, int)),) * len(names)
    run = with_file(run, 0, layout=layout, patterns=every, run_values={})
    location = tmp_path_factory.mktemp("hostile") / "catalog"
    store_of(location, [run])
    return Catalog(location)


def literal(name):
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_source_is_found_by_its_name_alone(catalog, name):
    asked = literal(name)
    for question in (catalog.find, catalog.sources, catalog.keys):
        assert set(question(source=asked)["source"]) == {to_text(name)}
    assert catalog.runs(source=asked)["run"].tolist() == [1]
    assert catalog.runs(has=(asked, "*"))["run"].tolist() == [1]
    assert catalog.runs(has_not=(asked, "*")).empty
    assert set(catalog.find(source=f"{asked}*")["source"]) == {
        to_text(n) for n in NAMES if n.startswith(name)
    }
    assert catalog.find(source=f"{asked}x").empty


QUESTIONS = ("runs", "find", "find_runs", "sources", "keys", "files", "train_ranges", "run_values")
FILTERED = [name for f in FILTERS for name in [f.name] if name != "min_trains"]


@pytest.mark.parametrize("text", some(TEXTS, 4), ids=lambda text: ascii(text)[:30])
def test_every_question_and_filter_takes_it_for_data(catalog, tmp_path, text, monkeypatch):
    sent = []
    fetch = execute.fetch

    def keep(cursor, sql, values=(), **limits):
        sent.append(sql)
        return fetch(cursor, sql, values, **limits)

    monkeypatch.setattr(execute, "fetch", keep)
    asked = [(catalog.runs, {name: text}) for name in FILTERED]
    for question in map(catalog.__getattribute__, QUESTIONS):
        needed = {"where": "* * > 0"} if question.__name__ == "find_runs" else {}
        for name in {"source", "key", "where"} & inspect.signature(question).parameters.keys():
            asked.append((question, needed | {name: text}))
    asked += [(catalog.runs, {"where": f"* {comparison} {text}"}) for comparison in ("x =", "x <")]
    asked += [(catalog.inventory, {name: text}) for name in ("question", "by", "per")]
    asked += [(catalog.audit, {name: text, "save": False}) for name in ("check", "skip", "level")]
    asked += [(lambda **_: catalog.export(tmp_path / "out", text), {})]
    asked += [(lambda **_: catalog.forget(text), {})] if text.strip() else []
    for ask, words in asked:
        with suppress(XfelcatError):
            ask(**words)
    odd = text if len(text) > 8 else "\0" + text
    assert sent
    assert not any(odd in sql for sql in sent)
    if text != "\udcff":
        assert catalog.sql("SELECT ? AS x", [text])["x"].tolist() == [text]
    assert len(catalog.runs()) == 1
