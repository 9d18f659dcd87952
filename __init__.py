"""xfelcat: a SQL-indexed metadata catalog and array loader for European XFEL run data.

Importing this package imports nothing heavy: each public name is resolved when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Catalog": ".loader.jobs.catalog",
    "DataCollection": ".loader.collection",
    "H5File": ".loader.open",
    "KeyData": ".loader.keydata",
    "RunDirectory": ".loader.open",
    "SourceData": ".loader.sourcedata",
    "by_id": ".loader.select.trains",
    "by_index": ".loader.select.trains",
    "open_run": ".loader.open",
    "open_runs": ".loader.runs",
    "profile": ".loader.jobs.profile",
    "stack_data": ".loader.output.stacking",
    "stack_detector_data": ".loader.output.stacking",
    "validate": ".loader.jobs.validation",
    "write_zarr_references": ".loader.output.references",
    "zarr_references": ".loader.output.references",
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
_HOMES |= dict.fromkeys(_ERRORS, ".catalog.model.errors")

__all__ = sorted(["__version__", *_HOMES])

if TYPE_CHECKING:
    from .catalog.model.errors import (
        AliasError,
        MultiRunError,
        NoDataError,
        PropertyNameError,
        SourceNameError,
        TrainIDError,
        XfelcatError,
    )
    from .loader.collection import DataCollection
    from .loader.jobs.catalog import Catalog
    from .loader.jobs.profile import profile
    from .loader.jobs.validation import validate
    from .loader.keydata import KeyData
    from .loader.open import H5File, RunDirectory, open_run
    from .loader.output.references import write_zarr_references, zarr_references
    from .loader.output.stacking import stack_data, stack_detector_data
    from .loader.runs import open_runs
    from .loader.select.trains import by_id, by_index
    from .loader.sourcedata import SourceData


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
