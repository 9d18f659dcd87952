"""Settings: from the environment, else the config file, else the default.

The config file is TOML: ``XFELCAT_CONFIG`` names it, else it is ``xfelcat/config.toml`` in the
user's configuration directory.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .model.errors import ConfigError, did_you_mean, nearest
from .model.names import parse_duration

# The variables of each setting, the first that is set counts; and its default.
SETTINGS = {
    "catalog": (("XFELCAT_CATALOG",), ""),
    "data_root": (("XFELCAT_DATA_ROOT", "EXTRA_DATA_DATA_ROOT"), "/gpfs/exfel/exp"),
    "trust": (("XFELCAT_TRUST",), "stat"),
    "threads": (("XFELCAT_THREADS",), "0"),
    "direct": (("XFELCAT_DIRECT",), "1"),
    "default_data": (("XFELCAT_DEFAULT_DATA",), ""),
    "follow_links": (("XFELCAT_FOLLOW_LINKS",), "0"),
    "lock": (("XFELCAT_LOCK",), "flock"),
    "keep": (("XFELCAT_KEEP",), "0h"),
    "path_map": (("XFELCAT_PATH_MAP",), ""),
    "merged": (("XFELCAT_MERGED",), ""),
    "pager": (("XFELCAT_PAGER", "PAGER"), "less"),
    "software_root": (("XFELCAT_SOFTWARE_ROOT", "EXTRA_DATA_SW_ROOT"), "/gpfs/exfel/sw"),
}
# What they may be in the file, besides strings.
_TOML_TYPES = {"threads": int, "direct": bool, "follow_links": bool}
TRUST = ("stat", "directory", "never-stat")
_YES_OR_NO = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force."""

    catalog: str
    """Directory of the catalog; empty where none is named."""
    data_root: str
    """Facility tree."""
    trust: str
    """What of the files is compared with the catalog on opening.

    ``stat``: size and time of each; ``directory``: the names in the run's directory;
    ``never-stat``: nothing. A file that is opened is compared in any case.
    """
    threads: int
    """How many threads read arrays; 0 for as many as there are cores, up to 8."""
    direct: bool
    """Whether to read and decompress past HDF5 where that gives the same values."""
    default_data: str
    """What ``open_run`` opens without ``data``; empty: raw, with a warning if that is not all."""
    follow_links: bool
    """Whether a scan opens the other files that HDF5 links of a data file lead to."""
    lock: str
    """How writers of a catalog take turns: ``flock``, ``fcntl`` or ``postgres:DSN``."""
    keep: timedelta
    """How long versions of a catalog's databases are kept that newer ones have replaced."""
    path_map: tuple[tuple[str, str], ...]
    """Where this machine has what lies elsewhere on others: beginnings of paths, there and here."""
    merged: str
    """Where the database of all runs is: empty for a file of the catalog, else a DuckLake.

    ``ducklake:PATH`` has its metadata in a file, a relative path being from the catalog;
    ``ducklake:postgres:DSN`` in a PostgreSQL server.
    """
    pager: str
    """The command that shows on a terminal what is longer than it; ``cat`` for none."""
    software_root: str
    """Where instruments keep the alias files of all their proposals."""


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment and the config file.

    Raises ConfigError for a config file that cannot be read, an unknown setting or a bad value.
    """
    environ = os.environ if environ is None else environ
    values = {name: default for name, (_, default) in SETTINGS.items()}
    values |= _read_config(config_path(environ), required="XFELCAT_CONFIG" in environ)
    for name, (variables, _) in SETTINGS.items():
        for variable in reversed(variables):
            values[name] = environ.get(variable) or values[name]

    def refuse(name: str, wanted: str) -> ConfigError:
        return ConfigError(f"setting {name} is {values[name]!r}: it must be {wanted}")

    if values["trust"] not in TRUST:
        raise refuse("trust", " or ".join(TRUST))
    if not values["threads"].isdecimal():
        raise refuse("threads", "a number of threads, 0 or more")
    for name in ("direct", "follow_links"):
        if values[name].lower() not in _YES_OR_NO:
            raise refuse(name, "1 or 0")
    if values["lock"] not in ("flock", "fcntl") and not values["lock"].startswith("postgres:"):
        raise refuse("lock", "flock, fcntl or postgres:DSN")
    path_map = _parse_map(values["path_map"])
    if path_map is None:
        raise refuse("path_map", "pairs of absolute paths, as /gpfs/exfel=/mnt/exfel;/a=/b")
    keep = parse_duration(values["keep"])
    if keep is None:
        raise refuse("keep", "a time such as 12h, 14d or 2w")
    merged = values["merged"]
    if merged and (not merged.startswith("ducklake:") or merged.endswith((":", "/"))):
        raise refuse("merged", "ducklake:PATH or ducklake:postgres:DSN")
    return Settings(
        os.path.expanduser(values["catalog"]),
        os.path.expanduser(values["data_root"]),
        values["trust"],
        int(values["threads"]),
        _YES_OR_NO[values["direct"].lower()],
        values["default_data"],
        _YES_OR_NO[values["follow_links"].lower()],
        values["lock"],
        keep,
        path_map,
        merged.replace("ducklake:~/", f"ducklake:{os.path.expanduser('~')}/", 1),
        values["pager"],
        os.path.expanduser(values["software_root"]),
    )


def _parse_map(text: str) -> tuple[tuple[str, str], ...] | None:
    """The pairs of a path map; None where it is none."""
    found = []
    for pair in filter(None, text.split(";")):
        there, _, here = pair.partition("=")
        if not (there.startswith("/") and here.startswith("/")):
            return None
        found.append((there.rstrip("/"), here.rstrip("/")))
    return tuple(found)


def local_path(path: str, path_map: tuple[tuple[str, str], ...]) -> str:
    """Where this machine has a file that others have at a path; see the setting ``path_map``."""
    for there, here in path_map:
        if path.startswith(there + "/"):
            return here + path[len(there) :]
    return path


def load_slurm(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The section ``slurm`` of the config file: the arguments of ``dask_jobqueue.SLURMCluster``.

    Raises ConfigError where there is none, and as ``load_settings``.
    """
    environ = os.environ if environ is None else environ
    path = config_path(environ)
    found = _read_toml(path, required=True).get("slurm")
    if not isinstance(found, dict):
        raise ConfigError(f"config file {path} has no section [slurm], which describes the jobs")
    return found


def config_path(environ: Mapping[str, str] | None = None) -> str:
    """Where the config file is, or would be."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    named = os.path.expanduser(environ.get("XFELCAT_CONFIG", ""))
    return named or os.path.join(home, "xfelcat", "config.toml")


def setting_sources(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Which variable, or the config file, each setting comes from; empty for its default.

    Raises as ``load_settings``.
    """
    environ = os.environ if environ is None else environ
    path = config_path(environ)
    in_file = _read_config(path, required="XFELCAT_CONFIG" in environ)
    sources = {}
    for name, (variables, _) in SETTINGS.items():
        variable = next((v for v in variables if environ.get(v)), "")
        sources[name] = variable or (path if name in in_file else "")
    return sources


def user_catalog() -> str:
    """Directory of the user's own catalog, used where no setting names one.

    Raises ConfigError for a user without a home directory.
    """
    import platformdirs

    try:
        return os.path.join(platformdirs.user_data_dir("xfelcat", appauthor=False), "catalog")
    except RuntimeError as error:
        raise ConfigError(f"{error}; or name a catalog by XFELCAT_CATALOG") from None


def catalog_location(named: "str | os.PathLike[str] | None" = None) -> str:
    """The directory of the catalog that is named, else of the settings, else of the user."""
    return os.path.expanduser(named or load_settings().catalog or user_catalog())


def _read_toml(path: str, required: bool) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as e:
        if not os.path.exists(path):  # or below a home that is a file, or another's
            if required:
                raise ConfigError(f"config file {path} is absent") from e
            return {}
        raise ConfigError(f"config file {path} cannot be read: {e}") from e
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"config file {path} is not valid TOML: {e}") from e


def _read_config(path: str, required: bool) -> dict[str, str]:
    values = _read_toml(path, required)
    values.pop("slurm", None)
    for name, value in values.items():
        if name not in SETTINGS:
            hint = did_you_mean(nearest(name, SETTINGS, limit=1))
            raise ConfigError(f"config file {path}: unknown setting {name!r}{hint}")
        if type(value) not in (str, _TOML_TYPES.get(name)):
            raise ConfigError(f"config file {path}: setting {name!r} must be a string")
    return {name: str(value) for name, value in values.items()}
