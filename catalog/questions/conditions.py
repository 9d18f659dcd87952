"""Patterns of names, and conditions on RUN values and profiles with their grammar.

A ``Pattern`` is a glob or a regular expression. A glob is the shell's: ``*`` matches any text (also
``/``), ``?`` one character, ``[xyz]`` and ``[a-z]`` one of these, ``[!xyz]`` none of these; upper
and lower case differ. DuckDB's own GLOB differs in places (a backslash escapes, ``[]]`` matches
something else), so a glob becomes a regular expression. A regular expression is a compiled
``re.Pattern``, or a text that starts with ``re:``; it must match the whole name. DuckDB's dialect
(RE2) has neither look-ahead nor back-references.

A condition compares what patterns match:

    SPB_XTD2_ATT/MDL/MAIN actualTransmission < 0.5
    *XGM* gainMode in (1, 2) and not max(*XGM* pulseEnergy.photonFlux) between 100 and 900

    condition:  comparison | not condition | condition and condition | condition or condition
                | (condition)
    comparison: operand  = != < <= > >=  value | operand [not] between value and value
                | operand [not] in (value, ...) | operand [not] glob 'text'
    operand:    SOURCE KEY | function(SOURCE KEY), both patterns, quoted if they have spaces
    function:   min max mean std first last changes nans entries, of a key's profile
    value:      number | true | false | 'text' | text without spaces
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

from ..model.errors import QueryError
from ..model.names import to_text
from .execute import Sql, sql

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
            letters = "".join(letter for flag, letter in _FLAGS.items() if given.flags & flag)
            if given.flags & ~(re.UNICODE | sum(_FLAGS)):
                raise QueryError(f"flags of {given.pattern!r} other than I, M and S cannot be used")
            given = f"{_PREFIX}{f'(?{letters})' if letters else ''}{given.pattern}"
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


# Characters of a glob. Names have some hundred; RE2 takes some 100,000, and DuckDB's error for more
# of them comes in the midst of a statement.
_LONGEST = 10_000


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
    """The regular expression for ``regexp_full_match`` that matches what the glob matches.

    Raises QueryError for a glob that no name is as long as.
    """
    if len(glob) > _LONGEST:
        raise QueryError(f"a name of {len(glob)} characters: {_LONGEST} are the most")
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
        # Right after the opening, a "]" is one of the characters; a "[" never closed means itself.
        elif char == "[" and (end := glob.find("]", at + glob.startswith("!", at) + 1)) >= 0:
            yield _character_class(glob[at:end])
            at = end + 1
        else:
            yield _escaped(char)


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


FUNCTIONS = {
    "min": "minimum", "max": "maximum", "mean": "mean", "std": "std", "first": "first",
    "last": "last", "changes": "n_changes", "nans": "n_nan", "entries": "n_entries",
}  # fmt: skip
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "between", "in", "glob")
_EXAMPLE = "write 'SOURCE KEY < 0.5'"
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<sign><=|>=|!=|<>|==|[=<>(),])"""
    r"""|(?P<word>(?:\[[^\]\s]*\]|[^\s=<>(),'"!]|!(?!=))+)|(?P<bad>\S))"""
)

Number = float | int
Value = Number | str


@dataclass(frozen=True, slots=True)
class Operand:
    """What is compared: the RUN values, or with ``function`` the profile, of keys of sources."""

    source: Pattern
    key: Pattern
    function: str | None = None

    def __str__(self) -> str:
        name = f"{self.source} {self.key}"
        return f"{self.function}({name})" if self.function else name


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run fulfils it if any value of the operand does. ``values`` are numbers, or texts."""

    operand: Operand
    operator: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        kinds = {isinstance(v, str) for v in self.values}
        if len(kinds) > 1:
            raise QueryError(f"numbers and texts cannot be mixed after {str(self.operand)!r}")
        if self.operator == "glob" and kinds == {False}:
            raise QueryError(f"glob needs a text after {str(self.operand)!r}: write glob 'ON*'")
        if kinds == {True} and self.operand.function not in (None, "first", "last"):
            function = self.operand.function
            raise QueryError(f"{function}(...) is a number and cannot be compared with a text")
        if self.operator == "between" and self.values[0] > self.values[1]:  # type: ignore[operator]
            low, high = self.values
            raise QueryError(f"nothing is between {low} and {high}: write the lower one first")

    @property
    def is_text(self) -> bool:
        """Whether texts are compared, not numbers."""
        return isinstance(self.values[0], str)


@dataclass(frozen=True, slots=True)
class Combined:
    """Both conditions hold (``and``), or at least one of them (``or``)."""

    left: "Condition"
    word: str
    right: "Condition"


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold, or there is no value."""

    condition: "Condition"


Condition = Comparison | Combined | Not


def conditions_of(given: Any) -> Condition | None:
    """The condition that all of what is given holds; None where nothing is.

    A text; a mapping of ``"SOURCE KEY"`` or (source, key) to a value, a list of values, or an
    operator and its values (``("<", 0.5)``, ``("between", 1, 2)``); or a list of these.

    Raises QueryError for anything else.
    """
    if given is None or isinstance(given, Comparison | Combined | Not):
        return given
    if isinstance(given, str):
        return parse_condition(given)
    if isinstance(given, Mapping):
        parts: list[Condition] = [_compared(operand, value) for operand, value in given.items()]
    elif isinstance(given, Sequence):
        parts = [c for c in map(conditions_of, given) if c is not None]
    else:
        raise QueryError(f"{given!r} is no condition: {_EXAMPLE}")
    return reduce(lambda left, right: Combined(left, "and", right), parts) if parts else None


def _compared(operand: Any, given: Any) -> Comparison:
    if isinstance(operand, str):
        parser = _Parser(operand)
        parsed = parser.operand()
        parser.expect_end()
    else:
        source, key = operand
        parsed = Operand(Pattern.of(source), Pattern.of(key))
    given = given.tolist() if hasattr(given, "tolist") else given  # a number or array of numpy
    if isinstance(given, tuple) and given and given[0] in OPERATORS:
        operator, *values = given
        if operator == "in" and len(values) == 1 and isinstance(values[0], list | tuple | set):
            (values,) = map(list, values)
    elif isinstance(given, list | tuple | set | frozenset):
        operator, values = "in", list(given)
    else:
        operator, values = "=", [given]
    if len(values) != {"between": 2, "in": max(len(values), 1)}.get(operator, 1):
        raise QueryError(f"{given!r} cannot be compared with {str(parsed)!r}: write ('<', 0.5)")
    return Comparison(parsed, operator, tuple(_plain(v, parsed) for v in values))


def _plain(value: Any, operand: Operand) -> Value:
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float) and value == value:
        return value if isinstance(value, str) else float(value)
    raise QueryError(f"{value!r} cannot be compared with {str(operand)!r}: give a number or a text")


def parse_condition(text: str) -> Condition:
    """The condition that a text expresses; see the module for its grammar.

    Raises QueryError, which names the place, for anything else.
    """
    parser = _Parser(text)
    condition = parser.either()
    parser.expect_end()
    return condition


class _Token(NamedTuple):
    kind: str  # 'text', 'sign', 'word' or 'end'
    text: str

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


class _Parser:
    """Reads a condition from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [_token(m, text) for m in _TOKEN.finditer(text) if m.lastgroup]
        self._tokens.append(_Token("end", ""))
        self._at = 0

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def _next(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _takes(self, *words: str) -> bool:
        """Whether the next token is one of these words or signs; it is taken then."""
        token = self._peek()
        taken = token.kind in ("word", "sign") and token.text.lower() in words
        self._at += taken
        return taken

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            raise self._fail(repr(word))

    def _fail(self, wanted: str) -> QueryError:
        before = " ".join(t.text for t in self._tokens[: self._at][-3:])
        place = f"after {before!r}" if before else "at the start"
        return QueryError(
            f"condition {self._text!r}: {wanted} expected {place}, not {self._peek()}; {_EXAMPLE}"
        )

    def expect_end(self) -> None:
        if self._peek().kind != "end":
            raise self._fail("'and', 'or' or the end")

    def either(self) -> Condition:
        condition = self._both()
        while self._takes("or"):
            condition = Combined(condition, "or", self._both())
        return condition

    def _both(self) -> Condition:
        condition = self._not()
        while self._takes("and"):
            condition = Combined(condition, "and", self._not())
        return condition

    def _not(self) -> Condition:
        if self._takes("not"):
            return Not(self._not())
        if self._takes("("):
            condition = self.either()
            self._expect(")")
            return condition
        return self._comparison()

    def operand(self) -> Operand:
        function = self._peek().text.lower()
        if self._peek(1) != _Token("sign", "("):
            return Operand(self._name("a source"), self._name("a key"))
        if function not in FUNCTIONS:
            raise self._fail(f"a function ({', '.join(FUNCTIONS)})")
        self._at += 2
        operand = Operand(self._name("a source"), self._name("a key"), function)
        self._expect(")")
        return operand

    def _name(self, wanted: str) -> Pattern:
        if self._peek().kind not in ("word", "text"):
            raise self._fail(wanted)
        return Pattern.of(self._next().text)

    def _comparison(self) -> Condition:
        operand = self.operand()
        negated = self._takes("not")
        operator = self._peek().text.lower()
        operator = {"==": "=", "<>": "!="}.get(operator, operator)
        if operator not in (OPERATORS[-3:] if negated else OPERATORS):
            names = "between, in, glob" if negated else ", ".join(OPERATORS)
            raise self._fail(f"a comparison ({names})")
        self._at += 1
        compared = Comparison(operand, operator, self._values(operator))
        return Not(compared) if negated else compared

    def _values(self, operator: str) -> tuple[Value, ...]:
        if operator == "between":
            low = self._value()
            self._expect("and")
            return low, self._value()
        if operator != "in":
            return (self._value(),)
        self._expect("(")
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        if not self._takes(")"):
            raise self._fail("',' or ')'")
        return tuple(values)

    def _value(self) -> Value:
        token = self._peek()
        if token.kind not in ("word", "text"):
            raise self._fail("a value")
        self._at += 1
        if token.kind == "text":
            return token.text
        if token.text.lower() in ("true", "false"):
            return float(token.text.lower() == "true")
        try:
            number = float(token.text)
        except ValueError:
            return token.text
        if number != number:
            self._at -= 1
            raise self._fail("a number or text (nothing is equal to nan)")
        return number


def _token(match: re.Match[str], whole: str) -> _Token:
    kind = match.lastgroup or "bad"
    text = match[kind]
    if kind == "bad":
        raise QueryError(f"condition {whole!r}: {text!r} is never closed or has no meaning here")
    if kind == "text":
        return _Token("text", text[1:-1].replace(text[0] * 2, text[0]))
    return _Token(kind, text)
