"""How long does a question over a whole facility take? What `make bench-questions` runs.

    python -m benchmarks.questions CATALOG [--only TEXT] [--repeats N] [--json FILE] [--page FILE]

1. ``Example`` is what the questions are about: a run from the middle of the catalog, a train of it
   and a RUN value that varies.
2. Each question is asked in fresh processes (the first time, with all that is loaded and opened for
   it; ``import xfelcat`` itself is not counted) and again and again in this one.
3. A run is opened from the catalog and from one that holds nothing else, in turns.
4. The size of the catalog is that of its databases as published.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xfelcat import Catalog, RunDirectory
from xfelcat.catalog.store.store import Store

from .report import machine, seconds

BEGIN = "<!-- begin: written by make bench-questions -->"
END = "<!-- end: written by make bench-questions -->"
HEAD = ("Question", "Rows", "First", "Warm", "To reach", "")
FRESH_PROCESSES = 3
OPENINGS = 3  # for each time that a question is asked


@dataclass(frozen=True)
class Example:
    """What the questions are about; all of it is in the catalog."""

    proposal: int
    run: int
    path: str
    instrument: str
    train: int
    source: str  # of a RUN value that varies
    key: str
    number: float  # which half of its values are above

    @classmethod
    def of(cls, catalog: Catalog) -> "Example":
        """From the run in the middle."""
        runs = catalog.sql(
            "SELECT * FROM runs WHERE depth = 'full' AND trains > 0 AND proposal IS NOT NULL"
            " ORDER BY run_id LIMIT 1 OFFSET (SELECT count(*) // 2 FROM runs WHERE depth = 'full')"
        )
        run = runs.iloc[0]
        values = catalog.sql(
            "SELECT source, key, median(number) AS number FROM run_values"
            " WHERE proposal = ? AND number IS NOT NULL AND key LIKE '%.value'"
            " GROUP BY ALL HAVING count(DISTINCT number) > 1"
            " ORDER BY count(DISTINCT number) DESC, source, key LIMIT 1",
            [int(run.proposal)],
        ).iloc[0]
        return cls(
            int(run.proposal),
            int(run.run),
            run.path,
            run.instrument,
            int(run.first_train) + int(run.trains) // 2,
            values.source,
            values.key,
            float(values.number),
        )


@dataclass(frozen=True)
class Question:
    """One question: ``ask`` gives an answer that has a length; ``limit`` in seconds, 0 for none."""

    title: str
    limit: float
    ask: Callable[[Catalog, Example], Any]


QUESTIONS = (
    Question(
        "find a key by globs of source and key, all runs",
        0.3,
        lambda catalog, _: catalog.find("*XGM*", "pulseEnergy*"),
    ),
    Question(
        "the same, the first 1,000 rows",
        0.3,
        lambda catalog, _: catalog.find("*XGM*", "pulseEnergy*", limit=1000),
    ),
    Question(
        "the same, the runs of one instrument",
        0.3,
        lambda catalog, e: catalog.find("*XGM*", "pulseEnergy*", instrument=e.instrument),
    ),
    Question("find sources by a glob, all runs", 0, lambda catalog, _: catalog.find("*XGM/DOOCS")),
    Question(
        "a run by its number", 0.02, lambda catalog, e: catalog.runs(proposal=e.proposal, run=e.run)
    ),
    Question("the run that holds a train", 0.02, lambda catalog, e: catalog.runs(train=e.train)),
    Question(
        "the runs with a RUN value above a number",
        0.5,
        lambda catalog, e: catalog.find_runs(
            f"{e.source} {e.key.removesuffix('.value')} > {e.number!r}"
        ),
    ),
    Question(
        "the same in SQL",
        0.5,
        lambda catalog, e: catalog.sql(
            "SELECT proposal, run, number FROM run_values"
            " WHERE source = ? AND key = ? AND number > ?",
            [e.source, e.key, e.number],
        ),
    ),
    Question(
        "runs with one source that lack another",
        0,
        lambda catalog, e: catalog.runs(has="*XGM/DOOCS", has_not=f"{e.instrument}_*"),
    ),
    Question(
        "two conditions, one of them for sources by a glob",
        0.5,
        lambda catalog, e: catalog.find_runs(
            [
                {("*" + e.source[4:], e.key): (">", e.number)},
                {(e.source, e.key): ("<", 2 * e.number)},
            ]
        ),
    ),
    Question(
        "RUN values of a run",
        0,
        lambda catalog, e: catalog.run_values(proposal=e.proposal, run=e.run),
    ),
    Question(
        "what the runs of a proposal lack",
        0,
        lambda catalog, e: catalog.lacking(proposal=e.proposal),
    ),
    Question("all sources", 0, lambda catalog, _: catalog.sources()),
    Question("all runs", 0, lambda catalog, _: catalog.runs()),
    Question("volume by instrument", 0, lambda catalog, _: catalog.inventory("volume")),
)


@dataclass
class Measured:
    """The times of a question, in seconds, and what it gave."""

    title: str
    limit: float
    rows: int
    first: list[float]
    warm: list[float]

    @property
    def is_reached(self) -> bool:
        """Whether the median, once warm, is within the limit."""
        return not self.limit or statistics.median(self.warm) <= self.limit


@dataclass
class Opening:
    """Times of opening a run, in seconds: from the whole catalog, and from one of its own."""

    among_all: list[float]
    alone: list[float]

    @property
    def ratio(self) -> float:
        """How many times longer it takes among all."""
        return statistics.median(self.among_all) / statistics.median(self.alone)


@dataclass(frozen=True)
class Size:
    """Bytes of the databases as published, and the files that are catalogued."""

    shards: int
    merged: int
    files: int
    runs: int

    @property
    def per_file(self) -> float:
        """Bytes for each catalogued file."""
        return (self.shards + self.merged) / max(self.files, 1)


def ask_warm(catalog: Catalog, question: Question, example: Example, repeats: int) -> Measured:
    """Ask a question again and again; the first time does not count."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        answer = question.ask(catalog, example)
        times.append(time.perf_counter() - started)
    return Measured(question.title, question.limit, len(answer), [], times[1:])


def ask_first(location: str, question: Question, example: Example) -> float:
    """The seconds that the first question of a fresh process takes."""
    given = [location, "--once", question.title, "--example", json.dumps(asdict(example))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.questions", *given],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return float(done.stdout)


def measure_opening(location: str, example: Example, repeats: int, scratch: Path) -> Opening:
    """Open a run from the whole catalog and from one of its own, in turns."""
    alone = copy_alone(Store(location), example, scratch / "alone")
    times: dict[str, list[float]] = {location: [], alone: []}
    for turn in range(repeats + 1):
        for catalog, seen in times.items():
            started = time.perf_counter()
            run = RunDirectory(example.path, catalog=catalog, trust="never-stat", save=False)
            took = time.perf_counter() - started
            assert len(run.train_ids) > 0
            if turn:
                seen.append(took)
    return Opening(times[location], times[alone])


def copy_alone(store: Store, example: Example, to: Path) -> str:
    """A catalog that holds the example's run and no other."""
    shard = f"p{example.proposal:06d}"
    versions = store.versions(shard)
    target = Store(to).versions(shard).directory
    target.mkdir(parents=True)
    current = versions.current()
    (target / current.name).write_bytes(current.read_bytes())
    (target / "current").symlink_to(current.name)
    for link in versions.directory.iterdir():
        if link.is_symlink() and not (target / link.name).is_symlink():
            (target / link.name).symlink_to(current.name)
    catalog = Catalog(to)
    runs = catalog.runs()
    others = runs[(runs.run != example.run) | (runs.path != example.path)]
    catalog.forget(*others.path)
    catalog.compact()
    assert catalog.runs().path.tolist() == [example.path]
    return catalog.location


def find_size(store: Store) -> Size:
    """The size of the databases that are current."""
    shards = sum(
        (store.versions(s).directory / version).stat().st_size
        for s, version in store.shards().items()
    )
    merged = store.merged.current()
    counts = Catalog(store.location).sql("SELECT sum(files) AS files, count(*) AS runs FROM runs")
    return Size(shards, merged.stat().st_size, int(counts.files[0]), int(counts.runs[0]))


# -- how it is shown -----------------------------------------------------------------------------


def as_table(questions: Sequence[Measured], opening: Opening | None, size: Size) -> str:
    """A Markdown table; times are medians."""
    table = [HEAD]
    for q in questions:
        first = seconds(statistics.median(q.first)) if q.first else ""
        reached = ("reached" if q.is_reached else "not reached") if q.limit else ""
        to_reach = seconds(q.limit) if q.limit else ""
        warm = seconds(statistics.median(q.warm))
        table.append((q.title, f"{q.rows:,}", first, warm, to_reach, reached))
    if opening is not None:
        both = [seconds(statistics.median(t)) for t in (opening.among_all, opening.alone)]
        told = f"{both[0]}, alone {both[1]}: {opening.ratio:.2f}x"
        reached = "reached" if opening.ratio <= 2 else "not reached"
        table.append(("open a run, against the same run alone", "", "", told, "2x", reached))
    reached = "reached" if size.per_file <= 1000 else "not reached"
    told = f"{size.per_file:.0f} B"
    table.append(("size of the catalog per file", f"{size.files:,}", "", told, "1000 B", reached))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, tuple("-" * max(w, 1) for w in widths))
    padded = [[c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def put_into_page(page: Path, table: str, size: Size) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    told = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {size.runs:,} runs and {size.files:,} files,"
        f" {size.merged / 1e9:.1f} GB merged and {size.shards / 1e9:.1f} GB of shards: {facts}."
    )
    page.write_text(f"{before}{BEGIN}\n\n{told}\n\n{table}\n\n{END}{after}")


def main(given_arguments: Sequence[str] | None = None) -> int:
    """Time questions over all runs of a catalog."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("catalog", help="best one made by make synthetic")
    parser.add_argument("--only", default="", help="part of the titles of the questions")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="file for all that is measured")
    parser.add_argument("--page", type=Path, help="page to put the table into")
    parser.add_argument("--once", help=argparse.SUPPRESS)
    parser.add_argument("--example", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args(given_arguments)
    catalog = Catalog(given.catalog)
    if given.once:
        question = next(q for q in QUESTIONS if q.title == given.once)
        example = Example(**given.example)
        started = time.perf_counter()
        question.ask(catalog, example)
        sys.stdout.write(f"{time.perf_counter() - started}\n")
        return 0
    example = Example.of(catalog)
    size = find_size(Store(given.catalog))
    measured = []
    for question in QUESTIONS:
        if given.only in question.title:
            measured.append(ask_warm(catalog, question, example, given.repeats))
            measured[-1].first += [
                ask_first(catalog.location, question, example) for _ in range(FRESH_PROCESSES)
            ]
    opening = None
    if not given.only:
        with tempfile.TemporaryDirectory() as scratch:
            turns = OPENINGS * given.repeats
            opening = measure_opening(catalog.location, example, turns, Path(scratch))
    table = as_table(measured, opening, size)
    sys.stdout.write(table + "\n")
    if given.json:
        told = {
            "machine": machine(),
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "example": asdict(example),
            "questions": [asdict(m) | {"reached": m.is_reached} for m in measured],
            "opening": opening and asdict(opening) | {"ratio": opening.ratio},
            "size": asdict(size) | {"per_file": size.per_file},
        }
        given.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    if given.page:
        put_into_page(given.page, table, size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
