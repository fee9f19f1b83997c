# make on its own lists the targets. Needs nothing but make and Python.

PYTHON ?= python3
VENV ?= .venv
INTEROP ?= .venv-interop
# What to append to pytest or uv: make test ARGS='-k schedules'.
ARGS ?=
# A folder with catalogs/, train/ and test/, for real-data-check.
REAL_DATA ?=

BIN := $(VENV)/bin
# The closing line of pip's errors is enough; its notices are not for users.
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# Empty files which tell that an installation was completed, and when.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

# Huge pages for what a step takes and gives back, where Linux grants them on
# request: on CPUs training is a tenth faster. Older C libraries pass over it.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: help quickstart test lint bench real-data-check interop-check lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' \
	  $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "Another Python (3.11, 3.12 or 3.13): make test PYTHON=python3.12"

quickstart: $(RUNTIME)  ## train on mock galaxies, minutes on two CPU cores
	$(BIN)/python main.py --config=configs/quickstart.py --workdir=runs/quickstart

test: lint  ## lint, then all tests; some of them: ARGS='-k schedules'
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

lint: $(DEV)  ## formatting, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# The steps beside PyTorch: ARGS='--quick --torch-python=PATH'.
bench: $(RUNTIME)  ## images/s of training and evaluation; ARGS=--quick, 3 minutes
	@$(BIN)/python -m benchmarks.train $(ARGS)

real-data-check: $(DEV)  ## tests with real galaxies: REAL_DATA=FOLDER
	@test -d "$(REAL_DATA)/catalogs" || { \
	  echo "error: no catalogs/ in REAL_DATA='$(REAL_DATA)'." \
	    "Try: make real-data-check REAL_DATA=FOLDER"; exit 1; }
	$(BIN)/python -m pytest tests/real_data.py --real-data="$(REAL_DATA)" $(ARGS)

# In an environment of its own, for TensorFlow and Beam are no part of this.
interop-check: $(INTEROP)/.installed  ## TensorFlow and Beam read and write the same set
	TF_CPP_MIN_LOG_LEVEL=3 $(INTEROP)/bin/python -m pytest \
	  --confcutdir=tests/interop tests/interop/beam_check.py \
	  tests/interop/tensorflow_check.py $(ARGS)

# Keeps the versions which still fit. It must not depend on DEV: a lock that
# does not fit cannot be installed.
lock: $(BIN)/uv  ## write requirements.lock; newest versions: ARGS=--upgrade
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet \
	  --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links \
	  $(ARGS) requirements-dev.txt --output-file requirements.lock

clean:  ## remove the environment and the caches; runs/ and data stay
	@test ! -e $(VENV) || test -f $(VENV)/pyvenv.cfg || { \
	  echo "error: $(VENV) is no virtual environment; not removed."; exit 1; }
	rm -rf $(VENV) $(INTEROP) .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# bin/pip is the last that venv makes, so that a failure is not taken for done.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(None if (3, 11) <= v <= (3, 13) else "found Python %d.%d" % v)' \
	  || { echo "error: Python 3.11, 3.12 or 3.13 is needed, as '$(PYTHON)'." \
	    "Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# requirements.txt at the versions of the lock. Not its hashes: pip refuses
# ranges where it checks them.
$(RUNTIME): requirements.txt requirements.lock | $(BIN)/pip
	@echo "Installing requirements.txt (1.5 GB on disk, a few minutes)"
	@sed -n 's/^\([^ #]*==.*[^ ]\) *\\$$/\1/p' requirements.lock \
	  > $(VENV)/constraints.txt
	@$(PIP) install -r requirements.txt -c $(VENV)/constraints.txt
	@touch $@

# The whole lock, and that it has what requirements-dev.txt asks for.
$(DEV): requirements.txt requirements-dev.txt requirements.lock | $(BIN)/pip
	@echo "Installing requirements.lock (1.7 GB on disk, a few minutes)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-index --no-deps -r requirements-dev.txt || { \
	  echo "error: requirements.lock does not fit. Run: make lock"; exit 1; }
	@touch $(RUNTIME) $@

$(INTEROP)/.installed: requirements-interop.txt requirements-beam.txt requirements.txt | $(BIN)/uv
	@echo "Installing requirements-interop.txt (4 GB on disk, some minutes)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(INTEROP)
	@$(BIN)/uv pip install --quiet --python $(INTEROP)/bin/python \
	  -r requirements-interop.txt
	@touch $@

$(BIN)/uv: | $(BIN)/pip
	@echo "Installing uv"
	@$(PIP) install "$$(grep '^uv[<>=]' requirements-dev.txt)"
