"""Synthetic run data: described by specifications, written as EXDF files, known to the last pixel.

``specs`` describes a run and computes its values, ``writing`` writes it, and ``facility`` writes a
small facility with faults.
"""

from .facility import FacilitySummary, write_facility
from .specs import (
    FileSpec,
    GroupSpec,
    KeySpec,
    RunSpec,
    SourceSpec,
    auxiliary,
    control,
    instrument,
    split,
)
from .writing import write_run
