# `make reproduce` and `make test` each do all the set-up on a machine with git, make and Python 3.11.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
INSTALLED := $(VENV)/.installed
BIN := $(VENV)/bin
# Studies that there are; `make figures` names them.
STUDIES := $(notdir $(basename $(wildcard config/studies/*.yaml)))
VALIDATOR := $(VENV)-validator/.installed

.PHONY: reproduce figures restore unlock test test-cluster lint lock clean

reproduce: $(INSTALLED)
	@$(BIN)/snakemake --cores all --rerun-incomplete --quiet rules progress
	@$(BIN)/segtrail summary

# Every figure of a study, after a change of style say: make figures STUDY=mehrtash2020 [RUN=paper] [SCALE=paper]
figures: $(INSTALLED)
	@[ -n "$(filter $(STUDIES),$(STUDY))" ] || { echo "make figures STUDY=… needs one of: $(STUDIES)" >&2; exit 2; }
	@$(BIN)/snakemake $(STUDY)_figures --cores all --quiet rules progress \
		$(if $(RUN)$(SCALE),--config $(if $(RUN),run=$(RUN)) $(if $(SCALE),scale=$(SCALE)))

# All that DVC tracks, from its remote or its cache; then what is left to do, which is nothing (docs/dvc.md).
restore: $(INSTALLED)
	@$(BIN)/dvc $$($(BIN)/dvc remote list | grep -q . && echo pull || echo checkout)
	@$(BIN)/snakemake --dry-run --quiet rules progress

# Locks that killed commands have left; refuses while one is at work.
unlock: $(INSTALLED)
	@$(BIN)/segtrail unlock

test: $(INSTALLED) $(VALIDATOR)
	$(BIN)/pytest -n 2 --dist loadgroup --ignore tests/cluster

# On real SLURM daemons, which it installs (as root, from Debian's packages), starts and stops.
test-cluster: $(INSTALLED)
	$(BIN)/python tests/cluster/cluster.py install
	$(BIN)/pytest tests/cluster -n 2 --dist loadgroup --durations 0 --durations-min 1

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else f"segtrail needs Python 3.11, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Of RO-Crates, for the tests; apart, because it wants an older library than ours.
$(VALIDATOR): tests/provenance/validator.lock
	$(PYTHON) -m venv $(VENV)-validator
	$(VENV)-validator/bin/pip install --quiet --disable-pip-version-check --requirement tests/provenance/validator.lock
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
