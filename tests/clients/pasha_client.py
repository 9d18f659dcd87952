"""pasha maps over runs and keys of xfelcat, with processes and threads: every train once, in order.

It has a functor for EXtra-data's objects; ours bring their own (``_pasha_functor_``), so that it
works whether or not EXtra-data is imported, and whether or not ``xfelcat.compat`` is installed.
"""

import subprocess
import sys
import tempfile

import numpy as np
import pasha
from xfelcat import RunDirectory, by_id

XGM, CAMERA = "SA1_XTD2_XGM/XGM/DOOCS", "SPB_IRU_CAM/CAM/SIDEMIC:daqOutput"


def check(run, context):
    key = run[CAMERA, "data.image.pixels"]
    ids = context.alloc(shape=len(key.train_ids), dtype=np.uint64)
    sums = context.alloc(shape=len(key.train_ids), dtype=np.float64)

    def of_key(worker, index, train_id, data):
        ids[index] = train_id
        sums[index] = -1 if data is None else data.sum()

    context.map(of_key, key)
    expected = dict.fromkeys(key.train_ids, -1.0) | {t: d.sum() for t, d in key.trains()}
    assert ids.tolist() == key.train_ids
    assert sums.tolist() == list(expected.values())

    chosen = run.select(XGM, "beamPosition.*").select_trains(by_id[run.train_ids[2:15]])
    x = context.alloc(shape=len(chosen.train_ids), dtype=np.float64)

    def of_run(worker, index, train_id, data):
        x[index] = data[XGM]["beamPosition.ixPos.value"]

    context.map(of_run, chosen)
    np.testing.assert_array_equal(x, chosen[XGM, "beamPosition.ixPos"].ndarray())


def main():
    with tempfile.TemporaryDirectory(prefix="xfelcat-pasha-") as place:
        made = [sys.executable, "-m", "xfelcat", "demo", place]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with RunDirectory(f"{place}/SPB/202405/p900032/raw/r0001") as run:
            contexts = (pasha.SerialContext, pasha.ThreadContext, pasha.ProcessContext)
            for kind in contexts:
                check(run, kind() if kind is pasha.SerialContext else kind(num_workers=3))
                print(f"pasha {pasha.__version__}, {kind.__name__}: as read directly")  # noqa: T201


if __name__ == "__main__":
    main()
