"""A corpus of damaged data files: case by number, the same on every machine.

``DamagedFiles(directory)`` writes the sound files, small ones of several HDF5 layouts and format
versions, and ``damage(number, path)`` a damaged copy of one of them. Half of the cases change bytes
where structures of HDF5 lie, found by their signatures and, for those without, by walking the file;
the other half use h5py to make a sound HDF5 file that is a wrong data file.
"""

import os
import random
import re
from pathlib import Path

import h5py
import numpy as np
from xfelcat.loader.examples import specs as devices
from xfelcat.loader.examples.specs import RunSpec, split
from xfelcat.loader.examples.writing import write_run

from support.mock_runs import MOCK_FILES
from support.tiny_file import write_tiny

NAME = "RAW-R0007-DA01-S00000.h5"
SIGNATURES = re.compile(
    rb"OHDR|OCHK|TREE|SNOD|HEAP|GCOL|FRHP|FHDB|FHIB|BTHD|BTIN|BTLF|FAHD|FADB|EAHD|EAIB|EADB|EASB"
)
WORDS = (0, -1, 2**63 - 1, 1, 2**32)
ODD_NAMES = (
    "new\nline",
    "it's",
    'a "quote"',
    "<script>alert(1)</script>",
    "a%b_c",
    "..",
    "ä" * 200,
)


def write_sound_files(directory):
    """The files that the corpus damages."""
    paths = []
    for version in ("0.5", "1.2", "1.3"):
        write_tiny(directory / f"tiny-{version}.h5", version=version).close()
        paths.append(directory / f"tiny-{version}.h5")
    write_tiny(directory / "padded.h5", padding=5, fixed_strings=True).close()
    paths.append(directory / "padded.h5")
    trains = range(1_500_000_000, 1_500_000_030)
    sources = (
        devices.xgm(), devices.xgm_pulses(), devices.motor("A/MOTOR/1"),
        devices.run_only_device("A/VIRTUAL/1"), devices.module("A_DET_AGIPD1M-1", 3),
    )  # fmt: skip
    for libver in ("earliest", "latest"):
        run = RunSpec(2012, 7, split(trains, {"DA01": sources}, 1, padding=3), "1.3", libver=libver)
        paths += write_run(directory / libver, run)
    for mock in ("fxe_da-1.3", "lpd-1.0"):
        made = directory / mock
        made.mkdir()
        paths.append(MOCK_FILES[mock].build(made))
    return paths


class DamagedFiles:
    """Damaged copies of sound files, by number."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.sound = write_sound_files(self.directory)
        self._contents = {}

    def of(self, number):
        """The sound file of a case."""
        return self.sound[number // 2 % len(self.sound)]

    def damage(self, number, path):
        """Write case ``number`` to a path; a description of what was done to which file.

        Those with an odd number changed bytes.
        """
        choose = random.Random(number)
        sound = self.of(number)
        how = choose.choice(BYTES if number % 2 else CONTENTS)
        if number % 2:
            content, places = self._content(sound)
            changed, detail = how(choose, bytearray(content), places)
            Path(path).write_bytes(changed)
        else:
            Path(path).write_bytes(sound.read_bytes())
            with h5py.File(path, "r+", libver=("earliest", "latest")) as f:
                detail = how(choose, f, _objects(f))
        return f"{sound.relative_to(self.directory)}: {how.__name__[1:]} {detail}"

    def _content(self, sound):
        """The bytes of a file, and where its structures begin."""
        if sound not in self._contents:
            content = sound.read_bytes()
            places = {0, 8, *(m.start() for m in SIGNATURES.finditer(content))}
            with h5py.File(sound) as f:
                f.visititems(lambda _, o: places.add(h5py.h5o.get_info(o.id).addr))
            self._contents[sound] = content, sorted(places)
        return self._contents[sound]


def _objects(f):
    names = []
    f.visit(names.append)
    return names


# Bytes: (choose, content, places of structures) -> content, what was done -------------------------


def _flipped(choose, content, places):
    at = []
    for _ in range(choose.choice((1, 1, 2, 8))):
        at.append(min(choose.choice(places) + choose.randrange(200), len(content) - 1))
        content[at[-1]] ^= 1 << choose.randrange(8)
    return content, f"at {at}"


def _byte(choose, content, places):
    at = min(choose.choice(places) + choose.randrange(300), len(content) - 1)
    content[at] = choose.randrange(256)
    return content, f"at {at} to {content[at]}"


def _word(choose, content, places):
    at = min(choose.choice(places) + choose.randrange(0, 120, 4), len(content) - 8)
    word = choose.choice((*WORDS, *[choose.choice(places)] * 3))
    content[at : at + 8] = (word % 2**64).to_bytes(8, "little")
    return content, f"at {at} to {word}"


def _short_word(choose, content, places):
    at = min(choose.choice(places) + choose.randrange(0, 120, 2), len(content) - 4)
    width = choose.choice((2, 4))
    word = choose.choice((0, 256**width - 1, 256**width // 2 - 1))
    content[at : at + width] = word.to_bytes(width, "little")
    return content, f"at {at} to {word} ({width} bytes)"


def _zeroed(choose, content, places):
    at, n = choose.choice(places), choose.choice((16, 64, 512, 4096))
    content[at : at + n] = bytes(len(content[at : at + n]))
    return content, f"{n} bytes at {at}"


def _truncated(choose, content, places):
    at = choose.choice(places) + choose.choice((0, 0, 4, 17))
    return content[:at], f"to {at} of {len(content)}"


def _overwritten(choose, content, places):
    to, of, n = choose.choice(places), choose.choice(places), choose.choice((64, 512))
    piece = content[of : of + n]
    content[to : to + len(piece)] = piece  # may make a sound file that lacks something
    return content, f"{n} bytes at {to} with those at {of}"


BYTES = (
    _flipped,
    _flipped,
    _byte,
    _byte,
    _word,
    _word,
    _short_word,
    _zeroed,
    _truncated,
    _overwritten,
)


# Contents: (choose, open file, names of its objects) -> what was done -----------------------------


def _without(choose, f, names):
    name = choose.choice(names)
    del f[name]
    return name


def _without_facts(choose, f, names):
    """As above, of what the facts come from: three of four objects are values of keys."""
    name = choose.choice([n for n in names if n.startswith(("INDEX", "METADATA"))])
    del f[name]
    return name


def _other_type(choose, f, names):
    name = choose.choice([n for n in names if n.startswith(("INDEX", "METADATA"))])
    del f[name]
    kind = choose.choice(
        ("group", "text", "float", "scalar", "records", "empty", "matrix", "ragged")
    )
    if kind == "group":
        f.create_group(name)
    elif kind == "ragged":
        f.create_dataset(name, (3,), h5py.vlen_dtype("u8"))
    else:
        f[name] = {
            "text": "text", "float": np.linspace(-1, 1e30, 10), "scalar": 3,
            "records": np.zeros(4, [("a", "u8"), ("b", "f4")]), "empty": h5py.Empty("u8"),
            "matrix": np.ones((10, 2), "u8"),
        }[kind]  # fmt: skip
    return f"{name} to {kind}"


def _shape(choose, f, names):
    name = choose.choice([n for n in names if isinstance(f[n], h5py.Dataset)])
    dtype, entry = f[name].dtype, f[name].shape[1:]
    n = choose.choice((0, 1, 10**5, 10**12, 2**62 // 8))
    del f[name]
    f.create_dataset(name, (n, *entry), dtype, chunks=(64, *entry), maxshape=(None, *entry))
    return f"{name}: {n} entries"


def _index(choose, f, names):
    name = choose.choice(
        [n for n in names if n.startswith("INDEX") and isinstance(f[n], h5py.Dataset)]
    )
    values = f[name][:]
    row = choose.randrange(len(values))
    info = np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
    values[row] = choose.choice((0, 1, 10**6, info.max, info.min) if info else (0, -1))
    f[name][...] = values
    return f"{name}[{row}] to {values[row]}"


def _many_zeros(choose, f, names):
    del f["INDEX/trainId"]
    f["INDEX/trainId"] = np.zeros(10**5, "u8")
    return "10^5 trains of zero"


def _link(choose, f, names):
    name = choose.choice(names)
    kind = choose.choice(("cycle", "self", "external", "dangling", "other"))
    above = name.rpartition("/")[0] or "/"
    target = choose.choice(names)
    if kind != "cycle":
        del f[name]
    if kind == "cycle":
        group = name if isinstance(f[name], h5py.Group) else above
        f[f"{group}/cycle"] = f["/"]
    elif kind == "external":
        f[name] = h5py.ExternalLink("/dev/null", "/x")
    else:
        f[name] = h5py.SoftLink(
            {"self": f"/{name}", "dangling": "/nothing"}.get(kind, f"/{target}")
        )
    return f"{kind} at {name}"


def _virtual(choose, f, names):
    name = choose.choice([n for n in names if isinstance(f[n], h5py.Dataset) and f[n].size])
    shape, dtype = f[name].shape, f[name].dtype
    if dtype.kind == "O":
        return f"{name} left as it is: text"
    del f[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/nowhere/gone.h5", name, shape)
    f.create_virtual_dataset(name, layout)
    return name


def _name(choose, f, names):
    name = choose.choice([n for n in names if not n.startswith(("INDEX", "METADATA"))])
    odd = choose.choice(ODD_NAMES)
    above = f[name].parent
    if choose.random() < 0.3:
        h5py.h5g.create(above.id, b"bad \xff\xfe")
        return "name that is no UTF-8"
    if odd == "..":
        above.create_group("dots..")
    else:
        above.copy(name.rpartition("/")[2], above, odd)
    return f"{odd!r} beside {name}"


def _source_row(choose, f, names):
    place = next(
        p for p in ("METADATA/dataSources/dataSourceId", "METADATA/dataSourceId") if p in f
    )
    rows = [bytes(r) for r in f[place][:]]
    odd = choose.choice((
        b"", b"CONTROL/", b"INSTRUMENT/a", b"/", b"CONTROL//a", b"INSTRUMENT/\xff/b:c/d", rows[0],
        b"INSTRUMENT/../METADATA", b"NOTHING/x", b"CONTROL/<b>'\"\n", b"INSTRUMENT/a:b" * 999,
    ))  # fmt: skip
    rows[choose.randrange(len(rows))] = odd
    del f[place]
    f[place] = np.array(rows, object if max(map(len, rows)) > 1000 else "S")
    return f"{odd[:40]!r}"


CONTENTS = (
    _without, _without_facts, _other_type, _other_type, _shape, _index, _index, _many_zeros, _link,
    _link, _virtual, _name, _source_row,
)  # fmt: skip


def main():
    """Write cases to look at: ``python -m support.damaged_files DIRECTORY NUMBER...``."""
    import sys

    place = Path(sys.argv[1])
    corpus = DamagedFiles(place / "sound")
    for number in map(int, sys.argv[2:]):
        folder = place / f"case-{number}"
        os.makedirs(folder, exist_ok=True)
        sys.stdout.write(f"{number}: {corpus.damage(number, folder / NAME)}\n")


if __name__ == "__main__":
    main()
