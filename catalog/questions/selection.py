"""Which sources and keys is a question about?

A ``DataFilter`` says it: names by pattern, device class, dtype, entry shape, unit.

1. ``DataFilter.of`` makes one from what people write, ``DataFilter.parse`` from ``"SOURCE KEY"``.
2. ``found_sources`` and ``found_keys`` are the names that match, as subqueries.
3. ``groups`` are the rows of ``run_source`` that match, ``is_of_class`` the condition on their
   devices.

Names are matched in the small tables of distinct names, and the large tables are read by the
integer ids found there: over 10^5 runs this takes a hundredth of the time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model.errors import QueryError
from ..model.names import MICRO, VALUE_ENDING
from .patterns import Pattern, PatternLike

if TYPE_CHECKING:
    import numpy as np
    from sqlalchemy import ColumnElement, FromClause, Select, Subquery

__all__ = [
    "ALL_DATA",
    "DataFilter",
    "Spec",
    "control_key_matches",
    "in_group",
    "in_section",
    "shown_unit",
]

Patterns = PatternLike | Pattern | Iterable[PatternLike | Pattern]
Shape = str | tuple[int, ...] | list[int]


@dataclass(frozen=True, slots=True)
class DataFilter:
    """Sources and keys for which every part that is not empty holds; one of each part must match.

    ``keys`` of CONTROL sources match with their ending ``.value`` or without, and timestamps only
    where the pattern itself ends in ``timestamp``. ``device_classes`` are those that RUN records as
    ``classId``, for the sources of a device's pipelines too. ``dtypes`` are numpy's names.
    """

    sources: tuple[Pattern, ...] = ()
    keys: tuple[Pattern, ...] = ()
    device_classes: tuple[Pattern, ...] = ()
    dtypes: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    units: tuple[Pattern, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        source: Patterns | None = None,
        key: Patterns | None = None,
        device_class: Patterns | None = None,
        dtype: "str | np.dtype[Any] | type | Iterable[str] | None" = None,
        shape: "Shape | Iterable[Shape] | None" = None,
        unit: Patterns | None = None,
    ) -> "DataFilter":
        """A filter from what people write; None leaves a part open.

        Names are globs, or regular expressions (``re.compile(...)`` or ``"re:..."``). ``dtype`` is
        ``"float32"``, ``"<f4"``, ``"str"``; ``shape`` of one entry ``(512, 128)``, ``"512x128"``,
        ``()`` or ``"scalar"``.

        Raises QueryError for anything else.
        """
        return cls(
            sources=_patterns(source),
            keys=_patterns(key),
            device_classes=_patterns(device_class),
            dtypes=tuple(d for given in _listed(dtype) for d in _dtypes(given)),
            shapes=tuple(map(_shape, _shapes(shape))),
            units=_patterns(unit),
        )

    @classmethod
    def parse(cls, spec: "Spec") -> "DataFilter":
        """What ``"SOURCE"``, ``"SOURCE KEY"`` or ``(source, key)`` names.

        Raises QueryError for anything else.
        """
        if isinstance(spec, DataFilter):
            return spec
        words = tuple(spec.split()) if isinstance(spec, str) else spec
        if not isinstance(words, tuple) or not 1 <= len(words) <= 2:
            raise QueryError(f"{spec!r} names no data: write 'SOURCE' or 'SOURCE KEY'")
        return cls.of(source=words[0], key=words[1] if len(words) == 2 else None)

    def __str__(self) -> str:
        return " ".join("|".join(map(str, part)) or "*" for part in self._named())

    def _named(self) -> list[tuple[Pattern, ...]]:
        return [self.sources, self.keys] if self.keys else [self.sources]

    @property
    def is_about_keys(self) -> bool:
        """Whether the keys of a source decide, so that a run known by outline cannot match."""
        return bool(self.keys or self.dtypes or self.shapes or self.units)

    @property
    def is_empty(self) -> bool:
        """Whether everything matches."""
        return self == ALL_DATA

    def found_sources(self) -> "Subquery":
        """source_id, name and place (in the order of names) of the sources that match."""
        from sqlalchemy import func, or_, select

        from ..store.schema import source

        # Sorting by a number costs a tenth of sorting by names, which repeat in every run.
        place = func.row_number().over(order_by=source.c.name).label("place")
        named = select(source.c.source_id, source.c.name, place)
        if self.sources and not any(p.is_any for p in self.sources):
            named = named.where(or_(*(p.matches(source.c.name) for p in self.sources)))
        return named.subquery("found_source")

    def found_keys(self) -> "Subquery":
        """key_id, name, is_control and place of the keys that match, in CONTROL and elsewhere."""
        from sqlalchemy import false, func, or_, select, true, union_all

        from ..store.schema import key

        patterns = self.keys or (Pattern("*"),)
        found = union_all(
            select(key.c.key_id, key.c.name, true().label("is_control")).where(
                or_(*(control_key_matches(p, key.c.name) for p in patterns))
            ),
            select(key.c.key_id, key.c.name, false().label("is_control")).where(
                or_(*(p.matches(key.c.name) for p in patterns))
            ),
        ).subquery("matching_key")
        place = func.row_number().over(order_by=found.c.name).label("place")
        return select(found, place).subquery("found_key")

    def key_conditions(self) -> "list[ColumnElement[bool]]":
        """The conditions on rows of ``schema_key`` but for the name."""
        from sqlalchemy import ARRAY, BigInteger, cast, or_

        from ..store.schema import schema_key

        found: list[ColumnElement[bool]] = []
        if self.dtypes:
            found.append(schema_key.c.dtype.in_(self.dtypes))
        if self.shapes:
            shape = schema_key.c.entry_shape
            found.append(or_(*(shape == cast(list(s), ARRAY(BigInteger)) for s in self.shapes)))
        if self.units:
            found.append(or_(*(p.matches(shown_unit()) for p in self.units)))
        return found

    def groups(self) -> "Select[Any]":
        """Rows of ``run_source`` that match: run_id, section, source_id, index_group, n_trains."""
        from sqlalchemy import and_, select

        from ..store.schema import run_source, schema_key

        columns = ("run_id", "section", "source_id", "index_group", "n_trains")
        statement = select(*(run_source.c[name] for name in columns))
        if self.sources:
            sources = self.found_sources()
            statement = statement.where(run_source.c.source_id.in_(select(sources.c.source_id)))
        if self.is_about_keys:
            keys = self.found_keys()
            found = (
                select(schema_key.c.schema_id, schema_key.c.index_group, keys.c.is_control)
                .join(keys, keys.c.key_id == schema_key.c.key_id)
                .where(*self.key_conditions())
                .distinct()
                .subquery("found_group")
            )
            statement = statement.join(
                found,
                and_(in_group(found, run_source), in_section(found, run_source)),
            )
        return statement.where(*self.class_conditions())

    def class_conditions(self) -> "list[ColumnElement[bool]]":
        """The conditions on rows of ``run_source`` that their device is of a class."""
        from sqlalchemy import and_, exists, func, or_, select

        from ..store.schema import key, run_source, run_value, source

        if not self.device_classes:
            return []
        # A pipeline "DEVICE:channel" is of the class of its device.
        device, pipeline = source.alias("device"), source.alias("pipeline")
        owners = (
            select(pipeline.c.source_id, device.c.source_id.label("device_id"))
            .join(device, device.c.name == func.split_part(pipeline.c.name, ":", 1))
            .subquery("owner")
        )
        of_class = (
            select(owners.c.source_id, run_value.c.first_run, run_value.c.last_run)
            .join(owners, owners.c.device_id == run_value.c.source_id)
            .join(key, key.c.key_id == run_value.c.key_id)
            .where(
                key.c.name == "classId.value",
                or_(*(p.matches(run_value.c.text) for p in self.device_classes)),
            )
            .subquery("of_class")
        )
        stretch = run_source.c.run_id.between(of_class.c.first_run, of_class.c.last_run)
        return [exists().where(and_(of_class.c.source_id == run_source.c.source_id, stretch))]


ALL_DATA = DataFilter()
# What names data where several are listed: "SOURCE", "SOURCE KEY" or (source, key).
Spec = str | tuple[PatternLike, PatternLike] | DataFilter


def control_key_matches(pattern: Pattern, name: "ColumnElement[Any]") -> "ColumnElement[bool]":
    """The condition that the key of a CONTROL source, stored with its ending, matches."""
    from sqlalchemy import and_, func, or_

    with_ending = func.regexp_full_match(name, f"(?:{pattern.regex}){re.escape(VALUE_ENDING)}")
    matches = or_(pattern.matches(name), with_ending)
    if pattern.text.endswith("timestamp"):
        return matches
    return and_(matches, name.not_like("%.timestamp"))


def in_group(keys: "FromClause", sources: "FromClause") -> "ColumnElement[bool]":
    """The condition that rows of keys belong to rows of sources by schema and index group."""
    from sqlalchemy import and_

    return and_(
        keys.c.schema_id == sources.c.schema_id, keys.c.index_group == sources.c.index_group
    )


def in_section(found_keys: "FromClause", sources: "FromClause") -> "ColumnElement[bool]":
    """The condition that keys were found by the rules of the section of a source."""
    return found_keys.c.is_control == (sources.c.section == "CONTROL")


def shown_unit() -> "ColumnElement[Any]":
    """The unit of a row of ``schema_key`` as it is shown: ``"mm"``, ``"μJ"``; NULL for none."""
    from sqlalchemy import func

    from ..store.schema import schema_key

    prefix = func.replace(schema_key.c.prefix_symbol, *MICRO)
    return prefix.concat(schema_key.c.unit_symbol)


def _listed(given: Any) -> Iterable[Any]:
    if given is None:
        return ()
    return given if isinstance(given, list | tuple | set | frozenset) else (given,)


def _patterns(given: Any) -> tuple[Pattern, ...]:
    return tuple(Pattern.of(g) for g in _listed(given))


def _dtypes(given: Any) -> tuple[str, ...]:
    """As the catalog writes a dtype, in both byte orders."""
    import numpy as np

    if given in ("str", str):
        return ("str",)
    try:
        dtype = np.dtype(given)
    except TypeError:
        raise QueryError(f"{given!r} is no dtype: write float32, uint16, <f4 or str") from None
    return tuple(dict.fromkeys((dtype.str, dtype.newbyteorder().str)))


def _shapes(given: Any) -> Iterable[Any]:
    if given is None:
        return ()
    one = isinstance(given, str) or all(isinstance(n, int) for n in given)
    return (given,) if one else given


def _shape(given: Any) -> tuple[int, ...]:
    if isinstance(given, str):
        text = given.strip().strip("()")
        sizes = [] if text in ("", "scalar") else re.split(r"\s*[x×,]\s*", text.rstrip(", "))
        if not all(size.isdecimal() for size in sizes):
            raise QueryError(f"{given!r} is no shape of an entry: write 512x128, or scalar")
        return tuple(map(int, sizes))
    return tuple(map(int, given))
