# Every target sets up what it needs; a machine needs only Python 3.11+, its venv and pip, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= demo
SYNTHETIC ?= synthetic
BENCH ?= bench

.PHONY: setup demo test test-slow test-browser lint types bench bench-quick bench-growth bench-questions synthetic clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24' 'setuptools>=77'
	$(BIN)/python -m pip install --quiet -e '.[dask,plot,test]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m xfelcat.cli.demo $(DEMO)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy knows the package by a link of its name to this directory.
types: $(STAMP)
	@mkdir -p $(VENV)/mypy_path && ln -sfn "$(CURDIR)" $(VENV)/mypy_path/xfelcat
	MYPYPATH=$(VENV)/mypy_path $(BIN)/mypy --cache-dir $(VENV)/mypy_cache -p xfelcat.catalog -p xfelcat.loader -p xfelcat.cli -p xfelcat.migrations

test: lint types
	$(BIN)/python -m pytest -rs -m 'not slow' -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n 2

# Both need 5 GB in $(BENCH), and keep their runs there; the first writes its table into the page.
bench: $(STAMP)
	cd tests && XFELCAT_SYNTHETIC=$(abspath $(SYNTHETIC)) ../$(BIN)/python -m benchmarks.bench \
	  --place $(abspath $(BENCH)) --json $(abspath $(BENCH))/result.json --page ../docs/performance.md

bench-quick: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.bench --place $(abspath $(BENCH)) --quick

# How opening grows with the catalog and with the run: one minute, besides `make synthetic`.
bench-growth: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.growth_opening --place $(abspath $(BENCH))/growth \
	  --synthetic $(abspath $(SYNTHETIC)) --picture ../docs/pictures/growth-opening.png

# Questions over all runs of a catalog, best one of 10^5 runs as `make synthetic` makes it: three minutes.
CATALOG ?= $(SYNTHETIC)
bench-questions: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.questions $(abspath $(CATALOG)) --page ../docs/performance.md

# The tests of the HTML report in a real browser: Debian's Chromium and the extra `browser`.
test-browser: $(STAMP)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || apt-get install -y -q chromium chromium-driver \
	  || { echo "make test-browser needs chromium and chromedriver, and apt-get cannot install them here: install them, or run it as root on Debian" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet -e '.[browser]'
	$(BIN)/python -m pytest -rs tests/report/test_browser.py

# The catalog of a synthetic facility of 10^5 runs and 10^7 files: ten minutes, ten GB.
synthetic: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.synthetic $(abspath $(SYNTHETIC))

clean:
	rm -rf $(VENV) demo build *.egg-info
