"""How do thousands of findings become a few lines that a person reads?

Findings that differ only in numbers and names are one: the same check and severity, the same
*template* of the message and the same *pattern* of the place.

1. ``message_template``: numbers become N, what stands in quotes or is a file name becomes '…'.
2. ``place_pattern``: numbers become #.
3. ``TEMPLATE_SQL`` and ``PATTERN_SQL`` say the same for DuckDB, of columns message and place.
"""

import re

__all__ = ["PATTERN_SQL", "TEMPLATE_SQL", "message_template", "place_pattern"]

# In a dialect that Python and DuckDB (RE2) share; one after the other.
_OF_MESSAGE = (
    ("'[^']*'", "'…'"),
    (r"[A-Z]+-R[0-9]+[A-Z0-9_-]*\.h5", "FILE"),
    (r"p[0-9]{6}/[^ ]*", "RUN"),
    (r"<[fiu][0-9]|\|[ui]1", "TYPE"),
    (r"\[[0-9, ]*\]", "SHAPE"),
    (r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_:.-]+){2,}", "SOURCE"),
    (r"\bS?[0-9]+(?:\.[0-9]+)?(?:, [0-9]+)*", "N"),
)
_OF_PLACE = ((r"[0-9]+", "#"),)


def message_template(message: str) -> str:
    """What a message says, without the numbers and names in it."""
    return _replaced(message, _OF_MESSAGE)


def place_pattern(place: str) -> str:
    """What a place is, without its numbers: all modules of a detector, all motors of a stage."""
    return _replaced(place, _OF_PLACE)


def _replaced(text: str, steps: tuple[tuple[str, str], ...]) -> str:
    for regex, by in steps:
        text = re.sub(regex, by, text)
    return text


def _in_sql(column: str, steps: tuple[tuple[str, str], ...]) -> str:
    for regex, by in steps:
        quoted = (part.replace("'", "''") for part in (regex, by))
        column = "regexp_replace({}, '{}', '{}', 'g')".format(column, *quoted)
    return column


TEMPLATE_SQL = _in_sql("message", _OF_MESSAGE)
PATTERN_SQL = _in_sql("coalesce(place, '')", _OF_PLACE)
