"""How is the type of a dataset written as text, and read back?

A numpy dtype string covers most; HDF5 adds strings of variable length, ragged arrays and compound
types. Enums are kept as their integer, HDF5's boolean enum as bool.
"""

import json
from typing import Any

import numpy as np

__all__ = ["decode_dtype", "encode_dtype"]

DType = np.dtype[Any]


def encode_dtype(dtype: DType) -> str:
    """Text for a dtype as h5py reports it: ``<f4``, ``str``, ``vlen:<f8``, ``{...}``."""
    vlen = dtype.metadata.get("vlen") if dtype.metadata else None
    if vlen is str:
        return "str"
    if vlen is bytes:
        return "bytes"
    if vlen is not None:
        return f"vlen:{encode_dtype(np.dtype(vlen))}"
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return json.dumps({"of": encode_dtype(base), "shape": list(shape)})
    if dtype.fields is not None:
        fields = [[name, encode_dtype(dtype.fields[name][0])] for name in dtype.names or ()]
        return json.dumps({"fields": fields})
    return dtype.str


def decode_dtype(text: str) -> DType:
    """The dtype that ``encode_dtype`` wrote; raises ValueError or TypeError for other text."""
    if text in ("str", "bytes"):
        return np.dtype("O", metadata={"vlen": {"str": str, "bytes": bytes}[text]})
    if text.startswith("vlen:"):
        return np.dtype("O", metadata={"vlen": decode_dtype(text[5:])})
    if text.startswith("{"):
        described = json.loads(text)
        if "fields" in described:
            return np.dtype([(name, decode_dtype(t)) for name, t in described["fields"]])
        return np.dtype((decode_dtype(described["of"]), tuple(described["shape"])))
    return np.dtype(text)
