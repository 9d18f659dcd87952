"""How long until a question is answered about a run that is open, without its data?

What was learnt of the run before is forgotten first: each answer starts from a run just opened.
"""

from collections.abc import Callable, Iterator
from typing import Any

from xfelcat.catalog.store.store import Store

from .large_runs import XGM, module, motor
from .measure import Place, Row, Side
from .rows_opening import EXTRA_DATA, open_ours, open_theirs

KEY = "property006.value"
OTHER_KEY = "property004.value"
DATA = "image.data"


def rows(place: Place) -> Iterator[Row]:
    """Questions about keys, counts and RUN; selections."""
    source = motor(1, 1)
    for name, ratio in (("R220", 10), ("R960", 50)):
        yield _row("first dtype, shape and units of a key", name, ratio, place, describe(source))
        loaded = warmed(source)
        yield _row(
            "the same, of a source that is loaded", name, 50, place, describe(source), loaded
        )
    yield _row("data_counts of a detector module", "R960", 100, place, counts)
    yield _row("data_counts of a detector module", "R220", 0, place, counts)
    for name, ratio in (("R220", 50), ("R960", 0)):
        yield _row("every key of every source", name, ratio, place, all_keys, repeats=3)
        yield _row("select by glob", name, 20 if name == "R960" else 0, place, select_glob)
    for name, ratio in (("R220", 0), ("R960", 20)):
        yield _row("every RUN value of 40 sources", name, ratio, place, run_values, repeats=5)
        ratio = 100 if name == "R960" else 0
        title = "select(require_all=True), XGM and 16 modules"
        yield _row(title, name, ratio, place, require_all, repeats=3)


def _row(
    title: str,
    name: str,
    ratio: float,
    place: Place,
    ask: Callable[[Any], Any],
    before: Callable[[Any], Any] = lambda run: run,
    repeats: int = 7,
) -> Row:
    path = place.runs.get(name, "")

    def ours() -> Any:
        run = open_ours(path, place.catalog)
        forget(place.catalog)  # what was fetched for other runs of the shard; it stays open
        return before(run)

    return Row(
        title,
        (name,),
        Side("xfelcat", ask, ours, plain),
        Side(EXTRA_DATA, ask, lambda: before(open_theirs(path)), plain),
        ratio,
        repeats=repeats,
    )


def forget(catalog: str) -> None:
    """Drop what this process remembers of the keys, layouts and names of a catalog's shards."""
    store = Store(catalog)
    for shard in store.shards():
        opened = store.open_shard(shard)
        assert opened is not None
        opened.memo.clear()


def plain(answer: Any) -> Any:
    """An answer in terms that both give alike."""
    if hasattr(answer, "selection"):  # a collection
        selection = {s: set(answer.keys_for_source(s)) for s in answer.all_sources}
        return [int(t) for t in answer.train_ids], selection
    if hasattr(answer, "to_numpy"):  # a Series
        return answer.index.to_numpy(), answer.to_numpy()
    return answer


def describe(source: str, name: str = KEY) -> Callable[[Any], Any]:
    """Ask for the dtype, shape and units of a key."""

    def ask(run: Any) -> Any:
        key = run[source, name]
        return key.dtype, key.shape, key.units

    return ask


def warmed(source: str) -> Callable[[Any], Any]:
    """Ask the same of another key first."""

    def ask(run: Any) -> Any:
        describe(source, OTHER_KEY)(run)
        return run

    return ask


def counts(run: Any) -> Any:
    """How many entries each train has, the most over all index groups."""
    return run[module(3)].data_counts()


def image_counts(run: Any) -> Any:
    """How many frames each train has."""
    return run[module(3), DATA].data_counts()


def all_keys(run: Any) -> Any:
    """The names of all keys."""
    return {source: set(run[source].keys()) for source in run.all_sources}


def run_values(run: Any) -> Any:
    """RUN of 40 control sources."""
    return {source: run.get_run_values(source) for source in sorted(run.control_sources)[:40]}


def select_glob(run: Any) -> Any:
    """The image keys of the modules."""
    return run.select("*/DET/*", "image.*")


def require_all(run: Any) -> Any:
    """The trains for which XGM and all modules have data."""
    chosen = [(f"{XGM}:output", "data.intensityTD"), ("*/DET/*", DATA)]
    return run.select(chosen, require_all=True)
