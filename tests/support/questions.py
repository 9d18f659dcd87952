"""Questions to a store said shortly, and what their patterns mean to a walk through the files."""

import re
from fnmatch import fnmatchcase

from xfelcat.catalog.questions import find as find_questions
from xfelcat.catalog.questions.filters import ALL_RUNS
from xfelcat.catalog.questions.question import Question

from support.walk_oracle import walk

CLASSES = ("raw", "proc", "red")


def find(store, source="*", key=None, where=ALL_RUNS, *, limit=None):
    data = Question.of(source=source, key=key).data
    return find_questions.find(store, Question(where, data), limit=limit)


def runs(store, where=ALL_RUNS):
    return find_questions.runs(store, Question(where))


def walked(root):
    """The runs in the order of answers, by (proposal, data_class, run)."""
    runs = sorted(walk(root), key=lambda r: (r.proposal, CLASSES.index(r.data_class), r.run))
    return {identity(r): r for r in runs}


def identity(run):
    return run.proposal, run.data_class, run.run


def identities(frame):
    return list(zip(frame["proposal"], frame["data_class"], frame["run"], strict=True))


def means(pattern, section, key):
    """Whether a glob or regular expression of keys means a key, by the rules of the docs."""
    fits = (
        re.compile(pattern[3:]).fullmatch
        if pattern.startswith("re:")
        else lambda text: fnmatchcase(text, pattern)
    )
    if section != "CONTROL":
        return bool(fits(key))
    if key.endswith(".timestamp") and not pattern.endswith("timestamp"):
        return False
    return bool(fits(key) or fits(key.removesuffix(".value")))


def named(pattern, name):
    if pattern.startswith("re:"):
        return bool(re.fullmatch(pattern[3:], name))
    return fnmatchcase(name, pattern)


def has(run, source, key=None):
    """Whether a run has data that ``source`` and ``key`` mean."""
    if key is None:
        return any(named(source, s) for _, s in run.sources)
    return any(named(source, k.source) and means(key, k.section, k.key) for k in run.keys)
