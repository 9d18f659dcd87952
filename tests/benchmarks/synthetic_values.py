"""Which RUN values does a proposal of the synthetic facility have, as stretches of runs?

Every property has a value and a timestamp. A fifth of the properties changes from run to run, the
others stay the same all through the proposal.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from xfelcat.catalog.store.rows import Interner

from benchmarks import vocabulary as words

_STATES = np.array(["ON", "OFF", "MOVING", "ERROR", "STATIC"])


def run_value_table(shard: Any, interner: Interner) -> pa.Table:
    """The rows of ``run_value``, by source, key and first run."""
    n_runs = shard.scale.runs
    keys = []
    for device_class in range(words.N_CLASSES):
        source = interner.source(words.control_source(shard.instrument, device_class))
        for p in words.properties(device_class, shard.version):
            keys.append((source, interner.key(f"{p.name}.value"), p.dtype, p, device_class))
            keys.append((source, interner.key(f"{p.name}.timestamp"), "<u8", p, device_class))
    keys.sort(key=lambda k: k[:2])
    repeats = np.array([n_runs if p.changing else 1 for *_, p, _ in keys])
    of_key = np.repeat(np.arange(len(keys)), repeats)
    at = np.arange(len(of_key)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    changing = np.repeat(repeats > 1, repeats) if n_runs > 1 else np.ones(len(of_key), bool)
    dtypes = np.array([k[2] for k in keys])[of_key]
    return pa.table(
        {
            "first_run": shard.run_ids[np.where(changing, at, 0)],
            "last_run": shard.run_ids[np.where(changing, at, n_runs - 1)],
            "source_id": np.array([k[0] for k in keys], np.int32)[of_key],
            "key_id": np.array([k[1] for k in keys], np.int32)[of_key],
            "dtype": pa.array(dtypes).dictionary_encode(),
            **_values(shard, keys, of_key, dtypes),
            "shape": pa.nulls(len(of_key), pa.list_(pa.int64())),
        }
    )


def _values(shard: Any, keys: list[Any], of_key: np.ndarray, dtypes: np.ndarray) -> dict[str, Any]:
    """Number, text and raw of every row, as ``encode_value`` would make them."""
    n = len(of_key)
    number = shard.rng.normal(1.0, 0.5, n)
    kinds = {
        "<f4": number.astype(np.float32).astype(np.float64),
        "<i4": np.round(number * 1000),
        "<i8": np.round(number * 1000),
        "|u1": (number > 1).astype(np.float64),
    }
    for kind, values in kinds.items():
        number = np.where(dtypes == kind, values, number)
    is_time = dtypes == "<u8"
    times = np.uint64(1_700_000_000_000_000_000) + shard.rng.integers(0, 10**16, n).astype("u8")
    number = np.where(is_time, times.astype(np.float64), number)
    is_text = dtypes == "str"
    is_class = np.array([p.name == "classId" for *_, p, _ in keys])[of_key]
    of_class = np.array([f"DeviceClass{c:02d}" for *_, c in keys])[of_key]
    text = np.where(is_class, of_class, _STATES[shard.rng.integers(0, len(_STATES), n)])
    return {
        "number": pa.array(number, mask=is_text),
        "text": pa.array(text, pa.string(), mask=~is_text),
        "raw": pa.array(times.view("V8").tolist(), pa.binary(), mask=~is_time),
    }
