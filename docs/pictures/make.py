"""Make the pictures of the documentation: ``python docs/pictures/make.py``.

Each shows a synthetic run whose sources lose trains in the ways that real ones do: a device that
sends at a lower rate, one that starts late or dies, gaps that all share, and losses here and there.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from xfelcat import DataCollection, RunDirectory
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    SourceSpec,
    control,
    instrument,
    split,
    write_run,
)

HERE = Path(__file__).parent
FIRST_TRAIN = 2_508_780_000
Present = Callable[[NDArray[np.uint64]], NDArray[np.bool_]]


def with_counts(name: str, present: Present) -> SourceSpec:
    """An instrument source with one entry in the trains for which ``present`` is true."""
    group = GroupSpec("data", (KeySpec("x", "u1"),), lambda trains: present(trains).astype(int))
    return instrument(name, group)


def every(step: int) -> Present:
    """A device that sends at a fraction of the train rate."""
    return lambda trains: trains % step == 0


def between(start: float, stop: float) -> Present:
    """A device that is there from one share of the run to another."""

    def present(trains: NDArray[np.uint64]) -> NDArray[np.bool_]:
        at = np.arange(trains.size) / trains.size
        return (start <= at) & (at < stop)

    return present


def losing(share: float, seed: int) -> Present:
    """A device that loses some trains here and there."""
    return lambda trains: np.random.default_rng(seed).random(trains.size) >= share


def both(first: Present, second: Present) -> Present:
    """Present where both are."""
    return lambda trains: first(trains) & second(trains)


def few_sources() -> list[SourceSpec]:
    """Five sources that miss data, each for its own reason, among some that do not."""
    return [
        with_counts("SPB_IRU_CAM/CAM/SIDEMIC:daqOutput", between(0.22, 1)),
        with_counts("SPB_EXP_SPEC/CAM/EMISSION:daqOutput", every(10)),
        with_counts("SPB_XTD9_XGM/XGM/DOOCS:output", losing(0.08, 1)),
        with_counts("SPB_DET_AGIPD1M-1/DET/7CH0:xtdf", both(between(0, 0.61), losing(0.01, 2))),
        with_counts("SPB_EXP_DIAG/ADC/BUNCH_ARRIVAL:network", lambda t: (t % 150) >= 40),
        *(with_counts(f"SPB_DET_AGIPD1M-1/DET/{i}CH0:xtdf", every(1)) for i in range(7)),
        control("SPB_XTD2_UND/DOOCS/ENERGY", KeySpec("actualPosition", "f8")),
    ]


def many_sources() -> Iterator[SourceSpec]:
    """Names and losses of a big run, without end."""
    number = 0
    while True:
        for name, present in (
            ("MID_DET_AGIPD1M-1/DET/{}CH0:xtdf", losing(0.06 + 0.011 * number, number)),
            ("MID_EXP_CAMERAS/CAM/DETECTOR_{:02d}:daqOutput", between(0.06 + 0.03 * number, 1)),
            ("MID_EXP_FASTADC/ADC/DESTEST:channel_{}.output", every(2 + number)),
            ("MID_XTD6_IMGPII/MOTOR/STAGE_{}:output", between(0, 0.94 - 0.04 * number)),
            ("MID_EXP_DES/ADC/{}:network", lambda t, n=number: (t % (97 + 30 * n)) >= 30),
        ):
            yield with_counts(name.format(number), present)
        number += 1


def open_synthetic(directory: Path, sources: list[SourceSpec], n_trains: int) -> DataCollection:
    """Write a run with these sources, and open it."""
    trains = range(FIRST_TRAIN, FIRST_TRAIN + n_trains)
    write_run(directory, RunSpec(900032, len(sources), split(trains, {"DA01": sources})))
    return RunDirectory(directory, save=False)


def main() -> None:
    """Write the pictures beside this file."""
    mpl.use("Agg")
    pictures = {
        "missing-data-5": (few_sources(), 600),
        "missing-data-80": (list(islice(many_sources(), 80)), 4000),
    }
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_DATA_HOME"] = scratch  # away from the catalog of whoever runs this
        for name, (sources, n_trains) in pictures.items():
            directory = Path(scratch) / name
            directory.mkdir()
            axes = open_synthetic(directory, sources, n_trains).plot_missing_data()
            axes.figure.savefig(HERE / f"{name}.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
