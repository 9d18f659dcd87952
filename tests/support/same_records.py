"""Do two records of one file say the same?"""

import dataclasses

import numpy as np


def same(a, b):
    """Whether two records of one file say the same."""
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "trains":
            assert x.token == y.token
        elif field.name == "timestamps":
            np.testing.assert_array_equal(x, y)
        elif field.name == "layout":
            assert x.canonical == y.canonical
        elif field.name == "patterns":
            assert [p.token for p in x] == [p.token for p in y]
        elif field.name == "frame_ids":
            assert [ids and ids.token for ids in x] == [ids and ids.token for ids in y]
        elif field.name not in ("scanned_at", "verified", "run_values"):
            assert x == y, field.name
