"""EXtra-data's names on xfelcat, for programs that import EXtra-data: on request, never by itself.

    python -m xfelcat.compat SCRIPT [ARGS]
    python -m xfelcat.compat -m MODULE [ARGS]

or ``from xfelcat.compat import install; install()`` before anything imports ``extra_data``.
"""

import sys

from .loader.compat.install import install, run_program

__all__ = ["install"]

if __name__ == "__main__":
    run_program(sys.argv[1:])
