"""xfelcat: a SQL-indexed metadata catalog and array loader for European XFEL run data.

Importing this package imports nothing heavy: each public name is resolved when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Catalog": ".catalog.catalog",
    "DataCollection": ".loader.collection",
    "H5File": ".loader.opening",
    "KeyData": ".loader.keydata",
    "RunDirectory": ".loader.opening",
    "SourceData": ".loader.sourcedata",
    "by_id": ".loader.trains",
    "by_index": ".loader.trains",
    "open_run": ".loader.opening",
    "open_runs": ".loader.runs",
    "profile": ".loader.profile",
    "stack_data": ".loader.stacking",
    "stack_detector_data": ".loader.stacking",
    "validate": ".loader.validation",
    "write_zarr_references": ".loader.references",
    "zarr_references": ".loader.references",
}
_ERRORS = (
    "AliasError",
    "MultiRunError",
    "NoDataError",
    "PropertyNameError",
    "SourceNameError",
    "TrainIDError",
    "XfelcatError",
)
_HOMES |= dict.fromkeys(_ERRORS, ".catalog.errors")

__all__ = sorted(["__version__", *_HOMES])

if TYPE_CHECKING:
    from .catalog.catalog import Catalog
    from .catalog.errors import (
        AliasError,
        MultiRunError,
        NoDataError,
        PropertyNameError,
        SourceNameError,
        TrainIDError,
        XfelcatError,
    )
    from .loader.collection import DataCollection
    from .loader.keydata import KeyData
    from .loader.opening import H5File, RunDirectory, open_run
    from .loader.profile import profile
    from .loader.references import write_zarr_references, zarr_references
    from .loader.runs import open_runs
    from .loader.sourcedata import SourceData
    from .loader.stacking import stack_data, stack_detector_data
    from .loader.trains import by_id, by_index
    from .loader.validation import validate


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
