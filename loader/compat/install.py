"""The switch that makes ``import extra_data`` hand out xfelcat, and the table of what it hands out.

A program that builds on EXtra-data imports it by name, often deep inside. ``install`` puts a finder
before all others that answers for ``extra_data`` and the submodules listed here; nothing else
changes, and nothing does so by itself. Each name is looked up when it is first used, so that
installing imports next to nothing.

1. ``MODULES``: by submodule, what programs import from it, and where that is here.
2. ``StandIn``: a module that gives these names.
3. ``install``, and ``run_program``: a script or module run after it, with the processes it starts.
"""

import os
import runpy
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = "extra_data"
API_VERSION = "1.25.0"
"""The release of EXtra-data whose names these are; programs compare ``__version__``."""
ROOT = __name__.partition(".")[0]
# A folder to put on PYTHONPATH: its package ``extra_data`` installs the stand-ins on import.
SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shim")

_ERRORS = dict.fromkeys(
    (
        "AliasError",
        "FileStructureError",
        "MultiRunError",
        "NoDataError",
        "PropertyNameError",
        "SourceNameError",
        "TrainIDError",
    ),
    "catalog.model.errors",
)
_SPELLINGS = dict.fromkeys(("by_id", "by_index"), "loader.select.trains")
_DATA = {
    "DataCollection": "loader.collection",
    "KeyData": "loader.keydata",
    "SourceData": "loader.sourcedata",
    "FileAccess": "loader.compat.file_access",
}
_OPENING = {
    "DEFAULT_ALIASES_FILE": "loader.open:DEFAULT_ALIASES",
    "H5File": "loader.open",
    "RunDirectory": "loader.open",
    "RunHandler": "loader.open:RunDirectory",
    "open_run": "loader.open",
}
_STACKING = dict.fromkeys(("stack_data", "stack_detector_data"), "loader.output.stacking")
_FUNCTIONS = ("roi_shape", "same_run", "select_train_ids", "split_trains")
MODULES: dict[str, dict[str, str]] = {
    "": {
        **_DATA,
        **_OPENING,
        **_SPELLINGS,
        **_STACKING,
        **{n: h for n, h in _ERRORS.items() if n not in ("FileStructureError", "NoDataError")},
        "AliasIndexer": "loader.select.aliases",
    },
    "aliases": {"AliasIndexer": "loader.select.aliases"},
    "auxiliary": {"AuxiliaryIndexer": "loader.sourcedata:AuxiliarySources"},
    "components": {},  # those of xfelcat.components, whatever they are
    "exceptions": _ERRORS,
    "file_access": {"FileAccess": "loader.compat.file_access"},
    "keydata": {
        "KeyData": "loader.keydata",
        "expand_indexing": "loader.compat.functions",
    },
    "locality": dict.fromkeys(("lc_any", "lc_avail", "lc_ondisk"), "catalog.scan.locality"),
    "read_machinery": {
        **_SPELLINGS,
        "find_proposal": "loader.open",
        **dict.fromkeys((*_FUNCTIONS, "DataChunk"), "loader.compat.functions"),
    },
    "reader": {**_DATA, **_OPENING, **_SPELLINGS, **_ERRORS},
    "sourcedata": {"SourceData": "loader.sourcedata", "KeyData": "loader.keydata"},
    "stacking": {**_STACKING, "StackView": "loader.output.stacking"},
    "utils": dict.fromkeys(
        ("available_cpu_cores", "default_num_threads", "isinstance_no_import"),
        "loader.compat.functions",
    ),
    "writer": dict.fromkeys(("FileWriter", "VirtualFileWriter"), "loader.compat.functions"),
}


def _components() -> Sequence[str]:
    """The public names of ``xfelcat.components``; none where this version has no such module."""
    home = f"{ROOT}.components"
    try:
        names: Sequence[str] = import_module(home).__all__
    except ModuleNotFoundError as error:
        if error.name != home:
            raise
        return ()
    return names


class StandIn(ModuleType):
    """A module that gives the names of ``MODULES`` for one submodule, each when it is asked for."""

    def __init__(self, submodule: str) -> None:
        super().__init__(f"{NAME}.{submodule}" if submodule else NAME, "xfelcat, by another name.")
        self._homes = dict(MODULES[submodule])
        if submodule == "components":
            self._homes |= dict.fromkeys(_components(), "components")
        self._submodules = [n for n in MODULES if n] if not submodule else []
        self.__all__ = sorted(self._homes)

    def __getattr__(self, name: str) -> Any:
        if name == "__version__" and not self.__name__.partition(".")[2]:
            return API_VERSION
        if name in self._submodules:
            return import_module(f"{NAME}.{name}")
        if name not in self._homes:
            raise AttributeError(
                f"module {self.__name__!r} has no attribute {name!r}: it is xfelcat's stand-in, and"
                " docs/compat.md lists what it has"
            )
        module, _, other = self._homes[name].partition(":")
        value = getattr(import_module(f"{ROOT}.{module}"), other or name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__all__, *self._submodules]


class _Finder(MetaPathFinder, Loader):
    """Finds the stand-ins, and leaves everything else to the finders behind it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, submodule = name.partition(".")
        if package != NAME or submodule not in MODULES:
            return None
        return ModuleSpec(name, self, origin=ROOT, is_package=not submodule)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name.partition(".")[2])

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Make ``import extra_data`` give xfelcat in this process, from now on.

    ``open_run`` then takes raw and processed data where ``data`` is not given, as EXtra-data does:
    the setting ``default_data`` is set in the environment, unless it is there.

    Raises
    ------
    ImportError
        EXtra-data itself has been imported: what has its objects by name would keep them.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    present = sys.modules.get(NAME)
    if present is not None and not (present.__file__ or "").startswith(SHIM):
        raise ImportError(
            f"{NAME} is already imported, from {present.__file__}: install xfelcat.compat first"
        )
    os.environ.setdefault("XFELCAT_DEFAULT_DATA", "default")
    sys.modules.pop(NAME, None)
    sys.meta_path.insert(0, _Finder())
    import_module(NAME)


def run_program(arguments: Sequence[str]) -> None:
    """Run ``SCRIPT [ARGS]`` or ``-m MODULE [ARGS]`` on xfelcat, and the processes it starts too."""
    if not arguments or arguments[0] in ("-h", "--help") or list(arguments) == ["-m"]:
        usage = "usage: python -m xfelcat.compat SCRIPT [ARGS], or -m MODULE [ARGS]"
        if arguments and arguments[0] != "-m":
            sys.stdout.write(f"{usage}\n")
            return
        sys.stderr.write(f"{usage}\n")
        sys.exit(2)
    install()
    paths = [SHIM, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
