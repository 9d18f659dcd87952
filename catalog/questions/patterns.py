"""Which names does a pattern mean: a glob, or a regular expression?

A glob is the shell's (see ``globs``). A regular expression is a compiled ``re.Pattern``, or a text
that starts with ``re:``; it must match the whole name. DuckDB's dialect (RE2) knows neither
look-ahead nor back-references.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..store.encoding import to_text
from .globs import glob_to_regex, is_glob, text_matches

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

__all__ = ["Pattern", "PatternLike"]

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

    def matches(self, column: "ColumnElement[Any]") -> "ColumnElement[bool]":
        """The condition that a text column matches; equality where only one name does."""
        from sqlalchemy import func

        if self.text.startswith(_PREFIX):
            return func.regexp_full_match(column, self.regex)
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
