"""How long until a run is open: from the catalog, as a whole process, and uncatalogued?"""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import extra_data
import xfelcat
from xfelcat.catalog.store.store import Store

from .measure import Place, Row, Side, run_python
from .synthetic import FIRST_PROPOSAL, Scale, fill

EXTRA_DATA = f"EXtra-data {extra_data.__version__}"
DATA_MAP = "karabo_data_map.json"
OURS_WHOLE = """
import sys, xfelcat
run = xfelcat.RunDirectory(sys.argv[1], catalog=sys.argv[2], save=False)
print(len(run.all_sources), len(run.train_ids), run.train_ids[-1])
"""
THEIRS_WHOLE = """
import sys, extra_data
run = extra_data.RunDirectory(sys.argv[1])
print(len(run.all_sources), len(run.train_ids), run.train_ids[-1])
"""


def known(run: Any) -> tuple[Any, ...]:
    """What a run that is open must know."""
    return run.control_sources, run.instrument_sources, [int(t) for t in run.train_ids]


def open_theirs(path: str) -> Any:
    """As EXtra-data opens it: with its data map, which it wrote at the first opening."""
    return extra_data.RunDirectory(path)


def open_ours(path: str, catalog: str, trust: str = "stat") -> Any:
    """From the catalog."""
    return xfelcat.RunDirectory(path, catalog=catalog, trust=trust, save=False)


def rows(place: Place) -> Iterator[Row]:
    """Opening."""
    for name in sorted(place.runs.keys() & {"R220", "R960"}):
        path = place.runs[name]
        theirs = Side(EXTRA_DATA, lambda _, p=path: open_theirs(p), answer=known)
        for title, trust, ratio in (
            ("open, catalogued", "stat", {"R220": 10, "R960": 12}[name]),
            ("open, catalogued, never-stat", "never-stat", {"R220": 10, "R960": 20}[name]),
        ):
            ours = partial(open_ours, path, place.catalog, trust)
            yield Row(
                title, (name,), Side("xfelcat", lambda _, f=ours: f(), answer=known), theirs, ratio
            )
        yield Row(
            "open, as a whole process",
            (name,),
            Side("xfelcat", lambda _, p=path: run_python(OURS_WHOLE, p, place.catalog)),
            Side(EXTRA_DATA, lambda _, p=path: run_python(THEIRS_WHOLE, p)),
            {"R220": 1 / 1.25, "R960": 1 / 0.85}[name],
            repeats=7,
        )
        yield from uncatalogued(name, path, place)
    yield from among_many(place)


def uncatalogued(name: str, path: str, place: Place) -> Iterator[Row]:
    """Opening a run that no catalog knows, with and without the data map of EXtra-data."""
    data_map = Path(path, DATA_MAP)
    nowhere = str(place.scratch / "empty")

    def forget() -> None:
        shutil.rmtree(place.scratch / "home", ignore_errors=True)
        shutil.rmtree(nowhere, ignore_errors=True)

    def without_map() -> None:
        forget()
        data_map.unlink(missing_ok=True)

    def with_map() -> None:
        forget()
        if not data_map.exists():
            open_theirs(path)

    def ours(_: None) -> Any:
        return xfelcat.RunDirectory(path, save=False)

    def theirs(_: None) -> Any:
        return open_theirs(path)

    for title, prepare, ratio, repeats in (
        ("open, uncatalogued, no data map", without_map, 1.5, 3),
        ("open, uncatalogued, with data map", with_map, 1.0, 7),
    ):
        yield Row(
            title,
            (name,),
            Side("xfelcat", ours, prepare, known),
            Side(EXTRA_DATA, theirs, prepare, known),
            ratio,
            repeats=repeats,
        )


def among_many(place: Place) -> Iterator[Row]:
    """One run of a catalog of 10^5, next to the same run in a catalog of its own."""
    many = os.environ.get("XFELCAT_SYNTHETIC", "")
    if not many or not Store(many).exists():
        return
    alone = place.scratch / "alone"
    scale = Scale(proposals=1, runs=1)
    if not Store(alone).exists():
        fill(alone, scale, jobs=1)
    path = synthetic_run(FIRST_PROPOSAL, str(alone))

    def side(name: str, catalog: str) -> Side:
        return Side(name, lambda _: open_ours(path, catalog, "never-stat"), answer=known)

    yield Row(
        "open one run of 10^5, next to the same alone",
        (),
        side("xfelcat", many),
        side("xfelcat", str(alone)),
        0.5,
    )


def synthetic_run(proposal: int, catalog: str) -> str:
    """The directory, which is not there, of the first run of a synthetic proposal."""
    with Store(catalog).read(f"p{proposal:06d}") as cursor:
        assert cursor is not None
        found = cursor.execute("SELECT directory FROM run ORDER BY run_id LIMIT 1").fetchall()
    return str(found[0][0])
