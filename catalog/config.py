"""Which settings hold, and where does each come from?

A setting is looked for in the environment, then in the config file, then the default holds. The
config file is TOML: ``XFELCAT_CONFIG`` names it, else it is ``xfelcat/config.toml`` in the user's
configuration directory.

========== ============================================ ======================================
config     environment                                  meaning, default
========== ============================================ ======================================
catalog    ``XFELCAT_CATALOG``                          directory of the catalog; none
data_root  ``XFELCAT_DATA_ROOT``,                       facility tree; ``/gpfs/exfel/exp``
           ``EXTRA_DATA_DATA_ROOT``
trust      ``XFELCAT_TRUST``                            ``stat`` (the default): compare every
                                                        file with the catalog on opening;
                                                        ``never-stat``: believe the catalog
threads    ``XFELCAT_THREADS``                          how many threads read arrays; 0 (the
                                                        default): as many as there are cores,
                                                        up to 8
direct     ``XFELCAT_DIRECT``                           ``1`` (the default): read and
                                                        decompress past HDF5 where that gives
                                                        the same; ``0``: by HDF5 alone
========== ============================================ ======================================
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from .model.errors import ConfigError, nearest

__all__ = ["Settings", "load_settings", "user_catalog"]

_ENVIRONMENT = {
    "catalog": ("XFELCAT_CATALOG",),
    "data_root": ("XFELCAT_DATA_ROOT", "EXTRA_DATA_DATA_ROOT"),
    "trust": ("XFELCAT_TRUST",),
    "threads": ("XFELCAT_THREADS",),
    "direct": ("XFELCAT_DIRECT",),
}
_DEFAULTS = {
    "catalog": "",
    "data_root": "/gpfs/exfel/exp",
    "trust": "stat",
    "threads": "0",
    "direct": "1",
}
_NO_TEXT = {"threads": int, "direct": bool}  # what they may also be in the config file
TRUST = ("stat", "never-stat")
_YES_OR_NO = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; ``catalog`` is empty where none is named, ``threads`` 0 as well."""

    catalog: str
    data_root: str
    trust: str
    threads: int
    direct: bool


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment and the config file.

    Raises ConfigError for a config file that cannot be read, an unknown setting or a bad value.
    """
    environ = os.environ if environ is None else environ
    path = _config_path(environ)
    values = _DEFAULTS | _read_config(path, required="XFELCAT_CONFIG" in environ)
    for name, variables in _ENVIRONMENT.items():
        for variable in reversed(variables):
            values[name] = environ.get(variable) or values[name]
    if values["trust"] not in TRUST:
        raise ConfigError(f"setting trust is {values['trust']!r}: it must be {' or '.join(TRUST)}")
    return Settings(
        os.path.expanduser(values["catalog"]),
        os.path.expanduser(values["data_root"]),
        values["trust"],
        _threads(values["threads"]),
        _direct(values["direct"]),
    )


def _threads(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"setting threads is {text!r}: it must be a number of threads, 0 or more")
    return int(text)


def _direct(text: str) -> bool:
    if text.lower() not in _YES_OR_NO:
        raise ConfigError(f"setting direct is {text!r}: it must be 1 or 0")
    return _YES_OR_NO[text.lower()]


def user_catalog() -> str:
    """Directory of the user's own catalog, used where no setting names one."""
    import platformdirs

    return os.path.join(platformdirs.user_data_dir("xfelcat", appauthor=False), "catalog")


def _config_path(environ: Mapping[str, str]) -> str:
    if named := environ.get("XFELCAT_CONFIG"):
        return os.path.expanduser(named)
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(home, "xfelcat", "config.toml")


def _read_config(path: str, required: bool) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        if required:
            raise ConfigError(f"config file {path}, named by XFELCAT_CONFIG, is absent") from None
        return {}
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"config file {path} cannot be read: {e}") from e
    import tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"config file {path} is not valid TOML: {e}") from e
    for name, value in values.items():
        if name not in _DEFAULTS:
            near = nearest(name, _DEFAULTS)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"config file {path}: unknown setting {name!r}{hint}")
        if type(value) not in (str, _NO_TEXT.get(name)):
            raise ConfigError(f"config file {path}: setting {name!r} must be a string")
    return {name: str(value) for name, value in values.items()}
