"""Locality of files: on disk, or only on tape.

dCache answers through a pseudo file beside every file, ``.(get)(<file name>)(locality)``. Where
there is none, the file lies on ordinary disk.

``lc_any``, ``lc_ondisk`` and ``lc_avail`` are the filters that users pass when opening a run.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ORDINARY = ""
_ON_DISK = (ORDINARY, "ONLINE", "ONLINE_AND_NEARLINE")
_ON_TAPE = "NEARLINE"
_UNAVAILABLE = "UNAVAILABLE"
_THREADS = 16  # dCache takes its time for an answer, but gives many at once


def is_on_disk(locality: str) -> bool:
    """Whether a file of this locality can be read at once."""
    return locality in _ON_DISK


def is_available(locality: str) -> bool:
    """Whether a file of this locality can be read at all, if need be from tape."""
    return locality in _ON_DISK or locality == _ON_TAPE


def file_localities(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Where files lie, by path; an ordinary directory costs one question in all.

    ``"ONLINE"``, ``"NEARLINE"``, ``"ONLINE_AND_NEARLINE"``, ``"UNAVAILABLE"``, or an empty string
    for a file on ordinary disk. An answer of dCache that is none of these is passed on, and counts
    as neither on disk nor available.
    """
    found = {os.fspath(p): ORDINARY for p in paths}
    by_directory: dict[str, list[tuple[str, str]]] = {}
    for path in found:
        # The pseudo file stands beside the file, not beside a link to it.
        real = os.path.realpath(path) if os.path.islink(path) else path
        by_directory.setdefault(os.path.dirname(real), []).append((path, real))
    asked: list[tuple[str, str]] = []
    for files in by_directory.values():
        at = 0
        # A file that vanished meanwhile has no answer either, which proves nothing for the others.
        while at < len(files) - 1 and not os.path.lexists(files[at][1]):
            at += 1
        answer = _ask(files[at][1])
        if answer:
            found[files[at][0]] = answer
            asked.extend(files[:at] + files[at + 1 :])
    if asked:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_THREADS) as pool:
            answers = pool.map(_ask, (real for _, real in asked))
            found.update(zip((path for path, _ in asked), answers, strict=True))
    return found


def files_off_disk(paths: Iterable[str]) -> dict[str, str]:
    """The files that are not on disk, with their locality: opening one could take days."""
    return {p: where for p, where in file_localities(paths).items() if not is_on_disk(where)}


def _ask(path: str) -> str:
    """The answer of dCache for one file; empty where there is none."""
    directory, name = os.path.split(path)
    try:
        with open(os.path.join(directory, f".(get)({name})(locality)"), encoding="ascii") as f:
            return f.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return ORDINARY


def lc_any(files: Iterable[str]) -> list[str]:
    """All files: opens a run without asking where its files lie."""
    return list(files)


def lc_ondisk(files: Iterable[str]) -> list[str]:
    """The files that are on disk, in the order given; those only on tape are left out."""
    return [path for path, where in _with_locality(files) if is_on_disk(where)]


def lc_avail(files: Iterable[str]) -> list[str]:
    """The files that are on disk or tape, in the order given; those reported lost are left out."""
    return [path for path, where in _with_locality(files) if is_available(where)]


def _with_locality(files: Iterable[str]) -> list[tuple[str, str]]:
    files = list(files)
    localities = file_localities(files)
    return [(path, localities[os.fspath(path)]) for path in files]


@dataclass(frozen=True, slots=True)
class LocalitySurvey:
    """The files of a directory by where they lie, as sorted paths.

    ``unknown`` are those for which dCache gave an answer that is none of its documented ones, with
    that answer.
    """

    on_disk: tuple[str, ...]
    on_tape: tuple[str, ...]
    unavailable: tuple[str, ...]
    unknown: Mapping[str, str]


def survey_locality(path: str | os.PathLike[str]) -> LocalitySurvey:
    """Sort the files of a directory, or one file, by where they lie.

    Raises OSError where ``path`` cannot be listed.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            # Chosen by name: a stat of a file on tape may take its time, too.
            paths = sorted(e.path for e in entries if e.name.endswith(".h5") and e.name[0] != ".")
    else:
        os.lstat(path)
        paths = [path]
    where = file_localities(paths)
    known = (*_ON_DISK, _ON_TAPE, _UNAVAILABLE)
    return LocalitySurvey(
        on_disk=tuple(p for p in paths if is_on_disk(where[p])),
        on_tape=tuple(p for p in paths if where[p] == _ON_TAPE),
        unavailable=tuple(p for p in paths if where[p] == _UNAVAILABLE),
        unknown={p: where[p] for p in paths if where[p] not in known},
    )
