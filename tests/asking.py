"""Questions to a store, said shortly."""

from xfelcat.catalog.questions import queries
from xfelcat.catalog.questions.question import Question
from xfelcat.catalog.questions.run_filter import ALL_RUNS


def find(store, source="*", key=None, where=ALL_RUNS, *, limit=None):
    data = Question.of(source=source, key=key).data
    return queries.find(store, Question(where, data), limit=limit)


def runs(store, where=ALL_RUNS):
    return queries.runs(store, Question(where))
