"""Why a question has no answer: the filter that leaves nothing, and the nearest names there are.

The filters are applied one after the other, in the order of ``_parts``. The first that leaves no
run is to blame: by itself, where it matches nothing in the whole catalog, else together with those
before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from ..model.errors import did_you_mean, nearest
from ..model.names import from_text
from ..store.connections import Cursor
from ..store.store import Store
from .execute import Sql, ask, sql
from .filters import ALL_DATA, DataFilter, RunFilter
from .question import EVERYTHING, Question, select_runs

_PHRASES = {
    "proposals": "is of proposal {}", "runs": "has the number {}",
    "instruments": "is of instrument {}", "cycles": "is of cycle {}",
    "data_classes": "is of data class {}", "since": "has trains after {}",
    "until": "has trains before {}", "samples": "has a sample {}", "run_types": "is of type {}",
    "below": "lies below {}", "sources": "has a source {}",
    "keys": "has a key {}", "device_classes": "has a device of class {}",
    "dtypes": "has data of this type", "shapes": "has data of shape {}",
    "units": "has data in unit {}", "trains": "has trains {}",
    "min_trains": "has {} trains or more", "has": "has {}", "has_not": "lacks {}",
    "where": "fulfils the condition",
}  # fmt: skip
# Where the names are that a filter chooses from.
_NAMES = {
    "proposals": "SELECT DISTINCT proposal::VARCHAR FROM run WHERE proposal IS NOT NULL",
    "instruments": "SELECT DISTINCT instrument FROM run WHERE instrument <> ''",
    "cycles": "SELECT DISTINCT cycle FROM run WHERE cycle <> ''",
    "data_classes": "SELECT DISTINCT data_class FROM run WHERE data_class <> ''",
    "samples": "SELECT DISTINCT sample FROM run WHERE sample <> ''",
    "run_types": "SELECT DISTINCT run_type FROM run WHERE run_type <> ''",
    "sources": "SELECT name FROM source",
    "keys": "SELECT name FROM key WHERE NOT ends_with(name, '.timestamp')",
    "units": "SELECT DISTINCT unit FROM keys WHERE unit <> ''",
    "dtypes": "SELECT DISTINCT dtype FROM schema_key",
}
_FEW = 8  # names that are all listed, where there are no more
_ALIKE = 0.8  # Jaro-Winkler similarity from which a name may be meant: 'XGN' to 'XGM' 0.82


@dataclass(frozen=True)
class _SetFilter:
    """One filter of a question, and its value."""

    name: str
    value: Any
    alone: Question

    def __str__(self) -> str:
        given = self.value if isinstance(self.value, tuple) else (self.value,)
        if self.name in ("runs", "trains"):
            ranges = given if self.name == "runs" else (given,)
            text = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
        elif self.name in ("since", "until"):
            text = f"{self.value:%Y-%m-%d %H:%M}"
        elif self.name == "shapes":
            text = ", ".join("x".join(map(str, shape)) or "scalar" for shape in given)
        elif isinstance(self.value, float):
            text = f"{self.value:.0%} of its"
        elif self.name in ("proposals", "min_trains"):
            text = ", ".join(map(str, given))
        else:
            text = ", ".join(repr(str(v)) for v in given)
        return _PHRASES[self.name].format(text)


def why_empty(store: Store, question: Question) -> str:
    """Why a question has no rows, in one sentence; empty where it has some, or asks for all."""
    with store.read_merged() as cursor:
        if not _n_runs(cursor, EVERYTHING):
            return "the catalog has no runs: `xfelcat ingest PATH` adds some"
        so_far, before = EVERYTHING, list[_SetFilter]()
        for part in _parts(question):
            together = _joined(so_far, part)
            if _n_runs(cursor, together):
                so_far, before = together, [*before, part]
                continue
            hint = _hint(cursor, part)
            if not before or not _n_runs(cursor, part.alone):
                return f"no run in the catalog {part}{hint}"
            others = " and ".join(map(str, before))
            return f"no run that {others} {part}; {_n_runs(cursor, so_far)} without that filter"
    return ""


def _parts(question: Question) -> Iterator[_SetFilter]:
    """The filters that are set."""
    for name, kind, given in (
        ("runs", RunFilter, question.runs),
        ("data", DataFilter, question.data),
    ):
        for field in fields(kind):
            value = getattr(given, field.name)
            if value:
                alone = Question(**{name: kind(**{field.name: value})})  # type: ignore[arg-type]
                yield _SetFilter(field.name, value, alone)
    for name in ("trains", "min_trains", "has", "has_not", "where"):
        if value := getattr(question, name):
            yield _SetFilter(name, value, replace(EVERYTHING, **{name: value}))


def _joined(question: Question, part: _SetFilter) -> Question:
    """A question with one more filter."""
    for name in ("runs", "data"):
        of = getattr(question, name)
        if part.name in {f.name for f in fields(of)}:
            return replace(question, **{name: replace(of, **{part.name: part.value})})
    return replace(question, **{part.name: part.value})


def _n_runs(cursor: Cursor, question: Question) -> int:
    """How many runs match a question, its data included."""
    has = () if question.data == ALL_DATA else (question.data,)
    selection = select_runs(cursor, question, *has)
    if selection.ids is not None:
        return int(selection.ids.size)
    return int(ask(cursor, Sql("SELECT count(*) FROM run")).column(0)[0].as_py())


def _hint(cursor: Cursor, part: _SetFilter) -> str:
    """The names that may have been meant; empty where there are none to choose from."""
    if part.name not in _NAMES:
        return ""
    found = ask(cursor, Sql(f"SELECT * FROM ({_NAMES[part.name]}) AS named(name) ORDER BY name"))
    names = [from_text(name) for name in found.column(0).to_pylist()]
    if len(names) <= _FEW:
        return f"; there are {', '.join(names)}" if names else ""
    wanted = str(part.value[0])
    if part.name == "proposals":
        return did_you_mean(sorted(names, key=lambda n: abs(int(n) - int(wanted)))[:3])
    return did_you_mean(_alike(cursor, part.name, wanted) or nearest(wanted, names))


def _alike(cursor: Cursor, kind: str, wanted: str) -> list[str]:
    """Names with a part that looks like the longest word of a glob."""
    words = wanted.removeprefix("re:").replace("?", "*").replace("/", "*").replace(".", "*")
    word = max(words.split("*"), key=len).strip("[]()^$\\+|").casefold()
    if not word:
        return []
    statement = sql(
        f"""SELECT name FROM ({_NAMES[kind]}) AS named(name), LATERAL (SELECT list_max(
            [jaro_winkler_similarity(lower(part), {{word}})
             for part in string_split_regex(name, '[/:._-]') if part <> '']
        ) AS likeness) WHERE likeness >= {_ALIKE}
        ORDER BY likeness DESC, len(name), name LIMIT 3""",
        word=word,
    )
    return [from_text(name) for name in ask(cursor, statement).column(0).to_pylist()]
