"""Have small data read the way that large data are."""

import pytest
from xfelcat.loader.read import execute


def direct_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in threads, however little there is to read."""
    monkeypatch.setattr(execute, "WORTH_THREADS", 0)
