"""What is there to say of the sources, keys and files of a run, in rows?

Plain dicts with the same names in every row of a kind, for tables and for other programs; nothing
is read but what is known about the run.

1. ``source_rows``: a row per source and index group, with in how many trains it has data.
2. ``key_rows``: a row per key of a source, with its RUN value; RUN has keys that nothing else has.
3. ``file_rows``: a row per file that holds a key.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .grouping import natural_key

if TYPE_CHECKING:
    from .collection import DataCollection
    from .keydata import KeyData
    from .sourcedata import SourceData

__all__ = ["data_extent", "file_rows", "key_rows", "source_rows", "sources_of"]

Row = dict[str, Any]


def sources_of(collection: "DataCollection") -> list[str]:
    """The control and instrument sources in the order people expect, without old names."""
    names = collection.all_sources - collection.legacy_sources.keys()
    return sorted(names, key=natural_key)


def source_rows(collection: "DataCollection") -> list[Row]:
    """section, source, index_group, aggregator, keys, trains (with data), of_trains, entries.

    Also first_train and last_train with data, None where there are none. A source with RUN values
    only has no trains.
    """
    rows = []
    for name in sources_of(collection):
        source: SourceData = collection[name]
        groups = [] if source.is_run_only else sorted(source.index_groups)
        for group in groups or [""]:
            keys = source.keys(inc_timestamps=False) if groups else set()
            counts = source.data_counts(labelled=False, index_group=group) if groups else None
            row = {
                "section": source.section,
                "source": name,
                "index_group": group,
                "aggregator": source.aggregator,
                "keys": sum(not group or key.startswith(f"{group}.") for key in keys),
            }
            rows.append(row | data_extent(collection.train_ids, counts))
    return rows


def data_extent(train_ids: list[int], counts: Any) -> Row:
    """In how many of the trains there are data, how many entries, and from which train to which."""
    with_data = np.flatnonzero(counts) if counts is not None else np.empty(0, int)
    return {
        "trains": len(with_data),
        "of_trains": len(train_ids),
        "entries": int(counts.sum()) if counts is not None else 0,
        "first_train": train_ids[with_data[0]] if len(with_data) else None,
        "last_train": train_ids[with_data[-1]] if len(with_data) else None,
    }


def key_rows(source: "SourceData") -> list[Row]:
    """key, dtype, shape (of one entry), unit and run_value of each key; index_group "RUN" for RUN.

    run_value is None where there is none, a scalar, a text or an array.
    """
    values: dict[str, Any] = {}
    if source.is_control and source.is_single_run:
        values = source.run_values(inc_timestamps=False)
    keys = [] if source.is_run_only else sorted(source.keys(inc_timestamps=False), key=natural_key)
    rows = []
    for name in keys:
        key = source._key(name)
        rows.append(
            {
                "key": name,
                "index_group": key.index_group,
                "dtype": _dtype_name(key.dtype),
                "shape": list(key.entry_shape),
                "unit": key.units or "",
                "run_value": values.get(name),
            }
        )
    for name in sorted(values.keys() - set(keys), key=natural_key):
        value = values[name]
        row = {"key": name, "index_group": "RUN", "dtype": _dtype_name(np.asarray(value).dtype)}
        rows.append(row | {"shape": list(np.shape(value)), "unit": "", "run_value": value})
    return rows


def file_rows(key: "KeyData") -> list[Row]:
    """name, trains, trains_with_data and entries of each file that holds the key."""
    return list(_file_rows(key))


def _file_rows(key: "KeyData") -> Iterator[Row]:
    counts = dict(zip(key.train_ids, key.data_counts(labelled=False).tolist(), strict=True))
    for ref in key._refs:
        here = [counts[t] for t in ref.trains.to_list() if t in counts]
        yield {
            "file": ref.path,
            "trains": len(here),
            "trains_with_data": sum(n > 0 for n in here),
            "entries": sum(here),
        }


def _dtype_name(dtype: "np.dtype[Any]") -> str:
    return "str" if dtype.kind in "OU" else str(dtype)
