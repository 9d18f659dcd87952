"""A small facility on disk, for the demo and the tests.

    ROOT/SPB/201830/p900010   format 0.5: XGMs, motors, camera, AGIPD; raw and proc
    ROOT/FXE/202102/p900021   formats 1.0 and 1.2: LPD, suspect trains; and the runs with faults
    ROOT/SPB/202405/p900032   format 1.3: units, legacy names, aliases, ERRATA, REDUCTION

Values are those of ``specs``, so that what a reader gives can be compared with the description of
each run (``WrittenRun.spec``). ``FacilitySummary.faults`` lists what is wrong on purpose.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from . import devices, faults
from .faults import Defect
from .specs import FileSpec, RunSpec, SourceSpec, split, train_at
from .writing import write_run

AGIPD = "SPB_DET_AGIPD1M-1"
LPD = "FXE_DET_LPD1M-1"

Sources = tuple[SourceSpec, ...]
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
        for written in self.runs:
            if (written.spec.proposal, written.spec.run) == (proposal, run) and (
                written.data_class == data_class
            ):
                return written
        raise KeyError((proposal, run, data_class))


@dataclass(frozen=True, slots=True)
class _Planned:
    """A run to be written: where below the root, and the faults to put in, by file name."""

    folder: str
    data_class: str
    spec: RunSpec
    faults: tuple[tuple[str, Callable[[Path], Defect]], ...] = ()

    def directory(self, root: Path) -> Path:
        return root / self.folder / self.data_class / f"r{self.spec.run:04d}"


def write_facility(
    root: Path | str, *, progress: Progress | None = None, scale: int = 1
) -> FacilitySummary:
    """Write the facility tree below ``root`` (made if needed; files of these names overwritten).

    Parameters
    ----------
    root
        The folder that gets the instruments' folders.
    progress
        Called before each run with (runs done, runs in all, what is being written).
    scale
        Multiplies the number of trains of every run.

    Returns
    -------
    FacilitySummary
        Everything written, with the description of each run and a list of the faults.

    Raises
    ------
    ValueError
        If ``scale`` is less than 1.
    """
    if scale < 1:
        raise ValueError(f"scale must be 1 or more, not {scale}")
    root = Path(root)
    plans = [*_proposal_900010(scale), *_proposal_900021(scale), *_proposal_900032(scale)]
    written, found = [], []
    for done, plan in enumerate(plans):
        directory = plan.directory(root)
        if progress is not None:
            progress(done, len(plans), str(directory.relative_to(root)))
        write_run(directory, plan.spec)
        found += [_put_in(fault, directory / name) for name, fault in plan.faults]
        written.append(WrittenRun(directory, plan.data_class, plan.spec, not plan.faults))
    if progress is not None:
        progress(len(plans), len(plans), "done")
    found += _differences_between_runs(root)
    files = [p for w in written for p in w.path.glob("*.h5")]
    size = sum(p.stat().st_size for p in files)
    aliases = _write_aliases(root)
    return FacilitySummary(root, tuple(written), tuple(found), aliases, len(files), size)


def _put_in(fault: Callable[[Path], Defect], path: Path) -> Defect:
    """Apply a fault; the modification time of the file stays plausible."""
    stat = path.stat()
    made = fault(path)
    if path.exists():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return made


def _trains(start: datetime, run: int, n: int) -> range:
    """Train IDs of a run: one run every 20 minutes from ``start`` on."""
    first = train_at(start + timedelta(minutes=20 * run))
    return range(first, first + n)


def _beam(*, xgms: Sequence[str], pulses: int) -> Sources:
    """XGMs, slow and fast, and the undulators; the second XGM's pipeline misses trains."""
    fast = [
        devices.xgm_pulses(name, pulses=pulses, counts=1 if i == 0 else (1, 1, 1, 0))
        for i, name in enumerate(xgms)
    ]
    return (*(devices.xgm(name) for name in xgms), *fast)


def _corrected(
    raw: RunSpec, detector: str, numbers: Sequence[int], *, legacy: bool = False
) -> RunSpec:
    """The proc run that belongs to a raw run: the corrected modules, for the same trains."""
    files = []
    for file in raw.files:
        for number in numbers:
            name = f"{detector}/DET/{number}CH0:xtdf"
            for module in (s for s in file.sources if s.name == name):
                (frames,) = (g.counts for g in module.groups if g.name == "image")
                source = devices.corrected_module(detector, number, frames=frames, legacy=legacy)
                files.append(replace(file, sources=(source,)))
    return replace(raw, files=tuple(files), prefix="CORR")


def _spb_sources() -> Sources:
    return (
        *_beam(xgms=("SA1_XTD2_XGM/XGM/DOOCS", "SPB_XTD9_XGM/XGM/DOOCS"), pulses=16),
        devices.undulator(),
        devices.run_only_device("SPB_RR_SYS/TSYS/TIMESERVER"),
    )


def _spb_motors() -> Sources:
    names = ("SLIT_LEFT", "SLIT_RIGHT", "SAMPLE_X", "SAMPLE_Y")
    return tuple(devices.motor(f"SPB_IRU_MOTORS/MOTOR/{name}") for name in names)


def _proposal_900010(scale: int) -> list[_Planned]:
    """SPB, 2018, format 0.5."""
    start = datetime(2018, 10, 20, 8, tzinfo=UTC)
    folder = "SPB/201830/p900010"
    beam, cameras = _spb_sources(), devices.camera()

    def spec(run: int, files: tuple[FileSpec, ...]) -> RunSpec:
        return RunSpec(900010, run, files, version="0.5")

    dark = split(_trains(start, 1, 20 * scale), {"DA01": beam, **devices.modules(AGIPD)})
    lit = split(
        _trains(start, 2, 32 * scale),
        {"DA01": beam, "DA02": cameras, **devices.modules(AGIPD)},
        sequences=2,
    )
    scan = _trains(start, 3, 90 * scale)
    raw = [
        spec(1, dark),
        spec(2, lit),
        # The sequences of the two aggregators are cut at different trains.
        spec(3, split(scan, {"DA01": beam}, 3) + split(scan, {"DA02": _spb_motors()}, 2)),
        spec(4, split(_trains(start, 4, 50 * scale), {"DA02": (*_spb_motors(), *cameras)})),
    ]
    proc = [_corrected(raw[0], AGIPD, range(16)), _corrected(raw[1], AGIPD, range(16))]
    return [_Planned(folder, "raw", s) for s in raw] + [_Planned(folder, "proc", s) for s in proc]


def _fxe_aggregators() -> dict[str, Sources]:
    beam = _beam(xgms=("SA1_XTD2_XGM/XGM/DOOCS", "FXE_XTD9_XGM/XGM/DOOCS"), pulses=12)
    motors = tuple(devices.motor(f"FXE_SMS_USR/MOTOR/UM{n:02d}") for n in range(1, 5))
    gauges = tuple(devices.gauge(f"FXE_XTD9_VAC/GAUGE/G{n}10030") for n in (1, 2, 3))
    return {
        "DA01": (*beam, devices.run_only_device("FXE_RR_SYS/TSYS/TIMESERVER")),
        "DA02": (*motors, *gauges, devices.adc("FXE_OGT1_BIU/ADC/DIGITIZER")),
    }


def _proposal_900021(scale: int) -> list[_Planned]:
    """FXE, 2021, formats 1.0 and 1.2, and the runs with faults."""
    start = datetime(2021, 8, 28, 6, tzinfo=UTC)
    folder = "FXE/202102/p900021"
    slow = _fxe_aggregators()
    lpd = devices.modules(LPD, shape=(1, 32, 32), frames=(3, 3, 2))
    cameras = devices.camera("FXE_SMS_CAM/CAM/SIDE", shape=(20, 28), counts=(1, 0))

    def spec(
        run: int, version: str, aggregators: Mapping[str, Sources], n: int, seq: int
    ) -> RunSpec:
        files = split(_trains(start, run, n * scale), aggregators, seq)
        return RunSpec(900021, run, files, version=version, sample="Fe(bpy)3 in water")

    padded = spec(2, "1.0", slow | {"DA03": cameras}, 60, 2)
    suspect = spec(3, "1.0", slow, 50, 2)
    marked = frozenset(suspect.train_ids[7:40:16])
    raw = [
        spec(1, "1.0", slow | lpd, 20, 1),
        replace(padded, files=tuple(replace(f, padding=6) for f in padded.files)),
        replace(suspect, files=tuple(replace(f, suspect=marked) for f in suspect.files)),
        spec(4, "1.2", slow | lpd, 30, 2),
        spec(5, "1.2", slow, 80, 2),
    ]
    # Module 15 was not corrected in run 1.
    proc = [_corrected(raw[0], LPD, range(15)), _corrected(raw[3], LPD, range(16))]
    faulty = [spec(number, "1.2", slow, 45, 3) for number in range(101, 107)]
    return [
        *(_Planned(folder, "raw", s) for s in raw),
        *(_Planned(folder, "proc", s) for s in proc),
        *(_Planned(folder, "raw", s, _faults_of(s.run)) for s in faulty),
    ]


_FAULTS: tuple[tuple[int, str, Callable[[Path], Defect]], ...] = (
    (101, "DA01-S00001", faults.truncate),
    (101, "DA02-S00000", faults.empty_file),
    (101, "DA02-S00001", faults.replace_by_text),
    (101, "DA02-S00002", faults.forget_train_ids),
    (102, "DA01-S00000", faults.zeros_inside_train_ids),
    (102, "DA01-S00001", faults.step_back_in_trains),
    (102, "DA02-S00002", faults.maximal_train_id),
    (103, "DA01-S00001", faults.index_beyond_data),
    (103, "DA02-S00000", faults.claim_rows_of_empty_dataset),
    (103, "DA02-S00001", faults.silence_control),
    (103, "DA02-S00002", faults.lengthen_one_key),
    (104, "DA01-S00000", faults.foreign_proposal),
    (104, "DA01-S00002", faults.list_absent_source),
    (104, "DA02-S00001", faults.lose_sequence),
    (104, "DA02-S00002", faults.stray_group),
    (105, "DA01-S00001", faults.repeat_trains),
    (106, "DA01-S00000", faults.break_legacy_link),
    (106, "DA01-S00001", faults.unknown_version),
    (106, "DA02-S00001", faults.change_dtype),
)


def _faults_of(run: int) -> tuple[tuple[str, Callable[[Path], Defect]], ...]:
    return tuple((f"RAW-R{n:04d}-{file}.h5", fault) for n, file, fault in _FAULTS if n == run)


def _proposal_900032(scale: int) -> list[_Planned]:
    """SPB, 2024, format 1.3."""
    start = datetime(2024, 11, 12, 16, tzinfo=UTC)
    folder = "SPB/202405/p900032"
    slow = {
        "DA01": _spb_sources(),
        "DA02": (*_spb_motors(), *devices.camera(), devices.adc("SPB_XTD9_ADC/ADC/1")),
    }
    agipd = devices.modules(AGIPD)

    def spec(run: int, aggregators: Mapping[str, Sources], n: int, seq: int) -> RunSpec:
        files = split(_trains(start, run, n * scale), aggregators, seq, source_padding=5)
        return RunSpec(900032, run, files, version="1.3", sample="Lysozyme", libver="v110")

    late = slow | {"DA01": (*slow["DA01"], devices.errata())}
    reduced = {
        f"AGIPD{n:02d}": (
            devices.module(AGIPD, n, frames=(2, 1, 0, 2)),
            devices.frame_reduction(AGIPD, n),
        )
        for n in range(16)
    }
    renamed = (devices.motor("SPB_IRU_MOTORS/MOTOR/SLIT_L"), *_spb_motors()[2:])
    large = devices.camera(shape=(32, 32))
    raw = [
        spec(1, slow | agipd, 20, 1),
        spec(2, slow | agipd, 32, 2),
        spec(3, slow, 120, 2),
        spec(4, late | agipd, 20, 1),
        spec(5, slow | {"DA02": (*renamed, *devices.camera())}, 60, 1),
        spec(6, slow | {"DA02": (*_spb_motors(), *large)}, 60, 1),
    ]
    proc = [_corrected(s, AGIPD, range(16), legacy=True) for s in (raw[0], raw[1], raw[3])]
    return [
        *(_Planned(folder, "raw", s) for s in raw),
        *(_Planned(folder, "proc", s) for s in proc),
        _Planned(folder, "red", spec(4, late | reduced, 20, 1)),
    ]


def _differences_between_runs(root: Path) -> list[Defect]:
    """What is odd only in comparison with other runs."""
    fxe, spb = root / "FXE/202102/p900021", root / "SPB/202405/p900032"
    return [
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
