"""Names and times as the catalog writes them.

File names may hold bytes that are no UTF-8, which Python keeps as lone surrogates and the catalog
as private-use characters. The catalog's times are UTC without zone. No numpy is imported here: the
command line parses its options with this before it loads anything.
"""

from datetime import UTC, datetime, timedelta

__all__ = ["from_text", "from_utc", "time_of_ns", "to_text", "to_utc"]

_ESCAPED = {0xDC80 + i: 0x10FF00 + i for i in range(0x80)}
_UNESCAPED = {kept: lone for lone, kept in _ESCAPED.items()}
_EPOCH = datetime(1970, 1, 1)


def to_text(text: str) -> str:
    """A string as the catalog keeps it: undecodable bytes as U+10FF00..U+10FF7F."""
    if text.isascii():
        return text
    return text.translate(_ESCAPED).encode("utf-8", "replace").decode()


def from_text(text: str) -> str:
    """The string that ``to_text`` was given."""
    return text if text.isascii() else text.translate(_UNESCAPED)


def to_utc(moment: datetime) -> datetime:
    """A time in UTC without zone; one that has no zone is taken for UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def from_utc(moment: datetime) -> datetime:
    """A time of the catalog, with its zone."""
    return moment.replace(tzinfo=UTC)


def time_of_ns(ns: int) -> datetime | None:
    """ns since the epoch as a time without zone; None where no calendar has it."""
    try:
        return _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return None
