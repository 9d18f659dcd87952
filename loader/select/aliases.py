"""Aliases: users' own names of sources and keys.

1. ``load_definitions``: dicts and files (JSON, YAML, TOML) to one mapping from alias to target.
2. ``merge_aliases``: several mappings to one, unless they clash.
3. ``AliasIndexer``, which is ``run.alias``: items, selections and an overview by alias.
4. ``select_aliased``: only what has an alias.

An alias is the same in upper and lower case, and with ``_`` for ``-``. Its target is the name of a
source, or a tuple of source and key.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any, Generic, TypeVar

from ...catalog.model.errors import AliasError, SourceNameError, did_you_mean, nearest

Target = str | tuple[str, str]
Aliases = Mapping[str, Target]
Definitions = Mapping[str, Any] | str | PathLike[str]


C = TypeVar("C")  # the type of a collection, and those of its items: SourceData | KeyData
D = TypeVar("D")

_HUB = "https://max-jhub.desy.de/hub/user-redirect/lab/tree"
_FORMATS = {".json": "json", ".yml": "yaml", ".yaml": "yaml", ".toml": "toml"}


def _normal(alias: str) -> str:
    """The one spelling under which an alias is kept."""
    return alias.lower().replace("_", "-")


def load_definitions(*alias_defs: Definitions) -> dict[str, Target]:
    """One mapping from alias to target out of any number of definitions.

    They are mappings, or paths of JSON, YAML or TOML files that hold one: from alias to the name of
    a source, from alias to a pair of source and key, or from the name of a source to a mapping from
    alias to key. An empty file defines nothing. Raises AliasError for another form and where two
    give one alias different targets, ImportError for an unknown format, OSError for an unreadable
    file.
    """
    merged: dict[str, Target] = {}
    for given in alias_defs:
        if isinstance(given, Mapping):
            merged = merge_aliases(merged, _parse(given, "the aliases given as a dict"))
            continue
        try:
            path = Path(fspath(given))
        except TypeError:
            kind = type(given).__name__
            message = f"aliases are given by a dict or the path of a file, not by a {kind}"
            raise AliasError(message) from None
        merged = merge_aliases(merged, _parse(_read_file(path), str(path)))
    return merged


def merge_aliases(*definitions: Aliases) -> dict[str, Target]:
    """All the aliases; AliasError where two definitions give one alias different targets."""
    merged: dict[str, Target] = {}
    for mapping in definitions:
        for alias in merged.keys() & mapping.keys():
            if merged[alias] != mapping[alias]:
                raise AliasError(
                    f"conflicting alias {alias!r}: two targets, {_spell(merged[alias])} and "
                    f"{_spell(mapping[alias])} (upper and lower case, and - and _, are the same);"
                    " rename one, or leave one out with drop_aliases()",
                    alias,
                )
        merged.update(mapping)
    return merged


def _spell(target: Target) -> str:
    return target if isinstance(target, str) else f"({target[0]}, {target[1]})"


def _shown(value: object) -> str:
    """The beginning of a wrong value: a line of YAML can stand for 9^9 items or digits."""
    try:
        return f"{short_repr(value):.60}"
    except ValueError:
        return type(value).__name__


def _read_file(path: Path) -> Mapping[str, Any]:
    """The mapping that a JSON, YAML or TOML file holds."""
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(_FORMATS)
        raise ImportError(f"{path}: aliases cannot be read from this format, only from {known}")
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return {}
    import json
    import tomllib

    try:
        if kind == "yaml":
            loaded = _parse_yaml(text, path)
        else:
            loaded = json.loads(text) if kind == "json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise AliasError(f"{path}: not valid {kind.upper()}: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, Mapping):
        raise AliasError(f"{path}: holds no mapping from alias to source, but {_shown(loaded)}")
    return loaded


def _parse_yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(f"{path}: reading YAML needs the package pyyaml") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _parse(given: Mapping[str, Any], where: str) -> dict[str, Target]:
    """Definitions as one flat mapping, in their order."""
    parsed: dict[str, Target] = {}

    def add(alias: object, target: Target) -> None:
        if not isinstance(alias, str):
            raise AliasError(f"{where}: alias {alias!r} is not a string")
        name = _normal(alias)
        known = parsed.setdefault(name, target)
        merge_aliases({name: known}, {name: target})

    for name, value in given.items():
        if isinstance(value, str):
            add(name, value)
        elif isinstance(value, Mapping):
            for alias, key in value.items():
                if not isinstance(key, str) or not isinstance(name, str):
                    raise AliasError(
                        f"{where}: alias {alias!r} of {name!r} is no key: {_shown(key)}"
                    )
                add(alias, (name, key))
        elif (
            isinstance(value, list | tuple)
            and len(value) == 2
            and all(isinstance(part, str) for part in value)
        ):
            add(name, (value[0], value[1]))
        else:
            raise AliasError(
                f"{where}: {name!r} stands for {_shown(value)}, but an alias stands for a source (a"
                " string), or for a source and a key (a pair of strings)",
                str(name),
            )
    return parsed


def _full_key(collection: Any, source: str, key: str) -> str | None:
    """The name of a key as the collection has it, with ``.value`` if it needs that; or None."""
    keys = collection.keys_for_source(source)
    return next((name for name in (key, f"{key}.value") if name in keys), None)


def _literal(name: str) -> str:
    """A glob pattern that matches this name only."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def select_aliased(
    collection: C, aliases: Aliases, strict: bool = False, require_all: bool = False
) -> C:
    """Only the sources and keys that have an alias.

    A source that has an alias itself keeps all its keys. Aliases of what is not in the data are
    passed over, or with ``strict`` raise SourceNameError or PropertyNameError. Without any
    aliased data the result has all trains and no sources.
    """
    data: Any = collection
    whole: set[str] = set()
    keys: dict[str, set[str]] = defaultdict(set)
    for target in aliases.values():
        source = target if isinstance(target, str) else target[0]
        if source not in data.all_sources:
            if strict:
                raise SourceNameError(source, data.all_sources)
        elif isinstance(target, str):
            whole.add(source)
        elif (key := _full_key(data, *target)) is not None:
            keys[source].add(key)
        elif strict:
            data[target]  # raises PropertyNameError with the nearest names
    selection = {s: set() if s in whole else keys[s] for s in sorted(whole | keys.keys())}
    selected: C = data.select(selection, require_all=require_all and bool(selection))
    return selected


class AliasIndexer(Generic[C, D]):
    """Sources and keys by alias: ``run.alias["xgm"]``, ``run.alias["xgm", "beamPosition.ixPos"]``.

    Its representation lists the aliases; ✗ marks those that are not in the data, ~ a source of
    which some aliased keys are missing.
    """

    def __init__(
        self, collection: Any, aliases: Aliases, files: Sequence[str | PathLike[str]] = ()
    ) -> None:
        self._collection = collection
        self._aliases = aliases
        self._files = files

    def file_paths(self) -> list[str | PathLike[str]]:
        """The files that aliases were read from, as they were given."""
        return list(self._files)

    def jhub_links(self) -> dict[str | PathLike[str], str]:
        """Where Maxwell's JupyterHub shows these files, by file; only of those below ``/gpfs``."""
        below = {path: fspath(path) for path in self._files if fspath(path).startswith("/gpfs/")}
        return {path: f"{_HUB}/GPFS{text.removeprefix('/gpfs')}" for path, text in below.items()}

    def _target(self, alias: str) -> Target:
        if not isinstance(alias, str):
            raise TypeError(f"an alias is a string, not {alias!r}")
        try:
            return self._aliases[_normal(alias)]
        except KeyError:
            hint = did_you_mean(nearest(alias, self._aliases))
            known = "" if self._aliases else " (no aliases are loaded; with_aliases() adds some)"
            raise AliasError(
                f"{alias!r} is not an alias of this data{hint}{known}", alias
            ) from None

    def _source_target(self, alias: str) -> str:
        target = self._target(alias)
        if isinstance(target, str):
            return target
        raise AliasError(f"{alias!r} stands for a key, {_spell(target)}, not for a source", alias)

    def _resolve(self, item: str | tuple[str, str]) -> Target:
        """The target of an alias, or of a pair of a source's alias and a key's literal name."""
        if isinstance(item, tuple) and len(item) == 2:
            return self._source_target(item[0]), item[1]
        if isinstance(item, str):
            return self._target(item)
        raise TypeError(f"expected an alias or a pair of source alias and key, not {item!r}")

    def __getitem__(self, item: str | tuple[str, str]) -> D:
        """The source or key of an alias.

        Raises
        ------
        AliasError
            If there is no such alias, or it is a key's where a source's is wanted.
        SourceNameError, PropertyNameError
            If its target is not in this data.
        """
        found: D = self._collection[self._resolve(item)]
        return found

    def __contains__(self, item: str | tuple[str, str]) -> bool:
        """Whether an alias is defined and its target is in this data."""
        try:
            return self._resolve(item) in self._collection
        except AliasError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._aliases)

    def __len__(self) -> int:
        return len(self._aliases)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._aliases)

    def select(
        self,
        seln_or_alias: Any,
        key_glob: str = "*",
        require_all: bool = False,
        require_any: bool = False,
    ) -> C:
        """Select sources and keys by alias; a new collection.

        Parameters
        ----------
        seln_or_alias
            An alias; or an iterable of aliases and pairs of a source's alias and a key pattern;
            or a mapping from aliases of sources to sets of keys (an empty set or None for all).
        key_glob
            With a single alias of a source: which of its keys.
        require_all, require_any
            As for ``DataCollection.select``.

        Raises
        ------
        AliasError, SourceNameError, PropertyNameError
            As for ``run.alias[...]``.
        """
        pairs = self._as_pairs(seln_or_alias, key_glob)
        found: C = self._collection.select(pairs, require_all=require_all, require_any=require_any)
        return found

    def deselect(self, seln_or_alias: Any, key_glob: str = "*") -> C:
        """Everything except the given sources and keys; arguments and errors as of ``select``."""
        rest: C = self._collection.deselect(self._as_pairs(seln_or_alias, key_glob))
        return rest

    def _as_pairs(self, selection: Any, key_glob: str) -> list[tuple[str, str]]:
        """Pairs of source and key patterns, as ``DataCollection.select`` takes them."""
        if isinstance(selection, str):
            return [self._pair(selection if key_glob == "*" else (selection, key_glob))]
        if isinstance(selection, Mapping):
            pairs = []
            for alias, keys in selection.items():
                source = self._source_target(alias)
                if keys is not None and not isinstance(keys, set | frozenset):
                    raise TypeError(f"the keys of {alias!r} should be a set or None, not {keys!r}")
                pairs += [self._literal_pair(source, key) for key in sorted(keys or ())]
                if not keys:
                    pairs.append(self._literal_pair(source))
            return pairs
        if isinstance(selection, Iterable):
            return [self._pair(item) for item in selection]
        raise TypeError(f"expected an alias, a dict or an iterable of aliases, not {selection!r}")

    def _pair(self, item: str | tuple[str, str]) -> tuple[str, str]:
        if isinstance(item, tuple) and len(item) == 2:
            return self._literal_pair(self._source_target(item[0]))[0], item[1]
        target = self._resolve(item)
        return self._literal_pair(*((target,) if isinstance(target, str) else target))

    def _literal_pair(self, source: str, key: str | None = None) -> tuple[str, str]:
        """Patterns of a source and its key, by default all keys; an error for what is not there."""
        if source not in self._collection.all_sources:
            raise SourceNameError(source, self._collection.all_sources)
        if key is None:
            return _literal(source), "*"
        found = _full_key(self._collection, source, key)
        if found is None:
            self._collection[source, key]  # raises PropertyNameError with the nearest names
        return _literal(source), _literal(found or key)

    def __str__(self) -> str:
        return f"<xfelcat.AliasIndexer with {len(self)} aliases>"

    def __repr__(self) -> str:
        if not self._aliases:
            return "No aliases have been loaded."
        of_source: dict[str, list[str]] = defaultdict(list)
        of_keys: dict[str, list[tuple[str, str]]] = {}
        for alias, target in self._aliases.items():
            source, *key = (target,) if isinstance(target, str) else target
            of_keys.setdefault(source, [])
            if key:
                of_keys[source].append((alias, key[0]))
            else:
                of_source[source].append(alias)
        blocks = [self._block(source, of_source[source], of_keys[source]) for source in of_keys]
        shown = [self.jhub_links().get(path, fspath(path)) for path in self._files]
        head = f"Alias file: {shown[0]}\n" if shown else ""
        if len(shown) > 1:
            head = "".join(["Alias files:\n", *(f"  {text}\n" for text in shown)])
        return f"{head}Loaded aliases:\n" + "\n\n".join(blocks)

    def _block(self, source: str, names: list[str], keys: list[tuple[str, str]]) -> str:
        """The lines about one source: its own aliases, then those of its keys."""
        there = [(source, key) in self._collection for _, key in keys]
        mark = " "
        if source not in self._collection or (keys and not names and not any(there)):
            mark = "✗"
        elif not all(there):
            mark = "~"
        if not keys:
            return f"{mark} {', '.join(names)}: {source}"
        if not names and len(keys) == 1:
            return f"{mark} {keys[0][0]}: ({source}, {keys[0][1]})"
        head = f"{', '.join(names)} ({source})" if names else source
        lines = [f"{mark} {head}:"]
        for (alias, key), present in zip(keys, there, strict=True):
            lines.append(f"  {' ' if present else '✗'} {alias}: {key}")
        return "\n".join(lines)
