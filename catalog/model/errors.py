"""Errors that xfelcat raises on purpose, and the builtin that each also is.

    XfelcatError
    |-- SourceNameError        (KeyError)            no such source in this data
    |-- PropertyNameError      (KeyError)            no such key in this source
    |-- TrainIDError           (KeyError)            no such train in this data
    |-- AliasError             (KeyError,            no such alias, or a definition that is
    |                           ValueError)          unusable or clashes with another
    |-- MultiRunError          (ValueError)          a question about one run, asked of several
    |-- NoDataError            (ValueError)          a value wanted from a key without data
    |-- DuplicateTrainError    (ValueError)          one source and train in two files
    |-- InconsistentFilesError (ValueError)          a key's dtype or shape differs between files
    |-- InconsistentRunsError  (ValueError)          a key's dtype or shape differs between runs
    |-- IrregularDataError     (ValueError)          data that other tools cannot read in place
    |-- NotPlottableError      (TypeError)           values that no picture can show
    |-- TooLargeError          (MemoryError)         an array that does not fit into memory
    |-- FileStructureError     (OSError)             a file that is not what it should be
    |   `-- ChangedFileError                         ... or no longer what was planned with
    |-- RunNotFoundError       (FileNotFoundError)   no such proposal, run or file
    |-- CatalogNotFoundError   (FileNotFoundError)   no catalog at this location
    |-- CatalogReadError       (OSError)             a catalog's file that cannot be read
    |-- CatalogWriteError      (OSError)             the catalog cannot be written here
    |   `-- CatalogBusyError                         ... because another writer is at work
    |-- TargetFileError        (ValueError)          a file to write that is among its own sources
    |-- TargetWriteError       (OSError)             a file that exists, or cannot be written
    |-- QueryError             (ValueError)          SQL or a filter that cannot be run
    |-- ConfigError            (ValueError)          a setting with an unusable value
    `-- MissingPackageError    (ImportError)         a package of an extra that is not installed

A message names what is wrong, where, and what to do next. Its parts are attributes too.
"""

import importlib
import sys
import warnings
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Literal, NamedTuple, Self


def nearest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates that look most like ``name``, best first, else that contain it.

    Empty where none does.
    """
    by_folded = {c.casefold(): c for c in candidates}
    import difflib

    folded = name.casefold()
    found = difflib.get_close_matches(folded, list(by_folded), n=limit, cutoff=0.5)
    if not found and len(folded) > 1:
        found = sorted(f for f in by_folded if folded in f)[:limit]
    return [by_folded[f] for f in found]


def did_you_mean(near: Iterable[str]) -> str:
    """The end of a message that offers the nearest names, if there are any."""
    names = " or ".join(map(repr, near))
    return f"; did you mean {names}?" if names else ""


_PACKAGE = __name__.partition(".")[0]


def _is_inside(frame: FrameType) -> bool:
    """Whether a frame runs code of xfelcat, none of its tests, or what calls that for us."""
    part, _, rest = str(frame.f_globals.get("__name__", "")).partition(".")
    if part in ("functools", "contextlib"):  # a cached property, a context manager
        return True
    return part == _PACKAGE and not rest.startswith("tests.")


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of something, at the line outside xfelcat that called it."""
    from inspect import currentframe

    frame, level = currentframe(), 1
    while (frame := frame and frame.f_back) and _is_inside(frame):
        level += 1
    warnings.warn(message, category, stacklevel=level + 1)


class Hint(NamedTuple):
    """What to do next, in the words of the place where one reads it."""

    python: str
    """In Python."""
    shell: str
    """On the command line."""
    prompt: str = ""
    """At the prompt of ``xfelcat sql``, if not as on the command line."""


class XfelcatError(Exception):
    """Any error that xfelcat raises on purpose."""

    hint: Hint | None = None

    def __str__(self) -> str:
        return self.worded("python")

    def worded(self, place: Literal["python", "shell", "prompt"]) -> str:
        """The message, with what to do next in a place."""
        # KeyError would show the repr of its argument: escaped quotes in a sentence.
        message = str(self.args[0]) if self.args else ""
        if self.hint is None:
            return message
        return f"{message} ({getattr(self.hint, place) or self.hint.shell})"

    def _render_traceback_(self) -> list[str]:
        """How IPython shows the error: down to the call of xfelcat, whose own frames tell nothing.

        ``traceback.print_last()`` shows all; an error that is none of ours, a bug, is shown whole.
        """
        ipython: Any = importlib.import_module("IPython")
        frames = []
        step = self.__traceback__
        while step is not None:
            frames.append(step)
            step = step.tb_next
        inside = (n for n, f in enumerate(frames) if _is_inside(f.tb_frame))
        first = next(inside, len(frames))
        shown: TracebackType | None = None
        for f in reversed(frames[:first]):
            shown = TracebackType(shown, f.tb_frame, f.tb_lasti, f.tb_lineno)
        # What it was raised from is told in the message, and would be shown in full.
        kept = self.__cause__, self.__suppress_context__
        self.__cause__, self.__suppress_context__ = None, True
        try:
            make = ipython.get_ipython().InteractiveTB.structured_traceback
            lines: list[str] = make(type(self), self, shown)
        finally:
            self.__cause__, self.__suppress_context__ = kept
        return lines

    def __reduce__(self) -> tuple[Any, ...]:
        # An error of a worker process is made again from its message, which __init__ cannot take.
        return _remake, (type(self), self.args), self.__dict__


def _remake(kind: type[XfelcatError], args: tuple[Any, ...]) -> XfelcatError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class _SharedError(XfelcatError):
    """An error that EXtra-data has too: where that is imported, ``except`` of its class catches it.

    The object is then of both classes; a pickle has ours alone.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        theirs = getattr(sys.modules.get("extra_data.exceptions"), cls.__name__, cls)
        if issubclass(cls, theirs):
            return super().__new__(cls)
        reduced = {"__reduce__": lambda self: (_remake, (cls, self.args), self.__dict__)}
        both: type[Self] = type(cls.__name__, (cls, theirs), reduced)
        return super().__new__(both)

    def __init__(self, message: str) -> None:
        self.args = (message,)  # theirs, the next in line, takes other arguments


class SourceNameError(_SharedError, KeyError):
    """A source that is not in this data; ``source`` and the ``nearest`` names there are."""

    hint = Hint(
        "all_sources lists the names; select() may have dropped it",
        "`xfelcat info RUN` lists the sources",
    )

    def __init__(self, source: str, candidates: Iterable[str] = ()) -> None:
        self.source = source
        self.nearest = nearest(source, candidates)
        super().__init__(f"this data has no source {source!r}{did_you_mean(self.nearest)}")


class PropertyNameError(_SharedError, KeyError):
    """A key that ``source`` does not have; ``key`` and the ``nearest`` names there are."""

    def __init__(self, key: str, source: str, candidates: Iterable[str] = ()) -> None:
        self.key = key
        self.source = source
        self.nearest = nearest(key, candidates)
        super().__init__(f"source {source!r} has no key {key!r}{did_you_mean(self.nearest)}")


class TrainIDError(_SharedError, KeyError):
    """A train ID that is not in this data."""

    def __init__(self, train_id: int, where: str = "this data") -> None:
        self.train_id = train_id
        super().__init__(f"train ID {train_id} is not among the trains of {where}")


class AliasError(_SharedError, KeyError, ValueError):
    """An alias that is not defined, or a definition that is unusable or clashes with another."""

    def __init__(self, message: str, alias: str = "") -> None:
        self.alias = alias
        super().__init__(message)


class MultiRunError(_SharedError, ValueError):
    """A question that only one run can answer, asked of data from several."""

    def __init__(self, question: str = "this") -> None:
        super().__init__(
            f"{question} has one answer per run, but this data comes from several runs;"
            " ask each run before they are joined"
        )


class NoDataError(_SharedError, ValueError):
    """A value that was wanted from a key without any data."""

    def __init__(self, source: str, key: str) -> None:
        self.source = source
        self.key = key
        super().__init__(f"{source!r} key {key!r} has no data in the selected trains")


class DuplicateTrainError(XfelcatError, ValueError):
    """One source has the same train in several files; ``source``, ``train_id``, ``paths``."""

    def __init__(self, source: str, train_id: int, paths: Iterable[str]) -> None:
        self.source = source
        self.train_id = train_id
        self.paths = tuple(paths)
        super().__init__(
            f"source {source!r} has train {train_id} in more than one file: "
            f"{', '.join(self.paths)}; leave one out with include=, or deselect the source"
        )


class InconsistentFilesError(XfelcatError, ValueError):
    """A key's dtype, shape or existence differs between two files; ``paths`` names both."""

    def __init__(self, source: str, key: str, detail: str, paths: Iterable[str]) -> None:
        self.source = source
        self.key = key
        self.paths = tuple(paths)
        super().__init__(
            f"{source!r} key {key!r} is not the same in all files: {detail} "
            f"({' and '.join(self.paths)}); select trains that lie in one of them"
        )


class InconsistentRunsError(XfelcatError, ValueError):
    """A key that cannot be one array over two runs; ``source``, ``key``, ``runs`` names both."""

    def __init__(self, source: str, key: str, detail: str, runs: Iterable[str]) -> None:
        self.source = source
        self.key = key
        self.runs = tuple(runs)
        super().__init__(
            f"{source!r} key {key!r} is not the same in all runs: {detail} "
            f"({' and '.join(self.runs)}); open runs that agree, or load them one by one"
        )


class IrregularDataError(XfelcatError, ValueError):
    """A key that cannot be exported as references; ``source``, ``key``, ``path`` names the file."""

    def __init__(self, source: str, key: str, path: str, reason: str, advice: str) -> None:
        self.source = source
        self.key = key
        self.path = path
        self.reason = reason
        super().__init__(
            f"{source!r} key {key!r} cannot be exported as references: {path}: {reason}; {advice}"
        )


class NotPlottableError(XfelcatError, TypeError):
    """A key whose values no picture can show; ``source``, ``key``."""

    def __init__(self, source: str, key: str, values: str) -> None:
        self.source = source
        self.key = key
        super().__init__(f"{source!r} key {key!r} has {values}: read it with ndarray()")


class TooLargeError(XfelcatError, MemoryError):
    """An array that does not fit into memory; ``source``, ``key``, and its ``n_bytes``."""

    def __init__(self, source: str, key: str, shape: tuple[int, ...], n_bytes: int) -> None:
        self.source = source
        self.key = key
        self.n_bytes = n_bytes
        super().__init__(
            f"{source!r} key {key!r} of shape {shape} takes {n_bytes / 2**30:,.1f} GiB, more than"
            " there is memory for: select trains or a region of interest, or use dask_array()"
        )


class FileStructureError(XfelcatError, OSError):
    """A file that cannot be read as EXDF; ``path``."""

    def __init__(self, path: str, reason: str, advice: str = "") -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" + (f"; {advice}" if advice else ""))


class ChangedFileError(FileStructureError):
    """A file whose content no longer fits what was planned; open the run again."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason, "the file has changed: open the run again")


class RunNotFoundError(XfelcatError, FileNotFoundError):
    """A proposal, run or file that does not exist; ``looked_at`` and the ``nearest`` there are."""

    def __init__(
        self,
        what: str,
        looked_at: Iterable[str] = (),
        nearest: Iterable[str] = (),
        *,
        sentence: str = "",
    ) -> None:
        self.what = what
        self.looked_at = tuple(looked_at)
        self.nearest = tuple(nearest)
        message = sentence or f"{what} not found"
        if self.looked_at:
            message += f"; looked at {', '.join(self.looked_at)}"
        if self.nearest:
            message += f"; the nearest that exist: {', '.join(self.nearest)}"
        super().__init__(message)


class CatalogNotFoundError(XfelcatError, FileNotFoundError):
    """No catalog at ``location``, or ``found_version``, of another schema version than ours."""

    def __init__(
        self,
        location: str,
        found_version: int = 0,
        our_version: int = 0,
        oldest_upgraded: int = 0,
    ) -> None:
        self.location = location
        self.found_version = found_version
        self.our_version = our_version
        versions = f"has schema version {found_version}, this xfelcat reads {our_version}"
        if not found_version:
            message = (
                f"no catalog at {location}; make one with"
                f" `xfelcat ingest PATH --catalog {location}`, or name one that is there"
                " (--catalog, XFELCAT_CATALOG)"
            )
        elif found_version < oldest_upgraded:
            message = (
                f"the catalog at {location} {versions} and cannot upgrade it: ingest its runs again"
            )
        elif found_version < our_version:
            message = (
                f"the catalog at {location} {versions}: `xfelcat db upgrade --catalog {location}`"
                " brings it there; older clients go on reading theirs"
            )
        else:
            message = f"the catalog at {location} {versions}: use a newer xfelcat"
        super().__init__(message)


class CatalogReadError(XfelcatError, OSError):
    """A database file of a catalog that cannot be read; ``path``."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"the catalog file {path} cannot be read: {reason}; `xfelcat db check` shows more"
        )


class CatalogWriteError(XfelcatError, OSError):
    """The catalog at ``location`` cannot be written."""

    def __init__(self, location: str, reason: str) -> None:
        self.location = location
        super().__init__(
            f"the catalog at {location} cannot be written: {reason};"
            " name another with --catalog or XFELCAT_CATALOG"
        )


class CatalogBusyError(CatalogWriteError):
    """Another writer is at work on this part of the catalog, and waiting was not wanted."""

    def __init__(self, location: str) -> None:
        super().__init__(location, "another writer is at work on it")


class TargetFileError(XfelcatError, ValueError):
    """A file to write that the data to be written come from; ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} is one of the files that these data come from; choose another")


class TargetWriteError(XfelcatError, OSError):
    """A file to write that is there already, or cannot be written; ``path``."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is not written: {reason}")


class QueryError(XfelcatError, ValueError):
    """SQL or a filter that cannot be run."""

    def __init__(self, message: str, hint: Hint | None = None) -> None:
        self.hint = hint
        super().__init__(message)


class ConfigError(XfelcatError, ValueError):
    """A setting with an unusable value."""


class MissingPackageError(XfelcatError, ImportError):
    """A package that an extra of xfelcat brings, and that is not installed; ``extra`` names it."""

    def __init__(self, package: str, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"this needs {package}, which is not installed: pip install 'xfelcat[{extra}]'"
        )


def import_extra(module: str, extra: str) -> Any:
    """A module that comes with an extra; raises MissingPackageError where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingPackageError(module.partition(".")[0], extra) from None
