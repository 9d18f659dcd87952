"""Which names does a glob match, said so that DuckDB can tell?

A glob is the shell's: ``*`` any text (also ``/``), ``?`` one character, ``[xyz]`` and ``[a-z]`` one
of these, ``[!xyz]`` none of these; upper and lower case differ. DuckDB's own GLOB differs in places
(a backslash escapes, ``[]]`` means something else), so a glob becomes a regular expression.

1. ``is_glob``: whether a text means anything but itself.
2. ``glob_to_regex``: the regular expression (RE2) of the names that a glob matches as a whole.
3. ``text_matches``: the condition on a column.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..store.encoding import to_text

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["glob_to_regex", "is_glob", "text_matches"]

_NEVER = r"[^\x{0}-\x{10FFFF}]"


def is_glob(text: str) -> bool:
    """Whether a text has a wildcard, so that it may match more than itself."""
    return any(c in text for c in "*?[")


def glob_to_regex(glob: str) -> str:
    """The regular expression for ``regexp_full_match`` that matches what the glob matches."""
    return "(?s)" + "".join(_parts(to_text(glob)))


def text_matches(column: "ColumnElement[Any]", glob: str) -> "ColumnElement[bool]":
    """The condition that a text column matches a glob; equality where it has no wildcard."""
    from sqlalchemy import func

    if not is_glob(glob):
        return column == to_text(glob)
    return func.regexp_full_match(column, glob_to_regex(glob))


def _parts(glob: str) -> Iterator[str]:
    at = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            yield ".*"
        elif char == "?":
            yield "."
        elif char == "[" and (end := _class_end(glob, at)) >= 0:
            yield _character_class(glob[at:end])
            at = end + 1
        else:
            yield _escaped(char)


def _class_end(glob: str, start: int) -> int:
    """Where the bracket that closes a class stands; -1 where none does, and ``[`` means itself."""
    # Right after the opening, a "]" is one of the characters.
    first = start + 1 if glob[start : start + 1] == "!" else start
    return glob.find("]", first + 1)


def _character_class(content: str) -> str:
    negated = content.startswith("!")
    if negated:
        content = content[1:]
    ranges = []
    at = 0
    while at < len(content):
        low = high = content[at]
        at += 1
        if content[at : at + 1] == "-" and at + 1 < len(content):
            high = content[at + 1]
            at += 2
        if low <= high:
            ranges.append(f"{_escaped(low)}-{_escaped(high)}")
    if not ranges:
        return "." if negated else _NEVER
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


def _escaped(char: str) -> str:
    return char if char.isascii() and char.isalnum() else rf"\x{{{ord(char):X}}}"
