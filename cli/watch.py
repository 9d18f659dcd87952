"""``xfelcat watch``: a catalog that keeps up with new files, until it is stopped."""

import json
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    CatalogOption,
    ExcludeOption,
    JobsOption,
    RateOption,
    TimeLimitOption,
    argument,
    flag,
    open_store,
    option,
)

if TYPE_CHECKING:
    from ..catalog.store.store import Store


class LogFormat(StrEnum):
    """How events are written."""

    TEXT = "text"
    JSON = "json"


def watch_command(
    roots: Annotated[
        list[Path],
        argument("ROOT", "Facility, instrument, cycle, proposal or data class directories."),
    ],
    *,
    once: Annotated[bool, flag("--once", "Look once and stop, as a scheduled job.")] = False,
    interval: Annotated[
        float, option("--interval", "SECONDS", "From one look to the next.", min=0.1)
    ] = 30.0,
    quiet: Annotated[
        float, option("--quiet", "SECONDS", "Read a file when it has rested so long.", min=0)
    ] = 10.0,
    patience: Annotated[
        float,
        option(
            "--patience",
            "SECONDS",
            "A file that cannot be read is in progress, not broken, until it is this old.",
            min=0,
        ),
    ] = 3600.0,
    publish_every: Annotated[
        float,
        option(
            "--publish-every",
            "MINUTES",
            "Renew the file for questions over all runs at most this often.",
            min=0,
        ),
    ] = 10.0,
    recheck: Annotated[
        float, option("--recheck", "HOURS", "Look at every file again after this time.", min=0)
    ] = 24.0,
    jobs: JobsOption = None,
    exclude: ExcludeOption = None,
    reads_per_second: RateOption = None,
    time_limit: TimeLimitOption = 120.0,
    log_format: Annotated[
        LogFormat, flag("--log-format", "Events as key=value, or as JSON; one per line.")
    ] = LogFormat.TEXT,
    audit: Annotated[bool, flag("--audit/--no-audit", "Audit the runs that were ingested.")] = True,
    catalog: CatalogOption = None,
) -> None:
    """Ingest new and changed runs as they appear, until SIGTERM or Ctrl-C.

    Looks at directories again and again, as a network file system reports no changes. Files that
    are still being written are left for later. Events go to stderr. A second SIGTERM or Ctrl-C
    stops at once; the catalog is whole in any case.
    """
    from ..catalog.watch.watch import WatchOptions, watch

    def audit_runs(store: "Store", run_ids: Sequence[int]) -> dict[str, Any]:
        from ..catalog.audit.audit import AuditOptions, log_fields
        from ..catalog.audit.audit import audit as audit_store

        return log_fields(audit_store(store, options=AuditOptions(run_ids=tuple(run_ids))))

    options = WatchOptions(
        interval=interval,
        quiet=quiet,
        patience=patience,
        publish_every=60 * publish_every,
        recheck=3600 * recheck,
        jobs=jobs,
        exclude=tuple(exclude or ()),
        reads_per_second=reads_per_second,
        time_limit=time_limit,
        once=once,
        audit=audit_runs if audit else None,
    )

    def log(event: str, level: str = "info", **fields: Any) -> None:
        sys.stderr.write(format_event(log_format, event, level, fields) + "\n")
        sys.stderr.flush()

    # SIGTERM is taken up where Ctrl-C is: when the commit at hand is published.
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        went_well = watch(open_store(catalog, quiet=True), [str(r) for r in roots], options, log)
    finally:
        signal.signal(signal.SIGTERM, before)
    if once and not went_well:
        raise typer.Exit(1)


def format_event(
    chosen: LogFormat, event: str, level: str, fields: dict[str, Any], now: datetime | None = None
) -> str:
    """One line: time (UTC), level, event, and the fields that say something."""
    time = (now or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    parts = {"time": time, "level": level, "event": event, **fields}
    shown = {k: v for k, v in parts.items() if v not in ("", None)}
    if chosen is LogFormat.JSON:
        return json.dumps(shown)
    return " ".join(f"{key}={_plain(value)}" for key, value in shown.items())


def _plain(value: Any) -> str:
    """A value without spaces or quotes as it is, any other as a JSON text."""
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    text = str(value)
    is_plain = text.isprintable() and not set(text) & set(" \"'=\\")
    is_plain = is_plain and not any("\ud800" <= c <= "\udfff" for c in text)
    return text if is_plain else json.dumps(text)
