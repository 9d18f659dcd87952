"""xfelcat by the name of EXtra-data, for processes that a program run by ``xfelcat.compat`` starts.

``python -m xfelcat.compat`` puts the folder of this package on PYTHONPATH; importing it replaces it
by the stand-in.
"""

from importlib import import_module

# By name: Python finds this file by its folder, not as a part of the package.
import_module("xfelcat.compat").install()
