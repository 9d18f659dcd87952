"""Patterns of names: globs and regular expressions, and the SQL conditions that they are.

A glob is the shell's: ``*`` matches any text (also ``/``), ``?`` one character, ``[xyz]`` and
``[a-z]`` one of these, ``[!xyz]`` none of these; upper and lower case differ. DuckDB's own GLOB
differs in places (a backslash escapes, ``[]]`` matches something else), so a glob becomes a regular
expression. A regular expression is a compiled ``re.Pattern``, or a text that starts with ``re:``;
it must match the whole name. DuckDB's dialect (RE2) has neither look-ahead nor back-references.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..model.errors import QueryError
from ..model.names import to_text
from .execute import Sql, sql

__all__ = [
    "Pattern",
    "PatternLike",
    "glob_to_regex",
    "is_glob",
    "text_matches",
]

PatternLike = str | re.Pattern[str]
_PREFIX = "re:"
_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """Names that match as a whole: ``text`` is a glob, or a regular expression after ``re:``."""

    text: str

    @classmethod
    def of(cls, given: "PatternLike | Pattern") -> "Pattern":
        """A pattern as people write it.

        Raises QueryError for a regular expression that DuckDB cannot run.
        """
        if isinstance(given, Pattern):
            return given
        if isinstance(given, re.Pattern):
            given = f"{_PREFIX}{_flags_of(given)}{given.pattern}"
        if not isinstance(given, str):
            raise QueryError(f"{given!r} is no name: write a glob, or a regular expression re:...")
        if given.startswith(_PREFIX):
            _check_regex(given.removeprefix(_PREFIX))
        return cls(given)

    def __str__(self) -> str:
        return self.text

    @property
    def is_exact(self) -> bool:
        """Whether only one name matches."""
        return not self.text.startswith(_PREFIX) and not is_glob(self.text)

    @property
    def is_any(self) -> bool:
        """Whether every name matches."""
        return self.text == "*"

    @property
    def regex(self) -> str:
        """The regular expression (RE2) that a whole name must match."""
        if self.text.startswith(_PREFIX):
            return to_text(self.text.removeprefix(_PREFIX))
        return glob_to_regex(self.text)

    def matches(self, column: str) -> Sql:
        """The condition that a text column matches; equality where only one name does."""
        if self.text.startswith(_PREFIX):
            return sql(f"regexp_full_match({column}, {{regex}})", regex=self.regex)
        return text_matches(column, self.text)


def _flags_of(pattern: re.Pattern[str]) -> str:
    letters = "".join(letter for flag, letter in _FLAGS.items() if pattern.flags & flag)
    others = pattern.flags & ~(re.UNICODE | sum(_FLAGS))
    if others:
        raise QueryError(f"flags of {pattern.pattern!r} other than I, M and S cannot be used")
    return f"(?{letters})" if letters else ""


def _check_regex(regex: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:  # Arrow's regular expressions are those of DuckDB
        pc.match_substring_regex(pa.array([""]), to_text(regex))
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("Invalid regular expression: ")
        raise QueryError(f"the regular expression {regex!r} cannot be run: {reason}") from None


# A class of characters that no character is in.
_NEVER = r"[^\x{0}-\x{10FFFF}]"


def is_glob(text: str) -> bool:
    """Whether a text has a wildcard, so that it may match more than itself."""
    return any(c in text for c in "*?[")


def glob_to_regex(glob: str) -> str:
    """The regular expression for ``regexp_full_match`` that matches what the glob matches."""
    return "(?s)" + "".join(_parts(to_text(glob)))


def text_matches(column: str, glob: str) -> Sql:
    """The condition that a text column matches a glob; equality where it has no wildcard."""
    if not is_glob(glob):
        return sql(f"{column} = {{text}}", text=to_text(glob))
    return sql(f"regexp_full_match({column}, {{regex}})", regex=glob_to_regex(glob))


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
