"""Which files are on disk, which only on tape? The place where scripts look for these filters.

A script that says ``from extra_data.locality import lc_ondisk`` changes the name of the package and
goes on working. The filters are given to ``RunDirectory`` and ``open_run`` as ``file_filter``.
"""

from .catalog.scan.locality import lc_any, lc_avail, lc_ondisk

__all__ = ["lc_any", "lc_avail", "lc_ondisk"]
