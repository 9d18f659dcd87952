"""Slow file systems: every call that opens, looks at or reads a file waits first.

Calls of Python are delayed for both sides: ``os.stat``, ``os.scandir``, ``os.listdir``,
``os.open``, ``os.pread`` and ``os.preadv``. Reads of the HDF5 library cannot be reached from
Python; of what it does, only opening a file is delayed, once, so that the figures favour what reads
by HDF5.
"""

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
    real: list[tuple[Any, str, Callable[..., Any]]] = [(os, n, getattr(os, n)) for n in CALLS]
    real.append((h5py.h5f, "open", h5py.h5f.open))

    def delayed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*args: Any, **options: Any) -> Any:
            time.sleep(seconds)
            return call(*args, **options)

        return wait

    for home, name, call in real:
        setattr(home, name, delayed(call))
    try:
        yield
    finally:
        for home, name, call in real:
            setattr(home, name, call)
