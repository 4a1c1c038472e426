# `make reproduce` and `make test` each do all the set-up on a machine with git, make and Python 3.11.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
INSTALLED := $(VENV)/.installed
RUN := $(VENV)/bin

.PHONY: reproduce test test-cluster lint lock clean

reproduce: $(INSTALLED)
	@$(RUN)/snakemake --cores all --rerun-incomplete --quiet rules progress
	@$(RUN)/segtrail summary

test: $(INSTALLED)
	$(RUN)/pytest -n 2 --dist loadgroup --ignore tests/cluster

# On real SLURM daemons, which it installs (as root, from Debian's packages), starts and stops.
test-cluster: $(INSTALLED)
	$(RUN)/python tests/cluster/cluster.py install
	$(RUN)/pytest tests/cluster -n 2 --dist loadgroup --durations 0 --durations-min 1

lint: $(INSTALLED)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/snakefmt --check Snakefile workflow
	$(RUN)/snakemake --lint

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else f"segtrail needs Python 3.11, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The newest versions of what pyproject.toml names; the exact pin of torch is kept, and the index decides its build.
lock:
	rm -rf $(VENV).lock && $(PYTHON) -m venv $(VENV).lock
	$(VENV).lock/bin/pip install --quiet "$$(grep '^torch==' requirements.lock)" setuptools
	$(VENV).lock/bin/pip install --quiet --no-build-isolation ".[dev]"
	$(VENV).lock/bin/pip freeze --all --exclude segtrail --exclude pip | sed 's/+cpu//' > requirements.lock
	sed -n '1,/- pip:/p' environment.yml > environment.yml.new
	sed 's/^/      - /' requirements.lock >> environment.yml.new
	mv environment.yml.new environment.yml
	rm -rf $(VENV).lock

clean:
	rm -rf results .snakemake
