"""How does one key of many runs become one array?

1. ``collect_keys``: the key in every run that has it, and why the others lack it.
2. ``common_dtype``: the type and entry shape that all of them fit.
3. ``to_array`` reads run after run into one array; ``to_xarray``, ``to_dask``, ``to_series`` and
   ``to_frame`` label it with the run beside the train.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..catalog.errors import (
    FileStructureError,
    InconsistentRunsError,
    PropertyNameError,
    RunNotFoundError,
    SourceNameError,
)
from .places import RunPlace
from .region import parse_region

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from .collection import DataCollection
    from .keydata import KeyData

__all__ = [
    "KeysOfRuns",
    "collect_keys",
    "to_array",
    "to_dask",
    "to_frame",
    "to_series",
    "to_xarray",
    "warn_of_lacking",
]

Opener = Callable[[RunPlace], "DataCollection"]

# What a run says that has not got what is wanted: a selection that means nothing is a ValueError.
_LACKING = (
    SourceNameError,
    PropertyNameError,
    RunNotFoundError,
    FileStructureError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class KeysOfRuns:
    """A key in the runs that have it; ``errors`` are what the others said instead, by name."""

    source: str
    key: str
    found: tuple[tuple[RunPlace, "KeyData"], ...]
    errors: Mapping[str, Exception]

    @property
    def lacking(self) -> dict[str, str]:
        """The runs that lack it by name, with the reason."""
        return {name: str(error) for name, error in self.errors.items()}

    @property
    def keys(self) -> list["KeyData"]:
        """The key in one run after the other."""
        return [key for _, key in self.found]

    @property
    def places(self) -> list[RunPlace]:
        """The runs that have it."""
        return [place for place, _ in self.found]


def collect_keys(places: Sequence[RunPlace], opened: Opener, source: str, key: str) -> KeysOfRuns:
    """The key in every run that has it; no data are read."""
    found: list[tuple[RunPlace, KeyData]] = []
    errors: dict[str, Exception] = {}
    for place in places:
        try:
            of_run = opened(place)[source, key]
            _ = of_run.record
        except _LACKING as error:
            errors[place.name] = error
        else:
            found.append((place, of_run))
    return KeysOfRuns(source, key, tuple(found), errors)


def warn_of_lacking(what: str, lacking: Mapping[str, str], n_runs: int, *, stacklevel: int) -> None:
    """One warning for all the runs that have nothing to give."""
    if lacking:
        name, reason = next(iter(lacking.items()))
        warnings.warn(
            f"{len(lacking)} of {n_runs} runs left out of {what}, the first {name}: {reason}",
            UserWarning,
            stacklevel=stacklevel,
        )


def common_dtype(keys: KeysOfRuns, roi: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type that holds the values of all runs as they are, and the shape of an entry.

    Numbers of different types go together where a type holds both exactly: integers with integers,
    floating point with floating point, and integers of up to 32 bits with floating point. Anything
    else, and entries of different shapes, is an InconsistentRunsError.
    """
    (first_place, first), *others = keys.found
    dtype, shape = first.dtype, parse_region(roi, first.entry_shape).shape
    seen = [(first_place, first)]
    for place, key in others:
        other = parse_region(roi, key.entry_shape).shape
        if other != shape:
            detail = f"an entry has the shape {shape} against {other}"
            raise InconsistentRunsError(
                keys.source, keys.key, detail, (first_place.name, place.name)
            )
        joint = _joint(dtype, key.dtype)
        if joint is None:
            earlier = next(p for p, k in seen if _joint(k.dtype, key.dtype) is None)
            detail = f"type {dtype} against {key.dtype}"
            raise InconsistentRunsError(keys.source, keys.key, detail, (earlier.name, place.name))
        dtype = joint
        seen.append((place, key))
    return dtype, shape


def _joint(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type that holds what both hold, exactly; None where there is none."""
    if one == other:
        return one
    if one.kind not in "iuf" or other.kind not in "iuf":
        return None
    joint = np.result_type(one, other)
    if joint.kind == "f":
        for dtype in (one, other):
            if dtype.kind in "iu" and np.iinfo(dtype).bits > np.finfo(joint).nmant:
                return None
    return joint


def to_array(keys: KeysOfRuns, roi: Any = ()) -> NDArray[Any]:
    """The data of all runs, one after the other, each read to its place."""
    dtype, shape = common_dtype(keys, roi)
    lengths = [key.shape[0] for key in keys.keys]
    out = np.empty((sum(lengths), *shape), dtype)
    start = 0
    for key, length in zip(keys.keys, lengths, strict=True):
        key.ndarray(roi, out=out[start : start + length])
        start += length
    return out


def labels(places: Sequence[RunPlace]) -> dict[str, list[Any]]:
    """What tells the runs apart: the number, and proposal, data class or path where these differ.

    A run outside a facility tree has -1 for a number.
    """
    identities = [place.identity for place in places]
    found: dict[str, list[Any]] = {"run": [i.run for i in identities]}
    if len({i.proposal for i in identities}) > 1:
        found["proposal"] = [i.proposal for i in identities]
    if len({i.data_class for i in identities}) > 1:
        found["data_class"] = [i.data_class for i in identities]
    if any(i.is_loose for i in identities):
        found["path"] = [place.path for place in places]
    return found


def _coordinates(keys: KeysOfRuns) -> dict[str, Any]:
    """Labels of every entry, to go along the dimension trainId."""
    lengths = [key.shape[0] for key in keys.keys]
    coords = {
        name: ("trainId", np.repeat(np.asarray(values), lengths))
        for name, values in labels(keys.places).items()
    }
    ids = [key.train_id_coordinates() for key in keys.keys]
    return {"trainId": np.concatenate(ids)} | coords


def _attributes(keys: KeysOfRuns) -> dict[str, Any]:
    units = {key.units for key in keys.keys} - {None}
    attrs: dict[str, Any] = {"units": units.pop()} if len(units) == 1 else {}
    if units:
        warnings.warn(
            f"{keys.source} {keys.key} has different units in these runs: {sorted(map(str, units))}"
            " and others; the values are as stored",
            UserWarning,
            stacklevel=5,
        )
    return attrs | ({"runs_lacking": list(keys.lacking)} if keys.lacking else {})


def to_xarray(
    keys: KeysOfRuns,
    roi: Any,
    extra_dims: Sequence[str] | None,
    name: str | None,
    *,
    lazily: bool = False,
) -> "xr.DataArray":
    """The data of all runs labelled with train ID and run; read when it is used if ``lazily``."""
    import xarray as xr

    from .convert import label_of

    data = to_dask(keys) if lazily else to_array(keys, roi)
    if data.dtype.names:
        raise TypeError(
            f"{keys.source} {keys.key} has several fields per entry: load the runs one by one"
        )
    dims = [f"dim_{i}" for i in range(data.ndim - 1)] if extra_dims is None else list(extra_dims)
    if len(dims) != data.ndim - 1:
        raise ValueError(f"extra_dims has {len(dims)} names for {data.ndim - 1} dimensions")
    return xr.DataArray(
        data,
        dims=["trainId", *dims],
        coords=_coordinates(keys),
        name=name or label_of(keys.keys[0], "."),
        attrs=_attributes(keys),
    )


def to_dask(keys: KeysOfRuns) -> Any:
    """A dask array of all runs; chunks are those of the files."""
    import dask.array as da

    from .lazy import to_dask as one_run

    dtype, _ = common_dtype(keys, ())
    parts = [one_run(key, False) for key in keys.keys]
    parts = [part if part.dtype == dtype else part.astype(dtype) for part in parts]
    return da.concatenate(parts)  # type: ignore[no-untyped-call]


def to_series(keys: KeysOfRuns) -> "pd.Series[Any]":
    """1D data of all runs, labelled with run and train ID."""
    import pandas as pd

    from .convert import label_of

    if keys.keys[0].ndim > 1:
        raise TypeError(
            f"{keys.source} {keys.key} has {keys.keys[0].ndim} dimensions: use xarray()"
        )
    coords = _coordinates(keys)
    ids = coords.pop("trainId")
    levels = {n: coords[n][1] for n in ("proposal", "data_class", "path", "run") if n in coords}
    index = pd.MultiIndex.from_arrays([*levels.values(), ids], names=[*levels, "trainId"])
    series = pd.Series(to_array(keys), name=label_of(keys.keys[0], "/"), index=index)
    series.attrs.update(_attributes(keys))
    return series


def to_frame(
    places: Sequence[RunPlace], opened: Opener, choice: Callable[["DataCollection"], "pd.DataFrame"]
) -> "tuple[pd.DataFrame, dict[str, str]]":
    """The tables of all runs below each other, and the runs that have none, with the reason."""
    import pandas as pd

    frames, having = [], []
    errors: dict[str, Exception] = {}
    for place in places:
        try:
            frames.append(choice(opened(place)))
        except _LACKING as error:
            errors[place.name] = error
        else:
            having.append(place)
    if not frames:
        if errors:
            raise next(iter(errors.values()))
        return pd.DataFrame(), {}
    known = labels(having)
    levels = {n: known[n] for n in ("proposal", "data_class", "path", "run") if n in known}
    keys: list[Any] = list(zip(*levels.values(), strict=True))
    keys = [key[0] for key in keys] if len(levels) == 1 else keys
    frame = pd.concat(frames, keys=keys, names=[*levels, "trainId"])
    lacking = {name: str(error) for name, error in errors.items()}
    if lacking:
        frame.attrs["runs_lacking"] = list(lacking)
    return frame, lacking
