"""A small run with every kind of data a reader meets, written with values that tell their place.

Two aggregators of three sequences, trains missing in places, irregular counts, several index groups
per source, strings, booleans, structures, RUN-only properties, legacy names and index gaps.
"""

from pathlib import Path

import numpy as np
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
from xfelcat.loader.examples.specs import Unit

FIRST = 20_000
TRAINS = [*range(FIRST, FIRST + 11), *range(FIRST + 15, FIRST + 30)]
XGM = "SA1_XTD2_XGM/XGM/DOOCS"
MOTOR = "SPB_IRU/MOTOR/X"
SETTINGS = "SPB_IRU/MDL/SETTINGS"
CAMERA = "SPB_IRU/CAM/SIDE:daqOutput"
DIGITIZER = "SPB_IRU/ADC/1:network"
MODULE = "SPB_DET_AGIPD1M-1/CORR/0CH0:output"
OLD_MODULE = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"
STRUCTURE = np.dtype([("x", "i4"), ("y", "f8")])


def sources(gaps: tuple[int, ...] = ()) -> dict[str, list[SourceSpec]]:
    """The sources of each aggregator; ``gaps`` as in ``GroupSpec``."""
    return {
        "DA01": [
            control(
                XGM,
                KeySpec("beamPosition.ixPos", "f4", unit=Unit("m", "metre", "m", "milli")),
                KeySpec("beamPosition.iyPos", "f8"),
                KeySpec("pulseEnergy.samples", "f4", (5,)),
                KeySpec("state", "str"),
                run={"classId": "DoocsXGM", "gain": 7, "only.inRun": [1.5, 2.5]},
            ),
            control(MOTOR, KeySpec("actualPosition", "f8"), KeySpec("isMoving", "?")),
            control(SETTINGS, run={"classId": "Settings", "mode": "fast"}),
            instrument(
                CAMERA,
                GroupSpec(
                    "data",
                    (KeySpec("image.pixels", "u2", (6, 4)), KeySpec("exposure", "f4")),
                    counts=(1, 0, 1, 2),
                    gaps=gaps,
                ),
            ),
        ],
        "AGIPD00": [
            instrument(
                MODULE,
                GroupSpec(
                    "image",
                    (
                        KeySpec("data", "u2", (2, 8, 5), chunk_rows=3, compression="gzip"),
                        KeySpec("pulseId", "u8"),
                        KeySpec("mark", STRUCTURE),
                    ),
                    counts=(3, 0, 4, 1, 2),
                    gaps=gaps,
                ),
                GroupSpec("header", (KeySpec("pulseCount", "u4"),), counts=(1, 1, 0)),
                legacy_name=OLD_MODULE,
            ),
            instrument(
                DIGITIZER,
                GroupSpec("digitizers", (KeySpec("trace", "i4", (9,)),), counts=(0, 0, 1)),
            ),
        ],
    }


def spec(version: str = "1.3", gaps: tuple[int, ...] = (), **options: object) -> RunSpec:
    """The run in a format version."""
    by_aggregator = sources(gaps)
    files = [
        *split(TRAINS, {"DA01": by_aggregator["DA01"]}, sequences=3, **options),
        *split(TRAINS[2:-3], {"AGIPD00": by_aggregator["AGIPD00"]}, sequences=2, **options),
    ]
    return RunSpec(2012, 34, tuple(files), version)


def write_rich_run(directory: Path, version: str = "1.3", **options: object) -> Path:
    """Write it below a directory; the path of the run."""
    place = directory / f"r0034-{version}"
    write_run(place, spec(version, **options))
    return place
