"""Selections of sources and keys.

1. ``expand_selection`` turns any of the forms that ``select`` takes into a ``Selection`` by name.
2. ``narrow`` and ``remove`` apply one to the sources of a collection.
3. ``trains_with_all`` and ``trains_with_any`` find the trains that have the selected data.
"""

import fnmatch
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...catalog.model.errors import SourceNameError
from ...catalog.model.names import short_key
from ...catalog.model.records import KeySchema
from .sources import SourceEntry
from .trains import TrainSet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Selection",
    "expand_selection",
    "match_keys",
    "narrow",
    "remove",
    "trains_with_all",
    "trains_with_any",
]

Selection = dict[str, frozenset[str] | None]
"""Selected keys by source; None for all that are selected so far."""


def expand_selection(
    sources: Mapping[str, SourceEntry], selection: Any, key_glob: str = "*"
) -> Selection:
    """The sources and keys that a user selects.

    Parameters
    ----------
    sources
        What to select from.
    selection
        A glob for source names (with ``key_glob`` for keys); a dict of source names to sets of key
        names, empty or None for all; a collection, source or key; or an iterable of globs,
        (source glob, key glob) pairs, sources and keys.

    Raises
    ------
    ValueError
        A glob matches nothing.
    SourceNameError, PropertyNameError
        A source or key named in a dict does not exist.
    TypeError
        Anything else.
    """
    if isinstance(selection, str):
        return _match(sources, selection, key_glob)
    if hasattr(selection, "selected_keys"):
        return _exact(sources, selection.selected_keys())
    if isinstance(selection, Mapping):
        return _exact(sources, selection)
    if isinstance(selection, bytes) or not isinstance(selection, Iterable):
        raise TypeError(f"cannot select data by {type(selection).__name__}")
    chosen: Selection = {}
    for part in _parts(sources, selection):
        for name, keys in part.items():
            if name not in chosen:
                chosen[name] = keys
            elif keys is None or chosen[name] is None:
                chosen[name] = None
            else:
                chosen[name] = keys | (chosen[name] or frozenset())
    return chosen


def _parts(sources: Mapping[str, SourceEntry], selection: Iterable[Any]) -> "Iterator[Selection]":
    for item in selection:
        if isinstance(item, str):
            yield _match(sources, item, "*")
        elif hasattr(item, "selected_keys"):
            yield _exact(sources, item.selected_keys())
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            yield _match(sources, *item)
        else:
            raise TypeError(
                "a selection is made of source globs and (source glob, key glob) pairs, not "
                f"{item!r:.80}"
            )


def _match(sources: Mapping[str, SourceEntry], source_glob: str, key_glob: str) -> Selection:
    if not isinstance(source_glob, str) or not isinstance(key_glob, str):
        raise TypeError(f"globs are text, not ({source_glob!r:.40}, {key_glob!r:.40})")
    fits = re.compile(fnmatch.translate(source_glob)).match
    chosen: Selection = {}
    # Sources of one kind share their schema: match its names once.
    seen: dict[tuple[KeySchema, bool], frozenset[str]] = {}
    for name, entry in sources.items():
        if not fits(name):
            continue
        if key_glob == "*":
            chosen[name] = None
            continue
        schema = source_schema(entry)
        kind = (schema, entry.section == "CONTROL")
        if kind not in seen:
            seen[kind] = match_keys(schema, key_glob, control=kind[1])
        keys = seen[kind] if entry.keys is None else seen[kind] & entry.keys
        if keys:
            chosen[name] = keys
    if not chosen:
        raise ValueError(f"nothing matches source {source_glob!r} with key {key_glob!r}")
    return chosen


def source_schema(entry: SourceEntry) -> KeySchema:
    """The keys of a source, as the first of its files has them."""
    return entry.schema(entry.refs[0]) if entry.refs else KeySchema(())


def match_keys(schema: KeySchema, glob: str, *, control: bool) -> frozenset[str]:
    """The keys that a glob matches; those of control sources also without ``.value``."""
    fits = re.compile(fnmatch.translate(glob)).match
    return frozenset(k for k in schema.by_name if fits(k) or (control and fits(short_key(k))))


def _exact(sources: Mapping[str, SourceEntry], selection: Mapping[str, Any]) -> Selection:
    chosen: Selection = {}
    for name, keys in selection.items():
        entry = sources.get(name)
        if entry is None:
            raise SourceNameError(name, sources)
        if isinstance(keys, (str, bytes)) or not (keys is None or isinstance(keys, Iterable)):
            raise TypeError(f"the keys of {name!r} should be a set or None, not {keys!r:.60}")
        if keys is None or not (wanted := frozenset(keys)):
            chosen[name] = None
            continue
        schema = source_schema(entry)
        chosen[name] = frozenset(entry.require_key(key, schema).name for key in wanted)
    return chosen


def narrow(sources: Mapping[str, SourceEntry], chosen: Selection) -> dict[str, SourceEntry]:
    """The chosen sources with the chosen keys."""
    return {
        name: sources[name] if keys is None else sources[name].with_keys(keys)
        for name, keys in chosen.items()
    }


def remove(sources: Mapping[str, SourceEntry], chosen: Selection) -> dict[str, SourceEntry]:
    """All sources without the chosen keys; a source without any key left is dropped."""
    kept = {name: entry for name, entry in sources.items() if name not in chosen}
    for name, keys in chosen.items():
        if keys is None:
            continue
        entry = sources[name]
        rest = entry.key_names(source_schema(entry)) - keys
        if rest:
            kept[name] = entry.with_keys(rest)
    return {name: kept[name] for name in sources if name in kept}


def trains_with_all(
    sources: Mapping[str, SourceEntry], trains: TrainSet, warn_frac: float | None = None
) -> TrainSet:
    """Those of the trains for which every selected key has data.

    Warns
    -----
    UserWarning
        If one source alone drops at least ``warn_frac`` of the trains, or if no train is left;
        without ``warn_frac`` never.
    """
    kept, warned = trains, False
    for entry in sources.values():
        for group in _selected_groups(entry):
            found = entry.rows(group, trains).trains_with_rows
            dropped = len(trains) - len(found)
            if warn_frac is not None and dropped and dropped / len(trains) >= warn_frac:
                warned = True
                warnings.warn(
                    f"{dropped}/{len(trains)} ({dropped / len(trains):.0%}) trains dropped when"
                    f" filtering by {entry.name}",
                    UserWarning,
                    stacklevel=4,
                )
            kept = kept & found
    if warn_frac is not None and len(trains) and not len(kept) and not warned:
        warnings.warn(
            f"none of {len(trains)} trains has data for all that is selected",
            UserWarning,
            stacklevel=4,
        )
    return kept


def trains_with_any(sources: Mapping[str, SourceEntry], trains: TrainSet) -> TrainSet:
    """Those of the trains for which at least one selected key has data."""
    return TrainSet.union_of(
        entry.rows(group, trains).trains_with_rows
        for entry in sources.values()
        for group in _selected_groups(entry)
    )


def _selected_groups(entry: SourceEntry) -> tuple[str, ...]:
    """The index groups of the selected keys."""
    if entry.keys is None:
        groups = {g for fg in entry.files.groups for g in entry.index_groups(fg.refs[0])}
        return tuple(sorted(groups)) if not entry.run_only else ()
    by_name = source_schema(entry).by_name
    return tuple(sorted({by_name[k].group for k in entry.keys if k in by_name}))
