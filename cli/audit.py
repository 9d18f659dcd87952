"""``xfelcat audit``: what is wrong with the catalogued runs, and what has changed."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog.model.checks import CHECKS, COUNTED_SEVERITIES, SEVERITIES
from ..catalog.model.names import size_text
from ..catalog.questions.filters import RunFilter
from .complete import completing
from .options import (
    CatalogOption,
    DeepOption,
    FormatOption,
    OutputOption,
    SampleOption,
    SeedOption,
    TimeLimitOption,
    argument,
    existing_store,
    flag,
    option,
    time_option,
    with_run_filter,
    wrong_usage,
)
from .output import (
    SEVERITY_COLOURS,
    Format,
    choose_format,
    common_start,
    count,
    fitted,
    paging,
    say,
    styled,
    write_answer,
)
from .progress import say_problems, showing_bar
from .workers import DaskOption, SlurmOption, working

if TYPE_CHECKING:
    from ..catalog.audit.audit import AuditOptions, AuditReport
    from ..catalog.model.checks import Limits
    from ..catalog.store.store import Store


class Threshold(StrEnum):
    """From which severity on findings make a command fail."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


@with_run_filter("proposal", "run", "instrument", "cycle", "data_class")
def audit_command(
    paths: Annotated[
        list[Path] | None,
        argument(
            "PATH", "Only runs at or below these paths; with --disk, also what else is there."
        ),
    ] = None,
    *,
    check: Annotated[
        list[str] | None,
        option(
            "--check",
            "ID",
            "Only this check (R01), or all that begin so (R); may be repeated.",
            autocompletion=completing("check"),
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        option(
            "--skip",
            "ID",
            "Leave out this check; may be repeated.",
            autocompletion=completing("check"),
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        option(
            "--level", "LEVEL", "Only checks of this level: S, H, catalog or D; may be repeated."
        ),
    ] = None,
    list_: Annotated[bool, flag("--list", "Show the checks there are, and audit nothing.")] = False,
    disk: Annotated[bool, flag("--disk", "Compare the catalog with what is on disk.")] = False,
    deep: DeepOption = False,
    sample: SampleOption = 8,
    seed: SeedOption = 0,
    since: Annotated[
        str | None,
        option(
            "--since",
            "TIME",
            "What came or went since this time counts as new or resolved (2024-05-01, 3d); "
            "else since the last audit that covered the run and the check.",
        ),
    ] = None,
    new: Annotated[bool, flag("--new", "Show only findings that are new.")] = False,
    resolved: Annotated[bool, flag("--resolved", "Show only findings that are gone.")] = False,
    waivers: Annotated[
        Path | None,
        option("--waivers", "FILE", "File of waivers; else waivers.yml in the catalog."),
    ] = None,
    fail_on: Annotated[
        Threshold, flag("--fail-on", "Exit with 1 if findings of this severity are shown.")
    ] = Threshold.ERROR,
    html: Annotated[
        Path | None,
        option(
            "--html",
            "FILE",
            "Also write a report for a browser: one page that needs no other file.",
            dir_okay=False,
        ),
    ] = None,
    html_dir: Annotated[
        Path | None,
        option(
            "--html-dir",
            "DIR",
            "Also write the report as index.html in this directory, with a page per proposal.",
            file_okay=False,
        ),
    ] = None,
    digest: Annotated[
        Path | None,
        option(
            "--digest", "FILE", "Also write a short report in Markdown, for a mail.", dir_okay=False
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        option(
            "--set",
            "NAME=VALUE",
            "Another limit for a check, such as processing_days=30; may be repeated.",
        ),
    ] = None,
    save: Annotated[bool, flag("--save/--no-save", "Record the audit in the catalog.")] = True,
    jobs: Annotated[
        int, option("--jobs", "N", "Processes for --disk and --deep.", "-j", min=0)
    ] = 2,
    dask: DaskOption = None,
    slurm: SlurmOption = None,
    time_limit: TimeLimitOption = 120.0,
    where: RunFilter,
    format_: FormatOption = None,
    output: OutputOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Check the catalogued runs: what is wrong, since when, and what changed since the last audit.

    From the catalog alone; --disk lists directories too, and --deep reads a sample of the data.
    Without --format, a summary: similar findings are one line with a count and an example. With it,
    a row for each finding.
    """
    chosen = choose_format(format_, output)
    options = _options(check, skip, level, since, set_)
    if list_:
        _list_checks(options, chosen, output)
        return
    for target in (html, html_dir, digest):
        if target is not None and not target.absolute().parent.is_dir():  # not after minutes
            raise typer.BadParameter(f"{target} cannot be written: {target.parent} is no directory")
    from ..catalog.audit.audit import audit
    from ..catalog.audit.disk import DiskOptions
    from ..loader.jobs.deepcheck import DeepOptions, RunDataCheck

    where = dataclasses.replace(where, below=RunFilter.of(below=paths or None).below)
    roots = tuple(str(p) for p in paths or ())
    options = dataclasses.replace(
        options,
        disk=DiskOptions(roots, jobs, time_limit) if disk else None,
        waivers=waivers,
        save=save,
    )
    store = existing_store(catalog)
    with ExitStack() as stack, showing_bar("reading the catalog") as show:

        def progress(label: str, done: int, total: int) -> None:
            show(done, total, label)

        data = None
        if deep:
            workers = stack.enter_context(working(jobs, dask, slurm))
            deep_options = DeepOptions(sample, seed, workers.jobs, time_limit)
            data = RunDataCheck(store.location, deep_options, partial(progress, "reading data"))
            options = dataclasses.replace(options, deep=data)
        report = audit(store, where, options, progress)
    if format_ is None and output is None:
        with paging():
            for line in summary_lines(report, new=new, resolved=resolved):
                typer.echo(line)
    else:
        write_answer(report.findings.select(new=new, resolved=resolved), chosen, output)
    for line in report_lines(report):
        say(line)
    if data is not None and data.left_out:
        say_problems(data.left_out)
    _write_reports(store, where, report, waivers, (html, html_dir, digest))
    # What is shown decides: all that is there, or what is new, or what is gone.
    if (new or not resolved) and report.fails(fail_on.value, new=new):
        raise typer.Exit(1)


def _write_reports(
    store: "Store",
    where: RunFilter,
    report: "AuditReport",
    waivers: Path | None,
    targets: tuple[Path | None, Path | None, Path | None],
) -> None:
    """Write the page, the pages and the digest that were asked for."""
    from ..catalog.audit.waivers import find_waivers
    from ..catalog.report.page import write_digest, write_pages, write_report

    html, html_dir, digest = targets
    accepted, found = find_waivers(store.location, waivers), report.findings.table
    is_first = report.since is None
    if html is not None:
        n_bytes = write_report(store, where, html, found, is_first=is_first, waivers=accepted)
        say(f"report written to {html}, {size_text(n_bytes)}")
    if html_dir is not None:
        with showing_bar("writing pages") as show:

            def progress(name: str, done: int, total: int) -> None:
                show(done, total, name)

            n = write_pages(
                store, where, html_dir, found, is_first=is_first, waivers=accepted,
                progress=progress,
            )  # fmt: skip
        say(f"{count(n, 'page')} written to {html_dir}")
    if digest is not None:
        write_digest(store, where, digest, found, is_first=is_first, waivers=accepted)
        say(f"digest written to {digest}")


def _options(
    check: list[str] | None,
    skip: list[str] | None,
    level: list[str] | None,
    since: str | None,
    settings: list[str] | None,
) -> "AuditOptions":
    """What was asked for; an unusable value is wrong usage."""
    from ..catalog.audit.audit import AuditOptions
    from ..catalog.model.checks import choose_checks, parse_limits

    with wrong_usage():
        checks = choose_checks(check or (), skip or (), level or ())
        limits: Limits = parse_limits(settings or ())
    if not checks:
        raise typer.BadParameter("no check is left: --check, --skip and --level exclude all")
    return AuditOptions(checks=checks, limits=limits, since=time_option(since))


def _list_checks(options: "AuditOptions", chosen: Format, output: Path | None) -> None:
    """The checks chosen: by ID and title for people, with everything for programs."""
    import pyarrow as pa

    rows = [dataclasses.asdict(c) | {"severity": SEVERITIES[c.severity]} for c in options.checks]
    if chosen is Format.TABLE:
        for row in rows:
            row.pop("meaning"), row.pop("remedy")
    write_answer(pa.Table.from_pylist(rows), chosen, output)


_LINES_PER_CHECK = 8
_INDENT = 9  # where the text of a finding begins


def summary_lines(
    report: "AuditReport", *, new: bool = False, resolved: bool = False
) -> Iterator[str]:
    """The findings that are there; or what is new, what is resolved, or both.

    By check, the worst first, with what to do; similar findings are one line, with an example.
    """
    rows = report.findings.summary.to_pylist()
    if new or resolved:
        rows = [r for r in rows if (new and r["new"]) or (resolved and r["status"] == "resolved")]
    else:
        rows = [r for r in rows if r["status"] == "open"]

    def heading(row: dict[str, Any]) -> tuple[str, str, str, bool]:
        return row["severity"], row["check_id"], row["status"], row["waived"] is not None

    start = common_start([row["example_path"] or "" for row in rows])
    if start:
        yield styled(f"paths below {start}", dim=True)
    for (severity, check, status, is_waived), group in groupby(rows, heading):
        of_check = list(group)
        what = "".join((", waived" if is_waived else "", ", resolved" * (status == "resolved")))
        n = sum(r["findings"] for r in of_check)
        colour = SEVERITY_COLOURS[severity]
        name = styled(COUNTED_SEVERITIES[severity].upper(), fg=colour, bold=True)
        title = styled(f"{check} {CHECKS[check].title}", bold=True)
        yield f"{name} {title}: {count(n, 'finding')}{what}"
        for row in of_check[:_LINES_PER_CHECK]:
            yield from fitted(_line_of(row, start, first=report.since is None), _INDENT)
        if left := of_check[_LINES_PER_CHECK:]:
            more = count(sum(r["findings"] for r in left), "finding")
            yield f"      …  {more} of {count(len(left), 'other kind')} (--format table has all)"
        if status != "resolved" and not is_waived:
            for line in fitted(f"      →  {CHECKS[check].remedy}", _INDENT):
                yield styled(line, dim=True)


def _line_of(row: dict[str, Any], start: str, *, first: bool) -> str:
    """How many findings are alike, the first of them, and since when they are there."""
    path = (row["example_path"] or "").removeprefix(start)
    place = f"[{row['example_place']}]" if row["example_place"] else ""
    facts = f"since {row['first_seen']:%Y-%m-%d}"
    if row["runs"] > 1:
        facts = f"{row['runs']} runs, {facts}"
    if row["new"] and not first:
        facts += ", new" if row["new"] == row["findings"] else f", {row['new']} of them new"
    if row["waived"]:
        facts += f"; waived: {row['waived']}"
    where = " ".join(filter(None, (path, place)))
    return f"{row['findings']:>6}×  {where}: {row['example']} ({facts})"


def report_lines(report: "AuditReport") -> Iterator[str]:
    """Totals, and what the reader should know about the audit itself."""
    from ..catalog.audit.audit import NOT_ASKED

    found = report.findings
    for waiver in report.expired:
        yield f"a waiver has expired: {waiver}"
    if report.not_recorded == NOT_ASKED:
        yield "not recorded (--no-save)"
    elif report.not_recorded:
        yield f"not recorded: {report.not_recorded}"
    parts = [count(found.count(s), name) for s, name in SEVERITIES.items() if s != "I"]
    parts.append(f"{found.count('I')} for information")
    if found.n_waived:
        parts.append(f"{found.n_waived} waived")
    changes = "first audit of these runs"
    if report.since:
        changes = f"{found.n_new} new, {found.n_resolved} resolved"
        changes += f" since the audit of {report.since:%Y-%m-%d %H:%M} UTC"
    yield f"{', '.join(parts)}; {changes}"
    number = f"audit {report.number}: " if report.number is not None else ""
    what = f"{count(report.n_runs, 'run')}, {count(report.n_files, 'file')}"
    yield f"{number}{what}, {_checks_made(report)}, {report.seconds:.1f} s"


def _checks_made(report: "AuditReport") -> str:
    """How many checks the audit made, and how many it only reports on."""
    n_made, n_at_ingest = len(report.checks), len(report.at_ingest)
    if not n_at_ingest:
        return count(n_made, "check")
    oldest = f", oldest {report.oldest_ingest:%Y-%m-%d}" if report.oldest_ingest else ""
    at_ingest = f"(made at ingest{oldest})"
    if not n_made:
        return f"{count(n_at_ingest, 'check')} {at_ingest}"
    return f"{count(n_made, 'check')} and {n_at_ingest} more {at_ingest}"
