"""How much of the same `make test` tries, and how much `make test-long`."""

import os

import pytest

MORE = int(os.environ.get("XFELCAT_TEST_EXAMPLES", "1"))


def examples(n):
    """``n`` examples in `make test`, several times as many in `make test-long`."""
    return n * MORE


def some(values, quick):
    """Parameters of which `make test` tries some, and `make test-long` all.

    ``quick`` are those of `make test`, or how many: about every so many, beginning with the first.
    """
    listed = list(values)
    if isinstance(quick, int):
        quick = listed[:: -(-len(listed) // quick)]
    return [v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in listed]
