"""Detector runs of our own: modules that lose trains and frames independently, and a naive reader.

Every pixel encodes module, train and pulse, so that a frame in the wrong place cannot pass.
"""

from dataclasses import dataclass, field

import h5py
import numpy as np

FIRST_TRAIN = 10_000
SHAPE = (4, 3)  # pixels of a module: small, as nothing depends on it


def pixels(module, train, pulse):
    """The frame of a module, (4, 3)."""
    base = module * 10_000 + (train - FIRST_TRAIN) * 100 + pulse
    return base * 16 + np.arange(12, dtype=np.int64).reshape(SHAPE) % 16


@dataclass
class DetectorRun:
    """What to write: of each module the pulses of each train, in the order they are stored."""

    modules: dict[int, dict[int, list[int]]]
    sequences: list[tuple[int, int]] = field(default_factory=lambda: [(0, 100)])
    """Positions of trains in each sequence file, half-open."""
    dtype: str = "<i8"
    detector: str = "SPB_DET_AGIPD1M-1"
    kind: str = "CORR"
    extra_dimension: bool = False
    ids_2d: bool = False
    chunk_frames: int = 1
    full_size: bool = False
    """Modules of 512 x 128 pixels, all of which have the value of the first."""
    missing_files: frozenset = frozenset()
    """(Module, sequence) pairs without a file."""

    @property
    def trains(self):
        """All trains."""
        return sorted({t for by_train in self.modules.values() for t in by_train})

    def source(self, module):
        """Source name of a module."""
        ending = "output" if self.kind == "CORR" else "xtdf"
        return f"{self.detector}/{self.kind}/{module}CH0:{ending}"

    def stored(self, module):
        """The pulses of each train of a module that has a file: what a reader can find."""
        found = {}
        for number, (start, stop) in enumerate(self.sequences):
            if (module, number) not in self.missing_files:
                for train in self.trains[start:stop]:
                    found[train] = self.modules[module].get(train, [])
        return found

    def write(self, directory):
        """Write the files."""
        directory.mkdir(parents=True, exist_ok=True)
        for module in self.modules:
            for number, (start, stop) in enumerate(self.sequences):
                if (module, number) not in self.missing_files:
                    name = f"{self.kind}-R0001-AGIPD{module:02d}-S{number:05d}.h5"
                    self._write_file(directory / name, module, self.trains[start:stop], number)
        return directory

    def _write_file(self, path, module, trains, number):
        of_train = [self.modules[module].get(t, []) for t in trains]
        counts = np.array([len(p) for p in of_train], np.uint64)
        frames = [(t, p) for t, pulses in zip(trains, of_train, strict=True) for p in pulses]
        data = np.array([pixels(module, t, p) for t, p in frames], self.dtype)
        data = data.reshape(len(frames), *SHAPE)
        if self.full_size:
            data = np.broadcast_to(data[:, :1, :1], (len(frames), 512, 128)).copy()
        source = self.source(module)
        with h5py.File(path, "w") as f:
            text = h5py.string_dtype("ascii")
            f["METADATA/dataFormatVersion"] = np.array(["1.2"], dtype=text)
            f["METADATA/proposalNumber"] = np.array([1], np.uint32)
            f["METADATA/runNumber"] = np.array([1], np.uint32)
            f["METADATA/sequenceNumber"] = np.array([number], np.uint32)
            listed = [f"{source}/image", f"{source}/header"]
            home = f.create_group("METADATA/dataSources")
            home["dataSourceId"] = np.array([f"INSTRUMENT/{s}" for s in listed], dtype=text)
            home["deviceId"] = np.array(listed, dtype=text)
            home["root"] = np.array(["INSTRUMENT"] * 2, dtype=text)
            f["INDEX/trainId"] = np.array(trains, np.uint64)
            f["INDEX/flag"] = np.ones(len(trains), np.int32)
            f["INDEX/timestamp"] = np.array(trains, np.uint64) * 10**8
            f[f"INDEX/{source}/image/first"] = np.cumsum(counts) - counts
            f[f"INDEX/{source}/image/count"] = counts
            has = (counts > 0).astype(np.uint64)
            f[f"INDEX/{source}/header/first"] = np.cumsum(has) - has
            f[f"INDEX/{source}/header/count"] = has
            ids = np.array([p for _, p in frames], np.uint64)
            column = (len(frames), 1) if self.ids_2d else (len(frames),)
            image = f.create_group(f"INSTRUMENT/{source}/image")
            image["pulseId"] = ids.reshape(column)
            image["cellId"] = (ids + 1).astype(np.uint16).reshape(column)
            image["trainId"] = np.array([t for t, _ in frames], np.uint64)
            if self.extra_dimension:
                data = data[:, None]
            chunks = (min(self.chunk_frames, len(frames)), *data.shape[1:]) if frames else None
            image.create_dataset("data", data=data, chunks=chunks)
            if self.kind == "CORR":
                image["mask"] = (data % 5 == 0).astype(np.uint32) * 6
            header = np.array([t for t, n in zip(trains, counts, strict=True) if n], np.uint64)
            f[f"INSTRUMENT/{source}/header/pulseCount"] = header


def expected_frames(run, modules, trains=None, on_mismatch="fill"):
    """(Train, pulse) of every frame that any of the modules has."""
    frames = []
    for train in run.trains if trains is None else trains:
        having = [set(p) for m in modules if (p := run.stored(m).get(train))]
        if not having:
            continue
        found = set.union(*having) if on_mismatch == "fill" else set.intersection(*having)
        frames += [(train, pulse) for pulse in sorted(found)]
    return frames


def expected_array(run, modules, frames, fill):
    """(modules, frames, 4, 3) as read frame by frame; ``fill`` where a module has no such frame."""
    made = np.full((len(modules), len(frames), *SHAPE), fill)
    for at, module in enumerate(modules):
        stored = run.stored(module)
        for number, (train, pulse) in enumerate(frames):
            if pulse in stored.get(train, []):
                made[at, number] = pixels(module, train, pulse)
    return made
