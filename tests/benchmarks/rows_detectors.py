"""How long until a detector of 16 modules and 6,000 trains answers, and gives arrays?

Each side starts from a run just opened, as notebooks do. Nothing of ours opens a file before data
are read; EXtra-data reads pulse IDs from 384 files.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import extra_data.components
import numpy as np
import xfelcat.components

from .measure import Place, Row, Side
from .rows_metadata import forget
from .rows_opening import EXTRA_DATA, open_ours, open_theirs

RUN = "D408"
DATA = "image.data"


def rows(place: Place) -> Iterator[Row]:
    """Making a detector, what it knows, its dask graph, parts, trains, an array."""
    yield _row("detector: construct", place, lambda run: run, _construct, 20)
    yield _row("detector: construct again", place, _both(_construct), _construct_of, 20)
    yield _row("detector: pulse IDs", place, _construct, _pulse_ids, 20)
    yield _row("detector: dask graph", place, _construct, _graph, 20)
    yield _row("detector: split_trains by frames", place, _construct, _parts, 5)
    yield _row("detector: availability", place, _construct, _availability, 20)
    yield _row("detector: first of trains()", place, _construct, _first_train, 3, repeats=3)
    yield _row("detector: get_array of 2 trains, 16 modules", place, _few, _array, 3, repeats=3)


def _row(
    title: str,
    place: Place,
    before: Callable[[Any], Any],
    ask: Callable[[Any], Any],
    ratio: float,
    repeats: int = 5,
) -> Row:
    path = place.runs.get(RUN, "")

    def ours() -> Any:
        run = open_ours(path, place.catalog)
        forget(place.catalog)
        return before((xfelcat.components.AGIPD1M, run))

    def theirs() -> Any:
        return before((extra_data.components.AGIPD1M, open_theirs(path)))

    sides = (Side("xfelcat", ask, ours, _plain), Side(EXTRA_DATA, ask, theirs, _plain))
    return Row(title, (RUN,), *sides, ratio, repeats=repeats, quick=False)


def _construct(given: Any) -> Any:
    cls, run = given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(run, raw=True)


def _both(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: (make(given), given)


def _construct_of(given: Any) -> Any:
    return _construct(given[1])


def _few(given: Any) -> Any:
    return _construct(given).select_trains(np.s_[:2])


def _pulse_ids(det: Any) -> Any:
    return det[DATA].pulse_id_coordinates()


def _graph(det: Any) -> Any:
    return det.get_dask_array(DATA)


def _parts(det: Any) -> Any:
    return list(det.split_trains(frames_per_part=640))


def _availability(det: Any) -> Any:
    return det.data_availability()


def _first_train(det: Any) -> Any:
    return next(iter(det.trains()))


def _array(det: Any) -> Any:
    return det.get_array(DATA)


def _plain(answer: Any) -> Any:
    """An answer in terms that both give alike."""
    if hasattr(answer, "frames_per_train"):
        return [int(t) for t in answer.train_ids]
    if isinstance(answer, list):
        return [len(part.train_ids) for part in answer]
    if isinstance(answer, tuple):
        return int(answer[0]), sorted(answer[1]), answer[1][DATA].shape
    return answer.shape if hasattr(answer, "dims") else np.asarray(answer)
