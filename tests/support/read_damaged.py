"""Cases of the corpus of damaged files, scanned and read in a process that may die of them.

    python -m support.read_damaged DIRECTORY NUMBER...

writes a line of JSON per case: its number, what was done to the file, and what went wrong:

- both HDF5 readers make the same record of the file;
- what bytes that changed took out of the record, a finding says to be unreadable;
- reading gives what h5py gives by INDEX, or raises an error of ours, also where the file was
  damaged after its facts had been taken;
- none of it takes more than a gigabyte.
"""

import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np
from xfelcat.catalog.model.errors import XfelcatError
from xfelcat.catalog.scan.scan import scan_file
from xfelcat.loader.open import H5File

from support.damaged_files import NAME, DamagedFiles
from support.same_records import same

MOST_BYTES = 1 << 30
MOST_ROWS = 10**6
MOST_AT_ONCE = 1 << 24
TEST = os.environ.get("XFELCAT_TEST_WRONG")  # of the tests of this module: "die", "answer"
IMPOSSIBLE = 2**62
"""A row: no file has so many. Its train has no data, and there is a finding."""


def wrong(path):
    """What is wrong with our reading of a damaged file: sentences, none if all is as promised."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    record, by_library = scan_file(path), scan_file(path, verify=True)
    try:
        same(record, by_library)
    except AssertionError as e:
        reason = " ".join(str(e).split())[:300]
        yield f"the readers differ: {reason} {record.problems} {by_library.problems}"
    yield from differences(path)
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > MOST_BYTES:
        yield "more than a gigabyte of memory"


def lost(sound, record):
    """Sources and keys that vanished without a finding."""
    if record.problems:
        return
    names = record.layout.position
    for source, schema in zip(sound.layout.sources, sound.layout.schemas, strict=True):
        at = names.get((source.section, source.name))
        if at is None:
            yield f"{source.name} vanished without a finding"
        elif schema is not None:
            before, now = set(schema.by_name), set(record.layout.schemas[at].by_name)
            if len(before - now) > len(now - before):  # else a letter of a name changed
                yield f"keys of {source.name} vanished without a finding"


def unnoticed(sound, path):
    """As ``differences``, where the file went bad after its facts had been taken."""
    damaged = path.read_bytes()
    if len(damaged) != sound.stat().st_size:
        return
    path.write_bytes(sound.read_bytes())
    run, times = H5File(path), path.stat()
    path.write_bytes(damaged)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for found in differences(path, run):
        yield f"known before it was damaged: {found}"


def differences(path, run=None):
    """Keys that read otherwise than h5py reads them, or raise what is no error of ours."""
    try:
        run = H5File(path) if run is None else run
        sources = sorted(run.all_sources)
    except XfelcatError:
        return
    for source in sources:
        try:
            keys = sorted(run[source].keys())
        except XfelcatError:
            continue
        for key in keys:
            try:
                data = run[source, key]
                if data.shape[0] > MOST_ROWS:
                    continue
                got = data.ndarray()
            except XfelcatError:
                continue
            except Exception as e:  # noqa: BLE001
                yield f"{source} {key} raises {type(e).__name__}: {' '.join(str(e).split())[:200]}"
                continue
            place = ("CONTROL" if source in run.control_sources else "INSTRUMENT", source)
            try:
                want = by_index(path, *place, key)
            except Exception as e:  # noqa: BLE001 - whatever h5py raises: we are to raise too
                if got.size:
                    yield f"{source} {key} is read, but h5py raises {type(e).__name__}: {e}"
                continue
            if got.dtype.kind == "O":
                got, want = got.tolist(), [_text(v) for v in want.tolist()]
                is_same = got == want
            else:
                is_same = got.shape == want.shape and got.tobytes() == want.tobytes()
            if not is_same or TEST == "answer":
                yield f"{source} {key} is read otherwise than by h5py"


def _text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def by_index(path, section, source, key):
    """The rows of all trains of a key, in the order of their IDs, read by h5py."""
    with h5py.File(path) as f:
        ids = f["INDEX/trainId"][:]
        group = key.partition(".")[0] if section == "INSTRUMENT" else ""
        index = f[f"INDEX/{source}/{group}" if group else f"INDEX/{source}"]
        first = index["first"][:]
        if "count" in index:
            count = index["count"][:]
        else:
            count = np.where(index["status"][:] > 0, index["last"][:] - first + 1, 0)
        dataset = _whole(f[f"{section}/{source}/{key.replace('.', '/')}"])
        trains = sorted(zip(ids, first, count, strict=False), key=lambda train: train[0])
        rows = [
            dataset[int(a) : int(a) + int(n)]
            for train, a, n in trains
            if train and 0 < n < IMPOSSIBLE and a < IMPOSSIBLE
        ]
        return np.concatenate(rows) if rows else dataset[:0]


def _whole(dataset):
    """All of it where that can be read, in one call instead of one per train."""
    try:
        return dataset[:] if dataset.nbytes < MOST_AT_ONCE else dataset
    except Exception:  # noqa: BLE001 - some rows may be readable
        return dataset


def main():
    directory, numbers = Path(sys.argv[1]), [int(n) for n in sys.argv[2:]]
    warnings.simplefilter("ignore")
    corpus = DamagedFiles(directory / "sound")
    sound = {path: scan_file(path) for path in corpus.sound}
    path = directory / NAME
    for number in numbers:
        done = corpus.damage(number, path)
        sys.stdout.write(json.dumps({"case": number, "done": done}) + "\n")
        sys.stdout.flush()
        try:
            if TEST == "die":
                os.abort()
            found = list(wrong(path))
            if number % 2:
                found += unnoticed(corpus.of(number), path)
            if number % 2 and "overwritten" not in done:
                found += lost(sound[corpus.of(number)], scan_file(path))
        except Exception:  # noqa: BLE001 - whatever it is, it is the finding
            found = [traceback.format_exc()]
        sys.stdout.write(json.dumps({"case": number, "done": done, "wrong": found}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
