"""A small run without a fault, for tests that put one into it and say which check finds it.

Two sequences of the aggregators DA01 and AGIPD00, twelve trains each. Control values follow from
the train, so that their times go on until the end.
"""

from pathlib import Path

from xfelcat.loader.examples import (
    GroupSpec,
    KeySpec,
    RunSpec,
    control,
    instrument,
    split,
    write_run,
)

FIRST, N_TRAINS = 1_000_000_000, 12
XGM = "SA1_XTD2_XGM/XGM/DOOCS"
MOTOR = "SPB_IRU/MOTOR/X"
CAMERA = "SPB_IRU/CAM/SIDE:daqOutput"
MODULE = "SPB_DET_PROTO-1/DET/0CH0:xtdf"
DA0, DA1 = "RAW-R0008-DA01-S00000.h5", "RAW-R0008-DA01-S00001.h5"
AGIPD0, AGIPD1 = "RAW-R0008-AGIPD00-S00000.h5", "RAW-R0008-AGIPD00-S00001.h5"
FOLDER = "SPB/202401/p002013/raw/r0008"
INDEX_GROUPS = {
    DA0: [("CONTROL", XGM, ""), ("CONTROL", MOTOR, ""), ("INSTRUMENT", CAMERA, "data")],
    AGIPD0: [("INSTRUMENT", MODULE, "image"), ("INSTRUMENT", MODULE, "header")],
}
INDEX_GROUPS |= {DA1: INDEX_GROUPS[DA0], AGIPD1: INDEX_GROUPS[AGIPD0]}


def sources():
    """The sources of each aggregator."""
    pixels = KeySpec("image.pixels", "u2", (6, 4), chunk_rows=3, compression="gzip")
    image = (
        KeySpec("data", "u2", (2, 8, 4), chunk_rows=4, compression="gzip"),
        KeySpec("trainId", "u8", fill="train_id"),
        KeySpec("pulseId", "u8", fill="pulse_id"),
        KeySpec("cellId", "u2", fill="cell_id"),
    )
    return {
        "DA01": [
            control(
                XGM,
                KeySpec("beamPosition.ixPos", "f4"),
                KeySpec("state", "str"),
                run={"classId": "DoocsXGM"},
            ),
            control(MOTOR, KeySpec("actualPosition", "f8"), KeySpec("isMoving", "?")),
            instrument(
                CAMERA, GroupSpec("data", (pixels, KeySpec("exposure", "f4")), counts=(1, 2))
            ),
        ],
        "AGIPD00": [
            instrument(
                MODULE,
                GroupSpec("image", image, counts=(3, 2, 4)),
                GroupSpec(
                    "header", (KeySpec("trainId", "u8", fill="train_id"), KeySpec("n", "u2"))
                ),
            )
        ],
    }


def write_checked_run(
    root: Path, version: str = "1.3", n_trains: int = N_TRAINS, **options
) -> Path:
    """Write the run below ``root``, as in a facility; its directory.

    ``n_trains`` are those of a sequence, ``options`` are for the files.
    """
    trains = range(FIRST, FIRST + 2 * n_trains)
    files = split(trains, sources(), sequences=2, **options)
    directory = root / FOLDER
    write_run(directory, RunSpec(2013, 8, files, version=version))
    return directory


def replace(f, path, values, **options):
    """Put a dataset of other shape or dtype in the place of one."""
    del f[path]
    f.create_dataset(path, data=values, **options)


def index_of(f, source, group, name):
    """An array of INDEX, without its padding."""
    return f[f"INDEX/{source}/{group}/{name}".replace("//", "/")]


def keys_of(f, section, source, group=""):
    """The paths of the datasets of a group of a source, sorted."""
    top = f"{section}/{source}/{group}".rstrip("/")
    found = []
    f[top].visit(found.append)
    return sorted(f"{top}/{n}" for n in found if hasattr(f[f"{top}/{n}"], "dtype"))
