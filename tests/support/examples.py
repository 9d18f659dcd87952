"""How many examples Hypothesis makes: `make test-long` makes more of them."""

import os

MORE = int(os.environ.get("XFELCAT_TEST_EXAMPLES", "1"))


def examples(n):
    """``n`` examples in `make test`, several times as many in `make test-long`."""
    return n * MORE
