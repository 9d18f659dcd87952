# Every target sets up what it needs; a machine needs only Python 3.11+, its venv and pip, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= demo
SYNTHETIC ?= synthetic
BENCH ?= bench
CLIENTS := .venv-clients
EXTRA := 2026.1.1
OLD_DUCKDB := .venv-duckdb
DOCS := .venv-docs
LAKE := .venv-lake

# Bytecode is kept, whatever the environment says: hundreds of tests start processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo check test most-tests beside-tests test-long test-clients test-duckdb test-lake demo-lake test-browser lint types docs size bench bench-quick bench-calls bench-growth bench-questions bench-startup bench-lake bench-scanning synthetic clean

setup: $(STAMP)

# The package is this directory, by the name xfelcat. A link of that name, in a directory on the path of the
# environment, is what editors and mypy follow: the import hook that pip writes is none of theirs.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24' 'setuptools>=77'
	$(BIN)/python -m pip install --quiet -e '.[dask,plot,test]'
	@mkdir -p $(VENV)/src && ln -sfn ../.. $(VENV)/src/xfelcat
	@$(BIN)/python -c 'import sysconfig; print("$(CURDIR)/$(VENV)/src", file=open(sysconfig.get_path("purelib") + "/xfelcat-src.pth", "w"))'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m xfelcat.cli.demo $(DEMO)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	MYPYPATH=$(VENV)/src $(BIN)/mypy --cache-dir $(VENV)/mypy_cache -p xfelcat.catalog -p xfelcat.loader -p xfelcat.cli -p xfelcat.migrations

# While one edits: under a minute. Only the modules that are marked so are collected.
check: lint types
	$(BIN)/python -m pytest -q -n 2 -m fast $$(grep -rl 'pytest.mark.fast' --include='test_*.py' tests)

# What CI runs: seven minutes on two cores. Types, and a part of `make test-lake`, are looked at beside the tests.
test: lint $(LAKE)/.installed
	@$(MAKE) --no-print-directory -j 2 beside-tests most-tests

most-tests: $(STAMP)
	$(BIN)/python -m pytest -rs -m 'not slow' -n 2 --dist worksteal

beside-tests: types $(LAKE)/.installed
	$(LAKE)/bin/python -m pytest -q -m 'not slow' --merged lake-file tests/catalog/test_lake.py tests/catalog/test_questions.py \
	  -k 'find_by or file and (as_of or home or sql)'

# Before a release: more versions, more examples, every page, whole benchmarks. 40 minutes on two cores.
test-long: $(STAMP)
	XFELCAT_TEST_EXAMPLES=5 $(BIN)/python -m pytest -rs -n 2 --dist loadfile

# Packages that build on EXtra-data's API, on xfelcat: EXtra's own tests and EXtra-data's, DAMNIT, pasha. In an
# environment of its own; EXtra has its tests in its source distribution only. Six minutes, and a few to set up.
test-clients: $(CLIENTS)/.installed
	$(CLIENTS)/bin/python tests/clients/run.py

$(CLIENTS)/.installed: pyproject.toml tests/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --upgrade 'pip>=24' 'setuptools>=77'
	$(CLIENTS)/bin/python -m pip install --quiet -e '.[dask,plot]' -r tests/clients/requirements.txt
	$(CLIENTS)/bin/python -m pip download --quiet --no-deps --no-binary euxfel-extra -d $(CLIENTS)/sources euxfel-extra==$(EXTRA)
	tar -xzf $(CLIENTS)/sources/euxfel_extra-$(EXTRA).tar.gz -C $(CLIENTS)/sources
	@touch $@

# Catalogs written by either major version of DuckDB, read and continued by the other.
test-duckdb: $(OLD_DUCKDB)/.installed $(STAMP)
	XFELCAT_OTHER_PYTHON=$(abspath $(OLD_DUCKDB))/bin/python $(BIN)/python -m pytest -rs tests/test_duckdb_versions.py

$(OLD_DUCKDB)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OLD_DUCKDB)
	$(OLD_DUCKDB)/bin/python -m pip install --quiet --upgrade 'pip>=24' 'setuptools>=77'
	$(OLD_DUCKDB)/bin/python -m pip install --quiet -e . duckdb==1.5.5
	@touch $@

# The merged database as a DuckLake: what is its own, with a PostgreSQL server from PyPI; and the suites of questions,
# audits and the report with a file, a lake in files, and a lake with its metadata in PostgreSQL.
LAKE_KINDS ?= file lake-file lake-server
LAKE_SUITES ?= $(addprefix tests/catalog/test_,$(addsuffix .py,merge_shards as_of questions find filters conditions values inventory \
  empty sql export audit_demo audit_record)) tests/report/test_content.py tests/report/test_coverage.py tests/report/test_page.py
test-lake: $(LAKE)/.installed
	$(LAKE)/bin/python -m pytest -q -rs tests/catalog/test_lake.py tests/catalog/test_locks.py
	$(LAKE)/bin/python -m pytest -q --merged lake-file -m 'not slow' tests/test_crashes.py -k publisher
	for merged in $(LAKE_KINDS); do \
	  $(LAKE)/bin/python -m pytest -q -n 2 --merged $$merged -m 'not slow' $(LAKE_SUITES) || exit 1; done

# Its own packages come before those of the other environment.
$(LAKE)/.installed: $(STAMP) tests/support/lake_environment.py
	$(BIN)/python tests/support/lake_environment.py $(LAKE)
	@touch $@

# The documentation as pages in ./site, with the API reference made from the docstrings; in an environment of its own.
docs: $(DOCS)/.installed $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet
	@echo "see site/index.html"

$(DOCS)/.installed: docs/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade 'pip>=24'
	$(DOCS)/bin/python -m pip install --quiet -r docs/requirements.txt
	@touch $@

# Lines and modules by folder.
size: $(STAMP)
	@$(BIN)/python tests/support/code_size.py

# Both need 5 GB in $(BENCH), and keep their runs there; the first writes its table into the page.
bench: $(STAMP)
	cd tests && XFELCAT_SYNTHETIC=$(abspath $(SYNTHETIC)) ../$(BIN)/python -m benchmarks.bench \
	  --place $(abspath $(BENCH)) --json $(abspath $(BENCH))/result.json --page ../docs/performance.md

bench-quick: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.bench --place $(abspath $(BENCH)) --quick

# System calls of first things, next to EXtra-data and h5py, by strace: two minutes.
bench-calls: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.syscalls --place $(abspath $(BENCH)) --page ../docs/performance.md

# How opening grows with the catalog and with the run: one minute, besides `make synthetic`.
bench-growth: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.growth_opening --place $(abspath $(BENCH))/growth \
	  --synthetic $(abspath $(SYNTHETIC)) --picture ../docs/pictures/growth-opening.png

# CPU time of short commands, against importing what they cannot do without: a minute.
bench-startup: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.startup --place $(abspath $(BENCH))/startup

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

# The demo facility with a lake in a PostgreSQL server.
demo-lake: $(LAKE)/.installed
	@$(LAKE)/bin/python tests/support/demo_lake.py $(DEMO)-lake

# The merged database of CATALOG, which is changed, as a file and as lakes, with the server that SERVER names.
bench-lake: $(LAKE)/.installed
	cd tests && ../$(LAKE)/bin/python -m benchmarks.lake $(abspath $(CATALOG)) $(if $(SERVER),--server "$(SERVER)") --page ../docs/facility.md

# Slow files scanned by 1 and by 4 workers, and the memory of the committer, in $(BENCH): 5 GB, half an hour.
SCANNED ?= 1000 10000 100000
bench-scanning: $(STAMP)
	cd tests && ../$(BIN)/python -m benchmarks.scanning --place $(abspath $(BENCH))/scanning --files $(SCANNED) --page ../docs/facility.md

clean:
	rm -rf $(VENV) $(CLIENTS) $(OLD_DUCKDB) $(LAKE) $(DOCS) .cache site demo demo-lake build *.egg-info
