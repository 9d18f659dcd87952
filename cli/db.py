"""``xfelcat db``: the catalog itself: its state, versions, size, soundness and locks."""

from pathlib import Path
from typing import Annotated

import typer

from ..catalog.model.names import size_text
from .options import CatalogOption, argument, existing_store, flag, open_store, option
from .output import count, say
from .progress import showing_bar

app = typer.Typer(help="Look after the catalog itself.", no_args_is_help=True, add_completion=False)


@app.command("status")
def status_command(catalog: CatalogOption = None) -> None:
    """Show where the catalog lies, its versions, its size, and whether it is complete."""
    from importlib.metadata import version

    from ..catalog.questions.filters import provenance
    from ..catalog.store.care import shard_states
    from ..catalog.store.versions import SCHEMA_VERSION

    store = open_store(catalog, quiet=True)
    states = shard_states(store)
    _show("location", str(store.location))
    _show("xfelcat", f"{version('xfelcat')}, schema version {SCHEMA_VERSION}")
    if not states:
        _show("shards", "none: nothing was ingested here yet")
        return
    _show("shards", f"{len(states)}, {size_text(_size(store.location / 'shards'))}")
    n_older = sum(s.can_be_upgraded for s in states)
    n_too_old = sum(s.is_too_old for s in states)
    n_newer = sum(not s.is_current for s in states) - n_older - n_too_old
    if n_older:
        _show("", f"{n_older} of an older schema version; xfelcat db upgrade brings them to ours")
    if n_too_old:
        _show("", f"{n_too_old} of a schema version that cannot be upgraded: ingest them again")
    if n_newer:
        _show("", f"{n_newer} of a newer schema version, which this xfelcat cannot read")
    if not store.exists():
        return
    stale = store.merged_is_stale()
    with store.read_merged() as cursor:
        known = provenance(cursor, store)
    state = "behind the shards; xfelcat db merge renews it" if stale else "up to date"
    size = sum(version.size for version in store.merged.published())
    _show("merged", f"{size_text(size)} in {store.merged}, {state}")
    at = known.oldest_ingest
    oldest = f", oldest ingest {at:%Y-%m-%d %H:%M} UTC" if at else ""
    _show("runs", f"{known.runs_searched}, {known.runs_outline_only} by outline only{oldest}")


def _show(name: str, text: str) -> None:
    typer.echo(f"{name:<10} {text}")


def _size(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile does not count."""
    total = 0
    for path in folder.rglob("*.duckdb"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total


@app.command("upgrade")
def upgrade_command(catalog: CatalogOption = None) -> None:
    """Bring a catalog of an older schema version to ours; older clients go on reading the old."""
    from ..catalog.store.care import shard_states, upgrade_shards
    from ..catalog.store.connections import uninterrupted

    store = open_store(catalog)
    with showing_bar("upgrading") as progress, uninterrupted():
        upgraded = upgrade_shards(store, progress)
    if upgraded:
        store.publish_merged()
    say(f"{count(len(upgraded), 'shard')} upgraded" if upgraded else "nothing to upgrade")
    if n := sum(s.is_too_old for s in shard_states(store)):
        say(f"{count(n, 'shard')} of a schema version that cannot be upgraded: ingest them again")


@app.command("merge")
def merge_command(catalog: CatalogOption = None) -> None:
    """Bring the file for questions over all runs up to date with the shards."""
    store = existing_store(catalog)
    with showing_bar("merging") as progress:
        merged = store.publish_merged(progress)
    say("merged" if merged else "nothing to merge")


@app.command("compact")
def compact_command(catalog: CatalogOption = None) -> None:
    """Rewrite the databases in order, without what forgotten runs left behind."""
    from ..catalog.store.care import compact

    store = existing_store(catalog)
    before = _size(store.location)
    with showing_bar("compacting") as progress:
        compact(store, progress)
    say(
        f"{count(len(store.shards()), 'shard')} rewritten; {size_text(before)} before, "
        f"{size_text(_size(store.location))} now, with the versions before"
    )


@app.command("check")
def check_command(catalog: CatalogOption = None) -> None:
    """Verify that the databases are sound; exits 1 if they are not."""
    store = existing_store(catalog)
    from ..catalog.store.care import check

    faults = check(store)
    for fault in faults:
        typer.echo(fault)
    say(f"{count(len(faults), 'fault')} found" if faults else "sound")
    if faults:
        raise typer.Exit(1)


@app.command("locks")
def locks_command(
    catalog: CatalogOption = None,
    wait: Annotated[
        float, option("--wait", "SECONDS", "Wait so long for the other node.", min=0.1)
    ] = 60.0,
) -> None:
    """Find out whether two nodes see each other's locks: run it on both at the same time.

    Exit code 1 if a lock is not seen, or nobody came.
    """
    from ..catalog.config import load_settings
    from ..catalog.store.locks import kind_of
    from ..catalog.store.locktest import try_locks

    store = open_store(catalog)
    ours = kind_of(load_settings().lock)
    say(f"setting lock: {ours}; run `xfelcat db locks` on the other node now")
    tried = try_locks(store, wait)
    for one in sorted(tried, key=lambda t: (t.node, t.kind)):
        where = one.node if one.is_other_node else f"{one.node}, which is this node too"
        typer.echo(f"{one.kind:<9} {'seen' if one.is_seen else 'NOT SEEN'}, of {where}")
    if not tried:
        say(f"nobody else ran it within {wait:g} s")
    elif not any(t.is_other_node for t in tried):
        say("both ran on this node, which proves nothing about others")
    elif missed := [t.kind for t in tried if t.kind == ours and not t.is_seen]:
        say(
            f"{missed[0]} does not keep writers of two nodes apart: let one node write, or set lock"
        )
    if not tried or any(t.kind == ours and not t.is_seen for t in tried):
        raise typer.Exit(1)


@app.command("maintain")
def maintain_command(catalog: CatalogOption = None) -> None:
    """Remove versions that are older than the setting `keep`; show what is kept, and its size."""
    from ..catalog.store.care import maintain

    kept, freed = maintain(existing_store(catalog))
    for one in kept:
        typer.echo(
            f"{one.kind:<8} {count(one.versions, 'version')} of {count(one.databases, 'database')}"
            f" since {one.since:%Y-%m-%d %H:%M} UTC: {size_text(one.current)} current,"
            f" {size_text(one.before)} before"
        )
    say(f"{size_text(freed)} removed")


@app.command("copy")
def copy_command(
    places: Annotated[
        list[Path],
        argument("CATALOG", "The catalogs to copy; the last one is where to."),
    ],
    *,
    replace: Annotated[
        bool, flag("--replace", "Overwrite proposals that the target has otherwise.")
    ] = False,
) -> None:
    """Copy a catalog, or the proposals of several into one; only what has changed since.

    The same command continues a copy that was stopped. Readers of both go on meanwhile.
    """
    from ..catalog.store.copying import copy_catalogs
    from ..catalog.store.store import Store

    if len(places) < 2:
        raise typer.BadParameter("name the catalogs to copy, and then where to")
    *sources, target = (Store(place.expanduser()) for place in places)
    with showing_bar("copying") as progress:
        report = copy_catalogs(sources, target, replace=replace, progress=progress)
    copied = f"{count(len(report.copied), 'database')} copied ({size_text(report.bytes)})"
    say(f"{copied}, {report.unchanged} as they were; catalog: {target.location}")
