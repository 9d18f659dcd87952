"""Synthetic run data: described by specifications, written as EXDF files, known to the last pixel.

Start with ``specs`` (what a run is to be like) and ``writing`` (make it so); ``oracle`` and
``values`` say what a reader must find, ``devices`` has ready-made sources, ``facility`` writes a
small facility and ``faults`` breaks files in the ways they break in practice.
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

__all__ = [
    "FacilitySummary",
    "FileSpec",
    "GroupSpec",
    "KeySpec",
    "RunSpec",
    "SourceSpec",
    "auxiliary",
    "control",
    "instrument",
    "split",
    "write_facility",
    "write_run",
]
