"""A small facility on disk, for the demo and the tests.

    ROOT/SPB/201830/p900010   format 0.5: XGMs, motors, camera, AGIPD; raw and proc
    ROOT/FXE/202102/p900021   formats 1.0 and 1.2: LPD, suspect trains, a dark run, a run that was
                              never corrected; and the runs with faults
    ROOT/SPB/202405/p900032   format 1.3: units, legacy names, aliases, ERRATA, REDUCTION; a motor
                              scan, an attenuator that steps
    ROOT/SPB/202601/p900043   format 1.3: one run of yesterday

Values are those of ``specs`` with the trends of ``beamline``, so that what a reader gives can be
compared with the description of each run (``WrittenRun.spec``). ``FacilitySummary.faults`` lists
what is wrong on purpose: ``put_in`` puts each of ``FAULTS`` into its file.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from . import beamline, specs
from .beamline import DARK, Beam, Sources, attenuated
from .specs import FileSpec, RunSpec, split, train_at
from .trends import Scan, Steps
from .writing import write_run


@dataclass(frozen=True, slots=True)
class Defect:
    """A fault in a facility: the file or run directory, the check that finds it, a sentence."""

    path: Path
    check: str
    description: str


def _first_index(f: h5py.File, section: str, name: str = "first") -> h5py.Dataset:
    """The first dataset called ``name`` in INDEX that belongs to a source of ``section``."""

    def visit(path: str) -> str | None:  # what is not None ends the visit
        source, _, last = path.rpartition("/")
        return path if last == name and source in f[section] else None

    return f["INDEX"][f["INDEX"].visit(visit)]


def _n_trains(f: h5py.File) -> int:
    """The number of trains; the zeros after them are padding."""
    return int(np.flatnonzero(f["INDEX/trainId"][()])[-1]) + 1


def _list_source(f: h5py.File, section: str, name: str) -> None:
    """Put a source into the first free row of the source list."""
    home = f["METADATA/dataSources"] if "dataSources" in f["METADATA"] else f["METADATA"]
    free = int(np.flatnonzero(home["root"][()] == b"")[0])
    home["dataSourceId"][free] = f"{section}/{name}".encode()
    home["deviceId"][free] = name.encode()
    home["root"][free] = section.encode()


def _first_data(f: h5py.File, section: str) -> h5py.Dataset:
    """The first dataset of numbers in a section, in the order of the names."""

    def visit(_: str, item: Any) -> h5py.Dataset | None:
        is_data = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.size
        return item if is_data and not item.name.endswith("timestamp") else None

    return f[section].visititems(visit)


def _replace(dataset: h5py.Dataset, values: NDArray[Any]) -> str:
    """Put a dataset of other shape or dtype in the place of one, whose name is returned."""
    f, name = dataset.file, str(dataset.name)
    del f[name]
    f[name] = values
    return name


Fault = Callable[[Path], str]  # changes a file, and describes the change


def _empty_file(path: Path) -> str:
    path.write_bytes(b"")  # as where the writer died before the first flush
    return "the file is empty"


def _truncate(path: Path) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return "the file is shorter than its superblock says"


def _replace_by_text(path: Path) -> str:
    path.write_text("This is not an HDF5 file.\n" * 40)
    return "the file is text, not HDF5"


def _forget_train_ids(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        del f["INDEX/trainId"]
        return "INDEX/trainId is missing"


def _unknown_version(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        f["METADATA/dataFormatVersion"][0] = b"9.7"
        return "METADATA/dataFormatVersion is 9.7"


def _foreign_proposal(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        f["METADATA/proposalNumber"][0] = 1
        return "METADATA/proposalNumber is 1"


def _list_absent_source(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        _list_source(f, "CONTROL", "GHOST/MDL/ABSENT")
        return "source GHOST/MDL/ABSENT is listed but has no data"


def _stray_group(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        f["SCRATCHPAD/notes"] = np.arange(3)
        return "the file has a group SCRATCHPAD"


def _zeros_inside_train_ids(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        at = _n_trains(f) // 3
        f["INDEX/trainId"][at : at + 2] = 0  # this shifts every index array for naive readers
        return f"INDEX/trainId is zero at positions {at} and {at + 1}"


def _step_back_in_trains(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        trains, at = f["INDEX/trainId"], _n_trains(f) // 2
        trains[at] = trains[at] - np.uint64(700)
        return f"INDEX/trainId steps back by 700 at position {at}"


def _maximal_train_id(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        f["INDEX/trainId"][_n_trains(f) - 1] = np.uint64(2**64 - 1)
        return "the last train ID is 2^64 - 1"


def _index_beyond_data(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        first, at = _first_index(f, "INSTRUMENT"), _n_trains(f) - 1
        first[at] = first[at] + np.uint64(1000)
        return f"{first.parent.name} points 1000 rows beyond the data in its last train"


def _silence_control(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        count, n = _first_index(f, "CONTROL", "count"), _n_trains(f)
        count[n - 3 : n] = 0
        return f"{count.parent.name} has count 0 for the last 3 trains"


def _claim_rows_of_empty_dataset(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        dataset = _first_data(f, "INSTRUMENT")
        where = _replace(dataset, np.empty((0, *dataset.shape[1:]), dataset.dtype))
        return f"{where} is empty but INDEX gives it rows"


def _lengthen_one_key(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        dataset = _first_data(f, "INSTRUMENT")
        where = _replace(dataset, np.concatenate([dataset[()], dataset[:1]]))
        return f"{where} has one row more than the other keys of its group"


def _break_legacy_link(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        old, new = "OLD_DET/DET/0CH0:xtdf", "NEW_DET/CORR/0CH0:output"
        f[f"INSTRUMENT/{old}"] = h5py.SoftLink(f"/INSTRUMENT/{new}")
        _list_source(f, "INSTRUMENT", f"{old}/image")
        return f"legacy name {old} is a dangling link"


def _change_dtype(path: Path) -> str:
    with h5py.File(path, "r+") as f:
        values = (dataset := _first_data(f, "CONTROL"))[()]
        other = np.dtype("f4") if values.dtype == np.float64 else np.dtype("f8")
        where = _replace(dataset, values.astype(other))
        return f"{where} is {other} here and {values.dtype} in other sequences"


def _lose_sequence(path: Path) -> str:
    path.unlink()
    return f"sequence file {path.name} is missing"


def _repeat_trains(path: Path) -> str:
    prefix, sequence = path.stem.rsplit("-S", 1)
    earlier = path.with_name(f"{prefix}-S{int(sequence) - 1:05d}.h5")
    with h5py.File(earlier) as before, h5py.File(path, "r+") as f:
        f["INDEX/trainId"][0] = last = int(before["INDEX/trainId"][_n_trains(before) - 1])
    return f"train {last} is also in {earlier.name}"


FAULTS: tuple[tuple[int, str, str, Fault], ...] = (
    (101, "DA01-S00001", "F01", _truncate),
    (101, "DA02-S00000", "F01", _empty_file),
    (101, "DA02-S00001", "F02", _replace_by_text),
    (101, "DA02-S00002", "F03", _forget_train_ids),
    (102, "DA01-S00000", "T01", _zeros_inside_train_ids),
    (102, "DA01-S00001", "T02", _step_back_in_trains),
    (102, "DA02-S00002", "T03", _maximal_train_id),
    (103, "DA01-S00001", "I01", _index_beyond_data),
    (103, "DA02-S00000", "I05", _claim_rows_of_empty_dataset),
    (103, "DA02-S00001", "I04", _silence_control),
    (103, "DA02-S00002", "I06", _lengthen_one_key),
    (104, "DA01-S00000", "F05", _foreign_proposal),
    (104, "DA01-S00002", "I07", _list_absent_source),
    (104, "DA02-S00001", "R01", _lose_sequence),
    (104, "DA02-S00002", "F08", _stray_group),
    (105, "DA01-S00001", "R02", _repeat_trains),
    (106, "DA01-S00000", "P03", _break_legacy_link),
    (106, "DA01-S00001", "F04", _unknown_version),
    (106, "DA02-S00001", "R07", _change_dtype),
)
"""Every fault there is: the run of proposal 900021 and its file, the check that finds it."""


def put_in(path: Path, check: str, fault: Fault) -> Defect:
    """Put a fault into a file; its modification time stays plausible."""
    stat = path.stat()
    description = fault(path)
    if not path.exists():
        return Defect(path.parent, check, description)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return Defect(path, check, description)


AGIPD = "SPB_DET_AGIPD1M-1"
LPD = "FXE_DET_LPD1M-1"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class WrittenRun:
    """A run on disk: its directory, its data class and its description.

    ``clean`` is False where faults were put in, so that the description no longer holds.
    """

    path: Path
    data_class: str
    spec: RunSpec
    clean: bool = True


@dataclass(frozen=True, slots=True)
class FacilitySummary:
    """What was written: runs, faults, alias files, and the number and size of the files."""

    root: Path
    runs: tuple[WrittenRun, ...]
    faults: tuple[Defect, ...]
    alias_files: tuple[Path, ...]
    n_files: int
    n_bytes: int

    def run(self, proposal: int, run: int, data_class: str = "raw") -> WrittenRun:
        """One of the runs; KeyError where there is none of these numbers."""
        asked = (proposal, run, data_class)
        for written in self.runs:
            if (written.spec.proposal, written.spec.run, written.data_class) == asked:
                return written
        raise KeyError(asked)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A run to be written, and where below the root."""

    folder: str
    data_class: str
    spec: RunSpec


PROPOSALS = (
    *("SPB/201830/p900010", "FXE/202102/p900021"),
    *("SPB/202405/p900032", "SPB/202601/p900043"),
)


def _plan(folder: str, **of_class: Sequence[RunSpec]) -> list[_Planned]:
    """Runs of a proposal by data class."""
    return [_Planned(folder, name, spec) for name, specs in of_class.items() for spec in specs]


def write_facility(
    root: Path | str,
    *,
    progress: Progress | None = None,
    scale: int = 1,
    now: datetime | None = None,
) -> FacilitySummary:
    """Write the facility tree below ``root`` (made if needed; files of these names overwritten).

    ``progress`` is called before each run with (runs done, runs in all, what is being written).
    ``scale`` multiplies the number of trains of every run; less than 1 is a ValueError. One run is
    of the day before ``now``, by default the clock; nothing else depends on it.
    """
    if scale < 1:
        raise ValueError(f"scale must be 1 or more, not {scale}")
    root = Path(root)
    plans = [
        *_proposal_900010(scale),
        *_proposal_900021(scale),
        *_proposal_900032(scale),
        *_proposal_900043(scale, now or datetime.now(UTC)),
    ]
    written: list[WrittenRun] = []
    found: list[Defect] = []
    for done, plan in enumerate(plans):
        directory = root / plan.folder / plan.data_class / f"r{plan.spec.run:04d}"
        if progress is not None:
            progress(done, len(plans), str(directory.relative_to(root)))
        write_run(directory, plan.spec)
        faults = [
            put_in(directory / f"RAW-R{run:04d}-{file}.h5", check, fault)
            for run, file, check, fault in FAULTS
            if run == plan.spec.run
        ]
        written.append(WrittenRun(directory, plan.data_class, plan.spec, not faults))
        found += faults
    if progress is not None:
        progress(len(plans), len(plans), "done")
    found += _differences_between_runs(root)
    files = [p for w in written for p in w.path.glob("*.h5")]
    size = sum(p.stat().st_size for p in files)
    aliases = _write_aliases(root)
    return FacilitySummary(root, tuple(written), tuple(found), aliases, len(files), size)


def _trains(start: datetime, run: int, n: int) -> range:
    """Train IDs of a run: one run every 20 minutes from ``start`` on."""
    first = train_at(start + timedelta(minutes=20 * run))
    return range(first, first + n)


def _corrected(
    raw: RunSpec, detector: str, numbers: Sequence[int], beam: Beam, *, legacy: bool = False
) -> RunSpec:
    """The proc run that belongs to a raw run: the corrected modules, for the same trains."""
    files = []
    for file in raw.files:
        for number in numbers:
            name = f"{detector}/DET/{number}CH0:xtdf"
            for module in (s for s in file.sources if s.name == name):
                (frames,) = (g.counts for g in module.groups if g.name == "image")
                source = beamline.corrected_module(
                    beam, detector, number, frames=frames, legacy=legacy
                )
                files.append(replace(file, sources=(source,)))
    return replace(raw, files=tuple(files), prefix="CORR")


def _spb_sources(beam: Beam, energy: float = 9.3) -> Sources:
    return (
        *beamline.xgms(("SA1_XTD2_XGM/XGM/DOOCS", "SPB_XTD9_XGM/XGM/DOOCS"), beam),
        beamline.attenuator(beam),
        beamline.undulator(energy),
        specs.run_only_device("SPB_RR_SYS/TSYS/TIMESERVER"),
    )


def _spb_motors(sample_x: float | Scan = 14.5, slit: str = "SLIT_LEFT") -> Sources:
    stands = {slit: 2.25, "SLIT_RIGHT": 2.31, "SAMPLE_X": sample_x, "SAMPLE_Y": 21.4}
    return tuple(beamline.motor(f"SPB_IRU_MOTORS/MOTOR/{name}", at) for name, at in stands.items())


def _proposal_900010(scale: int) -> list[_Planned]:
    """SPB, 2018, format 0.5."""
    start = datetime(2018, 10, 20, 8, tzinfo=UTC)
    beam = Beam()
    sources, camera = _spb_sources(beam), beamline.camera(beam)
    agipd = beamline.modules(beam, AGIPD)

    def spec(run: int, files: tuple[FileSpec, ...]) -> RunSpec:
        return RunSpec(900010, run, files, version="0.5")

    short = split(_trains(start, 1, 20 * scale), {"DA01": sources, **agipd})
    long = split(
        _trains(start, 2, 32 * scale), {"DA01": sources, "DA02": camera, **agipd}, sequences=2
    )
    trains = _trains(start, 3, 90 * scale)
    # The run starts while the motor leaves for the second step.
    scan = _spb_motors(Scan(trains[0] - 10 * scale, 10 * scale, 13.0, 0.4))
    raw = [
        spec(1, short),
        spec(2, long),
        # The sequences of the two aggregators are cut at different trains.
        spec(3, split(trains, {"DA01": sources}, 3) + split(trains, {"DA02": scan}, 2)),
        spec(4, split(_trains(start, 4, 50 * scale), {"DA02": (*_spb_motors(15.0), *camera)})),
    ]
    proc = [_corrected(run, AGIPD, range(16), beam) for run in raw[:2]]
    return _plan(PROPOSALS[0], raw=raw, proc=proc)


def _fxe_aggregators(beam: Beam) -> dict[str, Sources]:
    motors = tuple(beamline.motor(f"FXE_SMS_USR/MOTOR/UM{n:02d}", 5.0 * n) for n in range(1, 5))
    gauges = tuple(beamline.gauge(f"FXE_XTD9_VAC/GAUGE/G{n}10030") for n in (1, 2, 3))
    xgms = beamline.xgms(("SA1_XTD2_XGM/XGM/DOOCS", "FXE_XTD9_XGM/XGM/DOOCS"), beam)
    return {
        "DA01": (*xgms, specs.run_only_device("FXE_RR_SYS/TSYS/TIMESERVER")),
        "DA02": (*motors, *gauges, beamline.adc(beam, "FXE_OGT1_BIU/ADC/DIGITIZER")),
    }


def _proposal_900021(scale: int) -> list[_Planned]:
    """FXE, 2021, formats 1.0 and 1.2, and the runs with faults."""
    start = datetime(2021, 8, 28, 6, tzinfo=UTC)
    beam = Beam(pulses=12)
    slow = _fxe_aggregators(beam)
    lpd = beamline.modules(beam, LPD, shape=(1, 32, 32), frames=(3, 3, 2))
    cameras = beamline.camera(beam, "FXE_SMS_CAM/CAM/SIDE", shape=(20, 28), counts=(1, 0))

    def spec(
        run: int, version: str, aggregators: Mapping[str, Sources], n: int, seq: int
    ) -> RunSpec:
        files = split(_trains(start, run, n * scale), aggregators, seq)
        return RunSpec(900021, run, files, version=version, sample="Fe(bpy)3 in water")

    padded = spec(2, "1.0", slow | {"DA03": cameras}, 60, 2)
    suspect = spec(3, "1.0", slow, 50, 2)
    marked = frozenset(suspect.train_ids[7:40:16])
    dark = spec(5, "1.2", _fxe_aggregators(replace(DARK, pulses=12)), 80, 2)
    raw = [
        spec(1, "1.0", slow | lpd, 20, 1),
        replace(padded, files=tuple(replace(f, padding=6) for f in padded.files)),
        replace(suspect, files=tuple(replace(f, suspect=marked) for f in suspect.files)),
        spec(4, "1.2", slow | lpd, 30, 2),
        replace(dark, sample="none, shutter closed", run_type="Dark"),
    ]
    # Module 15 was not corrected in run 1, and nothing in run 4.
    proc = [_corrected(raw[0], LPD, range(15), beam)]
    faulty = [spec(number, "1.2", slow, 45, 3) for number in range(101, 107)]
    return _plan(PROPOSALS[1], raw=[*raw, *faulty], proc=proc)


def _spb_aggregators(
    beam: Beam, energy: float = 9.3, sample_x: float | Scan = 14.5
) -> dict[str, Sources]:
    digitizer = beamline.adc(beam, "SPB_XTD9_ADC/ADC/1")
    return {
        "DA01": _spb_sources(beam, energy),
        "DA02": (*_spb_motors(sample_x), *beamline.camera(beam), digitizer),
    }


def _proposal_900032(scale: int) -> list[_Planned]:
    """SPB, 2024, format 1.3."""
    start = datetime(2024, 11, 12, 16, tzinfo=UTC)

    def trains(run: int, n: int) -> range:
        return _trains(start, run, n * scale)

    def spec(run: int, aggregators: Mapping[str, Sources], n: int, seq: int) -> RunSpec:
        files = split(trains(run, n), aggregators, seq, source_padding=5)
        return RunSpec(900032, run, files, version="1.3", sample="Lysozyme", libver="v110")

    full, half, weak, low = (Beam(transmission=Steps((t,))) for t in (1.0, 0.5, 0.1, 0.3))
    stepped = attenuated(1.0, 0.3, trains(5, 60)[30 * scale])
    scan = Scan(trains(3, 120)[0], 12 * scale, 12.0, 0.5)
    late = _spb_aggregators(weak, sample_x=15.5)
    late |= {"DA01": (*late["DA01"], specs.errata())}
    reduced = {
        f"AGIPD{n:02d}": (
            beamline.see(weak, specs.module(AGIPD, n, frames=(2, 1, 0, 2)), n),
            specs.frame_reduction(AGIPD, n),
        )
        for n in range(16)
    }
    renamed = _spb_motors(15.5, slit="SLIT_L")
    large = beamline.camera(low, shape=(32, 32))
    raw = [
        spec(1, _spb_aggregators(full) | beamline.modules(full, AGIPD), 20, 1),
        spec(2, _spb_aggregators(half, sample_x=15.0) | beamline.modules(half, AGIPD), 32, 2),
        spec(3, _spb_aggregators(full, sample_x=scan), 120, 2),
        spec(4, late | beamline.modules(weak, AGIPD), 20, 1),
        spec(
            5,
            {
                "DA01": _spb_sources(stepped, 12.0),
                "DA02": (renamed[0], *renamed[2:], *beamline.camera(stepped)),
            },
            60,
            1,
        ),
        spec(
            6,
            {"DA01": _spb_sources(low, 12.0), "DA02": (*_spb_motors(15.5), *large)},
            60,
            1,
        ),
    ]
    proc = [
        _corrected(raw[at], AGIPD, range(16), beam, legacy=True)
        for at, beam in ((0, full), (1, half), (3, weak))
    ]
    red = [spec(4, late | reduced, 20, 1)]
    return _plan(PROPOSALS[2], raw=raw, proc=proc, red=red)


def _proposal_900043(scale: int, now: datetime) -> list[_Planned]:
    """SPB, format 1.3: the first run of a beamtime that began yesterday at 14:00 UTC."""
    start = (now - timedelta(days=1)).replace(hour=14, minute=0, second=0, microsecond=0)
    files = split(_trains(start, 1, 60 * scale), _spb_aggregators(Beam()))
    run = RunSpec(900043, 1, files, sample="Water jet", libver="v110")
    return _plan(PROPOSALS[3], raw=[run])


def _differences_between_runs(root: Path) -> list[Defect]:
    """What is odd only in comparison with other runs."""
    fxe, spb = root / "FXE/202102/p900021", root / "SPB/202405/p900032"
    return [
        Defect(fxe / "raw/r0004", "P01", "the LPD data of this run were never corrected"),
        Defect(fxe / "proc/r0001", "P02", f"{LPD}/DET/15CH0:xtdf is in raw but not in proc"),
        Defect(spb / "raw/r0005", "X03", "motor SLIT_LEFT is called SLIT_L here"),
        Defect(spb / "raw/r0005", "X01", "motor SLIT_RIGHT is in the runs before, but not here"),
        Defect(spb / "raw/r0005", "X01", "the digitizer is in the runs before, but not here"),
        Defect(spb / "raw/r0006", "X01", "the digitizer is in most runs before, but not here"),
        Defect(spb / "raw/r0006", "X02", "the side camera's images are (32, 32), before (24, 32)"),
        Defect(spb / "raw/r0004", "R09", "ERRATA holds trains that came too late"),
        Defect(spb / "red/r0004", "R09", "ERRATA holds trains that came too late"),
    ]


_ALIASES = {
    "SPB/201830/p900010": """\
xgm: SA1_XTD2_XGM/XGM/DOOCS
photon-energy: [SPB_XTD2_UND/DOOCS/ENERGY, actualPosition.value]
""",
    "SPB/202405/p900032": f"""\
# Names that the users of this proposal agreed on.
xgm: SA1_XTD2_XGM/XGM/DOOCS
pulse-intensity: [SA1_XTD2_XGM/XGM/DOOCS:output, data.intensityTD]
photon-energy: [SPB_XTD2_UND/DOOCS/ENERGY, actualPosition.value]

SPB_IRU_CAM/CAM/SIDEMIC:daqOutput:
  side-image: data.image.pixels

{AGIPD}/DET/3CH0:xtdf:
  agipd3-data: image.data
  agipd3-cells: image.cellId

# The device has been taken out of the beamline.
old-camera: SPB_EXP_CAM/CAM/RETIRED
""",
}


def _write_aliases(root: Path) -> tuple[Path, ...]:
    """The alias files of the proposals, dated like their runs."""
    written = []
    for folder, text in _ALIASES.items():
        path = root / folder / "usr" / "extra-data-aliases.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
        (root / folder / "scratch").mkdir(exist_ok=True)
    return tuple(written)
