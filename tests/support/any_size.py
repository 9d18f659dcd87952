"""Have small data read the way that large data are."""

import pytest
from xfelcat.loader.read import direct, execute, files


def direct_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read past HDF5, in threads, however little there is to read."""
    for module, name in (
        (files, "WORTH_LAYOUT"),
        (files, "WORTH_CHUNK"),
        (direct, "SMALL_BYTES"),
        (direct, "SMALL_PART"),
        (direct, "SMALL_CHUNK"),
        (execute, "WORTH_THREADS"),
    ):
        monkeypatch.setattr(module, name, 0)
