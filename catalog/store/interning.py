"""Which number has a source, key, key schema or layout in this database file?

The same few thousand of them occur in every run, so a run refers to them by dense numbers that are
local to the file. A schema or layout is known by its digest; when one is met that the file has
already, its content is compared as well, once per writer.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import CatalogWriteError
from ..records import FileLayout, KeySchema
from .encoding import from_text, pack_schema, to_text
from .stored import StoredLayout, fetch_layouts, fetch_schemas, rows

if TYPE_CHECKING:
    import duckdb

__all__ = ["Interner"]

NewRows = dict[str, list[tuple[Any, ...]]]


class Interner:
    """The numbers of one database file, and the rows of what is new in it.

    ``new`` collects rows by table; whoever writes them empties it with ``take_new``.
    """

    def __init__(self, cursor: "duckdb.DuckDBPyConnection", location: str) -> None:
        self._cursor = cursor
        self._location = location
        self._sources = {from_text(n): i for i, n in rows(cursor, "SELECT * FROM source")}
        self._keys = {from_text(n): i for i, n in rows(cursor, "SELECT * FROM key")}
        found = rows(cursor, "SELECT digest, schema_id FROM key_schema")
        self._schemas: dict[str, int] = dict(found)
        found = rows(cursor, "SELECT digest, layout_id FROM layout")
        self._layouts: dict[str, int] = dict(found)
        self._known_schemas: dict[str, KeySchema] = {}
        self._known_layouts: set[str] = set()
        self._new: NewRows = {}
        self._free: dict[str, int] = {}

    def take_new(self) -> NewRows:
        """The rows of everything that got a number since this was last called."""
        new, self._new = self._new, {}
        return new

    def source(self, name: str) -> int:
        """The number of a source name."""
        return self._number("source", self._sources, name)

    def key(self, name: str) -> int:
        """The number of a key name."""
        return self._number("key", self._keys, name)

    def _number(self, table: str, numbers: dict[str, int], name: str) -> int:
        number = numbers.get(name)
        if number is None:
            number = numbers[name] = self._next(table, numbers)
            self._new.setdefault(table, []).append((number, to_text(name)))
        return number

    def _next(self, table: str, numbers: dict[str, int]) -> int:
        if table not in self._free:  # not len(): `compact` drops what no run refers to
            self._free[table] = max(numbers.values(), default=-1) + 1
        self._free[table] += 1
        return self._free[table] - 1

    def schema(self, schema: KeySchema) -> int:
        """The number of a key schema; call ``check`` first for those the file may have."""
        number = self._schemas.get(schema.digest)
        if number is not None:
            return number
        number = self._schemas[schema.digest] = self._next("key_schema", self._schemas)
        self._known_schemas[schema.digest] = schema
        self._new.setdefault("key_schema", []).append(
            (number, schema.digest, len(schema.keys), pack_schema(schema))
        )
        self._new.setdefault("schema_key", []).extend(
            (
                *(number, position, self.key(k.name), to_text(k.group), k.dtype, k.entry_shape),
                *map(to_text, (k.unit_symbol, k.unit_name, k.prefix_symbol, k.prefix_name)),
            )
            for position, k in enumerate(schema.keys)
        )
        return number

    def layout(self, layout: FileLayout) -> int:
        """The number of a layout; call ``check`` first for those the file may have."""
        number = self._layouts.get(layout.digest)
        if number is not None:
            return number
        number = self._layouts[layout.digest] = self._next("layout", self._layouts)
        self._known_layouts.add(layout.digest)
        self._new.setdefault("layout", []).append((number, layout.digest, len(layout.sources)))
        self._new.setdefault("layout_source", []).extend(
            (
                number,
                position,
                to_text(source.section),
                self.source(source.name),
                [to_text(g) for g in source.groups],
                self.source(source.legacy_of) if source.legacy_of else None,
                source.run_only,
                None if schema is None else self.schema(schema),
            )
            for position, (source, schema) in enumerate(
                zip(layout.sources, layout.schemas, strict=True)
            )
        )
        return number

    def check(self, layouts: Iterable[FileLayout]) -> None:
        """Compare layouts, and the schemas in them, with those the file has under their digests.

        Raises CatalogWriteError where a digest stands for two contents.
        """
        distinct = {layout.digest: layout for layout in layouts}
        schemas = {s.digest: s for x in distinct.values() for s in x.schemas if s is not None}
        self._check_schemas(schemas)
        unseen = {
            self._layouts[digest]: layout
            for digest, layout in distinct.items()
            if digest in self._layouts and digest not in self._known_layouts
        }
        if not unseen:
            return
        for number, stored in fetch_layouts(self._cursor, unseen).items():
            if not self._is_same(unseen[number], stored):
                raise self._clash("layout", unseen[number].digest)
            self._known_layouts.add(unseen[number].digest)

    def _check_schemas(self, schemas: dict[str, KeySchema]) -> None:
        unseen = {
            self._schemas[digest]: schema
            for digest, schema in schemas.items()
            if digest in self._schemas and digest not in self._known_schemas
        }
        if unseen:
            for number, stored in fetch_schemas(self._cursor, unseen).items():
                self._known_schemas[unseen[number].digest] = stored
        for digest, schema in schemas.items():
            known = self._known_schemas.get(digest)
            if known is not None and known is not schema and known.keys != schema.keys:
                raise self._clash("key schema", digest)

    def _is_same(self, layout: FileLayout, stored: StoredLayout) -> bool:
        numbers = tuple(None if s is None else self._schemas[s.digest] for s in layout.schemas)
        return layout.sources == stored.sources and numbers == stored.schema_ids

    def _clash(self, what: str, digest: str) -> CatalogWriteError:
        return CatalogWriteError(self._location, f"two contents of a {what} have digest {digest}")
