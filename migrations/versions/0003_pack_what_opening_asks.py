"""Pack what opening a run asks into one row, with the index of all files; pack key schemas.

Revision ID: 0003
Revises: 0002

What is packed how is said here once more, as it was at this revision: a later one may change
``catalog.store.packed``, and this one must go on leading from 0002 to 0003.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BLOCK = 64
_UNESCAPED = {0x10FF00 + i: 0xDC80 + i for i in range(0x80)}


def upgrade() -> None:
    """Make the new tables, fill them from the old, which go; the SQL lies beside this file."""
    ddl = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    before, after = ddl.split("-- filled here")
    op.get_bind().exec_driver_sql(before)
    _pack_schemas()
    for (run_id,) in _rows("SELECT run_id FROM run ORDER BY run_id"):
        _pack_run(run_id)
    op.get_bind().exec_driver_sql(after)


def _rows(sql: str) -> Sequence[Any]:
    return op.get_bind().exec_driver_sql(sql).fetchall()


def _pack_schemas() -> None:
    keys: dict[int, list[Any]] = {}
    for schema_id, name, group, dtype, shape, *units in _rows(
        "SELECT s.schema_id, k.name, s.index_group, s.dtype, s.entry_shape, s.unit_symbol,"
        " s.unit_name, s.prefix_symbol, s.prefix_name FROM schema_key AS s JOIN key AS k"
        " USING (key_id) ORDER BY s.schema_id, s.position"
    ):
        about = (_text(group), dtype, tuple(shape), *map(_text, units))
        keys.setdefault(schema_id, []).append((_text(name), about))
    for schema_id, digest, n_keys in _rows("SELECT * FROM old_key_schema ORDER BY schema_id"):
        found = keys.get(schema_id, [])
        kinds = list(dict.fromkeys(about for _, about in found))
        columns = ([name for name, _ in found], kinds, [kinds.index(about) for _, about in found])
        packed = zlib.compress(json.dumps(columns, separators=(",", ":")).encode())
        row = (schema_id, digest, n_keys, packed)
        op.get_bind().exec_driver_sql("INSERT INTO key_schema VALUES ($1, $2, $3, $4)", row)


def _pack_run(run_id: int) -> None:
    of_run = f"WHERE run_id = {run_id:d} ORDER BY ordinal"
    files = _rows(
        "SELECT name, size, mtime_ns, depth, missing_since IS NOT NULL, train_list, layout_id,"
        f" patterns FROM file {of_run}"
    )
    names, *columns, slots = zip(*files, strict=True) if files else [()] * 8
    joined = "/".join(map(_text, names)).encode("utf-8", "surrogatepass")
    trains = _rows(f"SELECT starts, lengths, suspect, dropped FROM train_list {of_run}")
    patterns = [
        [_unpack(column) for column in row]
        for row in _rows(f"SELECT lengths, counts, offsets FROM index_pattern {of_run}")
    ]
    row = (
        run_id,
        _join([zlib.compress(joined), *map(_pack, columns)]),
        _pack_lists(zip(*trains, strict=True) if trains else [()] * 4),
        _pack_lists([slots]),
        _join(
            [
                _pack_lists(zip(*patterns[at : at + _BLOCK], strict=True))
                for at in range(0, len(patterns), _BLOCK)
            ]
        ),
    )
    op.get_bind().exec_driver_sql("INSERT INTO run_packed VALUES ($1, $2, $3, $4, $5)", row)


def _text(text: str) -> str:
    return text.translate(_UNESCAPED)


def _pack_lists(columns: Iterable[Sequence[Any]]) -> bytes:
    parts: list[bytes] = []
    for lists in columns:
        parts += _pack([len(x) for x in lists]), _pack([n for x in lists for n in x])
    return _join(parts)


def _join(parts: Sequence[bytes]) -> bytes:
    return struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts)) + b"".join(parts)


def _pack(values: Sequence[int]) -> bytes:
    """Numbers in the narrowest type; those of 64 bits without sign as what they are with it."""
    large = any(value >= 1 << 63 for value in values)
    numbers = np.array(values, np.uint64 if large else np.int64).view(np.int64)
    if not numbers.size:
        return b""
    low, high = int(numbers.min()), int(numbers.max())
    if low == high:
        return b"c" + struct.pack("<qq", numbers.size, low)
    kind = next(k for k in "bhiq" if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    raw = numbers.astype(f"<{kind}").tobytes()
    squeezed = zlib.compress(raw, 1)
    if len(squeezed) < len(raw):
        return kind.upper().encode() + squeezed
    return kind.encode() + raw


def _unpack(packed: bytes) -> Any:
    if not packed:
        return np.empty(0, np.int64)
    kind = packed[:1].decode()
    if kind == "c":
        size, value = struct.unpack("<qq", packed[1:])
        return np.full(size, value, np.int64)
    raw = zlib.decompress(packed[1:]) if kind.isupper() else packed[1:]
    return np.frombuffer(raw, f"<{kind.lower()}").astype(np.int64)
