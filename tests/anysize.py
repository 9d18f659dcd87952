"""Have small data read the way that large data are."""

import pytest
from xfelcat.loader import files, read
from xfelcat.loader.direct import extents, tasks


def direct_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read past HDF5, in threads, however little there is to read."""
    for module, name in (
        (files, "WORTH_LAYOUT"),
        (files, "WORTH_CHUNK"),
        (extents, "SMALL_BYTES"),
        (tasks, "SMALL_PART"),
        (tasks, "SMALL_CHUNK"),
        (read, "WORTH_THREADS"),
    ):
        monkeypatch.setattr(module, name, 0)
