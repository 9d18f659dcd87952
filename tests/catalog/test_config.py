"""Settings come from the environment, then the config file, then the defaults."""

import pytest
from xfelcat.catalog.config import load_settings
from xfelcat.catalog.model.errors import ConfigError

pytestmark = pytest.mark.fast


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
    assert (settings.threads, settings.direct) == (0, True)


def test_the_environment_stands_above_the_file(config):
    environ = config('catalog = "/a"\ndata_root = "/b"\n')
    assert load_settings(environ).catalog == "/a"
    assert load_settings(environ | {"XFELCAT_CATALOG": "/c"}).catalog == "/c"
    assert load_settings(environ | {"EXTRA_DATA_DATA_ROOT": "/d"}).data_root == "/d"
    both = environ | {"EXTRA_DATA_DATA_ROOT": "/d", "XFELCAT_DATA_ROOT": "/e"}
    assert load_settings(both).data_root == "/e"


def test_how_arrays_are_read(config):
    for text in ("threads = 3\ndirect = false", 'threads = "3"\ndirect = "0"'):
        settings = load_settings(config(text))
        assert (settings.threads, settings.direct) == (3, False)
    settings = load_settings(config("threads = 3") | {"XFELCAT_THREADS": "5"})
    assert settings.threads == 5
    assert not load_settings(config("") | {"XFELCAT_DIRECT": "0"}).direct


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('catalgo = "/a"', "did you mean 'catalog'"),
        ("catalog = 3", "must be a string"),
        ("catalog = ", "not valid TOML"),
        ('trust = "yes"', "must be stat or directory or never-stat"),
        ("trust = true", "must be a string"),
        ('threads = "many"', "must be a number of threads"),
        ("threads = -1", "must be a number of threads"),
        ("threads = true", "must be a string"),
        ('direct = "perhaps"', "must be 1 or 0"),
    ],
)
def test_bad_config(config, text, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(config(text))


def test_a_named_config_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="absent"):
        load_settings({"XFELCAT_CONFIG": str(tmp_path / "none.toml")})
