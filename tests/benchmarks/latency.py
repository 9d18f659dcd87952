"""Slow file systems: every call that opens, looks at or reads a file waits first.

Calls of Python are delayed for both sides: ``os.stat``, ``os.scandir``, ``os.listdir``,
``os.open``, ``os.pread`` and ``os.preadv``. What h5py opens for reading is opened as a file object
of Python, by which HDF5 makes the same reads as by itself; these are delayed, too.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h5py

__all__ = ["slow"]

CALLS = ("stat", "scandir", "listdir", "open", "pread", "preadv")


@contextmanager
def slow(seconds: float) -> Iterator[None]:
    """Have every such call of the block wait so long, also in other threads."""
    real: list[tuple[str, Callable[..., Any]]] = [(name, getattr(os, name)) for name in CALLS]
    open_hdf5 = h5py.File.__init__

    def delayed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*args: Any, **options: Any) -> Any:
            time.sleep(seconds)
            return call(*args, **options)

        return wait

    class SlowFile(io.FileIO):
        def readinto(self, buffer: Any) -> Any:
            time.sleep(seconds)
            return super().readinto(buffer)

        def __del__(self) -> None:
            self.close()  # h5py only forgets it

    def open_slowly(file: h5py.File, name: Any, mode: str = "r", **options: Any) -> None:
        is_path = isinstance(name, str | os.PathLike) and mode == "r"
        open_hdf5(file, delayed(SlowFile)(name) if is_path else name, mode, **options)

    for name, call in real:
        setattr(os, name, delayed(call))
    h5py.File.__init__ = open_slowly
    try:
        yield
    finally:
        h5py.File.__init__ = open_hdf5
        for name, call in real:
            setattr(os, name, call)
