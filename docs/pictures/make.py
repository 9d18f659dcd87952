"""Make the pictures of the documentation: ``python docs/pictures/make.py``.

Synthetic runs whose sources lose trains in the ways that real ones do: a device that sends at a
lower rate, one that starts late or dies, gaps that all share, and losses here and there; and a
beamtime of four days.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import matplotlib as mpl
import numpy as np
from extra_geom import AGIPD_1MGeometry
from matplotlib.axes import Axes
from numpy.typing import NDArray
from xfelcat import Catalog, DataCollection, RunDirectory, open_runs
from xfelcat.components import AGIPD1M
from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    SourceSpec,
    control,
    instrument,
    split,
    write_facility,
    write_run,
)
from xfelcat.loader.examples.beamline import Beam, camera, xgms
from xfelcat.loader.examples.specs import Trend, train_at, xgm
from xfelcat.loader.examples.trends import Drift, Lit, Steps

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
    directory.mkdir(parents=True)
    write_run(directory, RunSpec(900032, len(sources), split(trains, {"DA01": sources})))
    return RunDirectory(directory, save=False)


# A beamtime: what a key, a run and the days look like --------------------------------------------

XGM, AFTER = "SA1_XTD2_XGM/XGM/DOOCS", "SPB_XTD9_XGM/XGM/DOOCS"
FLUX, SAMPLE_X = "pulseEnergy.photonFlux", "SPB_IRU_MOTORS/MOTOR/SAMPLE_X"
CAMERA, PIXELS = "SPB_IRU_CAM/CAM/SIDEMIC:daqOutput", "data.image.pixels"
SAMPLES = ("Lysozyme", "Lysozyme", "Thaumatin", "Gold film")


def beamtime(root: Path, n_runs: int = 62, n_trains: int = 1200) -> None:
    """Runs of a proposal over four days, of a minute to half an hour, with an XGM each."""
    rng = np.random.default_rng(4)
    proposal = root / "SPB" / "202405" / "p900032"
    start = train_at(datetime(2024, 11, 12, 8, 20, tzinfo=UTC))
    for number in range(1, n_runs + 1):
        minutes = int(rng.choice([2, 4, 6, 12, 25]))
        if number % 16 == 0:
            start += 10 * 3600 * 9  # a night
        n = n_trains if number == 20 else 60
        trains = np.linspace(start, start + minutes * 600, n).astype(int).tolist()
        if number == 20:
            trains = list(range(start, start + n))
        sample = SAMPLES[number * len(SAMPLES) // (n_runs + 1)]
        beam = beam_of(number, trains)
        slow, _, fast, _ = xgms((XGM, AFTER), beam)
        sources = [slow]
        if number == 20:
            sources += [fast, *camera(beam, CAMERA.removesuffix(":daqOutput"), shape=(120, 160))]
        spec = RunSpec(900032, number, split(trains, {"DA01": sources}), sample=sample)
        write_run(proposal / "raw" / f"r{number:04d}", spec)
        start += minutes * 600 + int(rng.integers(300, 6000))


def beam_of(number: int, trains: Sequence[int]) -> Beam:
    """A beam that drifts, was weak in three runs, and nearly failed for some of run 20."""
    shots: Trend = Drift(1150.0, 150.0)
    if number in (30, 31, 32):
        shots = Lit(0.0, (shots, Steps((0.8,))))
    if number == 20:
        fails = tuple(trains[int(share * len(trains))] for share in (0.6, 0.65))
        shots = Lit(0.0, (shots, Steps((1.0, 0.4, 1.0), fails)))
    return Beam(energy=shots, pulses=60)


def plot_rings(run: DataCollection) -> Axes:
    """A frame of the demo's AGIPD, assembled as docs/examples/detector-geometry.ipynb does."""
    quadrants = [(-525, 625), (-550, -10), (520, -160), (542.5, 475)]
    geometry = AGIPD_1MGeometry.from_quad_positions(quad_pos=quadrants)
    frames = AGIPD1M(run).masked_data()[:1].ndarray(module_gaps=True)
    full = frames[:, 0].repeat(16, axis=-2).repeat(8, axis=-1)
    axes = geometry.plot_data(full, figsize=(8, 7), vmin=0, vmax=45)
    axes.set_title("SPB_DET_AGIPD1M-1, one frame (photons)", loc="left")
    return axes


def save(axes: Axes, name: str) -> None:
    """Write a picture beside this file."""
    axes.figure.savefig(HERE / f"{name}.png", dpi=110, metadata={"Software": None})


def main() -> None:
    """Write the pictures beside this file."""
    mpl.use("Agg")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_DATA_HOME"] = scratch  # away from the catalog of whoever runs this
        place = Path(scratch)
        for name, sources, n_trains in (
            ("missing-data-5", few_sources(), 600),
            ("missing-data-80", list(islice(many_sources(), 80)), 4000),
        ):
            save(open_synthetic(place / name, sources, n_trains).plot_missing_data(), name)
        sources = [*few_sources(), *(xgm(f"SPB_XTD{i}_XGM/XGM/DOOCS") for i in (2, 9))]
        save(open_synthetic(place / "run", sources, 600).plot(), "plot-run")
        beamtime(place / "facility")
        catalog = Catalog(place / "catalog")
        catalog.ingest([place / "facility"])
        runs = open_runs(proposal=900032, catalog=catalog.location)
        run = runs[900032, 20]
        save(run[XGM, FLUX].plot(), "plot-key")
        save(run[f"{XGM}:output", "data.intensityTD"].plot(), "plot-pulses")
        save(run[CAMERA, PIXELS].plot(), "plot-image")
        save(runs.plot(XGM, FLUX), "plot-runs")
        demo = write_facility(place / "demo")
        several = open_runs(
            [run.path for run in demo.runs if run.clean and run.data_class == "raw"]
        )
        save(several.plot_missing_data(), "plot-missing-runs")
        spb = open_runs([demo.run(900032, number).path for number in range(1, 7)])
        save(spb.plot(SAMPLE_X, "actualPosition"), "plot-motor-runs")
        save(spb[900032, 3][SAMPLE_X, "actualPosition"].plot(), "plot-scan")
        save(plot_rings(RunDirectory(demo.run(900032, 1, "proc").path)), "plot-rings")
        save(catalog.plot_timeline(by="sample", proposal=900032), "plot-timeline")


if __name__ == "__main__":
    main()
