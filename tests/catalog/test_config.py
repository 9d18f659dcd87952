"""Settings come from the environment, then the config file, then the defaults."""

import pytest
from xfelcat.catalog.config import load_settings
from xfelcat.catalog.errors import ConfigError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"

    def write(text):
        path.write_text(text)
        return {"XFELCAT_CONFIG": str(path)}

    return write


def test_defaults(tmp_path):
    settings = load_settings({"XDG_CONFIG_HOME": str(tmp_path)})
    assert (settings.catalog, settings.data_root, settings.trust) == ("", "/gpfs/exfel/exp", "stat")


def test_the_environment_stands_above_the_file(config):
    environ = config('catalog = "/a"\ndata_root = "/b"\n')
    assert load_settings(environ).catalog == "/a"
    assert load_settings(environ | {"XFELCAT_CATALOG": "/c"}).catalog == "/c"
    assert load_settings(environ | {"EXTRA_DATA_DATA_ROOT": "/d"}).data_root == "/d"
    both = environ | {"EXTRA_DATA_DATA_ROOT": "/d", "XFELCAT_DATA_ROOT": "/e"}
    assert load_settings(both).data_root == "/e"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('catalgo = "/a"', "did you mean 'catalog'"),
        ("catalog = 3", "must be a string"),
        ("catalog = ", "not valid TOML"),
        ('trust = "yes"', "must be stat or never-stat"),
    ],
)
def test_bad_config(config, text, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(config(text))


def test_a_named_config_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="absent"):
        load_settings({"XFELCAT_CONFIG": str(tmp_path / "none.toml")})
