"""Detectors of several modules as one; scripts change ``extra_data.components`` to this name.

Examples
--------
>>> from xfelcat.components import AGIPD1M
>>> agipd = AGIPD1M(run, min_modules=16)  # doctest: +SKIP
>>> agipd.get_array("image.data", pulses=by_index[:10])  # doctest: +SKIP
"""

from .loader.detectors.classes import (
    AGIPD1M,
    AGIPD500K,
    DSSC1M,
    JUNGFRAU,
    LPD1M,
    LPDSolo,
    identify_multimod_detectors,
)

__all__ = [
    "AGIPD1M",
    "AGIPD500K",
    "DSSC1M",
    "JUNGFRAU",
    "LPD1M",
    "LPDSolo",
    "identify_multimod_detectors",
]
