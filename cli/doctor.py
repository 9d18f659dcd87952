"""``xfelcat doctor``: which catalog and settings are in force, and what is wrong with them."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from ..catalog.model.names import size_text
from .options import CatalogOption
from .output import count, styled

if TYPE_CHECKING:
    from ..catalog.store.store import Store

# What each extra brings, and what it is for; docs/settings.md has the same.
_EXTRAS = {
    "dask": ("dask", "lazy arrays"),
    "plot": ("matplotlib", "pictures"),
    "notebook": ("ipython", "xfelcat open"),
    "fast": ("deflate", "faster reading"),
}
_LITTLE_SPACE = 10**9  # a version of a large catalog is written whole before it replaces the last


class Fact(NamedTuple):
    """Something that was looked at; ``advice`` is what to do where it is wrong."""

    name: str
    text: str
    advice: str = ""


def doctor_command(catalog: CatalogOption = None) -> None:
    """Show which catalog, settings and extras are in force, and what is wrong with them.

    Exits with 1 if something is wrong, and says what to do.
    """
    n_wrong = 0
    for fact in _facts(catalog):
        mark = styled("!", fg="red", bold=True) if fact.advice else " "
        typer.echo(f"{mark} {fact.name:<12} {fact.text}".rstrip())
        if fact.advice:
            n_wrong += 1
            typer.echo(f"{'':<15}→ {fact.advice}")
    if n_wrong:
        raise typer.Exit(1)


def _facts(catalog: Path | None) -> Iterator[Fact]:
    from ..catalog.config import catalog_location, config_path, load_settings, setting_sources
    from ..catalog.model.errors import ConfigError
    from ..catalog.store.store import Store

    of_python = f"Python {sys.version.partition(' ')[0]}, {sys.executable}"
    yield Fact("xfelcat", f"{version('xfelcat')}, {of_python}")
    path = config_path()
    try:
        settings, sources = load_settings(), setting_sources()
    except ConfigError as error:
        yield Fact("config file", path, str(error))
        return
    yield Fact("config file", path if os.path.exists(path) else f"none at {path}")
    source = "--catalog" if catalog else sources["catalog"] or "your own, as no setting names one"
    store = Store(catalog_location(catalog))
    yield Fact(
        "catalog",
        f"{store.location} ({source})",
        _advice_on_place(store, named=bool(catalog or settings.catalog)),
    )
    if os.path.isdir(store.location):
        yield from _facts_of_catalog(store)
    source = sources["data_root"] or "the default"
    advice = ""
    if not os.path.isdir(settings.data_root) and sources["data_root"]:
        advice = f"{settings.data_root} is no directory: correct {sources['data_root']}"
    there = "" if os.path.isdir(settings.data_root) else "; not on this machine"
    yield Fact("data root", f"{settings.data_root} ({source}{there})", advice)
    for name, where in sources.items():
        if where and name not in ("catalog", "data_root"):
            yield Fact(name, f"{getattr(settings, name)} ({where})")
    yield Fact("extras", ", ".join(_extras()))


def _advice_on_place(store: "Store", *, named: bool) -> str:
    if store.exists():
        return ""
    how = f"`xfelcat ingest PATH --catalog {store.location}` makes one there"
    if named:
        return f"there is no catalog: {how}, or correct the name"
    return f"there is none yet: {how}, or name one with XFELCAT_CATALOG"


def _facts_of_catalog(store: "Store") -> Iterator[Fact]:
    """Versions, age, rights and space of a catalog."""
    from ..catalog.questions.filters import provenance
    from ..catalog.store.care import left_out_text, shard_states
    from ..catalog.store.versions import SCHEMA_VERSION

    states = shard_states(store)
    others = [s for s in states if not s.is_current]
    advice = left_out_text(store) or ""
    text = f"{count(len(states), 'shard')}, schema version {SCHEMA_VERSION}"
    yield Fact("shards", f"{text}; {len(others)} of another version" if others else text, advice)
    if store.exists() and not advice:
        with store.read_merged() as cursor:
            known = provenance(cursor, store)
        at = (
            f", oldest ingest {known.oldest_ingest:%Y-%m-%d %H:%M} UTC"
            if known.oldest_ingest
            else ""
        )
        behind = (
            "`xfelcat db merge` brings the answers up to date" if store.merged_is_stale() else ""
        )
        yield Fact("runs", f"{known.runs_searched}{at}", behind)
    may_write = os.access(store.location, os.W_OK)
    free = shutil.disk_usage(store.location).free
    text = "you may write to it" if may_write else "you may read it, not write to it"
    full = (
        f"make room on the disk of {store.location}" if may_write and free < _LITTLE_SPACE else ""
    )
    yield Fact("rights", f"{text}; {size_text(free)} free", full)


def _extras() -> Iterator[str]:
    for extra, (package, use) in _EXTRAS.items():
        try:
            yield f"{extra} ({package} {version(package)})"
        except PackageNotFoundError:
            yield f"no {extra}: pip install 'xfelcat[{extra}]' for {use}"
