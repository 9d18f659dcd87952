"""Which data files get opened, by the HDF5 library or by our own reader?"""

import os
from collections.abc import Callable
from typing import Any

import h5py
import pytest
from xfelcat.catalog.hdf5.objects import OwnFile

__all__ = ["forbid_opening", "record_opening"]


def record_opening(
    monkeypatch: pytest.MonkeyPatch, told: Callable[[str], object] | None = None
) -> list[str]:
    """Names of the files that are opened from now on; ``told`` hears the path first."""
    names: list[str] = []

    def opening(path: str | bytes) -> None:
        if told:
            told(os.fsdecode(path))
        names.append(os.path.basename(os.fsdecode(path)))

    real_open, real_init = h5py.h5f.open, OwnFile.__init__

    def open_(name: bytes, *args: Any, **kwargs: Any) -> Any:
        opening(name)
        return real_open(name, *args, **kwargs)

    def init(self: OwnFile, path: str, *args: Any) -> None:
        opening(path)
        real_init(self, path, *args)

    monkeypatch.setattr(h5py.h5f, "open", open_)
    monkeypatch.setattr(OwnFile, "__init__", init)
    return names


def forbid_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if any file is opened."""

    def told(path: str) -> None:
        raise AssertionError(f"{path} was opened")

    record_opening(monkeypatch, told)
